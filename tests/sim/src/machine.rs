//! One machine: power, boot, clock, disk, and the processes on it.

use std::collections::{BTreeMap, VecDeque};

use holdfast_core::event::Event;
use holdfast_core::node::Node;
use holdfast_core::witness::Proxy;
use holdfast_core::witness::record::Record;
use holdfast_proto::ids::{BootId, GroupName, Incarnation, NodeId};
use holdfast_proto::time::Time;

use crate::agent::{Agent, SimGroup};
use crate::copies::SimCopy;
use crate::disk::Disk;
use crate::world::DiskPart;

/// What a right wall clock shows when the world begins: some day in 2023.
const WALL_BEGINS_US: u64 = 1_700_000_000_000_000;

/// One machine.
#[derive(Debug)]
pub struct Machine {
    /// Which member it is.
    pub id: NodeId,
    /// Has power.
    pub powered: bool,
    /// Finished booting, so that processes run.
    pub booted: bool,
    /// Number of the boot.
    pub boots: u64,
    /// True time since which its clock goes at its present rate.
    anchor_us: u64,
    /// What its clock showed then.
    anchor_local: u64,
    /// What its clock showed when it was powered on.
    pub booted_at: Time,
    /// Rate error of its clock, in parts per million.
    drift_ppm: i64,
    /// Error of its wall clock.
    pub wall_error_us: i64,
    /// Its disk.
    pub disk: Disk,
    /// Boot that the synced marker in /run names.
    pub synced_marker: bool,
    /// The daemon, when it runs.
    pub had: Option<Node>,
    /// What answers the daemon as the witness, if that is a register.
    pub proxy: Option<Proxy>,
    /// On the machine of a register: what it holds,
    pub register: Option<Record>,
    /// and whether it serves.
    pub serves: bool,
    /// What the agent process keeps on shared disks.
    pub disk_part: DiskPart,
    /// Events that arrived while it could not run, in order.
    pub backlog: VecDeque<Event>,
    /// Number of its run, over all boots: what is on its way to an earlier run gets lost.
    pub run: u64,
    /// How that run names itself to its peers.
    pub incarnation: Incarnation,
    /// The highest number of its earlier runs, which its peers may have heard of.
    pub heard_of: Incarnation,
    /// The whole machine does nothing before this true time.
    pub paused_until_us: u64,
    /// The daemon does nothing before this true time.
    pub had_hung_until_us: u64,
    /// The agent process is away until then (its resources go on).
    pub agent_away_until_us: u64,
    /// Timeout that its watchdog has when it is opened the next time; none without one.
    pub next_watchdog_us: Option<u64>,
    /// The agent process was away, so it opens the watchdog anew, unless that counts on because something runs.
    pub agent_restarted: bool,
    /// The agent process is attached to the daemon.
    pub attached: bool,
    /// Agent and resources.
    pub agent: Agent,
    /// Copies of groups' data on its disk.
    pub copies: BTreeMap<GroupName, SimCopy>,
    /// Last instant at which something on it could not run in time.
    pub unscheduled_us: u64,
}

impl Machine {
    /// A machine without power.
    #[must_use]
    pub fn new(id: NodeId, drift_ppm: i64) -> Machine {
        Machine {
            id,
            powered: false,
            booted: false,
            boots: 0,
            anchor_us: 0,
            anchor_local: 0,
            booted_at: Time::ZERO,
            drift_ppm,
            wall_error_us: 0,
            disk: Disk::default(),
            synced_marker: false,
            had: None,
            proxy: None,
            register: None,
            serves: false,
            disk_part: DiskPart::default(),
            backlog: VecDeque::new(),
            run: 0,
            incarnation: Incarnation(0),
            heard_of: Incarnation(0),
            paused_until_us: 0,
            had_hung_until_us: 0,
            agent_away_until_us: 0,
            next_watchdog_us: None,
            agent_restarted: false,
            attached: false,
            agent: Agent::default(),
            copies: BTreeMap::new(),
            unscheduled_us: 0,
        }
    }

    /// Power on: a new boot with a clock of its own.
    pub fn power_on(&mut self, now_us: u64, clock_offset_us: u64) {
        let watchdog_us = self.next_watchdog_us;
        self.powered = true;
        self.booted = false;
        self.boots += 1;
        self.anchor_us = now_us;
        self.anchor_local = clock_offset_us;
        self.booted_at = Time(clock_offset_us);
        self.synced_marker = false;
        self.disk_part.reboot();
        self.agent = Agent {
            watchdog_us,
            petted_us: now_us,
            ..Agent::default()
        };
    }

    /// The agent process comes back. True if it has a watchdog to pet that was not there before.
    pub fn reopens_watchdog(&mut self, now_us: u64) -> bool {
        let counts_on = self.agent.groups.values().any(SimGroup::is_up);
        if counts_on || !std::mem::take(&mut self.agent_restarted) {
            return false;
        }
        let before = std::mem::replace(&mut self.agent.watchdog_us, self.next_watchdog_us);
        self.agent.petted_us = now_us;
        before.is_none() && self.agent.watchdog_us.is_some()
    }

    /// The daemon is gone, and what it had not read yet with it.
    pub fn end_had(&mut self) {
        self.had = None;
        self.proxy = None;
        self.serves = false;
        self.backlog.clear();
        self.attached = false;
    }

    /// Power off: everything but the disk is gone.
    pub fn power_off(&mut self) {
        self.powered = false;
        self.booted = false;
        self.end_had();
        self.run += 1;
        self.paused_until_us = 0;
        self.had_hung_until_us = 0;
        self.agent_away_until_us = 0;
        self.disk_part.end();
        let watchdog_us = self.agent.watchdog_us;
        self.agent = Agent {
            watchdog_us,
            ..Agent::default()
        };
    }

    /// Identity of the present boot.
    #[must_use]
    pub fn boot(&self) -> BootId {
        BootId((u128::from(self.boots) << 96) | (u128::from(self.id.0) + 1))
    }

    /// What its clock shows.
    #[must_use]
    pub fn local(&self, now_us: u64) -> Time {
        let passed = now_us.saturating_sub(self.anchor_us) as i128;
        Time(self.anchor_local + (passed * i128::from(1_000_000 + self.drift_ppm) / 1_000_000) as u64)
    }

    /// The true time at which its clock shows at least `local`, if its rate stays.
    #[must_use]
    pub fn true_us(&self, local: Time) -> u64 {
        let passed = i128::from(local.0.saturating_sub(self.anchor_local));
        let rate = i128::from(1_000_000 + self.drift_ppm);
        self.anchor_us + ((passed * 1_000_000 + rate - 1) / rate) as u64
    }

    /// Its clock goes at another rate from now on.
    pub fn set_drift(&mut self, now_us: u64, drift_ppm: i64) {
        self.anchor_local = self.local(now_us).0;
        self.anchor_us = now_us;
        self.drift_ppm = drift_ppm;
    }

    /// What its wall clock shows, in microseconds since 1970.
    #[must_use]
    pub fn wall_us(&self, now_us: u64) -> u64 {
        WALL_BEGINS_US
            .saturating_add(now_us)
            .saturating_add_signed(self.wall_error_us)
    }

    /// True when its run is not numbered above the earlier ones, so that its peers do not take it for the latest.
    #[must_use]
    pub fn is_outnumbered(&self) -> bool {
        self.incarnation <= self.heard_of
    }

    /// When its daemon can next do something.
    #[must_use]
    pub fn had_free_us(&self) -> u64 {
        self.paused_until_us.max(self.had_hung_until_us)
    }

    /// When its agent process can next do something.
    #[must_use]
    pub fn agent_free_us(&self) -> u64 {
        self.paused_until_us.max(self.agent_away_until_us)
    }
}

//! One machine: power, boot, clock, disk, and the processes on it.

use std::collections::VecDeque;

use holdfast_core::durable::Durable;
use holdfast_core::event::Event;
use holdfast_core::node::Node;
use holdfast_proto::ids::{BootId, NodeId};
use holdfast_proto::time::Time;

use crate::agent::Agent;

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
    /// True time of the power-on.
    pub boot_us: u64,
    /// What its clock showed then.
    clock_offset_us: u64,
    /// Rate error of its clock, in parts per million.
    pub drift_ppm: i64,
    /// The record on disk.
    pub disk: Option<Durable>,
    /// Boot that the synced marker in /run names.
    pub synced_marker: bool,
    /// The daemon, when it runs.
    pub had: Option<Node>,
    /// Events that arrived while it could not run, in order.
    pub backlog: VecDeque<Event>,
    /// Number of its run, over all boots.
    pub run: u64,
    /// The whole machine does nothing before this true time.
    pub paused_until_us: u64,
    /// The daemon does nothing before this true time.
    pub had_hung_until_us: u64,
    /// The agent process is away until then (its resources go on).
    pub agent_away_until_us: u64,
    /// The agent process is attached to the daemon.
    pub attached: bool,
    /// Agent and resources.
    pub agent: Agent,
    /// When the last write to disk ends.
    pub disk_busy_us: u64,
    /// A write takes up to this long,
    pub disk_slow_us: u64,
    /// until then.
    pub disk_slow_until_us: u64,
    /// Every write fails.
    pub disk_full: bool,
    /// The daemon or the machine dies before its next write is done.
    pub crashes_in_write: bool,
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
            boot_us: 0,
            clock_offset_us: 0,
            drift_ppm,
            disk: None,
            synced_marker: false,
            had: None,
            backlog: VecDeque::new(),
            run: 0,
            paused_until_us: 0,
            had_hung_until_us: 0,
            agent_away_until_us: 0,
            attached: false,
            agent: Agent::default(),
            disk_busy_us: 0,
            disk_slow_us: 0,
            disk_slow_until_us: 0,
            disk_full: false,
            crashes_in_write: false,
            unscheduled_us: 0,
        }
    }

    /// Power on: a new boot with a clock of its own.
    pub fn power_on(&mut self, now_us: u64, clock_offset_us: u64) {
        let watchdog_us = self.agent.watchdog_us;
        self.powered = true;
        self.booted = false;
        self.boots += 1;
        self.boot_us = now_us;
        self.clock_offset_us = clock_offset_us;
        self.synced_marker = false;
        self.agent = Agent {
            watchdog_us,
            petted_us: now_us,
            ..Agent::default()
        };
    }

    /// The daemon is gone, and what it had not read yet with it.
    pub fn end_had(&mut self) {
        self.had = None;
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
        let passed = now_us.saturating_sub(self.boot_us) as i128;
        Time(self.clock_offset_us + (passed * i128::from(1_000_000 + self.drift_ppm) / 1_000_000) as u64)
    }

    /// The true time at which its clock shows at least `local`.
    #[must_use]
    pub fn true_us(&self, local: Time) -> u64 {
        let passed = i128::from(local.0.saturating_sub(self.clock_offset_us));
        let rate = i128::from(1_000_000 + self.drift_ppm);
        self.boot_us + ((passed * 1_000_000 + rate - 1) / rate) as u64
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

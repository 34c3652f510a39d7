//! The world: virtual time, and what it consists of. Each part has its own file: [`happening`] (the queue), [`network`],
//! [`power`], [`daemon`] and [`agentd`] (the processes of a machine), [`fence`] (devices) and [`operator`], a witness in etcd
//! in [`register`], one on shared disks in [`disks`]; faults strike in [`strike`] and [`services`], some of them out of an
//! [`ambush`]; [`members`] and [`replication`] are groups with roles; [`phases`] says what a run consists of, [`play`] lets one fault be for the table of failures, [`bound`] how
//! long a recovery may take.

mod aftermath;
mod agentd;
mod ambush;
mod bound;
mod daemon;
mod disks;
mod fence;
mod happening;
mod jobs;
mod members;
mod network;
mod operator;
mod phases;
mod play;
mod power;
mod register;
mod replication;
mod services;
mod shared;
mod strike;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_proto::config::{Config, Requires};
use holdfast_proto::ids::{Epoch, GroupName, NodeId};

use crate::checks::Checker;
use crate::cluster::Cluster;
use crate::coverage::Watch;
use crate::device::Devices;
use crate::machine::Machine;
use crate::rng::{Purpose, Rng};
use crate::schedule::{Fault, Lasting, Schedule, Strike};
use crate::shared::SharedDisks;
use crate::trace::Trace;

use ambush::Moments;
pub use disks::DiskPart;
use disks::WitnessDisks;
use happening::Queue;
pub use network::Network;
pub use phases::Recoveries;
pub use play::Played;
use versions::Versions;

/// The world.
pub struct World {
    /// Virtual time.
    pub now_us: u64,
    /// The configuration that the cluster begins with.
    pub config: Arc<Config>,
    /// The cluster as operators want it now.
    pub cluster: Cluster,
    /// Machines.
    pub machines: BTreeMap<NodeId, Machine>,
    /// Network.
    pub network: Network,
    /// What the witness is kept on, if it is kept on disks.
    disks: WitnessDisks,
    /// Fence devices by target.
    pub devices: BTreeMap<NodeId, Devices>,
    /// Shared disks.
    pub shared: SharedDisks,
    /// Starts fail, of a thousand.
    pub start_failures_permille: u64,
    /// What happened.
    pub trace: Trace,
    /// What was reached.
    pub watch: Watch,
    /// How long the cluster took to be whole again, against its bounds.
    pub recoveries: Recoveries,
    /// All groups that ever were configured, and what a takeover of them needs.
    watched: BTreeMap<GroupName, Requires>,
    strikes: Vec<Strike>,
    moments: Moments,
    versions: Versions,
    length_us: u64,
    lasting: Option<Lasting>,
    /// This machine never ends a boot any more.
    boot_hangs: Option<NodeId>,
    /// Nothing of the schedule strikes any more.
    healed: bool,
    /// An operator forces the quorum here; what follows is repair.
    repair_from: Option<NodeId>,
    /// Since when nobody leads, while that is looked at.
    unled_since_us: u64,
    devices_busy_until_us: u64,
    /// How many boots of a machine devices have ended.
    ended_by_devices: BTreeMap<NodeId, u32>,
    /// Something that runs started, stopped, or lost power since the last look.
    services_changed: bool,
    checker: Checker,
    /// Of each group with roles the last write that was acknowledged: its place and its number.
    acked: BTreeMap<GroupName, (usize, u64)>,
    /// Where an operator said that something may be lost.
    accepted: BTreeSet<(GroupName, NodeId)>,
    /// Under which epoch each group with roles was promoted last.
    promoted: BTreeMap<GroupName, Epoch>,
    next_write: u64,
    /// Runs of jobs that began.
    begun: jobs::Begun,
    queue: Queue,
    next_action: u64,
    request: u64,
    seed: u64,
    /// The instant of the latest throw, and how many there were in it.
    thrown: (u64, u64),
}

impl World {
    /// The world that a schedule describes, all machines off.
    #[must_use]
    pub fn new(schedule: &Schedule, trace: bool) -> World {
        let cluster = schedule.cluster.clone();
        let config = cluster.config();
        let machines = cluster
            .members()
            .map(|node| {
                let mut machine = Machine::new(node, cluster.drift_ppm(node));
                let watched = cluster
                    .node(node)
                    .is_some_and(|plan| plan.watchdog || cluster.disks > 0);
                machine.next_watchdog_us = watched.then_some(2_000_000);
                (node, machine)
            })
            .collect();
        let devices = cluster.data_nodes().map(|node| (node, Devices::default()));
        let replays = |strike: &Strike| matches!(strike.fault, Fault::Replay { .. });
        let network = if schedule.strikes.iter().any(replays) {
            Network::that_remembers()
        } else {
            Network::default()
        };
        let mut world = World {
            now_us: 1_000,
            machines,
            network,
            disks: WitnessDisks::new(cluster.witness_disks.into(), cluster.nodes.len()),
            devices: devices.collect(),
            shared: SharedDisks::new(cluster.disks),
            start_failures_permille: 0,
            trace: Trace::new(trace),
            watch: Watch::default(),
            moments: Moments::default(),
            versions: Versions::default(),
            recoveries: Recoveries::default(),
            watched: BTreeMap::new(),
            strikes: schedule.strikes.clone(),
            length_us: schedule.length_us,
            lasting: schedule.lasting,
            boot_hangs: None,
            healed: false,
            repair_from: None,
            unled_since_us: 0,
            devices_busy_until_us: 0,
            ended_by_devices: BTreeMap::new(),
            services_changed: true,
            checker: Checker::default(),
            acked: BTreeMap::new(),
            accepted: BTreeSet::new(),
            promoted: BTreeMap::new(),
            next_write: 0,
            begun: BTreeMap::new(),
            queue: Queue::default(),
            next_action: 0,
            request: 0,
            seed: schedule.seed,
            thrown: (0, 0),
            config: Arc::clone(&config),
            cluster,
        };
        world.watch(&config);
        world.note_upgrades();
        world
    }

    /// The dice for what happens now between `a` and `b`. Throws of one instant differ by their number.
    pub(crate) fn dice(&mut self, purpose: Purpose, a: NodeId, b: NodeId) -> Rng {
        self.thrown = if self.thrown.0 == self.now_us {
            (self.now_us, self.thrown.1 + 1)
        } else {
            (self.now_us, 0)
        };
        let what = (purpose as u64) << 16 | u64::from(a.0) << 8 | u64::from(b.0);
        Rng::of(&[self.seed, what, self.now_us, self.thrown.1])
    }

    /// The newest configuration that was committed.
    pub(crate) fn config_in_force(&self) -> Arc<Config> {
        let newest = self.checker.newest().map(|state| Arc::clone(&state.config));
        newest.unwrap_or_else(|| Arc::clone(&self.config))
    }
}

//! The world: machines around the real core, a network, fence devices, and true time. Everything is deterministic; what
//! may go differently is an [`Action`](crate::action::Action).
//!
//! By default a packet, a write and a report arrive at the instant they are sent, in order. Timers of `had` fire at the
//! next multiple of [`GRID`], which a real scheduler may do as well and which lets schedules meet again; what the agent
//! process enforces happens at its exact instant. Machines are shared between states until one of them changes.

pub mod agentd;
pub mod devices;
pub mod effects;
pub mod encoding;
pub mod faults;
pub mod machine;
pub mod network;
pub mod register;
pub mod shared;
pub mod step;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::durable::Durable;
use holdfast_core::effect::PersistId;
use holdfast_core::event::Event;
use holdfast_core::node::Node;
use holdfast_core::witness::record::Record;
use holdfast_proto::ids::NodeId;
use holdfast_proto::peer::RunState;
use holdfast_proto::time::Time;

use crate::bounds::Budget;
use crate::promises::{Broken, Ghost};
use crate::setup::Setup;

use devices::Ask;
use machine::Machine;
use network::Packet;
use register::Errand;
use shared::SharedDisk;

/// Timers of `had` fire at multiples of this.
pub const GRID: Duration = Duration::from_millis(25);
/// Time from power to the start of `had`.
pub const BOOT: Duration = Duration::from_millis(500);
/// Time until systemd starts `had` again.
pub const RESTART: Duration = Duration::from_millis(50);

/// Something that happens at the present instant.
#[derive(Clone, Debug)]
pub enum Item {
    /// Arrives.
    Packet(Packet),
    /// A record is on disk.
    Written {
        /// Machine, by its number in the world.
        machine: usize,
        /// The run of `had` that wrote it.
        run: u64,
        /// Number of the record.
        id: PersistId,
        /// The record.
        record: Arc<Durable>,
    },
    /// A call to the register, or its answer, arrives.
    Errand(Errand),
    /// Word from this machine's own agent process, or from an operator.
    Own {
        /// Machine, by its number in the world.
        machine: usize,
        /// The run of `had` that it is for.
        run: u64,
        /// The word.
        event: Event,
    },
}

/// The state of the model.
#[derive(Clone, Debug)]
pub struct World {
    /// True time.
    pub now: Time,
    /// What does not change.
    pub setup: Arc<Setup>,
    /// Machines, in the order of their numbers.
    pub machines: Vec<Arc<Machine>>,
    /// Directions that carry nothing.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Directions in which everything is held, and until when.
    pub slow: BTreeMap<(NodeId, NodeId), Time>,
    /// Late packets, in the order in which they were sent.
    pub held: Vec<Packet>,
    /// Late calls to the register and their answers, likewise.
    pub late_errands: Vec<Errand>,
    /// What the register holds, if the witness is kept in one.
    pub register: Option<Arc<Record>>,
    /// What the former one holds.
    pub spare: Option<Arc<Record>>,
    /// The disk on which nodes order each other to end, if there is one.
    pub shared: Option<SharedDisk>,
    /// What happens at this instant, in order.
    pub inbox: VecDeque<Item>,
    /// Fence devices at work.
    pub asks: Vec<Ask>,
    /// What the promises are about.
    pub ghost: Arc<Ghost>,
    /// Deviations left.
    pub budget: Budget,
    /// The promise that was broken on the way here.
    pub broken: Option<Arc<Broken>>,
    /// Sentences for a counterexample, when it is told.
    pub story: Option<Vec<String>>,
    /// Something but heartbeats happened since the last instant at which faults could strike.
    active: bool,
    /// Nothing but heartbeats happened before this instant.
    calm: bool,
    /// That instant.
    looked_at: Time,
    /// Items dispatched at this instant.
    busy: u32,
    /// Fingerprint.
    print: u64,
}

impl World {
    /// Machines without power; `disks` are in them.
    #[must_use]
    pub fn new(setup: &Arc<Setup>, disk: &Durable) -> World {
        let disk = Arc::new(disk.clone());
        let machines = setup.config.members().map(|id| {
            let votes = disk.committed.voters.contains(id);
            let machine = Machine::new(id, votes.then(|| Arc::clone(&disk)), setup.agentd(id));
            Arc::new(machine)
        });
        World {
            now: Time(10_000_000),
            machines: machines.collect(),
            setup: Arc::clone(setup),
            cut: BTreeSet::new(),
            slow: BTreeMap::new(),
            held: Vec::new(),
            late_errands: Vec::new(),
            register: None,
            spare: None,
            shared: setup.config.sbd.as_ref().map(|_| SharedDisk::default()),
            inbox: VecDeque::new(),
            asks: Vec::new(),
            ghost: Arc::default(),
            budget: Budget::default(),
            broken: None,
            story: None,
            active: false,
            calm: true,
            looked_at: Time(10_000_000),
            busy: 0,
            print: 0,
        }
    }

    /// The number of `node` in [`World::machines`].
    #[must_use]
    pub fn number_of(&self, node: NodeId) -> usize {
        let found = self.machines.iter().position(|machine| machine.id == node);
        found.expect("every member has a machine")
    }

    /// A machine, to change it.
    pub fn machine_mut(&mut self, number: usize) -> &mut Machine {
        Arc::make_mut(&mut self.machines[number])
    }

    /// Every `had` that runs.
    pub fn nodes(&self) -> impl Iterator<Item = (&Machine, &Node)> {
        let machines = self.machines.iter().map(|machine| &**machine);
        machines.filter_map(|machine| machine.had.as_deref().map(|had| (machine, had)))
    }

    /// Every group runs on some machine, and every member votes in a state that a leader holds.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let running = |name: &str| {
            let mut groups = self.machines.iter().flat_map(|machine| &machine.agentd.groups);
            groups.any(|group| &*group.name == name && group.run == RunState::Running)
        };
        let all_run = self.setup.config.groups.iter().all(|group| running(&group.name));
        all_run
            && self
                .leader()
                .is_some_and(|state| self.setup.config.members().all(|member| state.contains(member)))
    }

    /// The voters, as the node knows them that holds the lease.
    fn leader(&self) -> Option<holdfast_proto::ids::VoterSet> {
        let mut leaders = self
            .nodes()
            .filter(|(machine, had)| had.holds_lease(machine.local(self.now)));
        let durable = leaders.next().and_then(|(_, had)| had.durable());
        durable.map(|durable| durable.committed.voters)
    }

    /// Adds a sentence to the story, if one is told.
    pub fn tell(&mut self, about: Option<NodeId>, sentence: impl FnOnce() -> String) {
        let at_ms = self.now.as_millis();
        if let Some(story) = &mut self.story {
            let who = about.map_or("world".to_string(), |node| node.to_string());
            story.push(format!("{at_ms:>8} ms  {who:<8} {}", sentence()));
        }
    }

    /// Notes the first promise that breaks.
    pub fn check(&mut self, outcome: Result<(), Broken>) {
        if let Err(broken) = outcome {
            self.tell(None, || format!("BROKEN: {}", broken.text));
            self.broken.get_or_insert_with(|| Arc::new(broken));
        }
    }
}

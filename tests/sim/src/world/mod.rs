//! The world: virtual time, and what it consists of. Each part has its own file: [`happening`] (the queue), [`network`],
//! [`power`], [`daemon`] and [`agentd`] (the processes of a machine), [`fence`] (devices) and [`operator`].

mod aftermath;
mod agentd;
mod daemon;
mod fence;
mod happening;
mod network;
mod operator;
mod power;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use holdfast_core::durable::Durable;
use holdfast_proto::config::Config;
use holdfast_proto::ids::NodeId;
use holdfast_proto::state::genesis;

use crate::checks::{self, Checker};
use crate::faults::{Device, FaultPlan};
use crate::machine::Machine;
use crate::rng::Rng;
use crate::trace::Trace;

use happening::Happening;
pub use network::Network;

/// The world.
pub struct World {
    /// Virtual time.
    pub now_us: u64,
    /// Chance.
    pub rng: Rng,
    /// The configuration.
    pub config: Arc<Config>,
    /// Machines.
    pub machines: BTreeMap<NodeId, Machine>,
    /// Network.
    pub network: Network,
    /// Fence devices by target.
    pub devices: BTreeMap<NodeId, Device>,
    /// Starts and monitors fail, of a thousand.
    pub agent_failures_permille: u64,
    /// What happened.
    pub trace: Trace,
    plan: FaultPlan,
    checker: Checker,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    next_happening: u64,
    next_action: u64,
    request: u64,
}

impl World {
    /// A world from a seed, all machines off.
    #[must_use]
    pub fn new(seed: u64, trace: bool) -> World {
        let mut rng = Rng::new(seed);
        let config = crate::cluster::draw(&mut rng);
        let machines = config
            .members()
            .map(|node| {
                let drift_ppm = rng.range(0, 20_001) as i64 - 10_000;
                let mut machine = Machine::new(node, drift_ppm);
                if !node.is_witness() && rng.chance(300) {
                    machine.agent.watchdog_us = Some(2_000_000);
                }
                (node, machine)
            })
            .collect();
        let devices = config
            .nodes
            .iter()
            .map(|node| (node.id, Device::default()))
            .collect();
        let plan = FaultPlan::draw(&mut rng);
        World {
            now_us: 1_000,
            rng,
            config,
            machines,
            network: Network::default(),
            devices,
            agent_failures_permille: 0,
            trace: Trace::new(trace),
            plan,
            checker: Checker::default(),
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next_happening: 0,
            next_action: 0,
            request: 0,
        }
    }

    /// Runs all phases: form, faults, healing, and one more fault that stays. `Err` is the promise that was broken.
    pub fn run(&mut self) -> Result<(), String> {
        self.form();
        let settle = self.now_us + 60_000_000;
        self.run_until(settle, true)?;
        let end = self.now_us + self.plan.length_us;
        self.schedule(self.now_us + 1, Happening::Fault);
        self.run_until(end, false)?;
        self.heal();
        let bound = self.now_us + 120_000_000;
        self.run_until(bound, true)?;
        self.aftermath()
    }

    /// The first node is initialised; the others start blank with the same configuration.
    fn form(&mut self) {
        let first = NodeId(1);
        let state = genesis(Arc::clone(&self.config), first);
        if let Some(machine) = self.machines.get_mut(&first) {
            machine.disk = Some(Durable::initial(state));
        }
        for node in self.machines.keys().copied().collect::<Vec<_>>() {
            self.power_on(node);
        }
    }

    /// Runs to `end`; with `whole`, only until every group runs, and it is an error if that does not happen.
    fn run_until(&mut self, end: u64, whole: bool) -> Result<(), String> {
        let mut next_look = self.now_us + 200_000;
        loop {
            let Some(Reverse((at, number))) = self.queue.pop() else {
                return Err("L1: nothing happens any more".into());
            };
            if at > end {
                self.queue.push(Reverse((at, number)));
                self.now_us = end;
                return if whole { self.look_whole() } else { Ok(()) };
            }
            let Some(happening) = self.happenings.remove(&number) else {
                continue;
            };
            self.now_us = at.max(self.now_us);
            self.happen(happening)?;
            checks::one_owner(&self.config, &self.machines, self.now_us)?;
            if whole && self.now_us >= next_look {
                next_look = self.now_us + 200_000;
                if self.look_whole().is_ok() {
                    return Ok(());
                }
                self.clean_up();
            }
        }
    }

    fn look_whole(&self) -> Result<(), String> {
        checks::is_whole(&self.config, &self.machines)
            .map_err(|why| format!("{why}{}", self.leaders_view()))?;
        let all_vote = self
            .checker
            .newest()
            .is_some_and(|state| self.config.members().all(|member| state.voters.contains(member)));
        if all_vote {
            Ok(())
        } else {
            Err("L1: not every member votes again".into())
        }
    }

    /// What the leader says about groups that do not run, for the report of a violation.
    fn leaders_view(&self) -> String {
        let Some(leader) = self.leader() else {
            return " (there is no leader)".into();
        };
        let machine = &self.machines[&leader];
        let Some(had) = &machine.had else {
            return String::new();
        };
        let view = had.view(machine.local(self.now_us));
        let said: Vec<String> = view
            .groups
            .iter()
            .filter(|group| group.state != "running")
            .map(|group| format!("{} is {} because {}", group.name, group.state, group.reason))
            .collect();
        format!("; {leader} leads and says: {}", said.join("; "))
    }

    fn next_fault(&mut self) {
        let mut plan = std::mem::take(&mut self.plan);
        let next = plan.strike(self);
        self.plan = plan;
        let at = self.now_us + next;
        self.schedule(at, Happening::Fault);
    }

    /// Stops everything that hurts, and powers everything on.
    fn heal(&mut self) {
        self.trace
            .add(self.now_us, None, || "everything is healed".into());
        self.network = Network::default();
        self.agent_failures_permille = 0;
        self.plan = FaultPlan::default();
        for device in self.devices.values_mut() {
            *device = Device::default();
        }
        for node in self.machines.keys().copied().collect::<Vec<_>>() {
            let Some(machine) = self.machines.get_mut(&node) else {
                continue;
            };
            machine.crashes_in_write = false;
            machine.disk_full = false;
            machine
                .agent
                .groups
                .values_mut()
                .for_each(|group| group.stop_hangs_until_us = 0);
            if !machine.powered {
                self.power_on(node);
            }
        }
    }
}

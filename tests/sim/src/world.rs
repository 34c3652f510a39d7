//! The world: virtual time, the network, the machines and the fence devices.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::durable::Durable;
use holdfast_core::effect::{Effect, FenceId, PersistId};
use holdfast_core::event::{AgentEvent, Event, FenceResult, GroupObservation, Identity};
use holdfast_core::node::{Node, Start};
use holdfast_proto::config::Config;
use holdfast_proto::ids::{GroupName, Incarnation, NodeId};
use holdfast_proto::operator::{OperatorCall, OperatorRequest};
use holdfast_proto::peer::{Beat, Message, RunState, Sender};
use holdfast_proto::state::genesis;

use crate::checks::{self, Checker};
use crate::faults::{Device, FaultPlan};
use crate::machine::Machine;
use crate::rng::Rng;
use crate::trace::Trace;

/// Something that happens at an instant.
#[derive(Clone, Debug)]
enum Happening {
    Deliver {
        to: NodeId,
        run: u64,
        from: Sender,
        payload: Payload,
    },
    Wake {
        node: NodeId,
        run: u64,
    },
    Persisted {
        node: NodeId,
        run: u64,
        id: PersistId,
        record: Arc<Durable>,
    },
    /// The daemon can run again after it could not.
    Resume {
        node: NodeId,
        run: u64,
    },
    ToHad {
        node: NodeId,
        run: u64,
        event: Event,
    },
    ActionEnds {
        node: NodeId,
        boots: u64,
        group: GroupName,
        action: u64,
        ok: bool,
    },
    LapseCheck {
        node: NodeId,
        boots: u64,
        group: GroupName,
    },
    Pet {
        node: NodeId,
        boots: u64,
    },
    DeviceActs {
        by: NodeId,
        run: u64,
        id: FenceId,
        target: NodeId,
        reboot: bool,
    },
    PowerOn {
        node: NodeId,
    },
    Booted {
        node: NodeId,
        boots: u64,
    },
    StartHad {
        node: NodeId,
        boots: u64,
    },
    Attach {
        node: NodeId,
        run: u64,
    },
    Fault,
}

#[derive(Clone, Debug)]
enum Payload {
    Beat(Beat),
    Message(Box<Message>),
}

/// Network quality, changed by faults.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Directions that carry nothing.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Lost, of a thousand.
    pub loss_permille: u64,
    /// Sent twice, of a thousand.
    pub duplicate_permille: u64,
    /// Longest extra delay, which also reorders.
    pub jitter_us: u64,
}

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

    /// Runs both phases. `Err` is the promise that was broken.
    pub fn run(&mut self) -> Result<(), String> {
        self.form();
        let settle = self.now_us + 60_000_000;
        self.run_until(settle, true)?;
        let end = self.now_us + self.plan.length_us;
        self.schedule(self.now_us + 1, Happening::Fault);
        self.run_until(end, false)?;
        self.heal();
        let bound = self.now_us + 120_000_000;
        self.run_until(bound, true)
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

    fn schedule(&mut self, at: u64, happening: Happening) {
        self.next_happening += 1;
        self.happenings.insert(self.next_happening, happening);
        self.queue.push(Reverse((at, self.next_happening)));
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Deliver {
                to,
                run,
                from,
                payload,
            } => {
                if self.machines[&to].run != run {
                    return Ok(());
                }
                let event = match payload {
                    Payload::Beat(beat) => Event::Beat { from, beat },
                    Payload::Message(message) => Event::Message {
                        from,
                        message: *message,
                    },
                };
                self.feed(to, run, event)
            }
            Happening::Wake { node, run } => {
                let due = self.machines[&node].run == run && self.wake_is_due(node);
                if due {
                    self.feed(node, run, Event::Timeout)
                } else {
                    Ok(())
                }
            }
            Happening::Persisted {
                node,
                run,
                id,
                record,
            } => {
                let Some(machine) = self.machines.get_mut(&node) else {
                    return Ok(());
                };
                if machine.run != run {
                    return Ok(());
                }
                machine.disk = Some(Durable::clone(&record));
                self.feed(node, run, Event::Persisted(id))
            }
            Happening::ToHad { node, run, event } => self.feed(node, run, event),
            Happening::Resume { node, run } => self.read_backlog(node, run),
            Happening::ActionEnds {
                node,
                boots,
                group,
                action,
                ok,
            } => {
                self.action_ends(node, boots, &group, action, ok);
                Ok(())
            }
            Happening::LapseCheck { node, boots, group } => {
                self.lapse_check(node, boots, &group);
                Ok(())
            }
            Happening::Pet { node, boots } => {
                self.pet(node, boots);
                Ok(())
            }
            Happening::DeviceActs {
                by,
                run,
                id,
                target,
                reboot,
            } => {
                self.device_acts(by, run, id, target, reboot);
                Ok(())
            }
            Happening::PowerOn { node } => {
                if !self.machines[&node].powered {
                    self.power_on(node);
                }
                Ok(())
            }
            Happening::Booted { node, boots } => {
                self.booted(node, boots);
                Ok(())
            }
            Happening::StartHad { node, boots } => self.start_had(node, boots),
            Happening::Attach { node, run } => self.attach(node, run),
            Happening::Fault => {
                self.next_fault();
                Ok(())
            }
        }
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

    /// What an operator does once all is healed: forget failures, end standby and maintenance.
    fn clean_up(&mut self) {
        let Some(leader) = self.leader() else { return };
        let mut requests = vec![
            OperatorRequest::Cleanup { group: None },
            OperatorRequest::Maintenance { on: false },
        ];
        requests.extend(self.config.nodes.iter().map(|node| OperatorRequest::Standby {
            node: node.id,
            on: false,
        }));
        for request in requests {
            self.ask(leader, request);
        }
    }

    /// A node that leads, by its own word.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |machine: &&Machine| {
            machine
                .had
                .as_ref()
                .is_some_and(|had| had.holds_lease(machine.local(self.now_us)))
        };
        self.machines.values().find(leads).map(|machine| machine.id)
    }

    /// An operator's request at `node`.
    pub fn ask(&mut self, node: NodeId, request: OperatorRequest) {
        self.request += 1;
        let call = OperatorCall {
            request,
            who: "operator".into(),
            at: "now".into(),
        };
        let event = Event::Operator {
            request: self.request,
            call,
        };
        let run = self.machines[&node].run;
        let at = self.now_us;
        self.schedule(at, Happening::ToHad { node, run, event });
    }

    // ---- machines -------------------------------------------------------------------------------------------------

    /// Power on, boot, start the processes.
    pub fn power_on(&mut self, node: NodeId) {
        let offset = self.rng.range(0, 1_000_000_000);
        let boot_us = self.rng.range(500_000, 3_000_000);
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        machine.power_on(now_us, offset);
        let boots = machine.boots;
        self.trace
            .add(now_us, Some(node), || format!("power on, boot {boots}"));
        self.schedule(now_us + boot_us, Happening::Booted { node, boots });
    }

    /// Power off, at once.
    pub fn power_off(&mut self, node: NodeId, why: &str) {
        if let Some(machine) = self.machines.get_mut(&node)
            && machine.powered
        {
            machine.power_off();
            self.trace
                .add(self.now_us, Some(node), || format!("POWER OFF: {why}"));
        }
    }

    fn booted(&mut self, node: NodeId, boots: u64) {
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.boots != boots || !machine.powered {
            return;
        }
        machine.booted = true;
        machine.agent.petted_us = self.now_us;
        let watched = machine.agent.watchdog_us.is_some();
        self.schedule(self.now_us, Happening::StartHad { node, boots });
        if watched {
            self.schedule(self.now_us + 100_000, Happening::Pet { node, boots });
        }
    }

    /// The daemon dies; systemd starts it again.
    pub fn kill_had(&mut self, node: NodeId) {
        let restart = self.rng.range(20_000, 400_000);
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.had.is_some() {
            machine.end_had();
            machine.run += 1;
            machine.had_hung_until_us = 0;
            let boots = machine.boots;
            self.trace.add(self.now_us, Some(node), || "had is killed".into());
            self.schedule(self.now_us + restart, Happening::StartHad { node, boots });
        }
    }

    fn start_had(&mut self, node: NodeId, boots: u64) -> Result<(), String> {
        let now_us = self.now_us;
        let config = Arc::clone(&self.config);
        let Some(machine) = self.machines.get_mut(&node) else {
            return Ok(());
        };
        if machine.boots != boots || !machine.powered || machine.had.is_some() {
            return Ok(());
        }
        machine.run += 1;
        let identity = Identity {
            node,
            boot: machine.boot(),
            incarnation: Incarnation(machine.run),
        };
        let start = Start {
            identity,
            durable: machine.disk.clone(),
            synced_this_boot: machine.synced_marker,
            config,
        };
        machine.had = Some(Node::new(machine.local(now_us), start));
        let run = machine.run;
        self.schedule(now_us + 1_000, Happening::Attach { node, run });
        self.carry_out(node)
    }

    /// The agent process connects to the daemon.
    fn attach(&mut self, node: NodeId, run: u64) -> Result<(), String> {
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return Ok(());
        };
        if node.is_witness() || machine.run != run || machine.attached || machine.had.is_none() {
            return Ok(());
        }
        if machine.agent_free_us() > now_us {
            let at = machine.agent_free_us();
            self.schedule(at, Happening::Attach { node, run });
            return Ok(());
        }
        machine.attached = true;
        let groups = machine
            .agent
            .groups
            .iter()
            .filter(|(_, group)| group.is_up())
            .map(|(name, group)| GroupObservation {
                group: name.clone(),
                epoch: group.epoch,
                run: group.run,
                restarts: 0,
                detail: String::new(),
            })
            .collect();
        let watchdog = machine.agent.watchdog_us.map(Duration::from_micros);
        self.feed(node, run, Event::Agent(AgentEvent::Attached { groups, watchdog }))
    }

    /// The agent process goes away for a while; what it runs goes on.
    pub fn agent_away(&mut self, node: NodeId, for_us: u64) {
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if !machine.booted || node.is_witness() {
            return;
        }
        machine.agent_away_until_us = machine.agent_away_until_us.max(now_us + for_us);
        machine.unscheduled_us = machine.unscheduled_us.max(now_us + for_us);
        let run = machine.run;
        if std::mem::take(&mut machine.attached) {
            self.schedule(
                now_us + 5_000,
                Happening::ToHad {
                    node,
                    run,
                    event: Event::Agent(AgentEvent::Detached),
                },
            );
            self.schedule(now_us + for_us, Happening::Attach { node, run });
        }
        self.trace.add(now_us, Some(node), || {
            format!("had-agentd is away for {} ms", for_us / 1000)
        });
    }

    fn pet(&mut self, node: NodeId, boots: u64) {
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.boots != boots || !machine.powered {
            return;
        }
        let Some(timeout_us) = machine.agent.watchdog_us else {
            return;
        };
        if machine.agent_free_us() <= now_us && machine.agent.may_pet(machine.local(now_us)) {
            machine.agent.petted_us = now_us;
        }
        if now_us > machine.agent.petted_us + timeout_us {
            self.power_off(node, "the watchdog fired");
            self.schedule(now_us + 1_000_000, Happening::PowerOn { node });
        } else {
            self.schedule(now_us + 50_000, Happening::Pet { node, boots });
        }
    }

    // ---- the daemon -----------------------------------------------------------------------------------------------

    fn wake_is_due(&self, node: NodeId) -> bool {
        let machine = &self.machines[&node];
        let deadline = machine.had.as_ref().and_then(|had| had.poll_timeout());
        deadline.is_some_and(|(at, _)| machine.local(self.now_us) >= at)
    }

    /// Gives an event to a daemon, or keeps it until that can run.
    fn feed(&mut self, node: NodeId, run: u64, event: Event) -> Result<(), String> {
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return Ok(());
        };
        if machine.run != run {
            return Ok(());
        }
        machine.backlog.push_back(event);
        if machine.had_free_us() <= now_us {
            self.read_backlog(node, run)
        } else {
            if machine.backlog.len() == 1 {
                let at = machine.had_free_us();
                self.schedule(at, Happening::Resume { node, run });
            }
            Ok(())
        }
    }

    /// The daemon reads what has arrived, in order.
    fn read_backlog(&mut self, node: NodeId, run: u64) -> Result<(), String> {
        let now_us = self.now_us;
        loop {
            let Some(machine) = self.machines.get_mut(&node).filter(|machine| machine.run == run) else {
                return Ok(());
            };
            if machine.had_free_us() > now_us {
                let at = machine.had_free_us();
                self.schedule(at, Happening::Resume { node, run });
                return Ok(());
            }
            let local = machine.local(now_us);
            let Some(event) = machine.backlog.pop_front() else {
                return Ok(());
            };
            let Some(had) = machine.had.as_mut() else {
                return Ok(());
            };
            had.handle(local, event);
            self.checker.after_step(node, &self.machines, now_us)?;
            self.carry_out(node)?;
        }
    }

    fn carry_out(&mut self, node: NodeId) -> Result<(), String> {
        loop {
            let Some(had) = self
                .machines
                .get_mut(&node)
                .and_then(|machine| machine.had.as_mut())
            else {
                return Ok(());
            };
            let Some(effect) = had.poll_effect() else { break };
            self.effect(node, effect)?;
        }
        let machine = &self.machines[&node];
        let run = machine.run;
        if let Some((deadline, _)) = machine.had.as_ref().and_then(|had| had.poll_timeout()) {
            let at = machine
                .true_us(deadline)
                .max(self.now_us + 1)
                .max(machine.had_free_us());
            self.schedule(at, Happening::Wake { node, run });
        }
        Ok(())
    }

    fn effect(&mut self, node: NodeId, effect: Effect) -> Result<(), String> {
        let run = self.machines[&node].run;
        match effect {
            Effect::Send { to, message } => self.transmit(node, to, Payload::Message(Box::new(message))),
            Effect::SendBeat { to, beat } => self.transmit(node, to, Payload::Beat(beat)),
            Effect::Persist { id, record } => {
                let takes = if self.rng.chance(10) {
                    self.rng.range(5_000, 60_000)
                } else {
                    self.rng.range(50, 1_500)
                };
                let now_us = self.now_us;
                let Some(machine) = self.machines.get_mut(&node) else {
                    return Ok(());
                };
                machine.disk_busy_us = machine.disk_busy_us.max(now_us) + takes;
                let at = machine.disk_busy_us;
                self.schedule(
                    at,
                    Happening::Persisted {
                        node,
                        run,
                        id,
                        record,
                    },
                );
            }
            Effect::MarkSynced => {
                if let Some(machine) = self.machines.get_mut(&node) {
                    machine.synced_marker = true;
                }
            }
            Effect::Permits(permits) => {
                for permit in permits {
                    self.permit(node, &permit.group, permit.epoch, permit.until);
                }
            }
            Effect::StartGroup { permit, .. } => {
                self.permit(node, &permit.group, permit.epoch, permit.until);
                return self.start_group(node, permit.group, permit.epoch);
            }
            Effect::StopGroup { group, epoch, .. } => self.stop_group(node, &group, epoch),
            Effect::Fence {
                id,
                node: target,
                config,
                device,
            } => {
                let reboot = config.fences[device].action == holdfast_proto::config::FenceAction::Reboot;
                self.run_device(node, run, id, target, reboot);
            }
            Effect::Journal(entry) => {
                let now_us = self.now_us;
                self.trace.add(now_us, Some(node), || entry.text.clone());
            }
            Effect::RestartResource { .. }
            | Effect::Maintenance(_)
            | Effect::Reply { .. }
            | Effect::ConfigChanged(_)
            | Effect::ShutdownReady => {}
        }
        Ok(())
    }

    fn transmit(&mut self, from: NodeId, to: NodeId, payload: Payload) {
        if self.network.cut.contains(&(from, to)) || self.rng.chance(self.network.loss_permille) {
            return;
        }
        let machine = &self.machines[&from];
        let sender = Sender {
            node: from,
            boot: machine.boot(),
            incarnation: Incarnation(machine.run),
        };
        let Some(target) = self.machines.get(&to) else {
            return;
        };
        let run = target.run;
        let copies = if self.rng.chance(self.network.duplicate_permille) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let delay = self.rng.range(60, 400) + self.rng.range(0, self.network.jitter_us + 1);
            let at = self.now_us + delay;
            self.schedule(
                at,
                Happening::Deliver {
                    to,
                    run,
                    from: sender,
                    payload: payload.clone(),
                },
            );
        }
    }

    // ---- the agent process ----------------------------------------------------------------------------------------

    fn permit(&mut self, node: NodeId, group: &GroupName, epoch: u64, until: holdfast_proto::time::Time) {
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let boots = machine.boots;
        let at = machine.true_us(until).max(self.now_us);
        let entry = machine.agent.groups.entry(group.clone()).or_default();
        entry.permit = Some((epoch, until));
        self.schedule(
            at,
            Happening::LapseCheck {
                node,
                boots,
                group: group.clone(),
            },
        );
    }

    fn start_group(&mut self, node: NodeId, group: GroupName, epoch: u64) -> Result<(), String> {
        let now_us = self.now_us;
        let ok = !self.rng.chance(self.agent_failures_permille);
        let takes = self.rng.range(2_000, 200_000);
        let Some(machine) = self.machines.get_mut(&node) else {
            return Ok(());
        };
        let boots = machine.boots;
        let local = machine.local(now_us);
        let entry = machine.agent.groups.entry(group.clone()).or_default();
        let permitted = entry
            .permit
            .is_some_and(|(permitted, until)| permitted == epoch && until > local);
        if epoch < entry.seen || !permitted {
            return Ok(());
        }
        self.checker.on_start(node, &group, epoch)?;
        self.next_action += 1;
        entry.seen = epoch;
        entry.epoch = epoch;
        entry.run = RunState::Starting;
        entry.action = self.next_action;
        let action = self.next_action;
        self.trace
            .add(now_us, Some(node), || format!("{group} STARTS (epoch {epoch})"));
        self.schedule(
            now_us + takes,
            Happening::ActionEnds {
                node,
                boots,
                group: group.clone(),
                action,
                ok,
            },
        );
        self.observe(node, &group);
        Ok(())
    }

    fn stop_group(&mut self, node: NodeId, group: &GroupName, epoch: u64) {
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let entry = machine.agent.groups.entry(group.clone()).or_default();
        if epoch < entry.seen {
            return;
        }
        entry.seen = epoch;
        entry.epoch = epoch;
        if entry.is_up() {
            let takes = self.rng.range(1_000, 100_000);
            self.begin_stop(node, group, takes);
        } else {
            entry.run = RunState::Stopped;
            self.observe(node, group);
        }
    }

    fn begin_stop(&mut self, node: NodeId, group: &GroupName, takes: u64) {
        let now_us = self.now_us;
        self.next_action += 1;
        let action = self.next_action;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let boots = machine.boots;
        let Some(entry) = machine.agent.groups.get_mut(group) else {
            return;
        };
        entry.run = RunState::Stopping;
        entry.action = action;
        let at = (now_us + takes).max(entry.stop_hangs_until_us);
        self.schedule(
            at,
            Happening::ActionEnds {
                node,
                boots,
                group: group.clone(),
                action,
                ok: true,
            },
        );
        self.observe(node, group);
    }

    fn action_ends(&mut self, node: NodeId, boots: u64, group: &GroupName, action: u64, ok: bool) {
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.boots != boots || !machine.powered {
            return;
        }
        if machine.agent_free_us() > now_us {
            let at = machine.agent_free_us();
            self.schedule(
                at,
                Happening::ActionEnds {
                    node,
                    boots,
                    group: group.clone(),
                    action,
                    ok,
                },
            );
            return;
        }
        let Some(entry) = machine.agent.groups.get_mut(group) else {
            return;
        };
        if entry.action != action {
            return;
        }
        entry.run = match (entry.run, ok) {
            (RunState::Starting, true) => RunState::Running,
            (RunState::Starting, false) => {
                entry.detail = "its start failed".into();
                RunState::Failed
            }
            _ => RunState::Stopped,
        };
        let run = entry.run;
        self.trace
            .add(now_us, Some(node), || format!("{group} is {}", run.as_str()));
        self.observe(node, group);
    }

    /// A permit that has lapsed is an emergency stop, with no word from the daemon.
    fn lapse_check(&mut self, node: NodeId, boots: u64, group: &GroupName) {
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.boots != boots || !machine.powered {
            return;
        }
        if machine.agent_free_us() > now_us {
            let at = machine.agent_free_us();
            self.schedule(
                at,
                Happening::LapseCheck {
                    node,
                    boots,
                    group: group.clone(),
                },
            );
            return;
        }
        let local = machine.local(now_us);
        let Some(entry) = machine.agent.groups.get(group) else {
            return;
        };
        let lapsed = entry.permit.is_none_or(|(_, until)| until <= local);
        let running = matches!(entry.run, RunState::Running | RunState::Starting);
        if lapsed && running {
            self.trace.add(now_us, Some(node), || {
                format!("{group}: permit lapsed, emergency stop")
            });
            let takes = self.rng.range(500, 15_000);
            self.begin_stop(node, group, takes);
        }
    }

    /// Tells the daemon about a group, a moment later.
    fn observe(&mut self, node: NodeId, group: &GroupName) {
        let machine = &self.machines[&node];
        if !machine.attached {
            return;
        }
        let Some(entry) = machine.agent.groups.get(group) else {
            return;
        };
        let seen = GroupObservation {
            group: group.clone(),
            epoch: entry.epoch,
            run: entry.run,
            restarts: 0,
            detail: entry.detail.clone(),
        };
        let (run, at) = (machine.run, self.now_us + 150);
        self.schedule(
            at,
            Happening::ToHad {
                node,
                run,
                event: Event::Agent(AgentEvent::Group(seen)),
            },
        );
    }

    // ---- fence devices --------------------------------------------------------------------------------------------

    fn run_device(&mut self, by: NodeId, run: u64, id: FenceId, target: NodeId, reboot: bool) {
        let device = self.devices.get(&target).copied().unwrap_or_default();
        let takes = self.rng.range(2_000, 300_000) + device.slow_us;
        self.trace.add(self.now_us, Some(by), || {
            format!("fence device of {target} is asked")
        });
        let at = self.now_us + takes;
        self.schedule(
            at,
            Happening::DeviceActs {
                by,
                run,
                id,
                target,
                reboot,
            },
        );
    }

    /// The device acts whether or not who asked still lives; its answer is what a separate read-back saw.
    fn device_acts(&mut self, by: NodeId, run: u64, id: FenceId, target: NodeId, reboot: bool) {
        let device = self.devices.get(&target).copied().unwrap_or_default();
        let result = if device.refuses {
            FenceResult {
                off_read_back: false,
                evidence: String::new(),
                error: "connection refused".into(),
            }
        } else {
            if !device.pretends {
                self.power_off(target, &format!("fenced by {by}"));
                if reboot {
                    let on = self.now_us + self.rng.range(100_000, 2_000_000);
                    self.schedule(on, Happening::PowerOn { node: target });
                }
            }
            // `pretends`: the agent exited 0, but a separate status still says on.
            let off = !self.machines[&target].powered;
            let evidence = if off {
                "status says off"
            } else {
                "exit 0, but status says on"
            };
            FenceResult {
                off_read_back: off,
                evidence: evidence.into(),
                error: String::new(),
            }
        };
        let at = self.now_us + 500;
        self.schedule(
            at,
            Happening::ToHad {
                node: by,
                run,
                event: Event::Fenced { id, result },
            },
        );
    }
}

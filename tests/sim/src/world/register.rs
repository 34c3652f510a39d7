//! A witness that is kept in a register (etcd): the daemon of each data node has a proxy that calls it over the network. What
//! the register holds stands on the disk of the witness's machine, so that the faults of that machine are those of etcd:
//! away, slow, full, cut from one node or in one direction (which loses an answer though the write was done), emptied.

use holdfast_core::durable::Durable;
use holdfast_core::witness::record::Record;
use holdfast_core::witness::{Call, CallId, Input, Op, Outcome};
use holdfast_proto::ids::NodeId;

use super::World;
use super::disks::DiskJob;
use super::happening::Happening;
use crate::machine::Machine;
use crate::rng::Purpose;

/// What happens between a proxy and the register.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    /// The core, or nobody, gives something to the proxy of its node.
    Give(Input),
    /// A call reaches the machine of the register.
    Arrive(Call),
    /// It is carried out there.
    Work(Call),
    /// A call reaches the agent process that keeps the witness on shared disks.
    CallDisks(Call),
    /// A deadline of that process.
    WakeDisks { boots: u64 },
    /// Work on a shared disk.
    Disk(DiskJob),
}

impl World {
    /// `input` reaches the proxy of a node, which can act when its daemon can.
    pub(super) fn errand(&mut self, node: NodeId, run: u64, errand: Errand) {
        let now_us = self.now_us;
        match errand {
            Errand::Give(input) => {
                let free_us = match self.machines.get(&node) {
                    Some(machine) if machine.run == run => machine.had_free_us(),
                    _ => return,
                };
                if free_us > now_us {
                    self.run_errand(free_us, node, run, Errand::Give(input));
                } else {
                    self.give_to_proxy(node, run, input);
                }
            }
            Errand::Arrive(call) => self.arrive(node, run, call),
            Errand::Work(call) => self.work(node, run, call),
            Errand::CallDisks(call) => self.call_disks(node, run, call),
            Errand::WakeDisks { boots } => self.wake_disks(node, boots),
            Errand::Disk(job) => self.work_on_disk(node, job),
        }
    }

    pub(super) fn run_errand(&mut self, at: u64, node: NodeId, run: u64, errand: Errand) {
        let errand = Box::new(errand);
        self.schedule(at, Happening::Errand { node, run, errand });
    }

    pub(super) fn give_to_proxy(&mut self, node: NodeId, run: u64, input: Input) {
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let local = machine.local(now_us);
        let (Some(proxy), Some(had)) = (&mut machine.proxy, &machine.had) else {
            return;
        };
        proxy.handle(local, had.trusted_register(), input);
        let answers: Vec<_> = std::iter::from_fn(|| proxy.poll_answer()).collect();
        let calls: Vec<_> = std::iter::from_fn(|| proxy.poll_call()).collect();
        let deadline = proxy.poll_timeout().map(|at| machine.true_us(at).max(now_us + 1));
        for event in answers {
            self.schedule(now_us, Happening::ToHad { node, run, event });
        }
        for call in calls {
            if self.cluster.witness_disks > 0 {
                self.run_errand(now_us + 100, node, run, Errand::CallDisks(call));
            } else if let Some(at) = self.passage(node, NodeId::WITNESS) {
                self.run_errand(at, node, run, Errand::Arrive(call));
            }
            if let Some(at) = deadline {
                self.run_errand(at, node, run, Errand::Give(Input::Timeout));
            }
        }
    }

    /// When something that is sent now arrives, if it does.
    fn passage(&mut self, from: NodeId, to: NodeId) -> Option<u64> {
        let mut dice = self.dice(Purpose::Network, from, to);
        let network = &self.network;
        if network.cut.contains(&(from, to)) || dice.chance(network.loss_permille) {
            return None;
        }
        let extra = network.delay_us.get(&(from, to)).copied().unwrap_or_default();
        Some(self.now_us + extra + dice.range(60, 400) + dice.range(0, network.jitter_us + 1))
    }

    fn arrive(&mut self, node: NodeId, run: u64, call: Call) {
        let mut dice = self.dice(Purpose::Disk, node, NodeId::WITNESS);
        let now_us = self.now_us;
        let Some(machine) = self.register_machine() else {
            return;
        };
        let mut at = machine.had_free_us().max(now_us) + dice.range(50, 1_500);
        if matches!(call.op, Op::Swap { .. }) {
            let disk = &mut machine.disk;
            if disk.slow_until_us > now_us {
                at += dice.range(0, disk.slow_us + 1);
            }
            at = at.max(disk.busy_until_us);
        }
        self.run_errand(at, node, run, Errand::Work(call));
    }

    /// The machine of the register, while it serves.
    fn register_machine(&mut self) -> Option<&mut Machine> {
        let machine = self.machines.get_mut(&NodeId::WITNESS)?;
        machine.serves.then_some(machine)
    }

    fn work(&mut self, node: NodeId, run: u64, call: Call) {
        let Some(machine) = self.register_machine() else {
            return;
        };
        let outcome = carry_out(machine, &call.op);
        let (witness_run, crash) = (machine.run, machine.disk.crash.take());
        if let Some((power, left)) = crash {
            let (at, node, run) = (self.now_us, NodeId::WITNESS, witness_run);
            self.schedule(
                at,
                Happening::Crash {
                    node,
                    run,
                    power,
                    left,
                },
            );
            return;
        }
        if let Some(at) = self.passage(NodeId::WITNESS, node) {
            self.answer(at, node, run, call.id, outcome);
        }
    }

    fn answer(&mut self, at: u64, node: NodeId, run: u64, id: CallId, outcome: Outcome) {
        self.run_errand(at, node, run, Errand::Give(Input::Answer(id, outcome)));
    }

    /// Etcd serves, with what its disk holds: nothing, if that was lost.
    pub(super) fn start_register(&mut self) {
        if self.cluster.witness_disks > 0 {
            return self.start_array();
        }
        let now_us = self.now_us;
        if let Some(machine) = self.machines.get_mut(&NodeId::WITNESS) {
            if machine.disk.load().is_none() {
                machine.register = None;
            }
            machine.serves = true;
            machine.incarnation.0 = machine.heard_of.0 + 1;
            let empty = machine.register.is_none();
            self.trace.add(now_us, Some(NodeId::WITNESS), || {
                format!("etcd serves{}", if empty { ", and is empty" } else { "" })
            });
        }
    }
}

fn carry_out(machine: &mut Machine, op: &Op) -> Outcome {
    let held = machine.register.as_ref().map(|record| record.head);
    match op {
        Op::Swap { expect, write } if *expect == held => {
            if machine.disk.full {
                return Outcome::Failed("etcdserver: mvcc: database space exceeded".into());
            }
            machine.disk.hold(durable(write));
            machine.register = Some(Record::clone(write));
            Outcome::Swapped
        }
        _ => Outcome::Content(machine.register.clone()),
    }
}

/// The same as an acceptor's record, for whoever asks what is on the disk. A claim is none.
pub(super) fn durable(record: &Record) -> Option<Durable> {
    let states = record.states.clone()?;
    Some(Durable {
        promised: record.head.promised,
        accepted_ballot: states.accepted_ballot,
        accepted: states.accepted,
        committed: states.committed,
    })
}

//! A witness that is kept in etcd: `had` on each data node has a proxy that calls it. The machine of the witness is etcd:
//! with power it carries out what arrives, at once and in order. A call or its answer is lost or late like any packet, so a
//! swap may be carried out without an answer, or long after it was given up; a read tells what was there when it arrived.

use std::sync::Arc;

use holdfast_core::encoding::Encoder;
use holdfast_core::event::Event;
use holdfast_core::witness::encoding::encode_record;
use holdfast_core::witness::record::Record;
use holdfast_core::witness::{Call, CallId, Input, Op, Outcome};
use holdfast_proto::ids::NodeId;

use super::{Item, World};

/// What passes between the proxy of a node and etcd.
#[derive(Clone, Debug)]
pub struct Errand {
    /// The machine of the proxy.
    pub node: usize,
    /// The run of `had` that it is part of.
    pub run: u64,
    /// What passes.
    pub cargo: Arc<Cargo>,
}

/// A call, or how it ended.
#[derive(Clone, Debug)]
pub enum Cargo {
    /// To etcd.
    Call(Call),
    /// From etcd.
    Answer(CallId, Outcome),
}

impl Errand {
    /// Changes the register, or tells of a change: its loss or delay is a choice each time. A look is repeated with the next
    /// heartbeat.
    #[must_use]
    pub fn is_protocol(&self) -> bool {
        match &*self.cargo {
            Cargo::Call(call) => matches!(call.op, Op::Swap { .. }),
            Cargo::Answer(_, outcome) => matches!(outcome, Outcome::Swapped),
        }
    }

    /// A write that does more than back a leader anew.
    fn decides(&self) -> bool {
        match &*self.cargo {
            Cargo::Call(Call {
                op: Op::Swap { write, .. },
                ..
            }) => write.head.backed != write.head.write || write.head.body == write.head.write,
            _ => false,
        }
    }
}

impl World {
    /// The witness of this configuration is kept in etcd.
    #[must_use]
    pub fn has_register(&self) -> bool {
        self.setup.config.register.is_some()
    }

    pub(super) fn direction_of(&self, errand: &Errand) -> (NodeId, NodeId) {
        let node = self.machines[errand.node].id;
        match &*errand.cargo {
            Cargo::Call(_) => (node, NodeId::WITNESS),
            Cargo::Answer(..) => (NodeId::WITNESS, node),
        }
    }

    /// The proxy of a node gets something, if `had` is scheduled; or else when it is again.
    pub(super) fn give_to_proxy(&mut self, number: usize, input: Input) {
        let (now, can) = (self.now, self.machines[number].can_decide(self.now));
        let machine = self.machine_mut(number);
        if !can {
            if machine.had.is_some() {
                machine.backlog.push_back(super::machine::Word::Proxy(input));
            }
            return;
        }
        let local = machine.local(now);
        let (Some(proxy), Some(had)) = (&mut machine.proxy, &machine.had) else {
            return;
        };
        proxy.handle(local, had.trusted_register(), input);
        let answers: Vec<Event> = std::iter::from_fn(|| proxy.poll_answer()).collect();
        let calls: Vec<Call> = std::iter::from_fn(|| proxy.poll_call()).collect();
        let run = machine.runs;
        for call in calls {
            let cargo = Arc::new(Cargo::Call(call));
            self.send_errand(Errand {
                node: number,
                run,
                cargo,
            });
        }
        for event in answers {
            self.active |= matches!(event, Event::Message { .. });
            self.handle(number, event);
        }
    }

    fn send_errand(&mut self, errand: Errand) {
        let direction = self.direction_of(&errand);
        if self.cut.contains(&direction) {
            return;
        }
        if self.slow.contains_key(&direction) {
            self.late_errands.push(errand);
        } else {
            self.inbox.push_back(Item::Errand(errand));
        }
    }

    pub(super) fn errand_arrives(&mut self, errand: Errand) {
        self.active |= errand.decides();
        let Errand { node, run, cargo } = errand;
        let who = self.machines[node].id;
        match &*cargo {
            Cargo::Call(call) => {
                let etcd = &self.machines[self.number_of(NodeId::WITNESS)];
                if !etcd.powered || etcd.had_starts_at.is_some() {
                    return;
                }
                let outcome = self.work(&call.op);
                let swapped = outcome == Outcome::Swapped;
                if matches!(call.op, Op::Swap { .. }) {
                    let how = if swapped { "done" } else { "refused" };
                    self.tell(Some(who), || format!("a write to the register is {how}"));
                }
                let cargo = Arc::new(Cargo::Answer(call.id, outcome));
                self.send_errand(Errand { node, run, cargo });
            }
            Cargo::Answer(id, outcome) => {
                if self.machines[node].runs == run {
                    self.give_to_proxy(node, Input::Answer(*id, outcome.clone()));
                }
            }
        }
    }

    fn work(&mut self, op: &Op) -> Outcome {
        let held = self.register.as_ref().map(|record| record.head);
        match op {
            Op::Swap { expect, write } if *expect == held => {
                self.register = Some(Arc::new(Record::clone(write)));
                Outcome::Swapped
            }
            _ => Outcome::Content(self.register.as_deref().cloned()),
        }
    }

    /// What was held in a direction arrives now.
    pub(super) fn release_errands(&mut self, direction: (NodeId, NodeId)) {
        let late = std::mem::take(&mut self.late_errands);
        for errand in late {
            if self.direction_of(&errand) == direction {
                self.inbox.push_back(Item::Errand(errand));
            } else {
                self.late_errands.push(errand);
            }
        }
    }

    pub(super) fn encode_errand(&self, errand: &Errand, to: &mut Encoder) {
        let Errand { node, run, cargo } = errand;
        let machine = &self.machines[*node];
        let proxy = machine.proxy.as_ref().filter(|_| machine.runs == *run);
        let (Cargo::Call(Call { id, .. }) | Cargo::Answer(id, _)) = &**cargo;
        let is_waited_for = proxy.is_some_and(|proxy| proxy.waits_for(*id));
        to.word(*node as u64);
        to.flag(is_waited_for);
        match &**cargo {
            Cargo::Call(call) => match &call.op {
                Op::Read => to.word(1),
                Op::Swap { expect, write } => {
                    let fits =
                        |held: &Option<Arc<Record>>| *expect == held.as_ref().map(|record| record.head);
                    let (now, then) = (fits(&self.register), fits(&self.spare));
                    to.word(2 | u64::from(now) << 8 | u64::from(then) << 9);
                    // No head stands a second time, so it is done now, or in the former register, or never.
                    if now || then {
                        encode_record(Some(write), to);
                    }
                }
            },
            Cargo::Answer(_, outcome) if is_waited_for => match outcome {
                Outcome::Swapped => to.word(3),
                Outcome::Content(found) => {
                    to.word(4);
                    encode_record(found.as_ref(), to);
                }
                Outcome::Failed(_) => to.word(5),
            },
            Cargo::Answer(..) => to.word(6),
        }
    }
}

//! What happens at an instant, and the queue of it. Two happenings of one instant keep the order in which they were planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use holdfast_core::effect::PersistId;
use holdfast_core::event::Event;
use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::peer::Sender;

use super::World;
use super::fence::Command;
use super::jobs::JobStep;
use super::members::MemberStep;
use super::network::Payload;
use super::register::Errand;
use super::shared::DiskStep;
use crate::schedule::Left;

/// Something that happens at an instant.
#[derive(Clone, Debug)]
pub(super) enum Happening {
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
    },
    /// The daemon, or the machine, dies in the middle of a write.
    Crash {
        node: NodeId,
        run: u64,
        power: bool,
        left: Left,
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
    OfMember(MemberStep),
    Job(JobStep),
    OnSharedDisks(DiskStep),
    DeviceActs(Command),
    /// A device that answered long ago does what it was asked for.
    OutletGoesOff(Command),
    OutletGoesOn {
        node: NodeId,
        device: u8,
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
    /// Something between a data node and a register.
    Errand {
        node: NodeId,
        run: u64,
        errand: Box<Errand>,
    },
    /// The strike of this number in the schedule.
    Strike(usize),
}

/// What is to happen, and when.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slots: Vec<Option<Happening>>,
    free: Vec<usize>,
    planned: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, happening: Happening) {
        self.planned += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(happening);
        self.order.push(Reverse((at, self.planned, slot)));
    }

    /// When the next happens.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.order.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next, and its instant.
    pub(super) fn pop(&mut self) -> Option<(u64, Happening)> {
        let Reverse((at, _, slot)) = self.order.pop()?;
        self.free.push(slot);
        self.slots[slot].take().map(|happening| (at, happening))
    }
}

impl World {
    pub(super) fn schedule(&mut self, at: u64, happening: Happening) {
        self.queue.push(at, happening);
    }

    /// An outlet is switched.
    fn outlet_goes(&mut self, happening: Happening) {
        match happening {
            Happening::OutletGoesOff(command) => self.outlet_goes_off(command),
            Happening::OutletGoesOn { node, device } => self.outlet_goes_on(node, device),
            _ => {}
        }
    }

    pub(super) fn happen(&mut self, happening: Happening) -> Result<(), String> {
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
            Happening::Persisted { node, run, id } => {
                let Some(machine) = self.machines.get_mut(&node) else {
                    return Ok(());
                };
                if machine.run != run {
                    return Ok(());
                }
                machine.disk.end_write();
                self.feed(node, run, Event::Persisted(id))
            }
            Happening::ToHad { node, run, event } => self.feed(node, run, event),
            Happening::Crash {
                node,
                run,
                power,
                left,
            } => {
                self.crash_in_write(node, run, power, left);
                Ok(())
            }
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
            Happening::OfMember(step) => self.of_member(step),
            Happening::Job(step) => self.job_step(step),
            Happening::Pet { node, boots } => {
                self.pet(node, boots);
                Ok(())
            }
            Happening::OnSharedDisks(step) => self.on_shared_disks(&step),
            Happening::DeviceActs(command) => {
                self.device_acts(command);
                Ok(())
            }
            Happening::OutletGoesOff(_) | Happening::OutletGoesOn { .. } => {
                self.outlet_goes(happening);
                Ok(())
            }
            Happening::PowerOn { node } => {
                self.power_returns(node);
                Ok(())
            }
            Happening::Booted { node, boots } => {
                self.booted(node, boots);
                Ok(())
            }
            Happening::StartHad { node, boots } => self.start_had(node, boots),
            Happening::Attach { node, run } => self.attach(node, run),
            Happening::Errand { node, run, errand } => {
                self.errand(node, run, *errand);
                Ok(())
            }
            Happening::Strike(number) => {
                self.strike(number);
                Ok(())
            }
        }
    }
}

//! What happens at an instant, and the queue of it. Two happenings of one instant keep the order in which they were planned.

use std::cmp::Reverse;
use std::sync::Arc;

use holdfast_core::durable::Durable;
use holdfast_core::effect::{FenceId, PersistId};
use holdfast_core::event::Event;
use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::peer::Sender;

use super::World;
use super::network::Payload;

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
        record: Arc<Durable>,
    },
    /// The daemon, or the machine, dies in the middle of a write.
    Crash {
        node: NodeId,
        run: u64,
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

impl World {
    pub(super) fn schedule(&mut self, at: u64, happening: Happening) {
        self.next_happening += 1;
        self.happenings.insert(self.next_happening, happening);
        self.queue.push(Reverse((at, self.next_happening)));
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
            Happening::Crash { node, run } => {
                self.crash_in_write(node, run);
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
}

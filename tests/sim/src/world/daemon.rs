//! The daemon of a machine: its start, the events it reads, and the effects it asks for.

use std::sync::Arc;

use holdfast_core::effect::Effect;
use holdfast_core::event::{Event, Identity};
use holdfast_core::node::{Node, Start};
use holdfast_proto::ids::{Incarnation, NodeId};

use super::World;
use super::happening::Happening;
use super::network::Payload;

impl World {
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

    /// Dies in the middle of a write: what it answered before the write was done must not matter.
    pub(super) fn crash_in_write(&mut self, node: NodeId, run: u64) {
        if self.machines.get(&node).is_none_or(|machine| machine.run != run) {
            return;
        }
        if self.rng.chance(500) {
            self.kill_had(node);
        } else {
            self.power_off(node, "it lost power in a write");
            let back = self.now_us + self.rng.range(200_000, 4_000_000);
            self.schedule(back, Happening::PowerOn { node });
        }
    }

    pub(super) fn start_had(&mut self, node: NodeId, boots: u64) -> Result<(), String> {
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

    pub(super) fn wake_is_due(&self, node: NodeId) -> bool {
        let machine = &self.machines[&node];
        let deadline = machine.had.as_ref().and_then(|had| had.poll_timeout());
        deadline.is_some_and(|(at, _)| machine.local(self.now_us) >= at)
    }

    /// Gives an event to a daemon, or keeps it until that can run.
    pub(super) fn feed(&mut self, node: NodeId, run: u64, event: Event) -> Result<(), String> {
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
    pub(super) fn read_backlog(&mut self, node: NodeId, run: u64) -> Result<(), String> {
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
                let slow = machine.disk_slow_until_us > now_us;
                let takes = takes
                    + if slow {
                        self.rng.range(0, machine.disk_slow_us)
                    } else {
                        0
                    };
                machine.disk_busy_us = machine.disk_busy_us.max(now_us) + takes;
                let at = machine.disk_busy_us;
                if std::mem::take(&mut machine.crashes_in_write) {
                    let dies_at = self.rng.range(now_us, at);
                    self.schedule(dies_at, Happening::Crash { node, run });
                }
                if self.machines[&node].disk_full {
                    let event = Event::PersistFailed(id, "No space left on device".into());
                    self.schedule(at, Happening::ToHad { node, run, event });
                    return Ok(());
                }
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
}

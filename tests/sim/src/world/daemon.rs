//! The daemon of a machine: its start, the events it reads, and the effects it asks for.

use std::sync::Arc;

use holdfast_core::durable::Durable;
use holdfast_core::effect::{Effect, PersistId};
use holdfast_core::event::{Event, Identity};
use holdfast_core::node::{Node, Start};
use holdfast_core::witness::{Input, Proxy};
use holdfast_proto::config::SBD_AGENT;
use holdfast_proto::ids::NodeId;

use super::World;
use super::happening::Happening;
use super::network::Payload;
use crate::coverage::{Seen, Situation};
use crate::rng::Purpose;
use crate::schedule::Left;

/// systemd starts `had` again within this time.
pub(super) const RESTART_MAX_US: u64 = 400_000;
/// The number of a run is on disk after this time.
const RUN_RECORDED_US: u64 = 20_000;

impl World {
    /// The daemon dies; systemd starts it again. A write under way may be done or not.
    pub fn kill_had(&mut self, node: NodeId) {
        let left = self.left_behind(node);
        self.kill_had_leaving(node, left);
    }

    fn kill_had_leaving(&mut self, node: NodeId, left: Left) {
        let restart = self
            .dice(Purpose::Restart, node, node)
            .range(20_000, RESTART_MAX_US);
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.had.is_some() || machine.serves {
            machine.disk.abandon_writes(left);
            machine.disk.forget_unwritten_run(now_us);
            machine.end_had();
            machine.run += 1;
            machine.had_hung_until_us = 0;
            let boots = machine.boots;
            self.trace.add(now_us, Some(node), || "had is killed".into());
            self.schedule(now_us + restart, Happening::StartHad { node, boots });
        }
    }

    /// Dies in the middle of a write: what it answered before the write was done must not matter.
    pub(super) fn crash_in_write(&mut self, node: NodeId, run: u64, power: bool, left: Left) {
        if self.machines.get(&node).is_none_or(|machine| machine.run != run) {
            return;
        }
        let left = self.at_most_one_loses_its_disk(node, left);
        self.watch.reach(Situation::CrashInWrite);
        if power {
            self.power_off_leaving(node, "it lost power in a write", left);
            let back = self.dice(Purpose::Restart, node, node).range(200_000, 4_000_000);
            self.schedule(self.now_us + back, Happening::PowerOn { node });
        } else {
            self.kill_had_leaving(node, left);
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
        if node.is_witness() && config.register.is_some() {
            self.start_register();
            return Ok(());
        }
        let wall_us = machine.wall_us(now_us);
        machine.heard_of = machine.heard_of.max(machine.incarnation);
        machine.incarnation = machine.disk.next_run(now_us, wall_us, now_us + RUN_RECORDED_US);
        let identity = Identity {
            node,
            boot: machine.boot(),
            incarnation: machine.incarnation,
        };
        let start = Start {
            identity,
            durable: machine.disk.load(),
            synced_this_boot: machine.synced_marker,
            booted_at: machine.booted_at,
            config,
        };
        machine.proxy = start
            .config
            .register
            .as_ref()
            .map(|_| Proxy::new(identity, start.config.timers()));
        machine.had = Some(Node::new(machine.local(now_us), start));
        let run = machine.run;
        self.schedule(now_us + 1_000, Happening::Attach { node, run });
        if self.network.no_carrier.contains(&node) {
            self.tell_carrier(node);
        }
        self.carry_out(node)
    }

    fn is_register(&self, node: NodeId) -> bool {
        node.is_witness() && self.config.register.is_some()
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
        // What reaches a machine without a daemon is lost: its next run must not find it.
        if machine.run != run || machine.had.is_none() {
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
            self.watch.before(
                node,
                &event,
                &Seen::of(&self.machines, now_us, &self.network, &self.checker),
            );
            let had = self
                .machines
                .get_mut(&node)
                .and_then(|machine| machine.had.as_mut());
            let Some(had) = had else {
                return Ok(());
            };
            had.handle(local, event);
            self.watch.after(
                node,
                &Seen::of(&self.machines, now_us, &self.network, &self.checker),
            );
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
        let seen = Seen::of(&self.machines, self.now_us, &self.network, &self.checker);
        self.watch.effect(node, &effect, &seen);
        self.watch_for_moments(node, &effect);
        match effect {
            Effect::Send { to, message } if self.is_register(to) => {
                let run = self.machines[&node].run;
                self.give_to_proxy(node, run, Input::Message(message));
            }
            Effect::SendBeat { to, beat } if self.is_register(to) => {
                let run = self.machines[&node].run;
                self.give_to_proxy(node, run, Input::Beat(beat));
            }
            Effect::Send { to, message } => self.transmit(node, to, Payload::Message(Box::new(message))),
            Effect::SendBeat { to, beat } => self.transmit(node, to, Payload::Beat(beat)),
            Effect::Persist { id, record } => self.write(node, id, record),
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
                boot,
                config,
                device,
                ..
            } if config.fences[device].agent == SBD_AGENT => self.order_on_disks(node, id, target, boot),
            Effect::Fence {
                id,
                config,
                device,
                step,
                ..
            } => self.run_device(node, id, &config, device, step),
            Effect::Journal(entry) => {
                let now_us = self.now_us;
                self.trace.add(now_us, Some(node), || entry.text.clone());
            }
            Effect::RestartResource { group, epoch, .. } => self.restart_group(node, &group, epoch),
            Effect::Quorum(since) => self.has_quorum(node, since),
            Effect::GroupRoles(roles) => self.roles_told(node, *roles),
            Effect::RunJob {
                job,
                run,
                occurrence,
                attempt,
                ..
            } => self.job_order(node, &job, run, Some((occurrence, attempt)))?,
            Effect::EndJob { job, run, .. } => self.job_order(node, &job, run, None)?,
            Effect::Maintenance(_)
            | Effect::Reply { .. }
            | Effect::ConfigChanged(_)
            | Effect::ShutdownReady => {}
        }
        Ok(())
    }

    /// The store thread writes a record. Writes end in order.
    fn write(&mut self, node: NodeId, id: PersistId, record: Arc<Durable>) {
        let mut dice = self.dice(Purpose::Disk, node, node);
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let (run, disk) = (machine.run, &mut machine.disk);
        let mut takes = if dice.chance(10) {
            dice.range(5_000, 60_000)
        } else {
            dice.range(50, 1_500)
        };
        if disk.slow_until_us > now_us {
            takes += dice.range(0, disk.slow_us + 1);
        }
        disk.busy_until_us = disk.busy_until_us.max(now_us) + takes;
        let ends_at = disk.busy_until_us;
        let crash = disk.crash.take();
        if disk.full {
            let event = Event::PersistFailed(id, "No space left on device".into());
            self.schedule(ends_at, Happening::ToHad { node, run, event });
        } else {
            disk.begin_write(record);
            self.schedule(ends_at, Happening::Persisted { node, run, id });
        }
        if let Some((power, left)) = crash {
            let at = dice.range(now_us, ends_at);
            self.schedule(
                at,
                Happening::Crash {
                    node,
                    run,
                    power,
                    left,
                },
            );
        }
    }
}

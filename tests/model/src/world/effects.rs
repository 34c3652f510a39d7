//! What `had` asks for, carried out.

use std::sync::Arc;

use holdfast_core::effect::{Effect, Permit};
use holdfast_core::event::{AgentEvent, Event, Identity};
use holdfast_core::node::{Node, Start};
use holdfast_core::witness::{Input, Proxy};
use holdfast_proto::ids::Incarnation;

use super::agentd::{Started, WATCHDOG};
use super::network::Payload;
use super::{Item, World};
use crate::promises;

impl World {
    /// Gives `had` an event, checks the promises, and carries out what it asks for.
    pub(super) fn handle(&mut self, number: usize, event: Event) {
        let now = self.now;
        let machine = self.machine_mut(number);
        let local = machine.local(now);
        let Some(had) = &mut machine.had else { return };
        had.handle(local, event);
        self.after_handling(number);
    }

    fn after_handling(&mut self, number: usize) {
        self.check_promises(number);
        loop {
            let had = self.machine_mut(number).had.as_mut();
            let Some(effect) = had.and_then(|had| had.poll_effect()) else {
                break;
            };
            self.carry_out(number, effect);
        }
    }

    /// `had` starts, and the agent process attaches.
    pub(super) fn start_had(&mut self, number: usize) {
        let (now, config) = (self.now, Arc::clone(&self.setup.config));
        let has_register = self.has_register();
        let machine = self.machine_mut(number);
        machine.had_starts_at = None;
        if has_register && machine.id.is_witness() {
            return;
        }
        machine.runs += 1;
        let start = Start {
            identity: Identity {
                node: machine.id,
                boot: machine.boot(),
                incarnation: Incarnation(machine.runs),
            },
            durable: machine.disk.as_deref().cloned(),
            synced_this_boot: machine.synced_marker,
            booted_at: machine.local(machine.booted_at),
            config,
        };
        machine.proxy = has_register.then(|| Box::new(Proxy::new(start.identity, start.config.timers())));
        machine.had = Some(Box::new(Node::new(machine.local(now), start)));
        let (id, runs) = (machine.id, machine.runs);
        self.tell(Some(id), || format!("had starts (run {runs})"));
        self.after_handling(number);
        if !id.is_witness() {
            self.claim_mailbox(number);
            self.attach(number);
        }
    }

    fn attach(&mut self, number: usize) {
        let agentd = &self.machines[number].agentd;
        let up = (0..agentd.groups.len()).filter(|group| agentd.groups[*group].is_up());
        let event = AgentEvent::Attached {
            groups: up.map(|group| agentd.observation(group)).collect(),
            watchdog: agentd.watchdog.then_some(WATCHDOG),
        };
        self.handle(number, Event::Agent(event));
    }

    fn carry_out(&mut self, number: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } if to.is_witness() && self.has_register() => {
                self.give_to_proxy(number, Input::Message(message));
            }
            Effect::SendBeat { to, beat } if to.is_witness() && self.has_register() => {
                self.give_to_proxy(number, Input::Beat(beat));
            }
            Effect::Send { to, message } => self.transmit(number, to, Payload::Message(message)),
            Effect::SendBeat { to, beat } => self.transmit(number, to, Payload::Beat(beat)),
            Effect::Persist { id, record } => {
                let machine = self.machine_mut(number);
                if machine.disk_stalls_until.is_some() {
                    machine.writes.push((id, record));
                } else {
                    let run = machine.runs;
                    self.inbox.push_back(Item::Written {
                        machine: number,
                        run,
                        id,
                        record,
                    });
                }
            }
            Effect::MarkSynced => self.machine_mut(number).synced_marker = true,
            Effect::Permits(permits) => {
                for permit in permits {
                    self.permit(number, &permit);
                }
            }
            Effect::StartGroup { permit, .. } => self.start_group(number, &permit),
            Effect::StopGroup { group, epoch, .. } => {
                let now = self.now;
                let told = self.machine_mut(number).agentd.stop(&group, epoch, now);
                if let Some(group) = told {
                    self.report_group(number, group);
                }
            }
            Effect::Fence {
                id,
                node,
                boot,
                device,
                step,
                ..
            } => self.ask_device(number, id, (node, boot), device, step),
            Effect::Quorum(since) => {
                let machine = self.machine_mut(number);
                let since = machine.true_time(since);
                machine.agentd.disk.backed(since);
            }
            Effect::Journal(entry) => {
                let node = self.machines[number].id;
                self.tell(Some(node), || entry.text.clone());
            }
            Effect::Reply { outcome, .. } => {
                let node = self.machines[number].id;
                self.tell(Some(node), || format!("answers the operator: {outcome:?}"));
            }
            // Nothing in these configurations restarts in place, is in maintenance, changes its configuration, has members or jobs.
            Effect::RestartResource { .. }
            | Effect::GroupRoles(_)
            | Effect::RunJob { .. }
            | Effect::EndJob { .. }
            | Effect::Maintenance(_)
            | Effect::ConfigChanged(_)
            | Effect::ShutdownReady => {}
        }
    }

    fn permit(&mut self, number: usize, permit: &Permit) {
        let now = self.now;
        let machine = self.machine_mut(number);
        let right = (permit.epoch, machine.true_time(permit.until));
        machine.agentd.permit(&permit.group, right, now);
    }

    fn start_group(&mut self, number: usize, permit: &Permit) {
        let now = self.now;
        let machine = self.machine_mut(number);
        let right = (permit.epoch, machine.true_time(permit.until));
        match machine.agentd.start(&permit.group, right, now) {
            Some((group, Started::Begins)) => self.group_begins(number, group),
            Some((group, Started::Otherwise)) => self.report_group(number, group),
            None => {}
        }
    }

    /// A group begins to start on a machine: the instant that S1 and S4 are about.
    pub(super) fn group_begins(&mut self, number: usize, group: usize) {
        self.let_in_at_storage(number);
        let machine = &self.machines[number];
        let started = &machine.agentd.groups[group];
        let (node, boot) = (machine.id, machine.boot());
        let (name, right) = (Arc::clone(&started.name), started.permit);
        let epoch = right.map_or(0, |(epoch, _)| epoch);
        self.tell(Some(node), || format!("{name} STARTS (epoch {epoch})"));
        let outcome = self.ghost.on_start(node, boot, &name, epoch);
        self.check(outcome);
        let outcome = promises::one_owner(self);
        self.check(outcome);
        self.report_group(number, group);
    }

    /// The agent process tells `had` about a group.
    pub(super) fn report_group(&mut self, number: usize, group: usize) {
        let machine = &self.machines[number];
        let seen = machine.agentd.observation(group);
        let node = machine.id;
        self.tell(Some(node), || {
            format!("{} is {} (epoch {})", seen.group, seen.run.as_str(), seen.epoch)
        });
        if self.machines[number].had.is_some() {
            self.inbox.push_back(Item::Own {
                machine: number,
                run: self.machines[number].runs,
                event: Event::Agent(AgentEvent::Group(seen)),
            });
        }
    }
}

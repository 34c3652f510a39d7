//! The agent process of a machine: it carries out orders, enforces permits by itself, and reports.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::event::{AgentEvent, Event, GroupObservation};
use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::peer::RunState;

use super::World;
use super::happening::Happening;
use crate::agent::SimGroup;
use crate::coverage::Situation;
use crate::machine::Machine;
use crate::rng::Purpose;

/// A start takes up to this long, unless it hangs.
pub(super) const START_MAX_US: u64 = 200_000;
/// A stop takes up to this long, unless it hangs.
pub(super) const STOP_MAX_US: u64 = 100_000;

/// A stop that takes longer has failed; what it was to stop may still run.
const STOP_BUDGET_US: u64 = 2_000_000;

impl World {
    /// The agent process connects to the daemon.
    pub(super) fn attach(&mut self, node: NodeId, run: u64) -> Result<(), String> {
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
        let before = machine.agent.watchdog_us;
        let pets_anew = machine.reopens_watchdog(now_us);
        let (boots, watchdog_us) = (machine.boots, machine.agent.watchdog_us);
        if before.is_some_and(|before| watchdog_us.is_none_or(|now| now > before)) {
            self.watch.reach(Situation::WeakerWatchdog);
        }
        if pets_anew {
            self.schedule(now_us + 50_000, Happening::Pet { node, boots });
        }
        let watchdog = watchdog_us.map(Duration::from_micros);
        let groups = self.everything_on(node);
        self.feed(node, run, Event::Agent(AgentEvent::Attached { groups, watchdog }))?;
        self.say_jobs(node);
        Ok(())
    }

    /// Every group of which something runs.
    fn everything_on(&self, node: NodeId) -> Vec<GroupObservation> {
        let agent = &self.machines[&node].agent;
        let names: BTreeSet<&GroupName> = agent.groups.keys().chain(agent.members.keys()).collect();
        let seen = names.into_iter().filter_map(|name| {
            let entry = agent.groups.get(name).cloned().unwrap_or_default();
            let member = self.member_report(node, name).map(Arc::new);
            (entry.is_up() || member.is_some()).then(|| GroupObservation {
                group: name.clone(),
                epoch: entry.epoch,
                run: entry.run,
                restarts: 0,
                detail: entry.detail,
                member,
            })
        });
        seen.collect()
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
        machine.agent_restarted = true;
        machine.agent_away_until_us = machine.agent_away_until_us.max(now_us + for_us);
        machine.unscheduled_us = machine.unscheduled_us.max(now_us + for_us);
        machine.disk_part.end();
        let members = machine.agent.members.values_mut();
        members.for_each(crate::copies::SimMember::agent_ends);
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

    pub(super) fn permit(
        &mut self,
        node: NodeId,
        group: &GroupName,
        epoch: u64,
        until: holdfast_proto::time::Time,
    ) {
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if !machine.attached {
            return;
        }
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

    pub(super) fn start_group(&mut self, node: NodeId, group: GroupName, epoch: u64) -> Result<(), String> {
        let now_us = self.now_us;
        let mut dice = self.dice(Purpose::Service, node, node);
        let ok = !dice.chance(self.start_failures_permille);
        let takes = dice.range(2_000, START_MAX_US);
        let Some(machine) = self.machines.get_mut(&node).filter(|machine| machine.attached) else {
            return Ok(());
        };
        let boots = machine.boots;
        let local = machine.local(now_us);
        let entry = machine.agent.groups.entry(group.clone()).or_default();
        let permitted = entry
            .permit
            .is_some_and(|(permitted, until)| permitted == epoch && until > local);
        if epoch < entry.seen || !permitted {
            self.watch.reach(Situation::OldOrderRefused);
            return Ok(());
        }
        self.checker.on_start(node, &group, epoch)?;
        self.check_promotion(node, &group, epoch)?;
        self.next_action += 1;
        let Some(machine) = self.machines.get_mut(&node) else {
            return Ok(());
        };
        if let Some(member) = machine.agent.members.get_mut(&group) {
            member.promoted(node);
        }
        let entry = machine.agent.groups.entry(group.clone()).or_default();
        entry.seen = epoch;
        entry.epoch = epoch;
        entry.run = RunState::Starting;
        entry.action = self.next_action;
        let ends_at = (now_us + takes).max(entry.start_hangs_until_us);
        let action = self.next_action;
        self.services_changed = true;
        self.trace
            .add(now_us, Some(node), || format!("{group} STARTS (epoch {epoch})"));
        self.schedule(
            ends_at,
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

    pub(super) fn stop_group(&mut self, node: NodeId, group: &GroupName, epoch: u64) {
        let Some(machine) = self.machines.get_mut(&node).filter(|machine| machine.attached) else {
            return;
        };
        let entry = machine.agent.groups.entry(group.clone()).or_default();
        if epoch < entry.seen {
            self.watch.reach(Situation::OldOrderRefused);
            return;
        }
        entry.seen = epoch;
        entry.epoch = epoch;
        if entry.is_up() {
            let takes = self.dice(Purpose::Service, node, node).range(1_000, STOP_MAX_US);
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
        let gives_up_at = now_us + STOP_BUDGET_US;
        let ends = |ok| Happening::ActionEnds {
            node,
            boots,
            group: group.clone(),
            action,
            ok,
        };
        if gives_up_at < at {
            self.schedule(gives_up_at, ends(false));
        }
        self.schedule(at, ends(true));
        self.observe(node, group);
    }

    /// The machine, if its agent process of this boot can act now. While that is away, `again` happens when it is back.
    pub(super) fn agent_that_runs(
        &mut self,
        node: NodeId,
        boots: u64,
        again: impl Fn() -> Happening,
    ) -> Option<&mut Machine> {
        let machine = self.machines.get(&node)?;
        if machine.boots != boots || !machine.powered {
            return None;
        }
        let free_us = machine.agent_free_us();
        if free_us > self.now_us {
            self.schedule(free_us, again());
            return None;
        }
        self.machines.get_mut(&node)
    }

    pub(super) fn action_ends(&mut self, node: NodeId, boots: u64, group: &GroupName, action: u64, ok: bool) {
        let now_us = self.now_us;
        let again = || Happening::ActionEnds {
            node,
            boots,
            group: group.clone(),
            action,
            ok,
        };
        let Some(machine) = self.agent_that_runs(node, boots, again) else {
            return;
        };
        let Some(entry) = machine.agent.groups.get_mut(group) else {
            return;
        };
        if entry.action != action {
            return;
        }
        if entry.run == RunState::Stopping && !ok {
            entry.run = RunState::Unknown;
            entry.detail = "its stop went beyond its budget".into();
            return self.observe(node, group);
        }
        entry.run = match (entry.run, ok) {
            (RunState::Starting, true) => RunState::Running,
            (RunState::Starting, false) => {
                entry.detail = "its start failed".into();
                RunState::Failed
            }
            _ if entry.fails => {
                entry.detail = "its monitor failed".into();
                RunState::Failed
            }
            _ => RunState::Stopped,
        };
        entry.fails = false;
        let run = entry.run;
        self.services_changed = true;
        if run == RunState::Running {
            self.member_goes_on(node, group);
        }
        self.trace
            .add(now_us, Some(node), || format!("{group} is {}", run.as_str()));
        self.observe(node, group);
    }

    /// A permit that has lapsed is an emergency stop, with no word from the daemon.
    pub(super) fn lapse_check(&mut self, node: NodeId, boots: u64, group: &GroupName) {
        let now_us = self.now_us;
        let again = || Happening::LapseCheck {
            node,
            boots,
            group: group.clone(),
        };
        let Some(machine) = self.agent_that_runs(node, boots, again) else {
            return;
        };
        let local = machine.local(now_us);
        let Some(entry) = machine.agent.groups.get(group) else {
            return;
        };
        let lapsed = entry.permit.is_none_or(|(_, until)| until <= local);
        let running = matches!(entry.run, RunState::Running | RunState::Starting);
        let at_tick = entry.permit.is_some_and(|(_, until)| until == local);
        if lapsed && running {
            self.watch.reach(Situation::PermitLapsed);
            if at_tick {
                self.watch.reach(Situation::LapsedAtTick);
            }
            self.trace.add(now_us, Some(node), || {
                format!("{group}: permit lapsed, emergency stop")
            });
            let takes = self.dice(Purpose::Service, node, node).range(500, 15_000);
            self.begin_stop(node, group, takes);
        }
    }

    /// A group that runs fails. If its monitor only lies, it has to be stopped first.
    pub(super) fn group_fails(&mut self, node: NodeId, group: &GroupName, lie: bool) {
        let Some(entry) = self.group_of(node, group) else {
            return;
        };
        if entry.run != RunState::Running {
            return;
        }
        if lie {
            entry.fails = true;
            let takes = self.dice(Purpose::Service, node, node).range(1_000, STOP_MAX_US);
            self.begin_stop(node, group, takes);
        } else {
            entry.run = RunState::Failed;
            entry.detail = "it died and could not be restarted".into();
            self.observe(node, group);
        }
    }

    /// A restart in place; it counts as running until it turns out to have failed.
    pub(super) fn restart_group(&mut self, node: NodeId, group: &GroupName, epoch: u64) {
        let mut dice = self.dice(Purpose::Service, node, node);
        let fails = dice.chance(self.start_failures_permille / 4);
        let Some(entry) = self.group_of(node, group) else {
            return;
        };
        if fails && entry.epoch == epoch {
            self.group_fails(node, group, true);
        }
    }

    fn group_of(&mut self, node: NodeId, group: &GroupName) -> Option<&mut SimGroup> {
        let machine = self.machines.get_mut(&node).filter(|machine| machine.booted)?;
        machine.agent.groups.get_mut(group)
    }
}

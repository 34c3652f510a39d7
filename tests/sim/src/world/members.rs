//! Members of groups on a machine: what `had` tells of roles, when they start and end, and what is said of them.

use std::sync::Arc;

use holdfast_core::effect::GroupRoles;
use holdfast_core::event::{AgentEvent, Event, GroupObservation};
use holdfast_proto::config::GroupSection;
use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::peer::{CopyReport, MemberReport, RunState};

use super::World;
use super::happening::Happening;
use crate::rng::Purpose;

/// A member starts, or ends, within this time.
const MEMBER_MAX_US: u64 = 150_000;
/// Its copy is looked at this often.
const TICK_US: u64 = 50_000;
/// Positions and lags alone are told this often.
const SAID_US: u64 = 400_000;

/// Something about a member of a group in one boot of a machine.
#[derive(Clone, Debug)]
pub(super) struct MemberStep {
    pub(super) node: NodeId,
    pub(super) boots: u64,
    pub(super) group: GroupName,
    /// The start or end that is over; data passes, and an agent looks at its copy, if there is none.
    pub(super) action: Option<u64>,
}

impl World {
    pub(super) fn of_member(&mut self, step: MemberStep) -> Result<(), String> {
        match step.action {
            Some(action) => self.member_is_done(step.node, step.boots, &step.group, action),
            None => self.tick(step.node, step.boots, &step.group),
        }
        Ok(())
    }

    /// The next look at a member.
    pub(super) fn tick_later(&mut self, node: NodeId, boots: u64, group: &GroupName) {
        let step = MemberStep {
            node,
            boots,
            group: group.clone(),
            action: None,
        };
        self.schedule(self.now_us + TICK_US, Happening::OfMember(step));
    }

    /// `had` says what is agreed. An older word than was heard is not followed.
    pub(super) fn roles_told(&mut self, node: NodeId, roles: GroupRoles) {
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node).filter(|machine| machine.attached) else {
            return;
        };
        let promoted = machine
            .agent
            .groups
            .get(&roles.group)
            .is_some_and(|group| group.is_up());
        let member = machine.agent.members.entry(roles.group.clone()).or_default();
        let older = |told: &GroupRoles| told.version > roles.version;
        if member.told.as_ref().is_some_and(older) {
            return;
        }
        let group = roles.group.clone();
        let wanted = roles.wanted;
        member.told = Some(roles);
        if promoted {
            member.learns(node);
        }
        let starts = wanted && member.run.is_down();
        let ends = !wanted && !member.run.is_down();
        if starts {
            member.run = RunState::Starting;
        }
        let fails_until_us = member.fails_until_us;
        if starts || ends {
            let takes = self
                .dice(Purpose::Service, node, node)
                .range(1_000, MEMBER_MAX_US);
            self.member_acts((now_us + takes).max(fails_until_us), node, &group);
        }
        self.observe(node, &group);
    }

    fn member_acts(&mut self, at: u64, node: NodeId, group: &GroupName) {
        self.next_action += 1;
        let action = self.next_action;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let boots = machine.boots;
        if let Some(member) = machine.agent.members.get_mut(group) {
            member.action = action;
        }
        let step = MemberStep {
            node,
            boots,
            group: group.clone(),
            action: Some(action),
        };
        self.schedule(at, Happening::OfMember(step));
    }

    /// A start or an end of a member is over: it is as `had` last wanted it.
    pub(super) fn member_is_done(&mut self, node: NodeId, boots: u64, group: &GroupName, action: u64) {
        let again = || {
            Happening::OfMember(MemberStep {
                node,
                boots,
                group: group.clone(),
                action: Some(action),
            })
        };
        let Some(machine) = self.agent_that_runs(node, boots, again) else {
            return;
        };
        let promoted = machine.agent.groups.get(group).is_some_and(|group| group.is_up());
        let Some(member) = machine.agent.members.get_mut(group) else {
            return;
        };
        if member.action != action {
            return;
        }
        let wanted = member.told.as_ref().is_some_and(|told| told.wanted);
        let was = member.run;
        member.run = if wanted || promoted {
            RunState::Running
        } else {
            RunState::Stopped
        };
        member.level_us = None;
        let begins = was != RunState::Running && member.run == RunState::Running;
        self.services_changed = true;
        if begins {
            self.tick_later(node, boots, group);
        }
        self.observe(node, group);
    }

    /// What is promoted runs in any case.
    pub(super) fn member_goes_on(&mut self, node: NodeId, group: &GroupName) {
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let boots = machine.boots;
        let Some(member) = machine.agent.members.get_mut(group) else {
            return;
        };
        if std::mem::replace(&mut member.run, RunState::Running) != RunState::Running {
            self.tick_later(node, boots, group);
        }
    }

    /// Members of this node fail, and are started again later.
    pub(super) fn members_fail(&mut self, node: NodeId, for_us: u64) {
        let until = self.now_us + for_us;
        let Some(machine) = self.machines.get_mut(&node).filter(|machine| machine.booted) else {
            return;
        };
        let up: Vec<GroupName> = machine
            .agent
            .members
            .iter()
            .filter(|(_, member)| member.run == RunState::Running)
            .map(|(group, _)| group.clone())
            .collect();
        for group in up {
            let Some(machine) = self.machines.get_mut(&node) else {
                return;
            };
            // What is promoted fails as a group, by another fault.
            if machine
                .agent
                .groups
                .get(&group)
                .is_some_and(|group| group.is_up())
            {
                continue;
            }
            if let Some(member) = machine.agent.members.get_mut(&group) {
                member.run = RunState::Failed;
                member.fails_until_us = until;
            }
            self.trace
                .add(self.now_us, Some(node), || format!("the member of {group} fails"));
            self.member_acts(until, node, &group);
            self.observe(node, &group);
        }
    }

    /// A group has roles by the configuration that is in force.
    pub(super) fn is_promotable(&self, group: &GroupName) -> bool {
        let config = self.config_in_force();
        config.group(group).is_some_and(GroupSection::is_promotable)
    }

    /// What its agent sees of a member; `None` where `had` told of none.
    pub(super) fn member_report(&self, node: NodeId, group: &GroupName) -> Option<MemberReport> {
        let machine = &self.machines[&node];
        let member = machine.agent.members.get(group)?;
        let promoted = machine.agent.groups.get(group).is_some_and(|group| group.is_up());
        let copy = self.is_promotable(group).then(|| {
            let copy = machine.copies.get(group);
            let lost = copy.is_some_and(|copy| copy.lost);
            let lag_us = member.level_us.map(|level| self.now_us - level);
            CopyReport {
                obstacle: if lost {
                    "its disk is new".into()
                } else {
                    String::new()
                },
                position: copy.map_or(0, |copy| copy.log.len() as u64),
                history: "h".into(),
                position_text: String::new(),
                lag_ms: lag_us.map(|us| us / 1000).filter(|_| !promoted),
                possible_loss: String::new(),
                wish: member.wish.clone().filter(|_| promoted),
                readable: !lost && (promoted || member.level_us.is_some()),
            }
        });
        Some(MemberReport {
            run: if promoted { RunState::Running } else { member.run },
            copy,
            detail: String::new(),
        })
    }

    /// Tells `had` about a member when something changed; positions and lags alone now and then.
    pub(super) fn tell_member(&mut self, node: NodeId, group: &GroupName) {
        let Some(now) = self.member_report(node, group) else {
            return;
        };
        let now_us = self.now_us;
        let Some(member) = self
            .machines
            .get_mut(&node)
            .and_then(|machine| machine.agent.members.get_mut(group))
        else {
            return;
        };
        let plain = |report: &MemberReport| {
            let copy = report.copy.as_ref();
            let said = copy.map(|copy| (copy.obstacle.clone(), copy.wish.clone(), copy.readable));
            (report.run, said)
        };
        let due = match &member.said {
            None => true,
            Some((said, _)) if plain(said) != plain(&now) => true,
            Some((said, at)) => *said != now && *at + SAID_US <= now_us,
        };
        if due {
            self.observe(node, group);
        }
    }

    /// Tells the daemon about a group, a moment later.
    pub(super) fn observe(&mut self, node: NodeId, group: &GroupName) {
        let member = self.member_report(node, group);
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node).filter(|machine| machine.attached) else {
            return;
        };
        if let Some(known) = machine.agent.members.get_mut(group) {
            known.said = member.clone().map(|report| (report, now_us));
        }
        let entry = machine.agent.groups.get(group).cloned().unwrap_or_default();
        let seen = GroupObservation {
            group: group.clone(),
            epoch: entry.epoch,
            run: entry.run,
            restarts: 0,
            detail: entry.detail,
            member: member.map(Arc::new),
        };
        let (run, at) = (machine.run, now_us + 150);
        self.schedule(
            at,
            Happening::ToHad {
                node,
                run,
                event: Event::Agent(AgentEvent::Group(seen)),
            },
        );
    }
}

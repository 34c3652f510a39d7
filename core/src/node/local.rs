//! This node's own groups: what the agent process reports, and what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::ids::{Epoch, GroupName, NodeId};
use holdfast_proto::peer::{GroupReport, MemberReport, Message, NodeReport, RunState};
use holdfast_proto::state::Assignment;
use holdfast_proto::time::Time;

use super::Node;
use super::roles::{Roles, same_wishes, unseen, wish_in};
use crate::effect::{Effect, Permit};
use crate::event::{AgentEvent, GroupObservation};
use crate::journal::Level;

/// Heartbeats between two reports to the leader that say the same.
const REPEAT_TO_LEADER: u64 = 4;
/// The same for the other members, who only show it.
const REPEAT_TO_OTHERS: u64 = 40;

/// Groups from which on reports of changes go out with the rounds of heartbeats and not at once.
const PACED_FROM: usize = 500;

/// What the agent process was last told about a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Start(Epoch),
    Stop(Epoch),
}

/// One group on this node.
#[derive(Clone, Debug)]
pub(super) struct LocalGroup {
    pub(super) run: RunState,
    pub(super) epoch: Epoch,
    pub(super) restarts: u32,
    pub(super) detail: String,
    pub(super) permit: Option<Permit>,
    pub(super) order: Option<Order>,
    pub(super) member: Option<Arc<MemberReport>>,
}

impl Default for LocalGroup {
    fn default() -> Self {
        LocalGroup {
            run: RunState::Stopped,
            epoch: 0,
            restarts: 0,
            detail: String::new(),
            permit: None,
            order: None,
            member: None,
        }
    }
}

impl LocalGroup {
    /// What the others are told of it.
    pub(super) fn report(&self) -> GroupReport {
        GroupReport {
            epoch: self.epoch,
            run: self.run,
            restarts: self.restarts,
            detail: self.detail.clone(),
            member: self.member.clone(),
        }
    }
}

/// All groups on this node, and the agent process.
#[derive(Clone, Debug, Default)]
pub(super) struct Local {
    pub(super) attached: bool,
    /// Since when the agent process is away, after it was there.
    pub(super) away_since: Option<Time>,
    pub(super) watchdog: Option<Duration>,
    pub(super) groups: BTreeMap<GroupName, LocalGroup>,
    /// The leader at that time, and what every member was told last.
    pub(super) sent_report: Option<(Option<NodeId>, NodeReport)>,
    pub(super) report_due: bool,
    pub(super) roles: Roles,
}

impl Local {
    pub(super) fn is_ready(&self) -> bool {
        self.attached
    }

    pub(super) fn away_since(&self) -> Option<Time> {
        self.away_since
    }

    /// An armed watchdog. It is disarmed only by an agent process that ends while nothing may be running; if something may
    /// be, it counts on without that process, and fires unless the next one pets it.
    pub(super) fn watchdog(&self) -> Option<Duration> {
        let counts_on = self.groups.values().any(|local| !local.run.is_down());
        self.watchdog.filter(|_| self.attached || counts_on)
    }

    pub(super) fn report_due(&mut self) {
        self.report_due = true;
    }

    /// A member that was not there has heard no report: the next goes to all.
    pub(super) fn report_anew(&mut self) {
        self.sent_report = None;
    }

    /// Nothing of the group runs, by a confirmation given under `epoch` or later.
    pub(super) fn confirmed_down(&self, group: &str, epoch: Epoch) -> bool {
        self.attached
            && self
                .groups
                .get(group)
                .is_some_and(|local| local.run.is_down() && local.epoch >= epoch)
    }

    pub(super) fn possibly_running(&self) -> Vec<(GroupName, Epoch)> {
        let up = self.groups.iter().filter(|(_, local)| !local.run.is_down());
        up.map(|(group, local)| (group.clone(), local.epoch)).collect()
    }

    /// True for a permit that is new, or that gains at least `step`.
    pub(super) fn is_worth_telling(&self, group: &str, epoch: Epoch, until: Time, step: Duration) -> bool {
        let held = self.groups.get(group).and_then(|local| local.permit.as_ref());
        held.is_none_or(|held| held.epoch != epoch || until >= held.until + step)
    }

    /// Takes new permits and returns those that are worth telling: new ones, and those that gained at least their step.
    pub(super) fn renew(&mut self, permits: Vec<(Permit, Duration)>) -> Vec<Permit> {
        let mut fresh = Vec::new();
        for (permit, step) in permits {
            if self.is_worth_telling(&permit.group, permit.epoch, permit.until, step) {
                let local = self.groups.entry(permit.group.clone()).or_default();
                local.permit = Some(permit.clone());
                fresh.push(permit);
            }
        }
        fresh
    }

    /// True when `told` is what these groups are now.
    fn is_as_told(&self, told: &NodeReport) -> bool {
        let same =
            |((name, local), (told_name, told)): ((&GroupName, &LocalGroup), (&GroupName, &GroupReport))| {
                name == told_name
                    && local.run == told.run
                    && local.epoch == told.epoch
                    && local.restarts == told.restarts
                    && local.detail == told.detail
                    && local.member == told.member
            };
        self.groups.len() == told.groups.len() && self.groups.iter().zip(&told.groups).all(same)
    }
}

impl Node {
    pub(super) fn on_agent(&mut self, event: AgentEvent) {
        match event {
            AgentEvent::Attached { groups, watchdog } => {
                self.local.attached = true;
                self.local.away_since = None;
                self.jobs.attached();
                self.on_watchdog(watchdog);
                self.local.roles = Roles {
                    wished_at: self.now,
                    ..Roles::default()
                };
                for local in self.local.groups.values_mut() {
                    let permit = local.permit.take();
                    *local = LocalGroup {
                        permit,
                        ..LocalGroup::default()
                    };
                }
                let count = groups.len();
                for seen in groups {
                    self.observe(seen);
                }
                let text = format!("agent process attached; {count} groups were running and go on untouched");
                self.journal("agent-attached", Level::Info, text);
                let on = self.committed().is_some_and(|state| state.maintenance);
                self.outbox.push_back(Effect::Maintenance(on));
                let permits: Vec<Permit> = self
                    .local
                    .groups
                    .values()
                    .filter_map(|local| local.permit.clone())
                    .collect();
                let live: Vec<Permit> = permits
                    .into_iter()
                    .filter(|permit| permit.until > self.now)
                    .collect();
                if !live.is_empty() {
                    self.outbox.push_back(Effect::Permits(live));
                }
            }
            AgentEvent::Detached => {
                if std::mem::take(&mut self.local.attached) {
                    self.local.away_since = Some(self.now);
                    self.journal(
                        "agent-lost",
                        Level::Alert,
                        "the agent process (had-agentd) does not answer".into(),
                    );
                }
                for local in self.local.groups.values_mut() {
                    local.order = None;
                    // What it last said stays: that its word is missing is told by the heartbeat, and `Unknown` would
                    // read as a stop that failed.
                    if !local.run.is_down() {
                        local.detail = "the agent process is away".into();
                    }
                    // A copy that nobody looks at any more cannot be judged, and a set that nobody stands for any more
                    // must not be committed.
                    local.member = local.member.take().map(|member| Arc::new(unseen(&member)));
                }
            }
            AgentEvent::Group(seen) => self.observe(seen),
            AgentEvent::Job { job, report } => self.on_job_report(job, report),
        }
    }

    fn observe(&mut self, seen: GroupObservation) {
        let local = self.local.groups.entry(seen.group.clone()).or_default();
        // "Stopped" from before a start was ordered says nothing about that start.
        if matches!(local.order, Some(Order::Start(epoch)) if seen.epoch < epoch && seen.run.is_down()) {
            return;
        }
        let changed = local.run != seen.run;
        local.run = seen.run;
        local.epoch = seen.epoch;
        local.restarts = seen.restarts;
        local.detail = seen.detail;
        let member_before = std::mem::replace(&mut local.member, seen.member.clone());
        if wish_in(member_before.as_deref()) != wish_in(seen.member.as_deref()) {
            self.local.roles.wished_at = self.now;
        }
        if seen.run.is_down() {
            local.order = None;
        }
        if changed {
            let level = if seen.run == RunState::Failed || seen.run == RunState::Unknown {
                Level::Warn
            } else {
                Level::Info
            };
            let detail = if local.detail.is_empty() {
                String::new()
            } else {
                format!(": {}", local.detail)
            };
            let text = format!(
                "{} is {} on {}{detail}",
                seen.group,
                seen.run.as_str(),
                self.name(self.me.node)
            );
            let kind = match seen.run {
                RunState::Starting => "group-starting",
                RunState::Running => "group-running",
                RunState::Stopping => "group-stopping",
                RunState::Stopped => "group-stopped",
                RunState::Failed => "group-failed",
                RunState::Unknown => "group-unknown",
            };
            self.journal_about(kind, level, text, Some(seen.group.clone()), seen.epoch);
        }
        self.journal_member(
            &seen.group,
            seen.epoch,
            member_before.as_deref(),
            seen.member.as_deref(),
        );
    }

    /// Orders a stop, once per epoch.
    pub(super) fn order_stop(&mut self, group: &GroupName, epoch: Epoch, why: &str) {
        self.order_stop_toward(group, epoch, why, None);
    }

    /// The same, with the node that is to take it next.
    fn order_stop_toward(&mut self, group: &GroupName, epoch: Epoch, why: &str, toward: Option<NodeId>) {
        if !self.local.attached {
            return;
        }
        let local = self.local.groups.entry(group.clone()).or_default();
        if matches!(local.order, Some(Order::Stop(ordered)) if ordered >= epoch) {
            return;
        }
        local.order = Some(Order::Stop(epoch));
        let reason = why.to_string();
        self.outbox.push_back(Effect::StopGroup {
            group: group.clone(),
            epoch,
            reason,
            toward,
        });
    }

    /// Starts what is assigned here and permitted, stops what is not.
    pub(super) fn reconcile_local(&mut self) {
        let Some(durable) = &self.durable else { return };
        let state = Arc::clone(&durable.committed);
        if !self.local.attached {
            return;
        }
        // In maintenance too: a run that was committed is begun, or nobody would ever say what became of it.
        self.reconcile_jobs(&state);
        if state.maintenance {
            return;
        }
        self.tell_roles(&state);
        for (group, entry) in &state.groups {
            if self.runs_by_newer_word(group, state.next_epoch) {
                continue;
            }
            match &entry.assignment {
                Assignment::Owned { owner, boot, epoch }
                    if *owner == self.me.node && *boot == Some(self.me.boot) =>
                {
                    self.run_group(group, *epoch);
                }
                Assignment::Releasing {
                    owner, epoch, toward, ..
                } if *owner == self.me.node => {
                    if !self.local.confirmed_down(group, *epoch) {
                        self.order_stop_toward(group, *epoch, &entry.reason, *toward);
                    }
                }
                assignment => {
                    let up = self
                        .local
                        .groups
                        .get(group)
                        .is_some_and(|local| !local.run.is_down());
                    if up {
                        self.order_stop(group, assignment.epoch(), "it is not assigned to this node");
                    }
                }
            }
        }
        let strays: Vec<GroupName> = self
            .local
            .groups
            .iter()
            .filter(|(group, local)| !local.run.is_down() && !state.groups.contains_key(*group))
            .map(|(group, _)| group.clone())
            .collect();
        for group in strays {
            if !self.runs_by_newer_word(&group, state.next_epoch) {
                self.order_stop(&group, state.next_epoch, "it is not configured any more");
            }
        }
    }

    /// True when a group was started here under an epoch that the committed state has not given out yet: after a restart
    /// the disk may hold less than this node had learned. The group is left alone until the newer state is known; its
    /// permit guards it meanwhile.
    fn runs_by_newer_word(&self, group: &GroupName, next_epoch: Epoch) -> bool {
        self.local
            .groups
            .get(group)
            .is_some_and(|local| !local.run.is_down() && local.epoch >= next_epoch)
    }

    /// A group that is assigned here: start it once, under a live permit. The proof that allows it is the committed
    /// assignment together with the permit.
    fn run_group(&mut self, group: &GroupName, epoch: Epoch) {
        if !self.synced || self.pending_accept.is_some() {
            return;
        }
        let soon = self.now + self.spans.heartbeat / 2;
        let local = self.local.groups.entry(group.clone()).or_default();
        if !local.run.is_down() {
            if local.epoch != epoch {
                self.order_stop(group, epoch, "it runs under an assignment that has ended");
            }
            return;
        }
        let failed_here = local.run == RunState::Failed && local.epoch >= epoch;
        let permit = local
            .permit
            .clone()
            .filter(|permit| permit.epoch == epoch && permit.until > soon);
        // A stop that is still unanswered does not stand in the way: the agent takes orders in turn, and one of an older
        // epoch it may leave unanswered.
        let ordered = matches!(local.order, Some(Order::Start(_)))
            || matches!(local.order, Some(Order::Stop(ordered)) if ordered >= epoch);
        let (Some(permit), false) = (permit, failed_here || ordered) else {
            return;
        };
        local.order = Some(Order::Start(epoch));
        local.run = RunState::Starting;
        local.epoch = epoch;
        local.restarts = 0;
        local.detail = String::new();
        let config = Arc::clone(&self.config);
        self.outbox.push_back(Effect::StartGroup { permit, config });
        let text = format!("starting {group} on {} (epoch {epoch})", self.name(self.me.node));
        self.journal_about("group-ordered", Level::Info, text, Some(group.clone()), epoch);
    }

    /// What this node sees of its groups.
    pub(super) fn own_report(&self) -> NodeReport {
        let groups = self.local.groups.iter();
        let groups = groups.map(|(group, local)| (group.clone(), local.report()));
        NodeReport {
            version: self.committed().map_or(0, |state| state.version),
            groups: groups.collect(),
            jobs: self.jobs.seen.clone(),
            isolated: !self.network.may_fence(),
        }
    }

    /// Tells every member when something changed, so that each can show it and measure outages; and again at intervals
    /// in case a report was lost, the leader more often because it decides by them.
    pub(super) fn report(&mut self) {
        if self.me.node.is_witness() {
            return;
        }
        let due = std::mem::take(&mut self.local.report_due);
        let leader = self.bound.map(|bound| bound.leader);
        let none = self.local.groups.is_empty() && self.jobs.seen.is_empty();
        // Many groups that start one by one would make as many long reports: those wait for the next round.
        let waits = !due && self.local.groups.len() >= PACED_FROM;
        let (told, same) = match &self.local.sent_report {
            Some((told, sent)) => (*told, self.local.is_as_told(sent) && self.jobs.seen == sent.jobs),
            None if none => return,
            None => (None, false),
        };
        let repeat = |every: u64| due && !none && self.beat_seq.is_multiple_of(every);
        let to: Vec<NodeId> = self
            .others()
            .into_iter()
            .filter(|node| {
                let leads = leader == Some(*node);
                let new_leader = leads && told != leader;
                (!same && !waits)
                    || new_leader
                    || repeat(if leads { REPEAT_TO_LEADER } else { REPEAT_TO_OTHERS })
            })
            .collect();
        if to.is_empty() {
            return;
        }
        let report = self.own_report();
        self.local.sent_report = Some((leader, report.clone()));
        for node in to {
            self.send(node, Message::Report(report.clone()));
        }
    }

    pub(super) fn on_report(&mut self, from: NodeId, report: NodeReport) {
        let now = self.now;
        let member = self.member(from);
        if !same_wishes(&member.report, &report) {
            member.wished_at = now;
        }
        member.report = report;
    }
}

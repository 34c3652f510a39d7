//! What the leader wants next: the committed state with everything that is due changed in it.

use std::sync::Arc;

use holdfast_proto::config::Requires;
use holdfast_proto::ids::{Epoch, GroupName, NodeId};
use holdfast_proto::peer::{GroupReport, RunState};
use holdfast_proto::state::{Assignment, ClusterState, Failure, GroupState, ProofKind};

use super::local::LocalGroup;
use super::roles::{Former, in_sync_with};
use super::{Node, Role};
use crate::journal::Level;
use crate::placement::{
    Loads, Observations, Observed, better_place, candidates, choose_with, loads, possible_loss,
};
use crate::proof::ReleaseProof;

impl Node {
    /// As leader with a valid lease: fence whom it must, and propose the next state if one is due.
    pub(super) fn lead(&mut self) {
        if !self.is_established() || self.lease_end() <= self.now || self.shutting_down {
            // The next leader's own clock says what is due.
            self.jobs.due.clear();
            return;
        }
        if self.give_up_in_trouble() || self.disk_failed() {
            return;
        }
        self.fence_as_leader();
        let busy = matches!(&self.role, Role::Leading(leading) if leading.proposal.is_some());
        if busy || self.hand_over() {
            return;
        }
        let Some(committed) = self.committed().cloned() else {
            return;
        };
        if let Some(mut next) = self.plan(&committed) {
            next.version = committed.version + 1;
            self.propose(Arc::new(next));
        }
    }

    /// The next state, or `None` when the committed one is what is wanted. A change of voters goes alone.
    fn plan(&mut self, committed: &ClusterState) -> Option<ClusterState> {
        let mut next = committed.clone();
        if let Some((voters, why)) = self.wanted_voters(committed) {
            self.record_proof_of_dropped(&mut next, voters);
            next.voters = voters;
            next.register = self.register_of(committed, voters);
            next.survivor = self.best_survivor(&next);
            next.reason = why;
            return Some(next);
        }
        self.apply_calls(&mut next);
        self.follow_config(&mut next);
        if committed.lease_before_ms != 0 && self.is_detection_changed(committed) {
            next.lease_before_ms = 0;
        }
        let seen = self.observations();
        if !next.maintenance {
            self.forget_failures(&mut next);
            self.record_failures(&mut next);
            self.order_moves(&mut next, &seen);
        }
        self.follow_watchdogs(&mut next, &seen);
        self.release_and_place(&mut next, &seen);
        self.follow_wishes(&mut next, committed);
        self.follow_jobs(&mut next, &seen);
        next.survivor = self.best_survivor(&next);
        if let Some(why) = self.sync_is_due(committed).filter(|_| next == *committed) {
            next.reason = why;
            return Some(next);
        }
        (next != *committed).then_some(next)
    }

    fn record_proof_of_dropped(&self, next: &mut ClusterState, voters: holdfast_proto::ids::VoterSet) {
        let version = next.version + 1;
        for dropped in next
            .voters
            .iter()
            .filter(|voter| !voters.contains(*voter))
            .collect::<Vec<_>>()
        {
            if let (Some(proof), Some(node)) = (self.proofs.get(&dropped), next.nodes.get_mut(&dropped)) {
                node.proof = Some(holdfast_proto::state::ProofRecord {
                    kind: proof.kind(),
                    ended_boot: proof.ended_boot(),
                    evidence: proof.evidence().into(),
                    version,
                });
            }
        }
    }

    /// What the leader observes of every data node.
    pub(super) fn observations(&self) -> Observations {
        let mut seen = Observations::new();
        for section in &self.config.nodes {
            let node = section.id;
            let own = node == self.me.node;
            let member = self.members.get(&node);
            seen.insert(
                node,
                Observed {
                    online: self.is_online(node),
                    synced: self.is_synced(node),
                    agent_ready: if own {
                        self.local.is_ready()
                    } else {
                        member.is_some_and(|member| member.agent_ready)
                    },
                    watchdog: self.watchdog_of(node),
                    fencing: !own && (self.is_being_fenced(node) || self.has_proof_against(node)),
                    running: self.running_on(node),
                    lost: !own && self.is_lost(node),
                    members: self.members_on(node),
                    rested: self.rested_on(node),
                },
            );
        }
        seen
    }

    /// Groups that run on `node` by its own report, in the order of their names.
    pub(super) fn running_on(&self, node: NodeId) -> Vec<GroupName> {
        if node == self.me.node {
            let own = self.local.groups.iter();
            let own = own.filter(|(_, local)| local.run == RunState::Running);
            return own.map(|(group, _)| group.clone()).collect();
        }
        let Some(member) = self.members.get(&node) else {
            return Vec::new();
        };
        let reported = member.report.groups.iter();
        let reported = reported.filter(|(_, report)| report.run == RunState::Running);
        reported.map(|(group, _)| group.clone()).collect()
    }

    pub(super) fn report_on(&self, node: NodeId, group: &str) -> Option<GroupReport> {
        if node == self.me.node {
            return self.local.groups.get(group).map(LocalGroup::report);
        }
        self.members.get(&node)?.report.groups.get(group).cloned()
    }

    /// Gives every configured group and node an entry; a group that left the configuration goes once it is stopped.
    fn follow_config(&self, next: &mut ClusterState) {
        let config = Arc::clone(&next.config);
        for group in &config.groups {
            next.groups
                .entry(group.name.clone())
                .or_insert_with(|| GroupState {
                    assignment: Assignment::Stopped { epoch: 0 },
                    disabled: false,
                    intent: None,
                    failures: Default::default(),
                    automatic_moves: 0,
                    reason: "it is new".into(),
                    in_sync: Default::default(),
                });
        }
        self.follow_roles(next);
        for node in &config.nodes {
            next.nodes.entry(node.id).or_default();
        }
        next.groups
            .retain(|name, entry| config.group(name).is_some() || entry.assignment.owner().is_some());
    }

    /// Groups that failed on their node are taken from it.
    fn record_failures(&self, next: &mut ClusterState) {
        let names: Vec<GroupName> = next.groups.keys().cloned().collect();
        for name in names {
            let Assignment::Owned { owner, boot, epoch } = next.groups[&name].assignment else {
                continue;
            };
            let Some(report) = self.report_on(owner, &name) else {
                continue;
            };
            if report.run != RunState::Failed || report.epoch != epoch {
                continue;
            }
            let detail = match report.detail.as_str() {
                "" => "its agent does not say why",
                detail => detail,
            };
            let reason = format!("it failed on {}: {detail}", self.name(owner));
            let new_epoch = take_epoch(next);
            let Some(entry) = next.groups.get_mut(&name) else {
                continue;
            };
            let failure = entry.failures.entry(owner).or_insert(Failure {
                count: 0,
                reason: String::new(),
            });
            failure.count = failure.count.saturating_add(1);
            failure.reason = report.detail;
            entry.assignment = Assignment::Releasing {
                owner,
                boot,
                epoch: new_epoch,
                toward: None,
            };
            entry.reason = reason;
            entry.automatic_moves = entry.automatic_moves.saturating_add(1);
        }
    }

    /// Orders the release of groups that should not stay where they are.
    fn order_moves(&self, next: &mut ClusterState, seen: &Observations) {
        let names: Vec<GroupName> = next.groups.keys().cloned().collect();
        for name in names {
            let entry = &next.groups[&name];
            let Assignment::Owned { owner, boot, .. } = entry.assignment else {
                continue;
            };
            if !self.is_online(owner) || self.is_loss_needless(next, &name, owner) {
                continue;
            }
            let Some((reason, toward)) = self.reason_to_leave(next, &name, owner, seen) else {
                continue;
            };
            let toward = toward.or_else(|| self.hands_over_to(next, &name, owner, seen));
            let epoch = take_epoch(next);
            if let Some(entry) = next.groups.get_mut(&name) {
                entry.assignment = Assignment::Releasing {
                    owner,
                    boot,
                    epoch,
                    toward,
                };
                entry.intent = None;
                entry.reason = reason;
            }
        }
    }

    fn reason_to_leave(
        &self,
        next: &ClusterState,
        name: &GroupName,
        owner: NodeId,
        seen: &Observations,
    ) -> Option<(String, Option<NodeId>)> {
        let entry = &next.groups[name];
        let Some(section) = next.config.group(name) else {
            return Some(("it left the configuration".into(), None));
        };
        if section.is_every_node() {
            return Some(("it is to run on every node now".into(), None));
        }
        if entry.disabled {
            return Some(("an operator disabled it".into(), None));
        }
        if next.config.nodes.iter().all(|section| section.id != owner) {
            return Some(("its node left the configuration".into(), None));
        }
        if let Some(intent) = entry.intent.as_ref().filter(|intent| intent.to != owner) {
            let reason = format!("{} moves it to {}", intent.who, self.name(intent.to));
            return Some((reason, Some(intent.to)));
        }
        if next.nodes.get(&owner).is_some_and(|node| node.standby) {
            return Some((format!("{} is in standby", self.name(owner)), None));
        }
        if let Some(fault) = self.watchdog_to_leave_for(next, section, owner) {
            return Some((format!("{} {fault}", self.name(owner)), None));
        }
        let elsewhere = |other: &&GroupName| {
            next.groups
                .get(*other)
                .and_then(|entry| entry.assignment.owner())
                .is_some_and(|node| node != owner)
        };
        if let Some(other) = section.with.iter().find(elsewhere) {
            return Some((format!("it belongs with {other}, which runs elsewhere"), None));
        }
        better_place(next, section, owner, seen)
            .map(|(toward, why)| (format!("{} {why}", self.name(owner)), Some(toward)))
    }

    /// Releases every assignment that a proof ends, and places every group that is free.
    fn release_and_place(&mut self, next: &mut ClusterState, seen: &Observations) {
        let names: Vec<GroupName> = next.groups.keys().cloned().collect();
        let mut loads = loads(next);
        for name in names {
            let assignment = next.groups[&name].assignment.clone();
            let mut cause = None;
            let mut former = None;
            if let Some(owner) = assignment.owner() {
                let Some(proof) = self.release_proof(&name, &assignment) else {
                    continue;
                };
                cause = Some(self.cause(next, &name, owner, &proof));
                former = Some((owner, proof.kind()));
                if proof.kind() != ProofKind::Stopped {
                    let version = next.version + 1;
                    next.nodes.entry(owner).or_default().proof = Some(proof.record(version));
                    if let Some(entry) = next.groups.get_mut(&name) {
                        entry.automatic_moves = entry.automatic_moves.saturating_add(1);
                    }
                }
            }
            self.place(next, &name, (cause, former), (seen, &loads));
            let owner = next.groups.get(&name).and_then(|entry| entry.assignment.owner());
            if owner != assignment.owner() {
                count_move(&mut loads, assignment.owner(), owner);
            }
        }
    }

    /// The proof that `assignment` is over, if there is one. This is the only way for a group to leave a node.
    pub(super) fn release_proof(&self, name: &GroupName, assignment: &Assignment) -> Option<ReleaseProof> {
        let owner = assignment.owner()?;
        if let Some(proof) = self
            .boot_heard_now(owner)
            .and_then(|boot| ReleaseProof::observed_reset(assignment, owner, boot))
        {
            return Some(proof);
        }
        if let Some(report) = self.report_on(owner, name)
            && report.run.is_down()
            && (owner != self.me.node || self.local.is_ready())
            && let Some(proof) = ReleaseProof::stopped(assignment, owner, report.epoch)
        {
            return Some(proof);
        }
        if let Some(proof) = self
            .proofs
            .get(&owner)
            .and_then(|proof| proof.releases(assignment))
        {
            return Some(proof);
        }
        if owner == self.me.node || !self.is_lost(owner) {
            return None;
        }
        let requires = self
            .config
            .group(name)
            .map_or(Requires::Fencing, |section| section.requires);
        let ballot = self.leading_ballot()?;
        self.countdown(owner)
            .and_then(|countdown| countdown.releases(self.now, ballot, assignment, requires))
            .or_else(|| ReleaseProof::not_required(assignment, requires))
    }

    /// The boot with which `node` answered a heartbeat that was sent after this leader was elected, and after it first heard
    /// that boot. Every assignment that names another boot was made before that heartbeat, so that boot is over; a message
    /// that merely arrives could be older than the assignment.
    pub(super) fn boot_heard_now(&self, node: NodeId) -> Option<holdfast_proto::ids::BootId> {
        if node == self.me.node {
            return Some(self.me.boot);
        }
        let Role::Leading(leading) = &self.role else {
            return None;
        };
        let member = self.members.get(&node)?;
        member.boot.filter(|_| {
            member
                .alive_at
                .is_some_and(|alive_at| alive_at >= leading.elected_at.max(member.boot_since))
        })
    }

    fn cause(&self, next: &ClusterState, name: &GroupName, owner: NodeId, proof: &ReleaseProof) -> String {
        let node = self.name(owner);
        match proof.kind() {
            ProofKind::Stopped => next.groups[name].reason.clone(),
            ProofKind::Reset => format!("{node} rebooted: {}", proof.evidence()),
            kind => format!("{node} was lost (proof: {}, {})", kind.as_str(), proof.evidence()),
        }
    }

    fn place(
        &mut self,
        next: &mut ClusterState,
        name: &GroupName,
        (cause, former): (Option<String>, Option<Former>),
        (seen, loads): (&Observations, &Loads),
    ) {
        let freed = cause.is_some();
        let config = Arc::clone(&next.config);
        let section = config.group(name);
        let entry = &next.groups[name];
        let wanted = section.is_some() && !entry.disabled && !next.maintenance;
        let committed = self.committed().and_then(|state| state.groups.get(name));
        let moves_before = committed.map_or(0, |entry| entry.automatic_moves);
        let more = entry.automatic_moves.saturating_sub(moves_before);
        let choice = match section {
            Some(section) if wanted && !self.would_flap(name, more) => {
                choose_with(next, section, seen, loads)
            }
            Some(_) if wanted => Err("it is held, because it used up its budget of automatic moves".into()),
            _ => Err("it is not to run".into()),
        };
        match choice {
            Ok((node, why)) => {
                let loss = section.and_then(|section| possible_loss(next, section, node, seen));
                let in_sync = section
                    .filter(|section| section.is_promotable())
                    .map(|_| in_sync_with(&next.groups[name].in_sync, node, former));
                self.assign(next, name, node, cause, &why);
                if let (Some(entry), Some(in_sync)) = (next.groups.get_mut(name), in_sync) {
                    entry.in_sync = in_sync;
                    entry.reason.extend(loss.iter().flat_map(|loss| ["; ", loss]));
                }
            }
            Err(why) if freed => {
                let epoch = take_epoch(next);
                if let Some(entry) = next.groups.get_mut(name) {
                    entry.assignment = Assignment::Stopped { epoch };
                    entry.intent = None;
                    let cause = cause.unwrap_or_default();
                    entry.reason = if wanted { format!("{cause}; {why}") } else { cause };
                }
            }
            Err(_) => {}
        }
    }

    fn assign(
        &self,
        next: &mut ClusterState,
        name: &GroupName,
        node: NodeId,
        cause: Option<String>,
        why: &str,
    ) {
        let boot = self.boot_of(node);
        let epoch = take_epoch(next);
        let target = self.name(node);
        if let Some(entry) = next.groups.get_mut(name) {
            entry.assignment = Assignment::Owned {
                owner: node,
                boot,
                epoch,
            };
            entry.intent = None;
            entry.reason = match cause {
                Some(cause) => format!("{cause}; so it runs on {target}"),
                None => format!("it runs on {target}, because {why}"),
            };
        }
    }

    /// Journals what a commit changed, one sentence per group.
    pub(super) fn journal_differences(&mut self, old: &ClusterState, new: &ClusterState) {
        if old.voters != new.voters {
            let names: Vec<String> = new.voters.iter().map(|voter| self.name(voter)).collect();
            let text = format!("voters are now {}: {}", names.join(", "), new.reason);
            self.journal("voters-changed", Level::Info, text);
        }
        self.account_for_releases(old, new);
        self.journal_in_sync(old, new);
        self.journal_jobs(old, new);
        for (name, entry) in &new.groups {
            let before = old.groups.get(name);
            let failed_before = before.into_iter().flat_map(|before| before.failures.keys());
            for node in failed_before.filter(|node| !entry.failures.contains_key(node)) {
                let text = format!("{name}: its failure on {} counts no more", self.name(*node));
                let epoch = entry.assignment.epoch();
                self.journal_about("failure-forgotten", Level::Info, text, Some(name.clone()), epoch);
            }
            if before.is_some_and(|before| before.assignment == entry.assignment) {
                continue;
            }
            let epoch: Epoch = entry.assignment.epoch();
            let (kind, level) = match entry.assignment {
                Assignment::Owned { .. } => ("assigned", Level::Info),
                Assignment::Releasing { .. } => ("releasing", Level::Info),
                Assignment::Stopped { epoch: 0 } => continue,
                Assignment::Stopped { .. } => ("unassigned", Level::Warn),
            };
            let text = format!("{name}: {}", entry.reason);
            self.journal_about(kind, level, text, Some(name.clone()), epoch);
        }
    }

    /// Measures, as leader or follower alike, how long a group was away.
    pub(super) fn note_outages(&mut self) {
        let Some(state) = self.committed().cloned() else {
            return;
        };
        for (name, entry) in &state.groups {
            let owner = entry.assignment.owner();
            let lost = owner.is_some_and(|node| self.is_lost(node));
            let running = owner
                .and_then(|node| self.report_on(node, name))
                .is_some_and(|report| {
                    report.run == RunState::Running && report.epoch == entry.assignment.epoch()
                });
            if running && !lost {
                if !self.was_running.contains(name) {
                    self.was_running.insert(name.clone());
                }
                if let Some(since) = self.outage_since.remove(name) {
                    self.last_outage.insert(name.clone(), self.now.since(since));
                }
            } else if self.was_running.contains(name) {
                self.outage_since.entry(name.clone()).or_insert(self.now);
            }
        }
    }

    /// True when some other node could take `group` now.
    pub(super) fn can_take(&self, state: &ClusterState, group: &str, node: NodeId) -> Result<(), String> {
        let Some(section) = state.config.group(group) else {
            return Err(format!("there is no group {group}"));
        };
        // What may be done on an operator's word is judged as if it was given.
        let asked = self.as_if_asked(state, section, node);
        let state = asked.as_ref().unwrap_or(state);
        let judged = candidates(state, section, &self.observations());
        match judged.into_iter().find(|candidate| candidate.node == node) {
            Some(candidate) if candidate.eligible => Ok(()),
            Some(candidate) => Err(format!("{} {}", self.name(node), candidate.reason)),
            None => Err(format!("{} is not a data node", self.name(node))),
        }
    }
}

/// A group went from one node to another.
fn count_move(loads: &mut Loads, from: Option<NodeId>, to: Option<NodeId>) {
    if let Some(load) = from.and_then(|from| loads.get_mut(&from)) {
        *load -= 1;
    }
    if let Some(to) = to {
        *loads.entry(to).or_default() += 1;
    }
}

/// Gives out the next epoch.
pub(super) fn take_epoch(next: &mut ClusterState) -> Epoch {
    let epoch = next.next_epoch;
    next.next_epoch += 1;
    epoch
}

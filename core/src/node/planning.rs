//! What the leader wants next: the committed state with everything that is due changed in it.

use std::sync::Arc;

use holdfast_proto::ids::{Epoch, GroupName, NodeId};
use holdfast_proto::peer::{GroupReport, RunState};
use holdfast_proto::state::{Assignment, ClusterState, Failure, GroupState};

use super::local::LocalGroup;
use super::{Node, Role};
use crate::placement::{Observations, Observed, better_place, candidates};

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

/// Gives out the next epoch.
pub(super) fn take_epoch(next: &mut ClusterState) -> Epoch {
    let epoch = next.next_epoch;
    next.next_epoch += 1;
    epoch
}

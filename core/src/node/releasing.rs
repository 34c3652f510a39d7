//! Releases what a proof ends, and places what is free.

use std::sync::Arc;

use holdfast_proto::config::Requires;
use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::state::{Assignment, ClusterState, ProofKind};

use super::planning::take_epoch;
use super::roles::in_sync_with;
use super::{Node, Role};
use crate::placement::{Loads, Observations, choose_with, loads, possible_loss};
use crate::proof::ReleaseProof;

impl Node {
    /// Releases every assignment that a proof ends, and places every group that is free.
    pub(super) fn release_and_place(&mut self, next: &mut ClusterState, seen: &Observations) {
        let names: Vec<GroupName> = next.groups.keys().cloned().collect();
        let mut loads = loads(next);
        for name in names {
            let assignment = next.groups[&name].assignment.clone();
            let mut cause = None;
            let mut gone = None;
            if let Some(owner) = assignment.owner() {
                let Some(proof) = self.release_proof(&name, &assignment) else {
                    continue;
                };
                cause = Some(self.cause(next, &name, owner, &proof));
                // Who confirmed its stop has everything and can be waited for, unless it was lost since.
                let stays = proof.kind() == ProofKind::Stopped
                    && self.is_online(owner)
                    && !self.has_proof_against(owner);
                gone = (!stays).then_some(owner);
                if proof.kind() != ProofKind::Stopped {
                    let version = next.version + 1;
                    next.nodes.entry(owner).or_default().proof = Some(proof.record(version));
                    if let Some(entry) = next.groups.get_mut(&name) {
                        entry.automatic_moves = entry.automatic_moves.saturating_add(1);
                    }
                }
            }
            self.place(next, &name, (cause, gone), (seen, &loads));
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
        (cause, gone): (Option<String>, Option<NodeId>),
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
                    .map(|_| in_sync_with(&next.groups[name].in_sync, node, gone));
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

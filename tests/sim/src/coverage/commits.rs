//! What a commit changed.

use std::sync::Arc;

use holdfast_proto::ids::{NodeId, VoterSet};
use holdfast_proto::job::{JobPhase, JobState};
use holdfast_proto::state::{Assignment, ClusterState, GroupState, ProofKind};

use super::watch::Seen;
use super::{Coverage, Situation};

/// Notes what the commit of `new` after `old` shows. `dropped` are the members that were voted out and not in again.
pub(super) fn look(
    coverage: &mut Coverage,
    dropped: &mut VoterSet,
    old: &ClusterState,
    new: &ClusterState,
    seen: &Seen,
) {
    if old.voters != new.voters {
        look_at_voters(coverage, dropped, old, new, seen);
    }
    let config_changed = !Arc::ptr_eq(&old.config, &new.config) && old.config.source != new.config.source;
    if config_changed && seen.is_cut {
        coverage.reach(Situation::ConfigInPartition);
    }
    let standby = |state: &ClusterState| state.nodes.values().all(|node| node.standby);
    if standby(new) && !standby(old) {
        coverage.reach(Situation::AllStandby);
    }
    if new.reason.starts_with("a change of voters was withdrawn") {
        coverage.reach(Situation::Withdrawn);
    }
    for (name, entry) in &new.groups {
        if let Some(before) = old.groups.get(name) {
            look_at_group(coverage, before, entry, new);
        }
    }
    for (name, job) in &new.jobs {
        if let Some(before) = old.jobs.get(name) {
            look_at_job(coverage, before, job);
        }
    }
}

fn look_at_job(coverage: &mut Coverage, before: &JobState, after: &JobState) {
    if after.run != before.run {
        coverage.reach(Situation::JobBegun);
    }
    if after.run != before.run && after.attempt > 1 {
        coverage.reach(Situation::JobAgain);
    }
    if after.phase == before.phase {
        return;
    }
    match after.phase {
        JobPhase::Interrupted => coverage.reach(Situation::JobInterrupted),
        JobPhase::Skipped => coverage.reach(Situation::JobSkipped),
        _ => {}
    }
}

fn look_at_voters(
    coverage: &mut Coverage,
    dropped: &mut VoterSet,
    old: &ClusterState,
    new: &ClusterState,
    seen: &Seen,
) {
    for gone in old.voters.iter().filter(|voter| !new.voters.contains(*voter)) {
        dropped.insert(gone);
        coverage.reach(if gone.is_witness() {
            Situation::WitnessDropped
        } else {
            Situation::VoterDropped
        });
        let had = seen.machines.get(&gone).and_then(|machine| machine.had.as_ref());
        if had.is_some_and(|had| had.durable().is_none()) {
            coverage.reach(Situation::BlankVoterDropped);
        }
    }
    for added in new.voters.iter().filter(|voter| !old.voters.contains(*voter)) {
        // A cluster that forms votes its members in; that is no return.
        if !std::mem::replace(dropped, dropped.without(added)).contains(added) {
            continue;
        }
        coverage.reach(if added.is_witness() {
            Situation::WitnessRegained
        } else {
            Situation::VoterRegained
        });
    }
    if new.voters.len() == 1 {
        coverage.reach(Situation::SoleVoter);
    }
}

fn look_at_group(coverage: &mut Coverage, before: &GroupState, after: &GroupState, new: &ClusterState) {
    let Some(owner) = before.assignment.owner() else {
        return;
    };
    let failures =
        |entry: &GroupState, node: NodeId| entry.failures.get(&node).map_or(0, |failure| failure.count);
    if failures(after, owner) > failures(before, owner) {
        coverage.reach(Situation::FailedHere);
    }
    let same = after.assignment.owner() == Some(owner) && after.assignment.boot() == before.assignment.boot();
    if same {
        return;
    }
    let recorded = new.nodes.get(&owner).and_then(|node| node.proof.as_ref());
    let kind = recorded
        .filter(|proof| proof.version == new.version)
        .map_or(ProofKind::Stopped, |proof| proof.kind);
    let situation = match kind {
        ProofKind::Stopped => Situation::MoveOnStop,
        ProofKind::Power => Situation::TakeoverPower,
        ProofKind::Reset => Situation::TakeoverReset,
        ProofKind::Watchdog => Situation::TakeoverWatchdog,
        // No cluster of the simulator has a storage device.
        ProofKind::Storage => return,
        ProofKind::Operator => Situation::TakeoverOperator,
        ProofKind::Lapsed => Situation::TakeoverLapse,
    };
    coverage.reach(situation);
    if let Assignment::Releasing {
        toward: Some(toward), ..
    } = before.assignment
        && after.assignment.owner() == Some(toward)
    {
        coverage.reach(Situation::MoveDone);
    }
}

//! The replicated register: the acceptor's second phase, and the leader's proposals.
//!
//! It is Multi-Paxos reduced to its last value (Lamport, "Paxos Made Simple"): each state is proposed at the next version
//! under the leader's ballot, and a new leader first commits what it adopted under its own ballot.

use std::sync::Arc;

use holdfast_proto::config::Timers as Spans;
use holdfast_proto::ids::{Ballot, BootId, Epoch, GroupName, NodeId, Version, VoterSet};
use holdfast_proto::peer::{Message, Verdict, WITHHELD_MAX};
use holdfast_proto::state::{Assignment, ClusterState};
use holdfast_proto::time::Time;

use super::persistence::Deferred;
use super::{Node, Role};
use crate::effect::Effect;
use crate::journal::Level;
use crate::quorum::{is_pair, wins};
use crate::timer::Timer;

/// A leader's state.
#[derive(Clone, Debug)]
pub(super) struct Leading {
    pub(super) ballot: Ballot,
    pub(super) elected_at: Time,
    /// Permits of earlier ballots have certainly ended by then.
    pub(super) old_permits_end: Time,
    /// What it adopted is committed under its own ballot: only now does it grant, assign, fence or start.
    pub(super) established: bool,
    /// Adopted, but a group has to stop here first.
    pub(super) adopting: Option<Arc<ClusterState>>,
    pub(super) proposal: Option<Proposal>,
}

/// A state on its way to being committed.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    pub(super) state: Arc<ClusterState>,
    pub(super) accepted: VoterSet,
    pub(super) proposed_at: Time,
    /// The commit is being written before it is announced.
    pub(super) sealing: bool,
}

/// An `Accept` that waits for groups to stop here.
#[derive(Clone, Debug)]
pub(super) struct PendingAccept {
    pub(super) from: NodeId,
    pub(super) ballot: Ballot,
    pub(super) state: Arc<ClusterState>,
}

/// Groups that `next` takes away from `node`, each with the epoch that its stop has to be confirmed under.
fn taken_from(
    node: NodeId,
    boot: BootId,
    next: &ClusterState,
    held: &[(GroupName, Epoch)],
) -> Vec<(GroupName, Epoch)> {
    held.iter()
        .filter_map(|(group, epoch)| {
            let assignment = next.groups.get(group).map(|entry| &entry.assignment);
            let kept = assignment.is_some_and(|assignment| {
                let releasing = matches!(assignment, Assignment::Releasing { .. });
                assignment.owner() == Some(node)
                    && assignment.boot() == Some(boot)
                    && (releasing || assignment.epoch() == *epoch)
            });
            let confirm_under = assignment.map_or(next.next_epoch, Assignment::epoch);
            (!kept).then(|| (group.clone(), confirm_under))
        })
        .collect()
}

impl Node {
    pub(super) fn leading_ballot(&self) -> Option<Ballot> {
        if let Role::Leading(leading) = &self.role {
            Some(leading.ballot)
        } else {
            None
        }
    }

    pub(super) fn is_established(&self) -> bool {
        matches!(&self.role, Role::Leading(leading) if leading.established)
    }

    /// A new leader has one lease length to be backed for the first time.
    pub(super) fn first_lease_end(&self) -> Time {
        match &self.role {
            Role::Leading(leading) => leading.elected_at + Spans::shrink(self.detection.claims.lease),
            _ => Time::ZERO,
        }
    }

    pub(super) fn begin_leading(&mut self, ballot: Ballot, adopted: Arc<ClusterState>, fast: bool) {
        let permit_left = if fast {
            Spans::stretch(self.detection.owes.lease)
        } else {
            Default::default()
        };
        self.role = Role::Leading(Box::new(Leading {
            ballot,
            elected_at: self.now,
            old_permits_end: self.now + permit_left,
            established: false,
            adopting: Some(adopted),
            proposal: None,
        }));
        self.grant = None;
        self.bound = None;
        for member in self.members.values_mut() {
            member.backed_at = None;
        }
        self.send_round();
        self.progress_adopting();
    }

    /// Proposes the adopted state once nothing runs here that it takes away (architecture.md rule 5).
    pub(super) fn progress_adopting(&mut self) {
        let Role::Leading(leading) = &self.role else {
            return;
        };
        let Some(adopted) = leading.adopting.clone() else {
            return;
        };
        if !self.all_stopped_here(&adopted, "a newer state took it from this node") {
            return;
        }
        if let Role::Leading(leading) = &mut self.role {
            leading.adopting = None;
        }
        self.propose(adopted);
    }

    /// Orders the stop of every group that `state` takes away; true when all of them are confirmed down.
    fn all_stopped_here(&mut self, state: &ClusterState, why: &str) -> bool {
        let held = self.groups_held_here();
        let mut all = true;
        for (group, epoch) in taken_from(self.me.node, self.me.boot, state, &held) {
            if !self.local.confirmed_down(&group, epoch) {
                all = false;
                self.order_stop(&group, epoch, why);
            }
        }
        all
    }

    /// Groups that run here or that a state known here assigns to this node in this boot.
    fn groups_held_here(&self) -> Vec<(GroupName, Epoch)> {
        let mut held = self.local.possibly_running();
        if let Some(durable) = &self.durable {
            for (group, entry) in durable.committed.groups.iter().chain(&durable.accepted.groups) {
                let assignment = &entry.assignment;
                let mine =
                    assignment.owner() == Some(self.me.node) && assignment.boot() == Some(self.me.boot);
                if mine && !held.iter().any(|(name, _)| name == group) {
                    held.push((group.clone(), assignment.epoch()));
                }
            }
        }
        held
    }

    /// Phase 2a.
    pub(super) fn propose(&mut self, state: Arc<ClusterState>) {
        let now = self.now;
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let ballot = leading.ballot;
        leading.proposal = Some(Proposal {
            state: Arc::clone(&state),
            accepted: VoterSet::EMPTY,
            proposed_at: now,
            sealing: false,
        });
        let Some(durable) = &mut self.durable else { return };
        assert!(
            ballot >= durable.promised,
            "proposing under ballot {ballot} after promising {}",
            durable.promised
        );
        let was_pair = is_pair(self.me.node, &durable.committed, &durable.accepted);
        durable.accepted_ballot = ballot;
        durable.accepted = Arc::clone(&state);
        let targets = durable.committed.voters.or(state.voters).without(self.me.node);
        let version = state.version;
        self.note_rules(was_pair);
        for to in targets.iter() {
            self.send(
                to,
                Message::Accept {
                    ballot,
                    state: Arc::clone(&state),
                },
            );
        }
        let id = self.persist();
        self.after(id, Deferred::OwnAccept(ballot, version));
        self.timers
            .set(Timer::AcceptRetry, now + self.spans.heartbeat * 2);
    }

    /// Sends the proposal in flight again to voters that did not answer; or withdraws an addition that goes nowhere.
    pub(super) fn retry_accept(&mut self) {
        let Role::Leading(leading) = &self.role else {
            return;
        };
        let Some(proposal) = &leading.proposal else { return };
        let (ballot, state) = (leading.ballot, Arc::clone(&proposal.state));
        let sole = self.committed().is_some_and(|committed| {
            committed.voters == VoterSet::EMPTY.with(self.me.node) && state.voters != committed.voters
        });
        if sole && !proposal.sealing && self.now.since(proposal.proposed_at) > self.spans.lease * 2 {
            self.step_down("the voter to be added did not answer");
            self.campaign(None);
            return;
        }
        let waiting: Vec<NodeId> = self
            .committed()
            .map_or(VoterSet::EMPTY, |committed| committed.voters.or(state.voters))
            .iter()
            .filter(|voter| *voter != self.me.node && !proposal.accepted.contains(*voter))
            .collect();
        for to in waiting {
            self.send(
                to,
                Message::Accept {
                    ballot,
                    state: Arc::clone(&state),
                },
            );
        }
        self.check_commit();
        self.timers
            .set(Timer::AcceptRetry, self.now + self.spans.heartbeat * 2);
    }

    /// Phase 2b. Accepting comes after stopping what the state takes away, and after the disk.
    pub(super) fn on_accept(&mut self, from: NodeId, ballot: Ballot, state: Arc<ClusterState>) {
        let Some(durable) = &self.durable else {
            self.send(
                from,
                Message::Refuse {
                    ballot,
                    promised: Ballot::ZERO,
                    verdict: Verdict::Blank,
                },
            );
            return;
        };
        if ballot < durable.promised || ballot.leader() != from {
            let promised = durable.promised;
            self.send(
                from,
                Message::Refuse {
                    ballot,
                    promised,
                    verdict: Verdict::Stale,
                },
            );
            return;
        }
        let newer_waits = self
            .pending_accept
            .as_ref()
            .is_some_and(|waiting| (waiting.ballot, waiting.state.version) > (ballot, state.version));
        let outdated = (ballot, state.version) < (durable.accepted_ballot, durable.accepted.version);
        if !newer_waits && !outdated {
            self.pending_accept = Some(PendingAccept { from, ballot, state });
        }
    }

    pub(super) fn progress_pending_accept(&mut self) {
        self.progress_adopting();
        let Some(pending) = self.pending_accept.clone() else {
            return;
        };
        if !self.all_stopped_here(&pending.state, "the cluster takes it from this node") {
            return;
        }
        self.pending_accept = None;
        let Some(durable) = &mut self.durable else { return };
        if pending.ballot < durable.promised {
            return;
        }
        let was_pair = is_pair(self.me.node, &durable.committed, &durable.accepted);
        let raised = pending.ballot > durable.promised;
        durable.promised = pending.ballot;
        durable.accepted_ballot = pending.ballot;
        durable.accepted = Arc::clone(&pending.state);
        if raised {
            self.step_down("another leader has a higher ballot");
        }
        self.note_rules(was_pair);
        let version = pending.state.version;
        self.acked = Some((pending.ballot, version));
        let message = Message::Accepted {
            ballot: pending.ballot,
            version,
        };
        let id = self.persist();
        self.after(
            id,
            Deferred::Effect(Effect::Send {
                to: pending.from,
                message,
            }),
        );
    }

    pub(super) fn on_accepted(&mut self, from: NodeId, ballot: Ballot, version: Version) {
        let me = self.me.node;
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        if leading.ballot != ballot {
            return;
        }
        if let Some(proposal) = &mut leading.proposal
            && proposal.state.version == version
        {
            proposal.accepted.insert(from);
            if from == me {
                self.acked = Some((ballot, version));
            }
            self.check_commit();
        }
    }

    /// Commits the proposal in flight if it has its majorities. A change of voters also needs the lease backed by a
    /// majority of the new voters, by heartbeats sent after it was proposed (architecture.md rule 7).
    pub(super) fn check_commit(&mut self) {
        let stand_in = self.stand_in();
        let Role::Leading(leading) = &self.role else {
            return;
        };
        let (Some(proposal), Some(durable)) = (&leading.proposal, &self.durable) else {
            return;
        };
        let (old, new) = (durable.committed.voters, proposal.state.voters);
        let accepted = proposal.accepted;
        let chosen =
            wins(old, accepted, stand_in) && wins(new, accepted, stand_in) && accepted.contains(self.me.node);
        if !chosen || proposal.sealing {
            return;
        }
        let (ballot, version, proposed_at) = (leading.ballot, proposal.state.version, proposal.proposed_at);
        if old == new {
            self.commit_proposal();
            return;
        }
        if self
            .majority_backed_at(new)
            .is_none_or(|backed_at| backed_at < proposed_at)
        {
            return;
        }
        // The committed voters decide who may be elected, so they are on disk before anybody hears of them.
        self.persistence.sealing = Some(Arc::clone(&proposal.state));
        let id = self.persist();
        if let Role::Leading(leading) = &mut self.role
            && let Some(proposal) = &mut leading.proposal
        {
            proposal.sealing = true;
        }
        self.after(id, Deferred::Commit(ballot, version));
    }

    /// Epochs of `member`'s groups that the proposal in flight changes: nothing is granted for them (architecture.md rule 4).
    pub(super) fn withheld_from(&self, member: NodeId) -> ([Epoch; WITHHELD_MAX], bool) {
        let mut withheld = [0; WITHHELD_MAX];
        let Role::Leading(leading) = &self.role else {
            return (withheld, true);
        };
        if !self.honours_its_claim(member) {
            return (withheld, true);
        }
        let (Some(proposal), Some(committed)) = (&leading.proposal, self.committed()) else {
            return (withheld, false);
        };
        let mut count = 0;
        for (group, entry) in &committed.groups {
            let assignment = &entry.assignment;
            let kept = proposal
                .state
                .groups
                .get(group)
                .is_some_and(|next| next.assignment == *assignment);
            if assignment.owner() == Some(member) && !kept {
                if count == WITHHELD_MAX {
                    return (withheld, true);
                }
                withheld[count] = assignment.epoch();
                count += 1;
            }
        }
        (withheld, false)
    }

    /// Stops leading or campaigning.
    pub(super) fn step_down(&mut self, why: &str) {
        if let Role::Leading(leading) = &self.role {
            let text = format!(
                "{} no longer leads (ballot {}): {why}",
                self.name(self.me.node),
                leading.ballot
            );
            self.journal("stepped-down", Level::Info, text);
            self.fail_calls();
            self.timers.clear(Timer::AcceptRetry);
            self.timers.clear(Timer::LeaseEnd);
        }
        self.timers.clear(Timer::ElectionRound);
        self.role = Role::Follower;
    }
}

//! Elections: pre-vote, then phase 1 of the register's Paxos.

use std::sync::Arc;

use holdfast_proto::ids::{Ballot, NodeId, VoterSet};
use holdfast_proto::peer::{KnownVoters, Message, Verdict};
use holdfast_proto::state::ClusterState;
use holdfast_proto::time::Time;

use super::persistence::Deferred;
use super::{Node, Role};
use crate::effect::Effect;
use crate::journal::Level;
use crate::quorum::{Electorate, known_voters, wins};
use crate::timer::Timer;

/// A round of pre-votes or of phase 1.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) ballot: Ballot,
    pub(super) votes: VoterSet,
    pub(super) electorate: Electorate,
    /// Accepted voter sets that answers named: each has to be won too.
    pub(super) accepted_sets: Vec<VoterSet>,
    /// Highest accepted state among the answers.
    pub(super) best: (Ballot, Arc<ClusterState>),
    /// A leader stepped down in our favour.
    pub(super) transfer: Option<Ballot>,
    /// This node held the last ballot it promised: acceptors may help it before their promises to it lapse, so permits of
    /// that ballot may still be running.
    pub(super) fast: bool,
}

impl Round {
    fn take(&mut self, from: NodeId, voters: KnownVoters) {
        self.votes.insert(from);
        let (electorate, accepted) = self.electorate.merged_with(voters);
        self.electorate = electorate;
        if !self.accepted_sets.contains(&accepted) {
            self.accepted_sets.push(accepted);
        }
    }

    fn is_won_without(&self, voter: NodeId, stand_in: VoterSet) -> bool {
        let mut without = self.clone();
        without.votes = without.votes.without(voter);
        without.is_won(stand_in)
    }

    fn is_won(&self, stand_in: VoterSet) -> bool {
        if self.electorate.is_sole() {
            return self.electorate.is_won_by(self.votes, stand_in);
        }
        self.electorate.is_won_by(self.votes, stand_in)
            && self
                .accepted_sets
                .iter()
                .all(|set| wins(*set, self.votes, stand_in))
    }
}

impl Node {
    /// When a node that has just started may first campaign.
    pub(super) fn first_election_at(&self) -> Time {
        let own = self
            .durable
            .as_ref()
            .is_some_and(|durable| durable.promised.leader() == self.me.node);
        if own {
            self.now + self.spans.heartbeat
        } else {
            self.no_promise_until
        }
    }

    /// Plans a campaign. Candidates of lower rank hold back a little, the survivor does not.
    pub(super) fn schedule_election(&mut self, at: Time) {
        let Some(state) = self.committed() else { return };
        if self.me.node.is_witness() || !state.voters.contains(self.me.node) {
            self.timers.clear(Timer::Election);
            return;
        }
        let rank = if state.survivor == self.me.node {
            0
        } else {
            u32::from(self.me.node.0)
        };
        self.timers
            .set(Timer::Election, at + self.spans.stagger * rank.min(16) / 2);
    }

    /// Asks for votes, unless this node may not lead now.
    pub(super) fn campaign(&mut self, transfer: Option<Ballot>) {
        let Some(durable) = &self.durable else { return };
        let me = self.me.node;
        if matches!(self.role, Role::Leading(_))
            || !durable.committed.voters.contains(me)
            || self.shutting_down
        {
            return;
        }
        if self.disk_failed() {
            // It could not write its own promise. The writing is tried again with every heartbeat.
            self.schedule_election(self.now + self.spans.lease);
            return;
        }
        let own = durable.promised.leader() == me && durable.promised.round > 0;
        let bound_until = self
            .bound
            .filter(|bound| bound.leader != me && transfer != Some(bound.ballot));
        let free_at = bound_until.map_or(Time::ZERO, |bound| bound.until);
        let free_at = if own || transfer.is_some() {
            free_at
        } else {
            free_at.max(self.no_promise_until)
        };
        if free_at > self.now {
            self.schedule_election(free_at);
            return;
        }
        let highest = self
            .members
            .values()
            .map(|member| member.ballot)
            .max()
            .unwrap_or_default();
        let round = Round {
            ballot: durable.promised.max(highest).next_for(me),
            votes: VoterSet::EMPTY,
            electorate: Electorate::of(me, &durable.committed, &durable.accepted),
            accepted_sets: Vec::new(),
            best: (durable.accepted_ballot, Arc::clone(&durable.accepted)),
            transfer,
            fast: own || transfer.is_some(),
        };
        if transfer.is_some() {
            self.prepare(round);
        } else {
            self.pre_vote(round);
        }
    }

    fn pre_vote(&mut self, mut round: Round) {
        let Some(own) = self.own_voters() else { return };
        round.take(self.me.node, own);
        let ballot = round.ballot;
        for voter in round.electorate.voters().without(self.me.node).iter() {
            self.send(voter, Message::PreVote { ballot });
        }
        self.role = Role::PreVoting(round);
        self.timers.clear(Timer::Election);
        self.timers
            .set(Timer::ElectionRound, self.now + self.spans.election);
        self.count_pre_votes();
    }

    pub(super) fn own_voters(&self) -> Option<KnownVoters> {
        self.durable
            .as_ref()
            .map(|durable| known_voters(&durable.committed, &durable.accepted))
    }

    /// As an acceptor: would this node help? Changes nothing.
    pub(super) fn on_pre_vote(&mut self, from: NodeId, ballot: Ballot) {
        let verdict = self.verdict_on(from, ballot, None);
        let promised = self
            .durable
            .as_ref()
            .map_or(Ballot::ZERO, |durable| durable.promised);
        let none = KnownVoters {
            committed_version: 0,
            committed: VoterSet::EMPTY,
            accepted: VoterSet::EMPTY,
        };
        let voters = self.own_voters().unwrap_or(none);
        self.send(
            from,
            Message::PreVoteReply {
                ballot,
                verdict,
                promised,
                voters,
            },
        );
    }

    /// What this acceptor says to a candidate.
    pub(super) fn verdict_on(&self, candidate: NodeId, ballot: Ballot, transfer: Option<Ballot>) -> Verdict {
        let Some(durable) = &self.durable else {
            return Verdict::Blank;
        };
        if self.disk_failed() {
            return Verdict::Blank;
        }
        if !durable.committed.voters.contains(candidate) {
            return Verdict::Stranger;
        }
        if ballot <= durable.promised {
            return Verdict::Stale;
        }
        // It is one of those that back its own lease, and stays so when it gives up leading before that ends.
        let leads_until = if self.is_established() {
            self.lease_until.max(self.lease_end())
        } else {
            self.lease_until
        };
        if leads_until > self.now && transfer != Some(durable.promised) {
            return Verdict::Bound(self.now.until(leads_until));
        }
        let bound = self
            .bound
            .filter(|bound| bound.leader != candidate && transfer != Some(bound.ballot));
        let bound_until = bound.map_or(Time::ZERO, |bound| bound.until);
        // A restarted acceptor forgot to whom it answered heartbeats, but that leader's ballot is the one it had promised.
        let knows = durable.promised.leader() == candidate || transfer == Some(durable.promised);
        let free_at = if knows {
            bound_until
        } else {
            bound_until.max(self.no_promise_until)
        };
        if free_at > self.now {
            Verdict::Bound(self.now.until(free_at))
        } else {
            Verdict::Granted
        }
    }

    pub(super) fn on_pre_vote_reply(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        verdict: Verdict,
        promised: Ballot,
        voters: KnownVoters,
    ) {
        let member = self.member(from);
        member.ballot = member.ballot.max(promised);
        let Role::PreVoting(round) = &mut self.role else {
            return;
        };
        if round.ballot != ballot {
            return;
        }
        match verdict {
            Verdict::Granted => {
                round.take(from, voters);
                self.count_pre_votes();
            }
            Verdict::Bound(left) => {
                // Ask again right when it is free, rather than after a whole round.
                let again = self.now + left + self.spans.stagger / 8;
                self.timers
                    .set(Timer::ElectionRound, again.min(self.now + self.spans.lease * 2));
            }
            Verdict::Stale | Verdict::Stranger | Verdict::Blank => {}
        }
    }

    fn count_pre_votes(&mut self) {
        let stand_in = self.stand_in();
        let Role::PreVoting(round) = &self.role else {
            return;
        };
        if round.is_won(stand_in) {
            let round = round.clone();
            self.prepare(round);
        }
    }

    /// Phase 1: promise to itself on disk, and ask the others.
    fn prepare(&mut self, mut round: Round) {
        let Some(durable) = &mut self.durable else { return };
        if round.ballot <= durable.promised {
            round.ballot = durable.promised.next_for(self.me.node);
        }
        durable.promised = round.ballot;
        round.votes = VoterSet::EMPTY;
        round.best = (durable.accepted_ballot, Arc::clone(&durable.accepted));
        let (ballot, transfer) = (round.ballot, round.transfer);
        self.bound = None;
        for voter in round.electorate.voters().without(self.me.node).iter() {
            self.send(voter, Message::Prepare { ballot, transfer });
        }
        self.role = Role::Preparing(round);
        self.timers.clear(Timer::Election);
        self.timers
            .set(Timer::ElectionRound, self.now + self.spans.election);
        let id = self.persist();
        self.after(id, Deferred::OwnPromise(ballot));
    }

    pub(super) fn on_own_promise(&mut self, ballot: Ballot) {
        let Some(own) = self.own_voters() else { return };
        let me = self.me.node;
        if let Role::Preparing(round) = &mut self.role
            && round.ballot == ballot
        {
            round.take(me, own);
            self.count_promises();
        }
    }

    /// Phase 1b. The promise leaves this node only when it is on disk.
    pub(super) fn on_prepare(&mut self, from: NodeId, ballot: Ballot, transfer: Option<Ballot>) {
        let verdict = self.verdict_on(from, ballot, transfer);
        let Some(durable) = &mut self.durable else {
            self.send(
                from,
                Message::Refuse {
                    ballot,
                    promised: Ballot::ZERO,
                    verdict,
                },
            );
            return;
        };
        if verdict != Verdict::Granted {
            let promised = durable.promised;
            self.send(
                from,
                Message::Refuse {
                    ballot,
                    promised,
                    verdict,
                },
            );
            return;
        }
        durable.promised = ballot;
        let promise = Message::Promise {
            ballot,
            accepted_ballot: durable.accepted_ballot,
            accepted: Arc::clone(&durable.accepted),
            voters: known_voters(&durable.committed, &durable.accepted),
        };
        self.bound = self.bound.filter(|bound| bound.leader == from);
        self.pending_accept = None;
        self.step_down("another candidate was promised a higher ballot");
        self.schedule_election(self.now + self.spans.lease);
        let id = self.persist();
        self.after(
            id,
            Deferred::Effect(Effect::Send {
                to: from,
                message: promise,
            }),
        );
    }

    pub(super) fn on_promise(
        &mut self,
        from: NodeId,
        ballot: Ballot,
        accepted_ballot: Ballot,
        accepted: Arc<ClusterState>,
        voters: KnownVoters,
    ) {
        let Role::Preparing(round) = &mut self.role else {
            return;
        };
        if round.ballot != ballot {
            return;
        }
        round.take(from, voters);
        if (accepted_ballot, accepted.version) > (round.best.0, round.best.1.version) {
            round.best = (accepted_ballot, accepted);
        }
        self.count_promises();
    }

    fn count_promises(&mut self) {
        let stand_in = self.stand_in();
        let Role::Preparing(round) = &self.role else {
            return;
        };
        if !round.is_won(stand_in) {
            return;
        }
        let round = round.clone();
        if self.is_foreign_witness(&round.best.1) && !round.is_won_without(NodeId::WITNESS, stand_in) {
            return;
        }
        let Some(adopted) = self.adopted_state(&round) else {
            return self.give_up_contradicted(&round);
        };
        self.timers.clear(Timer::ElectionRound);
        let text = format!(
            "{} was elected with ballot {}",
            self.name(self.me.node),
            round.ballot
        );
        self.journal("elected", Level::Info, text);
        self.begin_leading(round.ballot, adopted, round.fast);
    }

    /// The highest accepted state of the majority; or, for a sole committed voter, its committed state at a new version,
    /// which withdraws a change of voters that only it could have completed (architecture.md rule 10). None if that is
    /// older than what was committed, which cannot be unless somebody told something wrong.
    fn adopted_state(&self, round: &Round) -> Option<Arc<ClusterState>> {
        let durable = self.durable.as_ref()?;
        if round.electorate.is_sole() && durable.accepted.voters != durable.committed.voters {
            let mut state = ClusterState::clone(&durable.committed);
            // Beyond both: whoever had it accept something older than what is committed told something wrong.
            state.version = durable.accepted.version.max(durable.committed.version) + 1;
            state.reason = "a change of voters was withdrawn, because the new voter did not answer".into();
            return Some(Arc::new(state));
        }
        let adopted = Arc::clone(&round.best.1);
        (adopted.version >= durable.committed.version).then_some(adopted)
    }

    /// A leader that began from such promises would undo what was committed (S3).
    fn give_up_contradicted(&mut self, round: &Round) {
        let text = format!(
            "the promises for ballot {} end at version {}, and {} is committed: this round is given up",
            round.ballot,
            round.best.1.version,
            self.committed().map_or(0, |state| state.version)
        );
        self.journal("contradiction", Level::Alert, text);
        self.step_down("the promises contradict what is committed");
        self.schedule_election(self.now + self.spans.lease);
        // A pair with a proof does not wait for that: this holds it as well.
        self.timers.set(Timer::ElectionRound, self.now + self.spans.lease);
    }

    pub(super) fn on_refuse(&mut self, from: NodeId, ballot: Ballot, promised: Ballot, verdict: Verdict) {
        let member = self.member(from);
        member.ballot = member.ballot.max(promised);
        let refused_round = matches!(&self.role, Role::Preparing(round) if round.ballot == ballot);
        let refused_leader = self.leading_ballot() == Some(ballot) && promised > ballot;
        if refused_leader {
            self.step_down("a voter promised a higher ballot");
            self.schedule_election(self.now + self.spans.heartbeat);
        } else if refused_round && verdict == Verdict::Stale {
            self.timers
                .set(Timer::ElectionRound, self.now + self.spans.stagger);
        }
    }

    /// Gives the round up and tries again.
    pub(super) fn retry_round(&mut self) {
        if matches!(self.role, Role::PreVoting(_) | Role::Preparing(_)) {
            self.role = Role::Follower;
            self.campaign(None);
            self.timers
                .set_earliest(Timer::Election, self.now + self.spans.election);
        }
    }

    /// A leader stepped down in favour of this node.
    pub(super) fn on_transfer(&mut self, from: NodeId, ballot: Ballot) {
        let current = self
            .durable
            .as_ref()
            .is_some_and(|durable| durable.promised == ballot);
        if ballot.leader() == from && current && matches!(self.role, Role::Follower) {
            self.campaign(Some(ballot));
        }
    }
}

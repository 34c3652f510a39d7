//! The rules by which the record changes: those of an acceptor, as in [`crate::node`], without a clock of its own. What a
//! node has in memory there (to whom it is bound, and until when) is here in the record, and in how long this node has seen
//! it unchanged.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::ids::{Ballot, BootId, NodeId, VoterSet};
use holdfast_proto::peer::{Heartbeat, HeartbeatAck, KnownVoters, Message, Verdict, WITHHELD_MAX};
use holdfast_proto::state::ClusterState;
use holdfast_proto::time::Time;

use super::record::{Record, States};
use super::watch::Watch;

/// What the node that is served asked of the witness.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    pub(super) commit: Option<(Ballot, Arc<ClusterState>)>,
    /// The claim of this run that stood when `commit` was said.
    pub(super) claim: Option<BootId>,
    pub(super) pre_vote: Option<Ballot>,
    pub(super) prepare: Option<(Ballot, Option<Ballot>)>,
    pub(super) accept: Option<(Ballot, Arc<ClusterState>)>,
    pub(super) beat: Option<Heartbeat>,
}

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        let messages = self.commit.is_none() && self.pre_vote.is_none() && self.prepare.is_none();
        messages && self.accept.is_none() && self.beat.is_none()
    }

    /// The later request of each kind, where `earlier` are those before.
    pub(super) fn or(self, earlier: Requests) -> Requests {
        Requests {
            claim: if self.commit.is_some() {
                self.claim
            } else {
                earlier.claim
            },
            commit: self.commit.or(earlier.commit),
            pre_vote: self.pre_vote.or(earlier.pre_vote),
            prepare: self.prepare.or(earlier.prepare),
            accept: self.accept.or(earlier.accept),
            beat: self.beat.or(earlier.beat),
        }
    }
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    Ack(HeartbeatAck),
    Message(Message),
}

/// One look at the register, for one node.
pub(super) struct Acceptor<'a> {
    pub(super) serves: NodeId,
    pub(super) now: Time,
    pub(super) watch: &'a Watch,
    /// As it was found, and then as it is to be.
    pub(super) record: Record,
    pub(super) changed: bool,
    pub(super) states_changed: bool,
    pub(super) backs: bool,
    pub(super) replies: Vec<Reply>,
}

impl Acceptor<'_> {
    /// Answers everything that was asked. The record was read with states in it.
    pub(super) fn answer(&mut self, requests: &Requests) {
        if let Some((ballot, state)) = &requests.commit {
            self.learn(*ballot, state);
        }
        if let Some(ballot) = requests.pre_vote {
            self.pre_vote(ballot);
        }
        if let Some((ballot, transfer)) = requests.prepare {
            self.prepare(ballot, transfer);
        }
        if let Some((ballot, state)) = &requests.accept {
            self.accept(*ballot, state);
        }
        if let Some(beat) = &requests.beat {
            self.beat(beat);
        }
    }

    fn states(&self) -> Option<&States> {
        self.record.states.as_ref()
    }

    /// What is left of the binding to another leader than `candidate`, unless that one stepped down in its favour.
    fn bound_for(&self, candidate: NodeId, transfer: Option<Ballot>) -> Duration {
        let head = &self.record.head;
        let backing = head.backing;
        let helps = backing == Ballot::ZERO || backing.leader() == candidate || transfer == Some(backing);
        let Some(states) = self.states().filter(|_| !helps) else {
            return Duration::ZERO;
        };
        let unchanged_since = self.watch.since(head).unwrap_or(self.now);
        self.now.until(unchanged_since + states.owed().lease)
    }

    fn verdict(&self, ballot: Ballot, transfer: Option<Ballot>) -> Verdict {
        let Some(states) = self.states() else {
            return Verdict::Blank;
        };
        if !states.committed.voters.contains(self.serves) {
            return Verdict::Stranger;
        }
        if ballot <= self.record.head.promised {
            return Verdict::Stale;
        }
        match self.bound_for(self.serves, transfer) {
            Duration::ZERO => Verdict::Granted,
            left => Verdict::Bound(left),
        }
    }

    fn say(&mut self, message: Message) {
        self.replies.push(Reply::Message(message));
    }

    fn pre_vote(&mut self, ballot: Ballot) {
        let verdict = self.verdict(ballot, None);
        let none = KnownVoters {
            committed_version: 0,
            committed: VoterSet::EMPTY,
            accepted: VoterSet::EMPTY,
        };
        let voters = self.states().map_or(none, States::voters);
        let promised = self.record.head.promised;
        self.say(Message::PreVoteReply {
            ballot,
            verdict,
            promised,
            voters,
        });
    }

    /// Phase 1b. Whoever is promised something was not bound against, so nothing binds this acceptor afterwards.
    fn prepare(&mut self, ballot: Ballot, transfer: Option<Ballot>) {
        let verdict = self.verdict(ballot, transfer);
        let Some(states) = self.record.states.clone().filter(|_| verdict == Verdict::Granted) else {
            return self.refuse(ballot, verdict);
        };
        let head = &mut self.record.head;
        head.promised = ballot;
        if head.backing.leader() != self.serves {
            head.backing = Ballot::ZERO;
        }
        self.changed = true;
        self.say(Message::Promise {
            ballot,
            accepted_ballot: states.accepted_ballot,
            voters: states.voters(),
            accepted: states.accepted,
        });
    }

    fn refuse(&mut self, ballot: Ballot, verdict: Verdict) {
        let promised = self.record.head.promised;
        self.say(Message::Refuse {
            ballot,
            promised,
            verdict,
        });
    }

    /// Phase 2b.
    fn accept(&mut self, ballot: Ballot, state: &Arc<ClusterState>) {
        let promised = self.record.head.promised;
        let serves = self.serves;
        let Some(states) = &mut self.record.states else {
            return self.refuse(ballot, Verdict::Blank);
        };
        if ballot < promised || ballot.leader() != serves {
            return self.refuse(ballot, Verdict::Stale);
        }
        let version = state.version;
        let (offered, held) = (
            (ballot, version),
            (states.accepted_ballot, states.accepted.version),
        );
        if offered < held {
            return;
        }
        if offered > held || promised < ballot {
            states.accepted_ballot = ballot;
            states.accepted = Arc::clone(state);
            self.record.head.promised = ballot;
            self.changed = true;
            self.states_changed = true;
        }
        self.say(Message::Accepted { ballot, version });
    }

    /// A committed state. It also counts as accepted, if it is newer than what was.
    fn learn(&mut self, ballot: Ballot, state: &Arc<ClusterState>) {
        let promised = self.record.head.promised;
        let Some(states) = &mut self.record.states else {
            return;
        };
        if state.version <= states.committed.version {
            return;
        }
        states.committed = Arc::clone(state);
        if ballot >= promised && (ballot, state.version) > (states.accepted_ballot, states.accepted.version) {
            states.accepted_ballot = ballot;
            states.accepted = Arc::clone(state);
        }
        self.changed = true;
        self.states_changed = true;
    }

    fn beat(&mut self, beat: &Heartbeat) {
        let backs = beat.leading && self.back(beat.ballot);
        let committed = self.states().map_or(0, |states| states.committed.version);
        self.replies.push(Reply::Ack(HeartbeatAck {
            seq: beat.seq,
            sent_at: beat.sent_at,
            ballot: self.record.head.promised,
            backs,
            lease_left: Duration::ZERO,
            granted: 0,
            withheld: [0; WITHHELD_MAX],
            withhold_all: true,
            committed,
            blank: self.states().is_none(),
        }));
        self.relay(beat);
    }

    /// Backs the lease of a leader, if nothing else binds this acceptor. The lease counts from when the heartbeat was sent,
    /// which is before this write; whoever else looks counts from when it has seen the write.
    fn back(&mut self, ballot: Ballot) -> bool {
        let promised = self.record.head.promised;
        let theirs = ballot < promised || ballot.leader() != self.serves;
        if self.states().is_none() || theirs || self.bound_for(self.serves, None) > Duration::ZERO {
            return false;
        }
        self.record.head.promised = ballot;
        self.record.head.backing = ballot;
        self.changed = true;
        self.backs = true;
        true
    }

    /// Where nobody leads, whoever knows more tells those whom it makes voters, as every member does.
    fn relay(&mut self, beat: &Heartbeat) {
        let Some(states) = self.states() else { return };
        let state = Arc::clone(&states.committed);
        let ballot = states.accepted_ballot;
        let newest = states.accepted.version == state.version && state.voters.contains(self.serves);
        let head = &self.record.head;
        let led = head.backing != Ballot::ZERO
            && self.watch.since(head).unwrap_or(self.now) + states.owed().lease > self.now;
        if newest && !led && !beat.leading && !beat.blank && beat.committed < state.version {
            self.say(Message::Commit { ballot, state });
        }
    }
}

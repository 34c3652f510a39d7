//! Peers that go along with whatever the node says: without them no play of a few thousand bytes comes to a leader that has
//! something to decide.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::durable::Durable;
use holdfast_core::event::Event;
use holdfast_proto::ids::{BootId, Incarnation, NodeId};
use holdfast_proto::peer::{
    Beat, Heartbeat, HeartbeatAck, KnownVoters, Message, Sender, Verdict, WITHHELD_MAX,
};
use holdfast_proto::time::Time;

/// What they answer.
pub struct Peers {
    /// They answer at all.
    pub willing: bool,
    answers: VecDeque<Event>,
}

/// A member in its first boot and first run.
pub fn first(node: NodeId) -> Sender {
    Sender {
        node,
        boot: BootId(u128::from(node.0) * 100),
        incarnation: Incarnation(1),
    }
}

impl Peers {
    pub fn new(willing: bool) -> Peers {
        Peers {
            willing,
            answers: VecDeque::new(),
        }
    }

    pub fn next(&mut self) -> Option<Event> {
        self.answers.pop_front()
    }

    /// An acceptor that holds what the node holds, and is bound to nobody.
    pub fn hear(&mut self, to: NodeId, message: &Message, own: &Durable) {
        let voters = KnownVoters {
            committed_version: own.committed.version,
            committed: own.committed.voters,
            accepted: own.accepted.voters,
        };
        let answer = match message {
            Message::PreVote { ballot } => Message::PreVoteReply {
                ballot: *ballot,
                verdict: Verdict::Granted,
                promised: own.promised,
                voters,
            },
            Message::Prepare { ballot, .. } => Message::Promise {
                ballot: *ballot,
                accepted_ballot: own.accepted_ballot,
                accepted: Arc::clone(&own.accepted),
                voters,
            },
            Message::Accept { ballot, state } => Message::Accepted {
                ballot: *ballot,
                version: state.version,
            },
            _ => return,
        };
        if self.willing {
            self.answers.push_back(Event::Message {
                from: first(to),
                message: answer,
            });
        }
    }

    /// A node that runs well: it answers, and says so itself.
    pub fn feel(&mut self, to: NodeId, beat: &Heartbeat, own: &Durable, now: Time) {
        if !self.willing {
            return;
        }
        let committed = own.committed.version;
        let ack = HeartbeatAck {
            seq: beat.seq,
            sent_at: beat.sent_at,
            ballot: beat.ballot,
            backs: beat.leading,
            lease_left: Duration::ZERO,
            granted: 0,
            withheld: [0; WITHHELD_MAX],
            withhold_all: false,
            committed,
            blank: false,
        };
        let heartbeat = Heartbeat {
            seq: beat.seq,
            sent_at: now,
            lateness: Duration::ZERO,
            ballot: beat.ballot,
            leading: false,
            committed,
            synced: true,
            blank: false,
            survivor: own.committed.survivor,
            watchdog: Some(Duration::from_secs(5)),
            agent_ready: true,
        };
        for beat in [Beat::Ack(ack), Beat::Heartbeat(heartbeat)] {
            self.answers.push_back(Event::Beat {
                from: first(to),
                beat,
            });
        }
    }
}

//! What the register holds: the record of an acceptor, with what tells one write from another.

use std::sync::Arc;

use holdfast_proto::config::Timers as Spans;
use holdfast_proto::ids::{Ballot, BootId, Incarnation, NodeId};
use holdfast_proto::peer::KnownVoters;
use holdfast_proto::state::ClusterState;

use crate::quorum::known_voters;

/// Who wrote: no two writes have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer {
    /// The data node.
    pub node: NodeId,
    /// Its run of `had`.
    pub run: Incarnation,
    /// Number of the attempt within that run.
    pub attempt: u64,
}

/// The small part. A write is carried out only if the register still holds the head that the writer saw, so heads form one
/// chain from the making of a register to its loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Identity of the register since it was made.
    pub register: BootId,
    /// Grows by one with each write.
    pub write: u64,
    /// Who wrote this.
    pub by: Writer,
    /// Highest ballot promised.
    pub promised: Ballot,
    /// Ballot of the leader that was backed last and that nobody was promised anything against since; zero for none.
    pub backing: Ballot,
    /// The write that backed it last.
    pub backed: u64,
    /// The write that changed the states last; 0 while there are none.
    pub body: u64,
    /// Who wrote them: a body is known by both.
    pub body_by: Writer,
}

/// The large part: what was accepted and committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct States {
    /// Ballot of the accepted state.
    pub accepted_ballot: Ballot,
    /// The accepted state.
    pub accepted: Arc<ClusterState>,
    /// The newest state known to be committed.
    pub committed: Arc<ClusterState>,
}

/// All of it. Without states it is a claim: somebody saw an empty register and is about to fill it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The small part.
    pub head: Head,
    /// The large part; absent in a claim.
    pub states: Option<States>,
}

impl Record {
    /// A claim on an empty register.
    pub(super) fn claim(by: Writer, boot: BootId) -> Record {
        Record {
            head: Head {
                register: identity(by, boot),
                write: 0,
                by,
                promised: Ballot::ZERO,
                backing: Ballot::ZERO,
                backed: 0,
                body: 0,
                body_by: by,
            },
            states: None,
        }
    }
}

impl States {
    /// What a candidate has to know about voters.
    pub(super) fn voters(&self) -> KnownVoters {
        known_voters(&self.committed, &self.accepted)
    }

    /// How long a promise binds this acceptor: the longer detection time while it changes.
    pub(super) fn owed(&self) -> Spans {
        let config = &self.committed.config;
        let (now, before_ms) = (config.timers(), self.committed.lease_before_ms);
        let before = Spans::with_detection(&config.cluster, before_ms);
        if before_ms != 0 && before.lease > now.lease {
            before
        } else {
            now
        }
    }
}

/// An identity that no other register gets: a boot has a random id, a run of `had` in it a number of its own.
fn identity(by: Writer, boot: BootId) -> BootId {
    let run = u128::from(by.run.0) << 24;
    let attempt = u128::from(by.attempt & 0xffff) << 8;
    BootId(boot.0.wrapping_add(run | attempt | u128::from(by.node.0)).max(2))
}

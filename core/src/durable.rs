//! What a node must not forget.

use std::sync::Arc;

use holdfast_proto::ids::{Ballot, Version};
use holdfast_proto::state::ClusterState;

/// The acceptor's durable record. Written whole; the shell adds checksum and generations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durable {
    /// Highest ballot promised.
    pub promised: Ballot,
    /// Ballot of the accepted state.
    pub accepted_ballot: Ballot,
    /// The accepted state.
    pub accepted: Arc<ClusterState>,
    /// The newest state known to be committed. May lag behind what the node has learned, except for changes of voters,
    /// which are written before they are acted on.
    pub committed: Arc<ClusterState>,
}

impl Durable {
    /// The record of a new cluster's first node: the initial state, committed by decree of `hactl cluster init`.
    #[must_use]
    pub fn initial(state: ClusterState) -> Durable {
        let state = Arc::new(state);
        Durable {
            promised: Ballot::ZERO,
            accepted_ballot: Ballot::ZERO,
            accepted: Arc::clone(&state),
            committed: state,
        }
    }

    /// Version of the accepted state.
    #[must_use]
    pub fn accepted_version(&self) -> Version {
        self.accepted.version
    }
}

#[cfg(test)]
mod tests;

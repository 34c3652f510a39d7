//! Which register holds the witness's vote. A witness that is kept in etcd has an identity that was voted in with it, so
//! that another etcd, or one that lost its data, is not taken for the acceptor whose promises count.

use holdfast_proto::ids::{BootId, NodeId, VoterSet};
use holdfast_proto::peer::Sender;
use holdfast_proto::state::ClusterState;

use super::Node;
use crate::witness::Trusted;

impl Node {
    /// The register of a state with these voters: noted when the witness is voted in, forgotten when it is voted out.
    pub(super) fn register_of(&self, committed: &ClusterState, voters: VoterSet) -> Option<BootId> {
        let witness = NodeId::WITNESS;
        if !voters.contains(witness) {
            None
        } else if committed.voters.contains(witness) {
            committed.register
        } else {
            let member = self
                .members
                .get(&witness)
                .filter(|_| self.config.register.is_some());
            member.and_then(|member| member.boot)
        }
    }

    /// States known here in which the witness votes.
    fn states_with_witness(&self) -> impl Iterator<Item = &ClusterState> {
        let known = self
            .durable
            .iter()
            .flat_map(|durable| [&*durable.committed, &*durable.accepted]);
        known.filter(|state| state.voters.contains(NodeId::WITNESS))
    }

    /// Which register may answer as the witness, as far as this node knows.
    #[must_use]
    pub fn trusted_register(&self) -> Trusted {
        let mut named = self.states_with_witness().map(|state| state.register);
        match named.next() {
            None => Trusted::Any,
            Some(Some(first)) if named.all(|other| other == Some(first)) => Trusted::Only(first),
            Some(_) => Trusted::Nobody,
        }
    }

    /// True when the register that answers is not the one that votes by `adopted`, which this candidate learned from the
    /// promises: it may have been asked by a state that is long out of date.
    pub(super) fn is_foreign_witness(&self, adopted: &ClusterState) -> bool {
        let answers = self.members.get(&NodeId::WITNESS).and_then(|member| member.boot);
        adopted.voters.contains(NodeId::WITNESS)
            && adopted.register.is_some_and(|register| Some(register) != answers)
    }

    /// True for a witness that is not the one which was voted in.
    pub(super) fn is_impostor(&self, from: Sender) -> bool {
        from.node.is_witness()
            && self
                .states_with_witness()
                .any(|state| state.register.is_some_and(|register| register != from.boot))
    }
}

//! Which votes suffice, while the set of voters may be changing.

use holdfast_proto::ids::{NodeId, VoterSet};
use holdfast_proto::peer::KnownVoters;
use holdfast_proto::state::ClusterState;

/// The voters that an election has to win: a majority of the newest committed set and of the newest accepted one
/// (joint consensus, Ongaro's thesis 4.3; MODEL.md rule 8 shows what each weaker reading breaks).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Electorate {
    known: KnownVoters,
    candidate: NodeId,
}

impl Electorate {
    /// What `candidate` knows by itself.
    #[must_use]
    pub fn of(candidate: NodeId, committed: &ClusterState, accepted: &ClusterState) -> Self {
        Electorate {
            known: known_voters(committed, accepted),
            candidate,
        }
    }

    /// Takes in what an answer says. A newer committed set replaces ours; any accepted set has to be won as well.
    #[must_use]
    pub fn merged_with(mut self, other: KnownVoters) -> (Self, VoterSet) {
        if other.committed_version > self.known.committed_version {
            self.known.committed_version = other.committed_version;
            self.known.committed = other.committed;
        }
        (self, other.accepted)
    }

    /// True when the candidate alone is the committed voter: it needs nobody, whatever it was about to add.
    #[must_use]
    pub fn is_sole(&self) -> bool {
        self.known.committed == VoterSet::EMPTY.with(self.candidate)
    }

    /// Everyone whose answer may count.
    #[must_use]
    pub fn voters(&self) -> VoterSet {
        self.known.committed.or(self.known.accepted)
    }

    /// True when `votes` win. `stand_in` are nodes whose vote a proof replaces; it counts only in a pair.
    #[must_use]
    pub fn is_won_by(&self, votes: VoterSet, stand_in: VoterSet) -> bool {
        if self.is_sole() {
            return votes.contains(self.candidate);
        }
        wins(self.known.committed, votes, stand_in) && wins(self.known.accepted, votes, stand_in)
    }
}

/// Voters of both states of one node.
#[must_use]
pub fn known_voters(committed: &ClusterState, accepted: &ClusterState) -> KnownVoters {
    KnownVoters {
        committed_version: committed.version,
        committed: committed.voters,
        accepted: accepted.voters,
    }
}

/// A majority of `voters`, where proofs replace votes only if the set is a pair of data nodes.
#[must_use]
pub fn wins(voters: VoterSet, votes: VoterSet, stand_in: VoterSet) -> bool {
    let counted = if voters.is_data_pair() {
        votes.or(stand_in)
    } else {
        votes
    };
    voters.has_majority(counted)
}

/// The pair's own rules (permits that rest on the committed assignment, a proof that votes) apply to `me` only while its
/// committed voters are a data pair and its accepted ones are too, or are `me` alone: its own takeover under way.
#[must_use]
pub fn is_pair(me: NodeId, committed: &ClusterState, accepted: &ClusterState) -> bool {
    committed.voters.is_data_pair()
        && committed.voters.contains(me)
        && (accepted.voters == committed.voters || accepted.voters == VoterSet::EMPTY.with(me))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const W: NodeId = NodeId::WITNESS;

    fn set(nodes: &[NodeId]) -> VoterSet {
        nodes.iter().copied().collect()
    }

    #[test]
    fn a_proof_votes_only_in_a_data_pair() {
        assert!(wins(set(&[A, B]), set(&[A]), set(&[B])));
        assert!(!wins(set(&[A, W]), set(&[A]), set(&[W])));
        assert!(!wins(set(&[A, B, W]), set(&[A]), set(&[B])));
        assert!(wins(set(&[A, B, W]), set(&[A, W]), VoterSet::EMPTY));
    }

    #[test]
    fn both_sets_have_to_be_won() {
        let known = KnownVoters {
            committed_version: 4,
            committed: set(&[A, B, W]),
            accepted: set(&[A, B]),
        };
        let electorate = Electorate { known, candidate: B };
        assert!(!electorate.is_won_by(set(&[B, W]), VoterSet::EMPTY));
        assert!(electorate.is_won_by(set(&[A, B]), VoterSet::EMPTY));
    }

    #[test]
    fn a_sole_committed_voter_needs_nobody() {
        let known = KnownVoters {
            committed_version: 4,
            committed: set(&[B]),
            accepted: set(&[A, B]),
        };
        assert!(Electorate { known, candidate: B }.is_won_by(set(&[B]), VoterSet::EMPTY));
        assert!(!Electorate { known, candidate: A }.is_won_by(set(&[A]), VoterSet::EMPTY));
    }
}

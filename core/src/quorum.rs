//! Which votes suffice, while the set of voters may be changing.

use holdfast_proto::ids::{NodeId, VoterSet};
use holdfast_proto::peer::KnownVoters;
use holdfast_proto::state::ClusterState;

/// The voters that an election has to win: a majority of the newest committed set and of the newest accepted one
/// (joint consensus, Ongaro's thesis 4.3; architecture.md rule 8 shows what each weaker reading breaks).
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
mod tests;

//! Two voters without a witness: who fences whom when contact is lost, and what stands in for the peer's vote.

use holdfast_proto::ids::{NodeId, VoterSet};
use holdfast_proto::time::Time;

use super::{Node, Role};
use crate::proof::FenceProof;
use crate::timer::Timer;

impl Node {
    /// In a pair that lost contact: the survivor fences at once, the other after `fence_delay`. Only a synced node may,
    /// and only one whose own network answers.
    pub(super) fn fence_as_pair(&mut self) {
        if !self.in_pair() || !self.synced || self.is_established() || self.shutting_down {
            return;
        }
        let Some(peer) = self.pair_peer() else { return };
        // The accepted state: after a restart the committed one may be older, and an end of maintenance that both nodes of a
        // pair committed is in what both accepted.
        let durable = self.durable.as_ref();
        let maintenance = durable.is_some_and(|durable| durable.accepted.maintenance);
        if maintenance || !self.network.may_fence() || self.is_fencing(peer) {
            return;
        }
        if self.stand_in().contains(peer) {
            let planned = self.timers.get(Timer::Election).is_some_and(|at| at <= self.now);
            let holds = self.timers.get(Timer::ElectionRound).is_some();
            if matches!(self.role, Role::Follower) && !planned && !holds {
                self.bound = None;
                self.campaign(None);
            }
            return;
        }
        let Some(due) = self.pair_fence_due(peer) else {
            return;
        };
        if due <= self.now {
            let name = self.name(peer);
            let why = if self.is_survivor() {
                format!("contact with {name} is lost and this node is the agreed survivor")
            } else {
                format!("contact with {name}, the agreed survivor, is lost and the fence delay passed")
            };
            self.start_fence(peer, why, false);
        }
    }

    pub(super) fn is_survivor(&self) -> bool {
        self.committed()
            .is_some_and(|state| state.survivor == self.me.node)
    }

    pub(super) fn pair_peer(&self) -> Option<NodeId> {
        self.committed()?.voters.without(self.me.node).iter().next()
    }

    /// When this node of a pair may fence its peer, if contact stays lost.
    pub(super) fn pair_fence_due(&self, peer: NodeId) -> Option<Time> {
        if !self.is_lost(peer) {
            return None;
        }
        let lost_at = self.lost_at(peer);
        Some(if self.is_survivor() {
            lost_at
        } else {
            lost_at + self.spans.fence_delay
        })
    }

    /// Votes that something else stands in for, in a pair: a power proof after which the peer was not heard; or the peer's
    /// own word that its disk is blank, in which case it can have committed nothing without this synced node.
    pub(super) fn stand_in(&self) -> VoterSet {
        if !self.in_pair() || !self.synced {
            return VoterSet::EMPTY;
        }
        let Some(peer) = self.pair_peer() else {
            return VoterSet::EMPTY;
        };
        let proven = self.proofs.get(&peer).is_some_and(FenceProof::votes);
        let blank = self.members.get(&peer).is_some_and(|member| member.blank) && !self.is_lost(peer);
        if proven || blank {
            VoterSet::EMPTY.with(peer)
        } else {
            VoterSet::EMPTY
        }
    }
}

//! Who should vote: one change at a time.

use holdfast_proto::ids::{NodeId, VoterSet};
use holdfast_proto::state::{Assignment, ClusterState};

use super::Node;

impl Node {
    /// The next change of voters, if one is due, with its reason.
    pub(super) fn wanted_voters(&self, state: &ClusterState) -> Option<(VoterSet, String)> {
        self.voter_to_drop(state)
            .map(|(node, why)| (state.voters.without(node), why))
            .or_else(|| {
                self.voter_to_add(state)
                    .map(|(node, why)| (state.voters.with(node), why))
            })
    }

    fn voter_to_drop(&self, state: &ClusterState) -> Option<(NodeId, String)> {
        let me = self.me.node;
        if state.voters.is_data_pair()
            && let Some(peer) = self.stand_in().iter().next()
        {
            let why = format!(
                "{} no longer votes, because it is proven off or lost its disk",
                self.name(peer)
            );
            return Some((peer, why));
        }
        for voter in state.voters.without(me).iter() {
            let name = self.name(voter);
            let remaining = state.voters.without(voter);
            let configured = self.config.members().any(|member| member == voter);
            let owns = || {
                let mut entries = state.groups.values();
                entries.any(|entry| entry.assignment.owner() == Some(voter))
            };
            if !configured && !owns() {
                return Some((
                    voter,
                    format!("{name} no longer votes, because it left the configuration"),
                ));
            }
            let blank = self.members.get(&voter).is_some_and(|member| member.blank) && self.is_online(voter);
            if blank && self.all_online_without(remaining) {
                return Some((voter, format!("{name} no longer votes, because it lost its disk")));
            }
        }
        self.witness_to_drop(state)
    }

    /// True when a majority of `voters` is heard without counting this node.
    pub(super) fn others_are_majority(&self, voters: VoterSet) -> bool {
        let others = voters.without(self.me.node);
        voters.has_majority(others.iter().filter(|voter| self.is_online(*voter)).collect())
    }

    fn all_online_without(&self, voters: VoterSet) -> bool {
        let online: VoterSet = voters.iter().filter(|voter| self.is_online(*voter)).collect();
        voters.has_majority(online)
    }

    /// A pair goes on without a witness that has been silent for its grace, while both nodes still agree.
    fn witness_to_drop(&self, state: &ClusterState) -> Option<(NodeId, String)> {
        let witness = NodeId::WITNESS;
        let remaining = state.voters.without(witness);
        if !state.voters.contains(witness) || !remaining.is_data_pair() {
            return None;
        }
        let heard = self.silent_since(witness, self.blame_floor);
        let silent = self.now.since(heard.unwrap_or(self.started_at)) >= self.spans.witness_grace;
        let both = remaining
            .iter()
            .all(|node| self.is_online(node) && self.is_synced(node));
        (silent && both).then(|| {
            (
                witness,
                "the witness was silent for its grace, so the pair goes on without it".into(),
            )
        })
    }

    /// Data nodes first; the witness once there are two of them for it to decide between.
    fn voter_to_add(&self, state: &ClusterState) -> Option<(NodeId, String)> {
        let data = self.config.nodes.iter().map(|node| node.id);
        let data_voters = state.voters.without(NodeId::WITNESS).len();
        let witness = self
            .config
            .has_witness()
            .then_some(NodeId::WITNESS)
            .filter(|_| data_voters >= 2);
        data.chain(witness).find_map(|node| {
            let member = self.members.get(&node)?;
            let ready = !state.voters.contains(node)
                && self.is_online(node)
                && !member.blank
                && member.committed == state.version
                && !self.has_proof_against(node)
                && !self.is_being_fenced(node)
                && self.stays_out_until(state, node).is_none();
            ready.then(|| {
                (
                    node,
                    format!("{} votes, because it has caught up", self.name(node)),
                )
            })
        })
    }

    pub(super) fn is_synced(&self, node: NodeId) -> bool {
        if node == self.me.node {
            return self.synced;
        }
        self.members.get(&node).is_some_and(|member| member.synced)
    }

    /// A voter that rebooted has to acknowledge a commit before it may run anything: give it one.
    pub(super) fn sync_is_due(&self, state: &ClusterState) -> Option<String> {
        let waiting = self.config.nodes.iter().map(|node| node.id).find(|node| {
            state.voters.contains(*node)
                && !self.is_synced(*node)
                && self.is_online(*node)
                && self
                    .members
                    .get(node)
                    .is_some_and(|member| member.committed == state.version && !member.blank)
        })?;
        Some(format!("{} catches up after its start", self.name(waiting)))
    }

    /// The pre-agreed survivor of a pair: who owns more groups; among equals the present one, then the lower number.
    pub(super) fn best_survivor(&self, state: &ClusterState) -> NodeId {
        let owned = |node: NodeId| {
            let owns = |assignment: &Assignment| assignment.owner() == Some(node);
            state
                .groups
                .values()
                .filter(|entry| owns(&entry.assignment))
                .count()
        };
        let data = state.voters.without(NodeId::WITNESS);
        data.iter()
            .max_by_key(|node| (owned(*node), *node == state.survivor, std::cmp::Reverse(*node)))
            .unwrap_or(state.survivor)
    }
}

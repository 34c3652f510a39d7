//! An operator's word in place of a proof: that a node is off, and that this node may decide alone.

use std::sync::Arc;

use holdfast_proto::ids::NodeId;
use holdfast_proto::ids::VoterSet;
use holdfast_proto::operator::{OperatorCall, OperatorOutcome};
use holdfast_proto::state::ClusterState;

use super::Node;
use super::persistence::Deferred;
use crate::effect::Effect;
use crate::journal::Level;
use crate::proof::FenceProof;

impl Node {
    pub(super) fn confirm_fence(&mut self, node: NodeId, call: &OperatorCall) -> OperatorOutcome {
        let name = self.name(node);
        if self.is_online(node) {
            return OperatorOutcome::Refused(format!("{name} is heard by this node, so it is not off"));
        }
        let boot = self.members.get(&node).and_then(|member| member.boot);
        let proof = FenceProof::operator(node, boot, (&call.who, &call.at), self.now, self.next_epoch());
        self.journal(
            "fence-confirmed",
            Level::Alert,
            format!("{name}: {}", proof.evidence()),
        );
        self.proofs.insert(node, proof);
        OperatorOutcome::Done(format!(
            "recorded that {name} is off; its groups may start elsewhere"
        ))
    }

    /// Makes this node the only voter, on the operator's word that the others are off.
    pub(super) fn force_quorum(&mut self, call: &OperatorCall) -> OperatorOutcome {
        let Some(durable) = &self.durable else {
            return OperatorOutcome::Refused(
                "this node has no cluster state, so there is nothing to force".into(),
            );
        };
        if self.is_established() {
            return OperatorOutcome::Done("this node leads already; nothing had to be forced".into());
        }
        let me = self.me.node;
        let heard: Vec<String> = durable
            .committed
            .voters
            .without(me)
            .iter()
            .filter(|voter| self.is_online(*voter))
            .map(|voter| self.name(voter))
            .collect();
        if !heard.is_empty() {
            return OperatorOutcome::Refused(format!(
                "{} can be heard, so quorum is not forced",
                heard.join(" and ")
            ));
        }
        let mut state = ClusterState::clone(&durable.accepted);
        state.version += 1;
        state.voters = VoterSet::EMPTY.with(me);
        state.survivor = me;
        state.reason = format!("{} forced quorum at {}", call.who, call.at);
        let ballot = durable.promised.next_for(me);
        let state = Arc::new(state);
        for node in self
            .config
            .nodes
            .iter()
            .map(|node| node.id)
            .filter(|node| *node != me)
            .collect::<Vec<_>>()
        {
            let boot = self.members.get(&node).and_then(|member| member.boot);
            let before_epoch = state.next_epoch;
            let proof = FenceProof::operator(node, boot, (&call.who, &call.at), self.now, before_epoch);
            self.proofs.insert(node, proof);
        }
        if let Some(durable) = &mut self.durable {
            durable.promised = ballot;
            durable.accepted_ballot = ballot;
            durable.accepted = Arc::clone(&state);
            durable.committed = state;
        }
        self.synced = true;
        self.journal(
            "quorum-forced",
            Level::Alert,
            format!("{} forced quorum: this node decides alone", call.who),
        );
        self.step_down("quorum is forced");
        let id = self.persist();
        self.after(id, Deferred::Effect(Effect::MarkSynced));
        self.bound = None;
        self.campaign(None);
        OperatorOutcome::Done("this node decides alone now; the others join again when they are back".into())
    }
}

//! An operator's word in place of a proof: that a node is off, and that this node may decide alone.

use std::sync::Arc;

use holdfast_proto::ids::{Ballot, NodeId, VoterSet};
use holdfast_proto::operator::{OperatorCall, OperatorOutcome};
use holdfast_proto::state::ClusterState;

use super::Node;
use super::ledger::word_of;
use super::operator::Origin;
use super::persistence::Deferred;
use crate::effect::Effect;
use crate::journal::Level;
use crate::proof::FenceProof;

impl Node {
    pub(super) fn confirm_fence(
        &mut self,
        node: NodeId,
        reason: &str,
        call: &OperatorCall,
    ) -> OperatorOutcome {
        let name = self.name(node);
        if self.is_online(node) {
            return OperatorOutcome::Refused(format!("{name} is heard by this node, so it is not off"));
        }
        let boot = self.boot_of(node);
        let known = self.proofs.get(&node).filter(|proof| proof.ended_boot() == boot);
        if let Some(known) = known.filter(|proof| proof.before_epoch() == self.next_epoch()) {
            return OperatorOutcome::Done(format!(
                "{name} counts as off already, nothing was recorded: {}",
                known.evidence()
            ));
        }
        let word = word_of(call, reason);
        let proof = FenceProof::operator(node, boot, word, self.now, self.next_epoch());
        self.account_for_word(&proof);
        self.proofs.insert(node, proof);
        OperatorOutcome::Done(format!(
            "recorded that {name} is off; its groups may start elsewhere"
        ))
    }

    /// Makes this node the only voter, on the operator's word that the others are off.
    /// It is committed, and the operator told so, once it is on disk: a crash before that must not take back what was said.
    pub(super) fn force_quorum(
        &mut self,
        origin: Origin,
        call: &OperatorCall,
    ) -> Result<(), OperatorOutcome> {
        let state = self.forced_state(call)?;
        let Some(durable) = &mut self.durable else {
            return Ok(());
        };
        let me = self.me.node;
        let ballot = durable.promised.next_for(me);
        durable.promised = ballot;
        durable.accepted_ballot = ballot;
        durable.accepted = Arc::clone(&state);
        self.take_operators_word(&state, call);
        self.step_down("quorum is forced");
        self.persistence.sealing = Some(state);
        let id = self.persist();
        self.after(id, Deferred::Forced(origin, ballot));
        Ok(())
    }

    /// The state in which this node is the only voter; an error is why it may not be.
    fn forced_state(&self, call: &OperatorCall) -> Result<Arc<ClusterState>, OperatorOutcome> {
        let Some(durable) = &self.durable else {
            return Err(OperatorOutcome::Refused(
                "this node has no cluster state, so there is nothing to force".into(),
            ));
        };
        if self.is_established() {
            return Err(OperatorOutcome::Done(
                "this node leads already; nothing had to be forced".into(),
            ));
        }
        if self.persistence.sealing.is_some() {
            return Err(OperatorOutcome::Refused(
                "this node is writing a change of voters to its disk; ask again when that is done".into(),
            ));
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
            return Err(OperatorOutcome::Refused(format!(
                "{} can be heard, so quorum is not forced",
                heard.join(" and ")
            )));
        }
        // A commit under a ballot below the promised one is learned and not accepted, so either may be the newer.
        let newest = if durable.accepted.version > durable.committed.version {
            &durable.accepted
        } else {
            &durable.committed
        };
        let mut state = ClusterState::clone(newest);
        state.version += 1;
        state.voters = VoterSet::EMPTY.with(me);
        state.register = None;
        state.survivor = me;
        state.reason = format!("{} forced quorum at {}", call.who, call.at);
        Ok(Arc::new(state))
    }

    /// By the operator's word every other data node is off.
    fn take_operators_word(&mut self, state: &ClusterState, call: &OperatorCall) {
        let me = self.me.node;
        let others: Vec<NodeId> = self.config.nodes.iter().map(|node| node.id).collect();
        for node in others.into_iter().filter(|node| *node != me) {
            let word = word_of(call, "by hactl quorum force");
            let proof = FenceProof::operator(node, self.boot_of(node), word, self.now, state.next_epoch);
            self.proofs.insert(node, proof);
        }
    }

    /// The forced state is on disk: it is committed, and this node goes on alone. Unless word of a newer commit came in while
    /// it was written, under way since before the others went off: what was forced knows nothing of that.
    pub(super) fn on_forced(&mut self, origin: Origin, ballot: Ballot) {
        let newest = self.committed().map_or(0, |state| state.version);
        let sealed = self.persistence.sealing.take();
        let Some(state) = sealed.filter(|state| state.version > newest) else {
            let text = "word of a newer version came in while this was written to disk; look at hactl status and ask again";
            return self.answer(origin, OperatorOutcome::Refused(text.into()));
        };
        let text = format!("{}: this node decides alone", state.reason);
        self.journal("quorum-forced", Level::Alert, text);
        self.set_committed(ballot, state);
        self.synced = true;
        self.outbox.push_back(Effect::MarkSynced);
        self.bound = None;
        self.campaign(None);
        let text = "this node decides alone now; the others join again when they are back";
        self.answer(origin, OperatorOutcome::Done(text.into()));
    }
}

//! Giving leadership away: to the node that runs the groups, out of trouble, or before this run of `had` ends.

use holdfast_proto::ids::{NodeId, VoterSet};
use holdfast_proto::peer::Message;
use holdfast_proto::state::Assignment;

use super::{Node, Role};
use crate::effect::Effect;
use crate::timer::Timer;

impl Node {
    /// Ends this run of `had`: hands leadership over first, as soon as another data node can take it. The round that goes
    /// out now says that this node leaves, so that it is not handed back.
    pub(super) fn on_shutdown(&mut self) {
        self.shutting_down = true;
        if !matches!(self.role, Role::Leading(_)) {
            self.end_handover();
            return;
        }
        self.send_round();
        self.timers
            .set(Timer::Handover, self.now + self.spans.heartbeat * 3);
    }

    /// While this node ends: leadership goes to whoever can take it, and the run ends once another leads.
    pub(super) fn progress_shutdown(&mut self) {
        if !self.shutting_down || self.timers.get(Timer::Handover).is_none() {
            return;
        }
        self.transfer_to(|_, _| true);
        let follows = self
            .bound
            .is_some_and(|bound| bound.leader != self.me.node && bound.until > self.now);
        if follows && !matches!(self.role, Role::Leading(_)) {
            self.end_handover();
        }
    }

    pub(super) fn end_handover(&mut self) {
        self.timers.clear(Timer::Handover);
        if self.shutting_down {
            self.outbox.push_back(Effect::ShutdownReady);
        }
    }

    /// Leadership follows the groups: the loss of a node that runs nothing then costs nobody a lease. True when it was
    /// given up.
    pub(super) fn hand_over(&mut self) -> bool {
        let Some(state) = self.committed().cloned() else {
            return false;
        };
        if !self.calls.is_empty() || state.voters.is_data_pair() && self.stand_in() != VoterSet::EMPTY {
            return false;
        }
        let settled = state
            .groups
            .values()
            .all(|entry| !matches!(entry.assignment, Assignment::Releasing { .. }));
        settled && self.transfer_to(|node, me| state.survivor == node && state.survivor != me)
    }

    /// A leader that cannot do its work gives it to any node that can: one whose own agent process is gone or whose stop
    /// failed, which another leader has to judge, or one whose disk does not take a decision. True when it was given up.
    pub(super) fn give_up_in_trouble(&mut self) -> bool {
        let voters = self.committed().map_or(VoterSet::EMPTY, |state| state.voters);
        let mute = self.disk_failed() && voters.len() > 2;
        if (mute || self.own_trouble()) && self.transfer_to(|_, _| true) {
            return true;
        }
        // Nobody has caught up, but the others can decide without this node, and cannot while it leads.
        let others = mute && self.others_are_majority(voters);
        if others {
            self.step_down("its state cannot be written");
            self.schedule_election(self.now + self.spans.lease);
        }
        others
    }

    fn transfer_to(&mut self, wanted: impl Fn(NodeId, NodeId) -> bool) -> bool {
        let Role::Leading(leading) = &self.role else {
            return false;
        };
        // What is in flight is only waited for while this node's own disk can take part in it.
        if !leading.established || leading.proposal.is_some() && !self.disk_failed() {
            return false;
        }
        let ballot = leading.ballot;
        let Some(state) = self.committed() else {
            return false;
        };
        let me = self.me.node;
        let (voters, version) = (state.voters, state.version);
        let able = |node: &NodeId| {
            self.members.get(node).is_some_and(|member| {
                // Backing this leader now shows that its disk takes a promise.
                let backs = member
                    .backed_at
                    .is_some_and(|at| self.now.since(at) < self.spans.lease);
                let current = member.committed == version && member.synced && backs;
                current && member.agent_ready && self.is_online(*node)
            }) && !self.has_proof_against(*node)
                && !self.is_being_fenced(*node)
                && !self.is_in_trouble(*node)
        };
        let target = voters
            .without(me)
            .iter()
            .filter(|node| !node.is_witness() && wanted(*node, me))
            .find(|node| able(node));
        let Some(target) = target else { return false };
        let name = self.name(target);
        self.step_down(&format!("{name} takes over"));
        self.schedule_election(self.now + self.spans.lease);
        self.send(target, Message::Transfer { ballot });
        true
    }
}

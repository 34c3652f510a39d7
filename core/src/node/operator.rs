//! Requests of operators: validated here, committed by the leader, answered with a sentence.

use std::sync::Arc;

use holdfast_proto::ids::{GroupName, NodeId, Version, VoterSet};
use holdfast_proto::operator::{OperatorCall, OperatorOutcome, OperatorRequest};
use holdfast_proto::peer::Message;
use holdfast_proto::state::{Assignment, ClusterState, MoveIntent};

use super::persistence::Deferred;
use super::{Node, Role};
use crate::effect::Effect;
use crate::journal::Level;
use crate::placement::candidates;
use crate::proof::FenceProof;
use crate::timer::Timer;

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Here(u64),
    Peer(NodeId, u64),
}

/// A request on its way through the register.
#[derive(Clone, Debug)]
pub(super) struct PendingCall {
    origin: Origin,
    call: OperatorCall,
    /// The version that carries it, once proposed.
    version: Option<Version>,
    done: String,
}

impl Node {
    pub(super) fn on_operator(&mut self, request: u64, call: OperatorCall) {
        self.take_call(Origin::Here(request), call);
    }

    pub(super) fn on_forward(&mut self, from: NodeId, request: u64, call: OperatorCall) {
        self.take_call(Origin::Peer(from, request), call);
    }

    pub(super) fn on_forward_reply(&mut self, request: u64, outcome: OperatorOutcome) {
        self.outbox.push_back(Effect::Reply { request, outcome });
    }

    fn take_call(&mut self, origin: Origin, call: OperatorCall) {
        if let Err(outcome) = self.try_call(origin, call) {
            self.answer(origin, outcome);
        }
    }

    /// Queues, forwards or carries out a call; an error is the answer when there is nothing to wait for.
    fn try_call(&mut self, origin: Origin, call: OperatorCall) -> Result<(), OperatorOutcome> {
        match &call.request {
            OperatorRequest::QuorumForce => return Err(self.force_quorum(&call)),
            OperatorRequest::Restart { group, resource } => {
                return self.route_restart(origin, &call, group.clone(), resource.clone());
            }
            // In a pair nobody can decide alone, and a leader does not fence itself: the asked node does it.
            OperatorRequest::Fence { node }
                if self.synced && !self.is_established() && (self.in_pair() || self.follows(*node)) =>
            {
                return Err(self.fence_on_request(*node, &call));
            }
            _ => {}
        }
        if !self.is_established() {
            let leader = self
                .bound
                .map(|bound| bound.leader)
                .filter(|leader| self.is_online(*leader));
            return match (leader, origin) {
                (Some(leader), Origin::Here(request)) => {
                    self.send(leader, Message::Forward { request, call });
                    Ok(())
                }
                _ => Err(OperatorOutcome::NoQuorum(
                    "there is no leader right now, so nothing can be committed; look at hactl status, and if the other \
                     node is gone for good at hactl quorum force"
                        .into(),
                )),
            };
        }
        match &call.request {
            OperatorRequest::Fence { node } => Err(self.fence_on_request(*node, &call)),
            OperatorRequest::FenceConfirm { node } => Err(self.confirm_fence(*node, &call)),
            _ => {
                let done = self.check_call(&call)?;
                self.calls.push(PendingCall {
                    origin,
                    call,
                    version: None,
                    done,
                });
                Ok(())
            }
        }
    }

    /// Validates a call against the committed state. Ok: the sentence for when it is committed.
    fn check_call(&self, call: &OperatorCall) -> Result<String, OperatorOutcome> {
        let refused = |text: String| OperatorOutcome::Refused(text);
        let state = self
            .committed()
            .ok_or_else(|| refused("this node has no cluster state yet".into()))?;
        match &call.request {
            OperatorRequest::Move { group, to } => self.check_move(state, group, *to),
            OperatorRequest::Standby { node, on } => {
                if self.config.node(*node).is_none() {
                    return Err(refused(format!("{} is not a data node", self.name(*node))));
                }
                let name = self.name(*node);
                Ok(if *on {
                    format!("{name} is in standby")
                } else {
                    format!("{name} is online again")
                })
            }
            OperatorRequest::Maintenance { on } => {
                let text = if *on {
                    "resources are left alone (maintenance)"
                } else {
                    "resources are managed again"
                };
                Ok(text.into())
            }
            OperatorRequest::Cleanup { group: None } => Ok("failures of all groups are forgotten".into()),
            OperatorRequest::Cleanup { group: Some(group) } => {
                self.known_group(state, group)?;
                Ok(format!("failures of {group} are forgotten"))
            }
            OperatorRequest::Enable { group, enabled } => {
                self.known_group(state, group)?;
                Ok(if *enabled {
                    format!("{group} may run")
                } else {
                    format!("{group} is kept stopped")
                })
            }
            OperatorRequest::ApplyConfig { config } => {
                if config.cluster.id != state.config.cluster.id {
                    return Err(refused(
                        "the configuration belongs to another cluster (its id differs)".into(),
                    ));
                }
                if config.nodes.iter().all(|node| node.id != self.me.node) {
                    let name = self.name(self.me.node);
                    return Err(refused(format!(
                        "{name} leads now and would be removed; put it in standby first and try again"
                    )));
                }
                Ok("the configuration is in force".into())
            }
            OperatorRequest::Fence { .. }
            | OperatorRequest::FenceConfirm { .. }
            | OperatorRequest::QuorumForce
            | OperatorRequest::Restart { .. } => Err(refused("this request is not committed".into())),
        }
    }

    fn known_group(&self, state: &ClusterState, group: &GroupName) -> Result<(), OperatorOutcome> {
        if state.groups.contains_key(group) {
            return Ok(());
        }
        let names: Vec<&str> = state.groups.keys().map(|name| &**name).collect();
        Err(OperatorOutcome::Refused(format!(
            "there is no group {group}; there are: {}",
            names.join(", ")
        )))
    }

    fn check_move(
        &self,
        state: &Arc<ClusterState>,
        group: &GroupName,
        to: Option<NodeId>,
    ) -> Result<String, OperatorOutcome> {
        self.known_group(state, group)?;
        let target = self
            .move_target(state, group, to)
            .map_err(OperatorOutcome::Refused)?;
        if state.groups[group].assignment.runs_on(target) {
            return Err(OperatorOutcome::Done(format!(
                "{group} is already on {}",
                self.name(target)
            )));
        }
        Ok(format!("{group} moves to {}", self.name(target)))
    }

    fn move_target(&self, state: &ClusterState, group: &str, to: Option<NodeId>) -> Result<NodeId, String> {
        if let Some(node) = to {
            if state.groups[group].assignment.runs_on(node) {
                return Ok(node);
            }
            return self.can_take(state, group, node).map(|()| node);
        }
        let section = state
            .config
            .group(group)
            .ok_or_else(|| format!("{group} is leaving the configuration"))?;
        let owner = state.groups[group].assignment.owner();
        candidates(state, section, &self.observations())
            .into_iter()
            .find(|candidate| candidate.eligible && Some(candidate.node) != owner)
            .map(|candidate| candidate.node)
            .ok_or_else(|| format!("no other node can run {group} now; hactl why {group} says why"))
    }

    /// Puts all waiting calls into the next state.
    pub(super) fn apply_calls(&mut self, next: &mut ClusterState) {
        let version = next.version + 1;
        let mut calls = std::mem::take(&mut self.calls);
        let mut unchanged = Vec::new();
        for call in calls.iter_mut().filter(|call| call.version.is_none()) {
            let before = next.clone();
            self.apply_call(next, &call.call);
            if *next == before {
                unchanged.push((call.origin, call.done.clone()));
                call.version = Some(0);
            } else {
                call.version = Some(version);
                next.reason = format!("{} asked: {}", call.call.who, call.done);
            }
        }
        calls.retain(|call| call.version != Some(0));
        self.calls = calls;
        for (origin, done) in unchanged {
            self.answer(
                origin,
                OperatorOutcome::Done(format!("{done} (it was so already)")),
            );
        }
    }

    fn apply_call(&self, next: &mut ClusterState, call: &OperatorCall) {
        match &call.request {
            OperatorRequest::Move { group, to } => {
                let target = self.move_target(next, group, *to);
                if let (Ok(to), Some(entry)) = (target, next.groups.get_mut(group)) {
                    entry.intent = Some(MoveIntent {
                        to,
                        who: call.who.clone(),
                    });
                }
            }
            OperatorRequest::Standby { node, on } => next.nodes.entry(*node).or_default().standby = *on,
            OperatorRequest::Maintenance { on } => next.maintenance = *on,
            OperatorRequest::Cleanup { group } => {
                let wanted = |name: &GroupName| group.as_ref().is_none_or(|group| group == name);
                next.groups
                    .iter_mut()
                    .filter(|(name, _)| wanted(name))
                    .for_each(|(_, entry)| {
                        entry.failures.clear();
                        entry.automatic_moves = 0;
                    });
            }
            OperatorRequest::Enable { group, enabled } => {
                if let Some(entry) = next.groups.get_mut(group) {
                    entry.disabled = !enabled;
                }
            }
            OperatorRequest::ApplyConfig { config } => next.config = Arc::clone(config),
            OperatorRequest::Restart { .. }
            | OperatorRequest::Fence { .. }
            | OperatorRequest::FenceConfirm { .. }
            | OperatorRequest::QuorumForce => {}
        }
    }

    /// Answers the calls that a commit carried.
    pub(super) fn answer_calls(&mut self, version: Version) {
        let (done, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.calls)
            .into_iter()
            .partition(|call| call.version == Some(version));
        self.calls = waiting;
        for call in done {
            self.answer(call.origin, OperatorOutcome::Done(call.done));
        }
    }

    /// A leader that steps down cannot say what becomes of what it proposed.
    pub(super) fn fail_calls(&mut self) {
        for call in std::mem::take(&mut self.calls) {
            let text = "leadership changed before this was committed; look at hactl status and ask again"
                .to_string();
            self.answer(call.origin, OperatorOutcome::Refused(text));
        }
    }

    fn answer(&mut self, origin: Origin, outcome: OperatorOutcome) {
        match origin {
            Origin::Here(request) => self.outbox.push_back(Effect::Reply { request, outcome }),
            Origin::Peer(node, request) => self.send(node, Message::ForwardReply { request, outcome }),
        }
    }

    /// A restart concerns the owner only, and changes nothing that is agreed.
    fn route_restart(
        &mut self,
        origin: Origin,
        call: &OperatorCall,
        group: GroupName,
        resource: Option<String>,
    ) -> Result<(), OperatorOutcome> {
        let refuse = |text: String| Err(OperatorOutcome::Refused(text));
        let Some(state) = self.committed().cloned() else {
            return refuse("this node has no cluster state yet".into());
        };
        self.known_group(&state, &group)?;
        let Assignment::Owned { owner, epoch, .. } = state.groups[&group].assignment else {
            return refuse(format!(
                "{group} does not run anywhere; hactl why {group} says why"
            ));
        };
        if owner == self.me.node {
            let text = format!("{} restarts {}", call.who, resource.as_deref().unwrap_or(&group));
            self.journal_about("restart-asked", Level::Info, text, Some(group.clone()), epoch);
            self.outbox.push_back(Effect::RestartResource {
                group: group.clone(),
                epoch,
                resource,
            });
            return Err(OperatorOutcome::Done(format!(
                "{group} restarts on {}",
                self.name(owner)
            )));
        }
        match origin {
            Origin::Here(request) if self.is_online(owner) => {
                self.send(
                    owner,
                    Message::Forward {
                        request,
                        call: call.clone(),
                    },
                );
                Ok(())
            }
            _ => refuse(format!(
                "{group} belongs to {}, which is not heard",
                self.name(owner)
            )),
        }
    }

    fn fence_on_request(&mut self, node: NodeId, call: &OperatorCall) -> OperatorOutcome {
        let name = self.name(node);
        if node == self.me.node {
            return OperatorOutcome::Refused(format!("{name} does not fence itself; ask on another node"));
        }
        if self.config.fences_of(node).is_empty() {
            return OperatorOutcome::Refused(format!(
                "{name} has no fence device; add a [[fence]] section for it"
            ));
        }
        if self.is_being_fenced(node) {
            return OperatorOutcome::Done(format!("{name} is already being fenced"));
        }
        self.start_fence(node, format!("{} asked for it", call.who), true);
        OperatorOutcome::Done(format!("{name} is being fenced; hactl events shows the outcome"))
    }

    fn follows(&self, node: NodeId) -> bool {
        self.bound.is_some_and(|bound| bound.leader == node)
    }

    fn confirm_fence(&mut self, node: NodeId, call: &OperatorCall) -> OperatorOutcome {
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
    fn force_quorum(&mut self, call: &OperatorCall) -> OperatorOutcome {
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

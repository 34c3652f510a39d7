//! Requests of operators: validated here, committed by the leader, answered with a sentence.

use std::sync::Arc;

use holdfast_proto::ids::{GroupName, NodeId, Version};
use holdfast_proto::operator::{OperatorCall, OperatorOutcome, OperatorRequest};
use holdfast_proto::peer::Message;
use holdfast_proto::state::{Assignment, ClusterState, MoveIntent};

use super::Node;
use crate::effect::Effect;
use crate::journal::Level;
use crate::placement::candidates;

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
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
            OperatorRequest::QuorumForce => return self.force_quorum(origin, &call),
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
            if let Some(refusal) = self.refusal_while_quiet() {
                return Err(refusal);
            }
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
            OperatorRequest::Drill { node } => Err(self.drill(*node, &call)),
            OperatorRequest::FenceConfirm { node, reason } => Err(self.confirm_fence(*node, reason, &call)),
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
            OperatorRequest::MoveAcceptingLoss { group, to } => self.check_lossy_move(state, group, *to),
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
            OperatorRequest::RunJob { job, .. } => self.check_run_job(state, job),
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
                if let Some(refusal) = self.loses_last_copy(state, config) {
                    return Err(refused(refusal));
                }
                let detection_ms = state.config.cluster.detection_ms;
                if state.lease_before_ms != 0 && config.cluster.detection_ms != detection_ms {
                    return Err(refused(format!(
                        "the change of detection from {} to {detection_ms} ms is not over yet, which takes until every member \
                         was heard for a while: try again in some seconds",
                        state.lease_before_ms
                    )));
                }
                Ok("the configuration is in force".into())
            }
            OperatorRequest::Fence { .. }
            | OperatorRequest::Drill { .. }
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

    /// A move for which something may be lost. To a node that has everything it is like any other.
    fn check_lossy_move(
        &self,
        state: &Arc<ClusterState>,
        group: &GroupName,
        to: NodeId,
    ) -> Result<String, OperatorOutcome> {
        self.known_group(state, group)?;
        let entry = &state.groups[group];
        if entry.assignment.runs_on(to) || entry.in_sync.nodes.contains(&to) {
            return self.check_move(state, group, Some(to));
        }
        self.check_accepted_loss(state, group, to)
            .map_err(OperatorOutcome::Refused)
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
                        accepts_loss: None,
                    });
                }
            }
            OperatorRequest::MoveAcceptingLoss { group, to } => {
                let allowed = self.check_accepted_loss(next, group, *to).is_ok();
                if let Some(entry) = next.groups.get_mut(group) {
                    let whole = entry.in_sync.nodes.contains(to);
                    if (allowed || whole) && !entry.assignment.runs_on(*to) {
                        entry.intent = Some(MoveIntent {
                            to: *to,
                            who: call.who.clone(),
                            accepts_loss: Some(call.at.clone()).filter(|_| !whole),
                        });
                    }
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
            OperatorRequest::RunJob { job, at } => self.apply_run_job(next, job, (&call.who, *at)),
            OperatorRequest::ApplyConfig { config } => {
                let before_ms = next.config.cluster.detection_ms;
                if config.cluster.detection_ms != before_ms && next.lease_before_ms == 0 {
                    next.lease_before_ms = before_ms;
                }
                next.config = Arc::clone(config);
            }
            OperatorRequest::Restart { .. }
            | OperatorRequest::Fence { .. }
            | OperatorRequest::Drill { .. }
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

    pub(super) fn answer(&mut self, origin: Origin, outcome: OperatorOutcome) {
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
        if self.is_being_fenced(node) && self.is_fencing(node) {
            return OperatorOutcome::Done(format!("{name} is already being fenced"));
        }
        self.start_fence(node, format!("{} asked for it", call.who), true);
        OperatorOutcome::Done(format!("{name} is being fenced; hactl events shows the outcome"))
    }

    fn follows(&self, node: NodeId) -> bool {
        self.bound.is_some_and(|bound| bound.leader == node)
    }
}

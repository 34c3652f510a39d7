//! The picture for status output. Nothing decides by it.

use holdfast_proto::config::GroupSection;
use holdfast_proto::ids::{GroupName, NodeId, VoterSet};
use holdfast_proto::peer::RunState;
use holdfast_proto::state::{Assignment, ClusterState, GroupState};
use holdfast_proto::time::Time;

use super::{Node, Role};
use crate::placement::{Loads, Observations, candidates_with, choose_with, loads};
use crate::view::{GroupView, PeerView, View};

impl Node {
    pub(super) fn make_view(&self, now: Time) -> View {
        let state = self.committed().cloned();
        let (quorum, has_quorum) = self.quorum_sentence(now);
        View {
            node: self.me.node,
            ballot: self
                .durable
                .as_ref()
                .map(|durable| durable.promised)
                .unwrap_or_default(),
            leader: self.leader_now(),
            quorum,
            has_quorum,
            synced: self.synced,
            peers: self
                .others()
                .into_iter()
                .map(|node| self.peer_view(node))
                .collect(),
            groups: state.iter().flat_map(|state| self.group_views(state)).collect(),
            waiting_jobs: self.jobs.waiting.clone(),
            next: self.poll_timeout(),
            warnings: self.warnings(state.as_deref()),
            state,
        }
    }

    fn leader_now(&self) -> Option<NodeId> {
        if self.is_established() {
            return Some(self.me.node);
        }
        self.bound
            .filter(|bound| bound.until > self.now)
            .map(|bound| bound.leader)
    }

    fn quorum_sentence(&self, now: Time) -> (String, bool) {
        let Some(durable) = &self.durable else {
            return (
                "this node has no cluster state yet and waits for the leader".into(),
                false,
            );
        };
        let voters = durable.committed.voters;
        let online: Vec<String> = voters
            .iter()
            .filter(|voter| self.is_online(*voter))
            .map(|voter| self.name(voter))
            .collect();
        let heard = format!(
            "{} of {} voters are heard ({})",
            online.len(),
            voters.len(),
            online.join(", ")
        );
        match &self.role {
            Role::Leading(_) if self.holds_lease(now) => (format!("this node leads; {heard}"), true),
            _ if self.is_quiet() => {
                let quiet = self.quiet_sentence().unwrap_or_default();
                (format!("{quiet}; {heard}"), false)
            }
            _ if self.leader_now().is_some() => {
                let leader = self.leader_now().map(|node| self.name(node)).unwrap_or_default();
                (format!("{leader} leads; {heard}"), true)
            }
            _ if self.in_pair() && !self.synced => (self.waits_for_its_peer(&heard), false),
            _ if self.in_pair() => (
                format!(
                    "no leader: contact is lost, and each node keeps what it runs until one is fenced; {heard}"
                ),
                false,
            ),
            _ => (
                format!(
                    "no leader: {heard}{}, and {} are needed",
                    self.mute_voters(voters),
                    voters.len() / 2 + 1
                ),
                false,
            ),
        }
    }

    /// A node of a pair that has just started: its peer has to say what happened meanwhile, and may not be able to.
    fn waits_for_its_peer(&self, heard: &str) -> String {
        match self
            .pair_peer()
            .filter(|peer| self.is_blank(*peer) && self.is_online(*peer))
        {
            Some(peer) => {
                let name = self.name(peer);
                format!(
                    "no leader: this node has started, and {name} is heard but has lost its state, so neither knows what \
                     happened meanwhile; turn {name} off, run hactl quorum force here, then turn {name} on again"
                )
            }
            None => format!(
                "no leader: this node has started and waits for its peer, because alone it cannot know what happened \
                 meanwhile; hactl quorum force goes on without the peer; {heard}"
            ),
        }
    }

    fn is_blank(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| member.blank)
    }

    /// Who is heard, or is this node, and cannot vote.
    fn mute_voters(&self, voters: VoterSet) -> String {
        let mut mute: Vec<String> = voters
            .iter()
            .filter(|voter| self.is_online(*voter) && self.is_blank(*voter))
            .map(|voter| format!("{} lost its state", self.name(voter)))
            .collect();
        if self.disk_failed() {
            mute.push("this node cannot write its own".into());
        }
        if mute.is_empty() {
            return String::new();
        }
        format!("; {} and so cannot vote", mute.join(", "))
    }

    fn peer_view(&self, node: NodeId) -> PeerView {
        let member = self.members.get(&node);
        let proof = self.proofs.get(&node).filter(|_| self.has_proof_against(node));
        let (state, detail) = match member {
            _ if self.is_being_fenced(node) => ("fencing", "its fence device is working".to_string()),
            _ if proof.is_some() => (
                "fenced",
                proof
                    .map(|proof| proof.evidence().to_string())
                    .unwrap_or_default(),
            ),
            None => (
                "never seen",
                "it has not been heard since this node started".to_string(),
            ),
            Some(member) if member.heard_at.is_none() => ("never seen", String::new()),
            Some(_) if !self.is_online(node) => {
                let since = member.and_then(|member| member.heard_at).unwrap_or_default();
                (
                    "lost",
                    format!("not heard for {} s", self.now.since(since).as_secs()),
                )
            }
            Some(member) if member.blank => ("joining", "it has no cluster state yet".to_string()),
            Some(member) if !node.is_witness() && !member.synced => {
                ("joining", "it is catching up".to_string())
            }
            Some(member) if !node.is_witness() && !member.agent_ready => {
                ("online", "its agent process does not answer".to_string())
            }
            Some(member) if member.report.isolated => (
                "online",
                "by its own word it is cut off from its clients, so it fences nobody".to_string(),
            ),
            Some(_) => ("online", String::new()),
        };
        PeerView {
            node,
            state,
            detail,
            boot: member.and_then(|member| member.boot),
            synced: member.is_some_and(|member| member.synced),
            watchdog: member.and_then(|member| member.watchdog),
            fenced_lately: self.fenced_lately(node),
            stays_out_until: self.stays_out_now(node),
        }
    }

    fn group_views(&self, state: &ClusterState) -> Vec<GroupView> {
        let judgement = (self.observations(), loads(state));
        state
            .groups
            .iter()
            .map(|(name, entry)| self.group_view(state, name, entry, &judgement))
            .collect()
    }

    fn group_view(
        &self,
        state: &ClusterState,
        name: &GroupName,
        entry: &GroupState,
        judgement: &Judgement,
    ) -> GroupView {
        let section = state.config.group(name);
        let owner = entry.assignment.owner();
        let report = owner.and_then(|owner| self.report_on(owner, name));
        let run = report.map(|report| report.run);
        let shown = match (&entry.assignment, run) {
            (Assignment::Stopped { .. }, _) if entry.disabled => "stopped",
            (Assignment::Stopped { .. }, _) if !entry.failures.is_empty() => "failed",
            (Assignment::Stopped { .. }, _) => "waiting",
            (Assignment::Releasing { .. }, _) => "moving",
            (Assignment::Owned { owner, .. }, _) if !self.is_online(*owner) => "unknown",
            (Assignment::Owned { owner, .. }, _) if self.lacks_permit(*owner, name) => "waiting",
            (Assignment::Owned { .. }, Some(RunState::Running)) => "running",
            (Assignment::Owned { .. }, Some(RunState::Stopping)) => "stopping",
            (Assignment::Owned { .. }, Some(RunState::Failed)) => "failed",
            (Assignment::Owned { .. }, Some(RunState::Unknown)) => "unknown",
            // Before the owner's first report only what is committed is known.
            (Assignment::Owned { owner, .. }, None) if *owner != self.me.node && !self.is_established() => {
                "running"
            }
            (Assignment::Owned { .. }, _) => "starting",
        };
        let local = self.local.groups.get(name);
        let everywhere = section
            .filter(|section| section.is_every_node() && owner.is_none())
            .map(|_| self.everywhere(state, name, entry));
        let (shown, reason) =
            everywhere.unwrap_or_else(|| (shown, self.group_reason(state, section, name, entry, judgement)));
        GroupView {
            name: name.clone(),
            state: shown,
            node: owner,
            epoch: entry.assignment.epoch(),
            reason,
            local: local.map(|local| local.run),
            permit_until: local
                .and_then(|local| local.permit.as_ref())
                .map(|permit| permit.until),
            last_outage: self.last_outage.get(name).copied(),
            members: self.member_views(state, section, entry),
            candidates: section
                .filter(|section| !section.is_every_node())
                .map(|section| judge(state, section, judgement))
                .unwrap_or_default(),
        }
    }

    /// True when this node owns the group, does not run it, and may not start it for want of a permit.
    fn lacks_permit(&self, owner: NodeId, group: &str) -> bool {
        owner == self.me.node
            && self.local.groups.get(group).is_none_or(|local| {
                let live = local
                    .permit
                    .as_ref()
                    .is_some_and(|permit| permit.until > self.now);
                local.run.is_down() && !live
            })
    }

    fn group_reason(
        &self,
        state: &ClusterState,
        section: Option<&GroupSection>,
        name: &str,
        entry: &GroupState,
        judgement: &Judgement,
    ) -> String {
        if let Some(missing) = self.missing_proof(&entry.assignment) {
            return missing;
        }
        if let Assignment::Owned { owner, .. } = entry.assignment
            && self.lacks_permit(owner, name)
        {
            return format!("it may not run here now: {}", self.quorum_sentence(self.now).0);
        }
        let waiting = matches!(entry.assignment, Assignment::Stopped { .. }) && !entry.disabled;
        if !waiting {
            return entry.reason.clone();
        }
        if self.is_flapping(name) {
            return format!(
                "it is held after too many automatic moves; hactl resource cleanup {name} lets it run again"
            );
        }
        if !self.is_established() {
            return entry.reason.clone();
        }
        let (seen, loads) = judgement;
        match section.map(|section| choose_with(state, section, seen, loads)) {
            Some(Err(why)) => why,
            _ => entry.reason.clone(),
        }
    }

    fn warnings(&self, state: Option<&ClusterState>) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.disk_failed() {
            warnings.push("this node's state cannot be written, so it does not vote; free its disk".into());
        }
        if !self.me.node.is_witness() && !self.local.is_ready() {
            warnings
                .push("had-agentd does not answer on this node; look at systemctl status had-agentd".into());
        }
        if !self.network.may_fence() {
            warnings.push("this node's own network is down, so it blames and fences nobody".into());
        }
        warnings.extend(self.watchdog_warnings());
        if let Some(state) = state {
            if state.maintenance {
                warnings.push(
                    "maintenance is on: resources are left alone; hactl maintenance off ends it".into(),
                );
            }
            if self.config.has_witness() && !state.voters.contains(NodeId::WITNESS) {
                warnings.push("the witness does not vote now".into());
            }
        }
        warnings
    }
}

/// What placement goes by, the same for all groups.
type Judgement = (Observations, Loads);

fn judge(
    state: &ClusterState,
    section: &GroupSection,
    (seen, loads): &Judgement,
) -> Vec<(NodeId, bool, String)> {
    let judged = candidates_with(state, section, seen, loads);
    judged
        .into_iter()
        .map(|candidate| (candidate.node, candidate.eligible, candidate.reason))
        .collect()
}

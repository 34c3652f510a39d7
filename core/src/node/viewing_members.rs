//! What is shown of members of groups: roles, copies, and how a group on every node is as a whole.

use std::sync::Arc;

use holdfast_proto::config::GroupSection;
use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::peer::{MemberReport, RunState};
use holdfast_proto::state::{Assignment, ClusterState, GroupState};

use super::Node;
use crate::view::MemberView;

impl Node {
    /// What runs of a group on each data node without a permit; nothing for groups that run on one node only.
    pub(super) fn member_views(
        &self,
        state: &ClusterState,
        section: Option<&GroupSection>,
        entry: &GroupState,
    ) -> Vec<MemberView> {
        let Some(section) = section.filter(|section| section.has_members()) else {
            return Vec::new();
        };
        let role = |node: NodeId| match &entry.assignment {
            _ if section.is_every_node() => "member",
            Assignment::Owned { owner, .. } if *owner == node => "primary",
            _ => "replica",
        };
        state
            .config
            .nodes
            .iter()
            .map(|node| MemberView {
                node: node.id,
                role: role(node.id),
                in_sync: entry.in_sync.nodes.contains(&node.id),
                online: self.is_online(node.id),
                report: self.member_on(node.id, &section.name),
            })
            .collect()
    }

    fn member_on(&self, node: NodeId, group: &GroupName) -> Option<Arc<MemberReport>> {
        if node == self.me.node {
            return self.local.groups.get(group)?.member.clone();
        }
        self.members.get(&node)?.report.groups.get(group)?.member.clone()
    }

    /// How a group on every node is, and what is wrong with it where something is.
    pub(super) fn everywhere(
        &self,
        state: &ClusterState,
        name: &GroupName,
        entry: &GroupState,
    ) -> (&'static str, String) {
        if entry.disabled {
            return ("stopped", entry.reason.clone());
        }
        let standby = |node: &NodeId| state.nodes.get(node).is_some_and(|flags| flags.standby);
        let wanted = state.config.nodes.iter().map(|section| section.id);
        let wanted: Vec<(NodeId, RunState, String)> = wanted
            .filter(|node| self.is_online(*node) && !standby(node))
            .map(|node| match self.member_on(node, name) {
                Some(member) => (node, member.run, member.detail.clone()),
                None => (node, RunState::Starting, String::new()),
            })
            .collect();
        let wrong: Vec<String> = wanted
            .iter()
            .filter(|(_, run, _)| *run != RunState::Running)
            .map(|(node, run, detail)| {
                let detail = if detail.is_empty() {
                    String::new()
                } else {
                    format!(" ({detail})")
                };
                format!("on {} it is {}{detail}", self.name(*node), run.as_str())
            })
            .collect();
        let is = |wanted_run: RunState| wanted.iter().any(|(_, run, _)| *run == wanted_run);
        let word = match () {
            () if wanted.is_empty() => "waiting",
            () if wrong.is_empty() => "running",
            () if is(RunState::Running) => "degraded",
            () if is(RunState::Starting) => "starting",
            () => "failed",
        };
        let reason = match () {
            () if wanted.is_empty() => "no node is heard that is not in standby".into(),
            () if wrong.is_empty() => "it runs on every node".into(),
            () => wrong.join("; "),
        };
        (word, reason)
    }
}

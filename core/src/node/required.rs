//! Nodes that need an armed watchdog for groups that require fencing (`watchdog = "required"`), and have none or a wrong one.

use std::time::Duration;

use holdfast_proto::config::{GroupSection, Requires};
use holdfast_proto::ids::NodeId;
use holdfast_proto::state::ClusterState;

use super::Node;
use crate::placement::{Observed, candidates, watchdog_fault};

impl Node {
    /// Timeout of the armed watchdog of `node`, by its own word.
    pub(super) fn watchdog_of(&self, node: NodeId) -> Option<Duration> {
        if node == self.me.node {
            return self.local.watchdog();
        }
        self.members.get(&node)?.watchdog
    }

    /// What is wrong with the watchdog of `owner`, if another node has a right one and can run the group. Without such a
    /// node it goes on where it is: a stop would cost more than a takeover that has to wait.
    pub(super) fn watchdog_to_leave_for(
        &self,
        next: &ClusterState,
        section: &GroupSection,
        owner: NodeId,
    ) -> Option<String> {
        if !next.config.requires_watchdog(owner) {
            return None;
        }
        let seen = self.observations();
        let fault = watchdog_fault(next, section, owner, seen.get(&owner)?)?;
        let judged = candidates(next, section, &seen);
        judged.iter().any(|candidate| candidate.eligible).then_some(fault)
    }

    /// Nodes that need an armed watchdog and have none, or a wrong one.
    pub(super) fn watchdog_warnings(&self) -> Vec<String> {
        let fencing = |group: &GroupSection| group.requires == Requires::Fencing;
        if !self.config.groups.iter().any(fencing) {
            return Vec::new();
        }
        let fault = |(node, seen): (&NodeId, &Observed)| {
            let known = seen.online && seen.agent_ready;
            let fault = self
                .config
                .watchdog_fault(*node, seen.watchdog)
                .filter(|_| known)?;
            let name = self.name(*node);
            Some(format!(
                "{name} {fault}: no group that requires fencing is placed on it"
            ))
        };
        self.observations().iter().filter_map(fault).collect()
    }
}

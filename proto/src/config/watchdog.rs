//! What `watchdog = "required"` demands of a node.

use std::time::Duration;

use super::diagnostic::Problem;
use super::fence::choice;
use super::reader::Table;
use super::{ClusterSection, Config, NodeSection, SbdSection};
use crate::ids::NodeId;

/// The key, of `[cluster]` and of each `[[node]]`.
pub(super) const KEY: &str = "watchdog";

/// Reads the key: true for required. Absent if it is not given.
pub(super) fn read_required(table: &Table) -> Option<bool> {
    choice(table, KEY, &[("required", true), ("optional", false)]).map(|choice| choice.value)
}

/// A watchdog that is long enough for the lease has to be short enough for the shared disks.
pub(super) fn check_required(
    root: &Table,
    cluster: &ClusterSection,
    nodes: &[NodeSection],
    sbd: Option<&SbdSection>,
) {
    let required = nodes
        .iter()
        .any(|node| node.watchdog_required.unwrap_or(cluster.watchdog_required));
    let Some(most) = sbd.map(|sbd| sbd.timeouts.watchdog_s) else {
        return;
    };
    if required && most.saturating_mul(1000) < cluster.detection_ms {
        let message = format!(
            "no watchdog could be right: `watchdog_timeout` of [sbd] is {most} s, shorter than a lease of {} ms",
            cluster.detection_ms
        );
        let span = root.span_of("sbd").unwrap_or(0..0);
        let hint = "make `watchdog_timeout` longer than `detection`, or do not require the watchdog";
        root.problems.add(Problem::new(span, message).hint(hint));
    }
}

impl Config {
    /// True if `node` may run groups that require fencing only with an armed watchdog.
    #[must_use]
    pub fn requires_watchdog(&self, node: NodeId) -> bool {
        let section = self.nodes.iter().find(|section| section.id == node);
        section.is_some_and(|section| {
            section
                .watchdog_required
                .unwrap_or(self.cluster.watchdog_required)
        })
    }

    /// Why `node`, whose armed watchdog has this timeout, may not run groups that require fencing; the rest of a sentence that
    /// begins with its name.
    #[must_use]
    pub fn watchdog_fault(&self, node: NodeId, armed: Option<Duration>) -> Option<String> {
        if !self.requires_watchdog(node) {
            return None;
        }
        let Some(armed) = armed else {
            return Some(
                "has no armed watchdog, which is required (start had-agentd with --watchdog)".into(),
            );
        };
        let least = Duration::from_millis(self.cluster.detection_ms.into());
        if armed < least {
            return Some(format!(
                "has a watchdog that fires after {} ms, sooner than a lease of {} ms ends, and a right one is required (start \
                 had-agentd with a longer --watchdog-timeout-ms)",
                armed.as_millis(),
                least.as_millis()
            ));
        }
        let most = self.sbd.as_ref().map(|sbd| sbd.timeouts.watchdog_s);
        let most = most.filter(|most| armed > Duration::from_secs((*most).into()))?;
        Some(format!(
            "has a watchdog that fires after {} ms, and [sbd] allows {most} s, and a right one is required (start had-agentd \
             with --watchdog-timeout-ms {})",
            armed.as_millis(),
            u64::from(most) * 1000
        ))
    }
}

//! A change of the detection time, on which the lengths of leases, promises and permits rest.
//!
//! Members learn of it one after the other, and what was promised or permitted before it goes on. So the committed state keeps
//! the length before until nothing of that length can be left, and meanwhile the shorter of both counts for what a node may
//! do, the longer for what it leaves others: whoever knows of the change and whoever does not agree on that.

use holdfast_proto::config::Timers as Spans;
use holdfast_proto::state::ClusterState;
use holdfast_proto::time::Time;

use super::{Node, Role};

/// The spans that count while the detection time changes, and otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detection {
    /// What this node may count for itself: the shorter lease.
    pub(super) claims: Spans,
    /// What it has to leave others: the longer lease.
    pub(super) owes: Spans,
    /// Since when this node knows of the latest change that is not over.
    pub(super) since: Option<Time>,
}

impl Detection {
    /// No change is under way.
    pub(super) fn settled(spans: Spans) -> Detection {
        Detection {
            claims: spans,
            owes: spans,
            since: None,
        }
    }
}

impl Node {
    /// Follows the spans of the committed state.
    pub(super) fn follow_spans(&mut self) {
        self.spans = self.config.timers();
        let before_ms = self.committed().map_or(0, |state| state.lease_before_ms);
        let before = match before_ms {
            0 => self.spans,
            before_ms => Spans::with_detection(&self.config.cluster, before_ms),
        };
        let (claims, owes) = if before.lease < self.spans.lease {
            (before, self.spans)
        } else {
            (self.spans, before)
        };
        // Two changes may have been asked for before either was committed; then the second begins anew.
        let known = self.detection.since;
        let same = (claims, owes) == (self.detection.claims, self.detection.owes);
        let since = (before_ms != 0).then(|| known.filter(|_| same).unwrap_or(self.now));
        self.detection = Detection { claims, owes, since };
    }

    /// As leader: whether no promise or permit of the length before can be left. Every member knows of the change, and has
    /// been answered, since longer than any permit lasts; one that is not heard may hold an old permit, or a watchdog that
    /// counts from one.
    pub(super) fn is_detection_changed(&self, committed: &ClusterState) -> bool {
        let (Role::Leading(leading), Some(since)) = (&self.role, self.detection.since) else {
            return false;
        };
        let since = since.max(leading.elected_at);
        let owes = &self.detection.owes;
        let longest = Spans::stretch(owes.fencing_permit) + Spans::stretch(owes.lease);
        let is_over = |node| {
            let member = self.members.get(&node);
            member.is_some_and(|member| {
                let answered =
                    node.is_witness() || member.answered_at.is_some_and(|at| at >= since + longest);
                member.committed >= committed.version && answered
            })
        };
        self.now >= since + longest
            && self
                .others()
                .into_iter()
                .all(|node| self.is_online(node) && is_over(node))
    }
}

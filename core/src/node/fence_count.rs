//! How often a node was fenced lately, and how long a node that goes on alone waits before it lets it vote again.
//!
//! A node that comes back and is lost again at once, because of a bad cable say, would be fenced in a loop. To hold its
//! fencing back would be wrong: where it may run something a takeover waits for that, and in a pair it would meanwhile fence
//! the survivor itself. But as long as it does not vote it runs nothing, can fence nobody, and its loss costs nothing. So the
//! only voter that is left lets it in again only when it has stayed for a while, which doubles with each fencing.

use std::collections::VecDeque;
use std::time::Duration;

use holdfast_proto::ids::{BootId, NodeId};
use holdfast_proto::state::{ClusterState, ProofKind, ProofRecord};
use holdfast_proto::time::Time;

use super::Node;
use crate::journal::Level;

/// A fencing counts for so long.
pub(super) const RECENT: Duration = Duration::from_secs(3600);
/// The wait grows to this many times `fence_delay`.
const GROWTH_MAX: u32 = 16;
/// More are not kept: the wait has long stopped to grow.
const KEPT_MAX: usize = 64;

/// Fencings of one node as this node came to know them, on its own clock. They start anew with its `had`.
#[derive(Clone, Debug, Default)]
pub(super) struct Fencings {
    ended: VecDeque<(Time, Option<BootId>)>,
    /// Since when it was heard without a break.
    pub(super) back_at: Time,
    /// The end of a wait that operators were told of.
    told: Option<Time>,
}

impl Fencings {
    /// How many count at `now`.
    pub(super) fn recent(&self, now: Time) -> u32 {
        let recent = self.ended.iter().filter(|(at, _)| now.since(*at) < RECENT);
        u32::try_from(recent.count()).unwrap_or(u32::MAX)
    }
}

impl Node {
    /// A device ended this boot of `node`.
    pub(super) fn note_fenced(&mut self, node: NodeId, boot: Option<BootId>) {
        let now = self.now;
        let ended = &mut self.fencings.entry(node).or_default().ended;
        if boot.is_some() && ended.back().is_some_and(|(_, last)| *last == boot) {
            return;
        }
        ended.push_back((now, boot));
        if ended.len() > KEPT_MAX {
            ended.pop_front();
        }
    }

    /// A committed state rests on this proof, which another node may have established.
    pub(super) fn note_fenced_by(&mut self, node: NodeId, record: &ProofRecord) {
        if matches!(record.kind, ProofKind::Power | ProofKind::Storage) {
            self.note_fenced(node, record.ended_boot);
        }
    }

    /// `node` is heard again.
    pub(super) fn note_back(&mut self, node: NodeId) {
        let now = self.now;
        if let Some(fencings) = self.fencings.get_mut(&node) {
            fencings.back_at = now;
        }
    }

    /// How often `node` was fenced within the last hour, as far as this node knows.
    pub(super) fn fenced_lately(&self, node: NodeId) -> u32 {
        self.fencings
            .get(&node)
            .map_or(0, |fencings| fencings.recent(self.now))
    }

    /// Until when `node`, which was fenced more than once lately, has to stay before the only voter lets it vote again.
    pub(super) fn stays_out_until(&self, state: &ClusterState, node: NodeId) -> Option<Time> {
        let alone = state.voters.len() == 1 && state.voters.contains(self.me.node);
        let again = self.fenced_lately(node).checked_sub(2).filter(|_| alone)?;
        let wait = self.spans.fence_delay * (1 << again.min(8)).min(GROWTH_MAX);
        let boot_since = self.members.get(&node).map(|member| member.boot_since);
        let since = self
            .fencings
            .get(&node)?
            .back_at
            .max(boot_since.unwrap_or_default());
        Some(since + wait).filter(|until| *until > self.now)
    }

    /// The same for status output, by the committed state.
    pub(super) fn stays_out_now(&self, node: NodeId) -> Option<Time> {
        let state = self.committed().filter(|_| self.is_online(node))?;
        self.stays_out_until(state, node)
    }

    /// Says once that a node that is back does not vote yet, and until when.
    pub(super) fn tell_who_stays_out(&mut self) {
        for node in self.others() {
            let Some(until) = self.stays_out_now(node) else {
                continue;
            };
            let now = self.now;
            let Some(fencings) = self.fencings.get_mut(&node) else {
                continue;
            };
            if fencings.told == Some(until) {
                continue;
            }
            fencings.told = Some(until);
            let count = fencings.recent(now);
            let text = format!(
                "{} is back after it was fenced {count} times within the last hour: it votes, and may take groups, if it stays for \
                 another {} s",
                self.name(node),
                now.until(until).as_millis().div_ceil(1000)
            );
            self.journal("stays-out", Level::Warn, text);
        }
    }
}

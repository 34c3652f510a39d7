//! How long failures count: against a group's budget of automatic moves, and against the node where it failed.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast_proto::ids::{BootId, GroupName, NodeId};
use holdfast_proto::state::ClusterState;
use holdfast_proto::time::Time;

use super::Node;
use crate::journal::Level;
use crate::placement::last_copy_wait;

/// A failure as this node came to know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct NotedFailure {
    count: u32,
    /// The boot in which the group failed, if the node was heard.
    pub(super) boot: Option<BootId>,
    /// When it was noted here, on this node's own clock.
    pub(super) since: Time,
}

impl Node {
    /// Notes when automatic moves were committed. The count is in the committed state, so that it does not depend on who
    /// leads; the times are each node's own, because clocks are not shared, and start anew with its `had`.
    pub(super) fn note_moves(&mut self, old: &ClusterState, new: &ClusterState) {
        let kept = self.config.cluster.flap_budget as usize + 1;
        // A group that left and comes back under the same name is another one.
        self.moves.retain(|name, _| new.groups.contains_key(name));
        for (name, entry) in &new.groups {
            let before = old.groups.get(name).map_or(0, |entry| entry.automatic_moves);
            if entry.automatic_moves == before {
                continue;
            }
            let was_held = self.is_flapping(name);
            let moves = self.moves.entry(name.clone()).or_default();
            if entry.automatic_moves < before {
                moves.clear();
            } else {
                // A commit carries one. More were missed while this node was away, at times it cannot know.
                moves.push_back(self.now);
                if moves.len() > kept {
                    moves.pop_front();
                }
            }
            if self.is_flapping(name) && !was_held {
                let text = format!(
                    "{name} was moved by failures more than {} times within {} s and is held now; mend the cause, then hactl \
                     resource cleanup {name}",
                    self.config.cluster.flap_budget,
                    self.config.cluster.flap_window_ms / 1000
                );
                self.journal_about(
                    "group-held",
                    Level::Alert,
                    text,
                    Some(name.clone()),
                    entry.assignment.epoch(),
                );
            }
        }
    }

    /// Notes since when this node knows each failure of `state`, on its own clock; one that grew counts anew.
    pub(super) fn note_failures(&mut self, state: &ClusterState) {
        let known = std::mem::take(&mut self.failures_since);
        for (name, entry) in &state.groups {
            for (node, failure) in &entry.failures {
                let key = (name.clone(), *node);
                let noted = known.get(&key).copied();
                let noted = noted.filter(|noted| noted.count == failure.count);
                let noted = noted.unwrap_or(NotedFailure {
                    count: failure.count,
                    boot: self.boot_of(*node),
                    since: self.now,
                });
                self.failures_since.insert(key, noted);
            }
        }
    }

    /// Drops the failures that are older than `flap_window`, those of a boot that is over, and those of a copy that is whole
    /// again: whatever failed there weeks ago, a cable or a full disk, must not keep a group down when the other node fails. The budget of moves keeps this
    /// from becoming a loop.
    pub(super) fn forget_failures(&mut self, next: &mut ClusterState) {
        self.note_failures(next);
        let window = self.flap_window();
        for ((name, node), noted) in &self.failures_since {
            let rebooted = noted.boot.is_some() && noted.boot != self.boot_of(*node);
            let over = rebooted || self.is_whole_again(next, name, *node);
            if !over && self.now.since(noted.since) < window {
                continue;
            }
            if let Some(entry) = next.groups.get_mut(name) {
                entry.failures.remove(node);
            }
        }
    }

    /// Groups whose failure on `node` is long enough ago for the last whole copy of their data to be tried again there. By this
    /// node's own clock, from when it came to know the failure: a new leader waits as long again at most.
    pub(super) fn rested_on(&self, node: NodeId) -> BTreeSet<GroupName> {
        let window = self.flap_window();
        let rested = self.failures_since.iter().filter(|((_, at), noted)| {
            *at == node && self.now.since(noted.since) >= last_copy_wait(noted.count, window)
        });
        rested.map(|((name, _), _)| name.clone()).collect()
    }

    /// The boot that was last heard of `node`.
    #[must_use]
    pub fn boot_of(&self, node: NodeId) -> Option<BootId> {
        if node == self.me.node {
            return Some(self.me.boot);
        }
        self.members.get(&node).and_then(|member| member.boot)
    }

    pub(super) fn flap_window(&self) -> Duration {
        Duration::from_millis(self.config.cluster.flap_window_ms.into())
    }

    /// True when a group used up its budget of automatic moves and is to be left alone.
    pub(super) fn is_flapping(&self, group: &str) -> bool {
        self.would_flap(group, 0)
    }

    /// The same, with `more` moves that are not committed yet.
    pub(super) fn would_flap(&self, group: &str, more: u32) -> bool {
        let window = self.flap_window();
        let recent = self.moves.get(group).map_or(0, |moves| {
            moves.iter().filter(|at| self.now.since(**at) < window).count()
        });
        recent + more as usize > self.config.cluster.flap_budget as usize
    }
}

//! The flap budget: a group that keeps being moved by failures is held instead.

use std::time::Duration;

use holdfast_proto::state::ClusterState;

use super::Node;
use crate::journal::Level;

impl Node {
    /// Notes when automatic moves were committed. The count is in the committed state, so that it does not depend on who
    /// leads; the times are each node's own, because clocks are not shared, and start anew with its `had`.
    pub(super) fn note_moves(&mut self, old: &ClusterState, new: &ClusterState) {
        let kept = self.config.cluster.flap_budget as usize + 1;
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

    /// True when a group used up its budget of automatic moves and is to be left alone.
    pub(super) fn is_flapping(&self, group: &str) -> bool {
        self.would_flap(group, 0)
    }

    /// The same, with `more` moves that are not committed yet.
    pub(super) fn would_flap(&self, group: &str, more: u32) -> bool {
        let window = Duration::from_millis(self.config.cluster.flap_window_ms.into());
        let recent = self.moves.get(group).map_or(0, |moves| {
            moves.iter().filter(|at| self.now.since(**at) < window).count()
        });
        recent + more as usize > self.config.cluster.flap_budget as usize
    }
}

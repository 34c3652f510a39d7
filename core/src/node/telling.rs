//! What a commit changed, in sentences, and how long a group was away.

use holdfast_proto::ids::Epoch;
use holdfast_proto::peer::RunState;
use holdfast_proto::state::{Assignment, ClusterState};

use super::Node;
use crate::journal::Level;

impl Node {
    /// Journals what a commit changed, one sentence per group.
    pub(super) fn journal_differences(&mut self, old: &ClusterState, new: &ClusterState) {
        if old.voters != new.voters {
            let names: Vec<String> = new.voters.iter().map(|voter| self.name(voter)).collect();
            let text = format!("voters are now {}: {}", names.join(", "), new.reason);
            self.journal("voters-changed", Level::Info, text);
        }
        self.account_for_releases(old, new);
        self.journal_in_sync(old, new);
        self.journal_jobs(old, new);
        for (name, entry) in &new.groups {
            let before = old.groups.get(name);
            let failed_before = before.into_iter().flat_map(|before| before.failures.keys());
            for node in failed_before.filter(|node| !entry.failures.contains_key(node)) {
                let text = format!("{name}: its failure on {} counts no more", self.name(*node));
                let epoch = entry.assignment.epoch();
                self.journal_about("failure-forgotten", Level::Info, text, Some(name.clone()), epoch);
            }
            if before.is_some_and(|before| before.assignment == entry.assignment) {
                continue;
            }
            let epoch: Epoch = entry.assignment.epoch();
            let (kind, level) = match entry.assignment {
                Assignment::Owned { .. } => ("assigned", Level::Info),
                Assignment::Releasing { .. } => ("releasing", Level::Info),
                Assignment::Stopped { epoch: 0 } => continue,
                Assignment::Stopped { .. } => ("unassigned", Level::Warn),
            };
            let text = format!("{name}: {}", entry.reason);
            self.journal_about(kind, level, text, Some(name.clone()), epoch);
        }
    }

    /// Measures, as leader or follower alike, how long a group was away.
    pub(super) fn note_outages(&mut self) {
        let Some(state) = self.committed().cloned() else {
            return;
        };
        for (name, entry) in &state.groups {
            let owner = entry.assignment.owner();
            let lost = owner.is_some_and(|node| self.is_lost(node));
            let running = owner
                .and_then(|node| self.report_on(node, name))
                .is_some_and(|report| {
                    report.run == RunState::Running && report.epoch == entry.assignment.epoch()
                });
            if running && !lost {
                if !self.was_running.contains(name) {
                    self.was_running.insert(name.clone());
                }
                if let Some(since) = self.outage_since.remove(name) {
                    self.last_outage.insert(name.clone(), self.now.since(since));
                }
            } else if self.was_running.contains(name) {
                self.outage_since.entry(name.clone()).or_insert(self.now);
            }
        }
    }
}

//! What this node does about jobs: it begins the runs that were given to it, ends those that are not to go on, and journals what
//! became of all.

use std::sync::Arc;

use holdfast_proto::config::{JobMoved, JobWhere};
use holdfast_proto::job::{JobOutcome, JobPhase, JobState};
use holdfast_proto::state::{Assignment, ClusterState};

use super::Node;
use crate::effect::Effect;
use crate::journal::{Entry, Level};

impl Node {
    /// Has the agent process begin what was given to this node, and end what is not to go on.
    ///
    /// What allows a run to begin: the committed state names this boot, and somebody's lease entitles this node to act on that
    /// very state. Whoever calls a run interrupted because this node is not heard waits until no such right is left.
    pub(super) fn reconcile_jobs(&mut self, state: &ClusterState) {
        let (me, boot) = (self.me.node, self.me.boot);
        self.jobs.seen.retain(|name, _| state.jobs.contains_key(name));
        let entitled = self.synced && self.pending_accept.is_none() && self.may_begin_runs();
        for (name, job) in state.jobs.iter().filter(|(_, job)| job.runs_on(me, boot)) {
            let seen = self.jobs.seen.get(name).filter(|seen| seen.run == job.run);
            let begun = seen.is_some();
            if seen.is_some_and(|seen| seen.outcome != JobOutcome::Running) {
                continue;
            }
            let stay = self.reason_to_end(state, name, job, begun);
            let ordered = self.jobs.ordered.get(name).copied();
            match stay {
                Some(reason) if ordered != Some((job.run, false)) => {
                    self.jobs.ordered.insert(name.clone(), (job.run, false));
                    self.outbox.push_back(Effect::EndJob {
                        job: name.clone(),
                        run: job.run,
                        reason,
                    });
                }
                None if !begun && entitled && ordered != Some((job.run, true)) => {
                    self.jobs.ordered.insert(name.clone(), (job.run, true));
                    self.outbox.push_back(Effect::RunJob {
                        job: name.clone(),
                        run: job.run,
                        occurrence: job.occurrence,
                        attempt: job.attempt,
                        config: Arc::clone(&state.config),
                    });
                }
                _ => {}
            }
        }
    }

    /// A lease stands behind this node, and it accepted nothing else meanwhile.
    fn may_begin_runs(&self) -> bool {
        let agreed = self
            .durable
            .as_ref()
            .is_some_and(|durable| durable.accepted.jobs == durable.committed.jobs);
        agreed && self.entitlement().is_some_and(|(until, ..)| until > self.now)
    }

    /// Why a run of this node is not to begin, or not to go on.
    fn reason_to_end(&self, state: &ClusterState, name: &str, job: &JobState, begun: bool) -> Option<String> {
        let Some(section) = state.config.job(name) else {
            return (!begun).then(|| "it left the configuration".into());
        };
        // A replica that was promoted meanwhile has the data still.
        if section.on != JobWhere::Primary || (begun && section.on_move == JobMoved::Finish) {
            return None;
        }
        let (node, _) = job.place?;
        let here = state.groups.get(&section.group).is_some_and(
            |entry| matches!(entry.assignment, Assignment::Owned { owner, .. } if owner == node),
        );
        (!here).then(|| format!("{} leaves {}", section.group, self.name(node)))
    }

    /// Journals what a commit changed about jobs: the history is made of these.
    pub(super) fn journal_jobs(&mut self, old: &ClusterState, new: &ClusterState) {
        for (name, job) in &new.jobs {
            let known = |before: &JobState| {
                let same = before.run == job.run && before.phase == job.phase;
                same && (job.phase != JobPhase::Skipped || before.due == job.due)
            };
            if old.jobs.get(name).is_some_and(known) {
                continue;
            }
            let (kind, level) = match job.phase {
                JobPhase::New => ("job-new", Level::Info),
                JobPhase::Started => ("job-begun", Level::Info),
                JobPhase::Done => ("job-done", Level::Info),
                JobPhase::Failed => ("job-failed", Level::Warn),
                JobPhase::Interrupted => ("job-interrupted", Level::Warn),
                JobPhase::Skipped => ("job-skipped", Level::Warn),
            };
            let text = format!("job {name}: {}", job.detail);
            self.outbox.push_back(Effect::Journal(Entry {
                at: self.now,
                kind,
                level,
                text,
                group: new.config.job(name).map(|section| section.group.clone()),
                epoch: job.run,
                account: None,
                job: Some((name.clone(), Box::new(job.clone()))),
            }));
        }
    }
}

//! Jobs: which node a run is given to, and what becomes of it. Each occurrence begins once.
//!
//! The clock that says what is due is the shell's, of whichever node leads ([`Due`]). What makes an occurrence begin once is
//! here: its number stands in the committed state before anything runs, and only a later one is ever committed again; so a
//! clock that is put back, and a new leader whose clock is behind, repeat nothing. The node that the run was given to begins
//! it under the same right as a group that requires a lease ([`super::permits`]), in the boot that is committed; its agent
//! process begins no run twice and none that is older than one it saw.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_proto::config::{JobInterrupted, JobSection};
use holdfast_proto::ids::{BootId, JobName, NodeId};
use holdfast_proto::job::{JobOutcome, JobPhase, JobReport, JobState, RunNumber};
use holdfast_proto::state::ClusterState;

use super::Node;
use super::planning::take_epoch;
use crate::encoding::Encoder;
use crate::event::{Due, DueVerdict};
use crate::journal::Level;
use crate::placement::Observations;

/// How often one occurrence is begun where an interrupted one is begun again: a program that brings its node down would
/// bring down one after the other.
pub const ATTEMPTS_MAX: u32 = 3;

/// What this node's agent process was told of jobs and says of them, and what is due by this node's clock.
#[derive(Clone, Debug, Default)]
pub(super) struct Jobs {
    /// What is due, as the shell of this leader said.
    pub(super) due: BTreeMap<JobName, Due>,
    /// Why what is due cannot begin, for people.
    pub(super) waiting: BTreeMap<JobName, String>,
    /// What the agent process said of the latest run of each job in this boot.
    pub(super) seen: BTreeMap<JobName, JobReport>,
    /// Which run was ordered, and whether to begin (true) or to end.
    pub(super) ordered: BTreeMap<JobName, (RunNumber, bool)>,
}

impl Jobs {
    /// The agent process attached: it will say what it knows, and may have to be told again.
    pub(super) fn attached(&mut self) {
        self.ordered.clear();
    }
}

impl Jobs {
    /// What decisions depend on, for the model checker.
    pub(super) fn encode(&self, to: &mut Encoder) {
        for due in self.due.values() {
            to.word(due.occurrence as u64);
        }
        self.seen.values().for_each(|report| to.job_report(report));
        for (run, begin) in self.ordered.values() {
            to.epoch(*run);
            to.flag(*begin);
        }
    }
}

impl Node {
    /// The shell's clock says that something is due.
    pub(super) fn on_due(&mut self, due: Due) {
        if self.is_established() {
            self.jobs.due.insert(due.job.clone(), due);
        }
    }

    /// From the agent process of this node.
    pub(super) fn on_job_report(&mut self, job: JobName, report: JobReport) {
        let before = self.jobs.seen.get(&job);
        if before.is_none_or(|before| before.run <= report.run) {
            self.jobs.seen.insert(job, report);
        }
    }

    // What the leader wants.

    /// Takes in how runs went, begins what is due, and begins again what was interrupted.
    pub(super) fn follow_jobs(&mut self, next: &mut ClusterState, seen: &Observations) {
        let config = Arc::clone(&next.config);
        next.jobs
            .retain(|name, job| config.job(name).is_some() || job.is_started());
        for (name, job) in &mut next.jobs {
            if let Some(became) = self.became_of(name, job) {
                *job = became;
            }
        }
        let due = std::mem::take(&mut self.jobs.due);
        for section in &config.jobs {
            match due.get(&section.name) {
                Some(due) => self.take_due(next, section, due, seen),
                None => self.try_again(next, section, seen),
            }
        }
    }

    /// What became of a run that was under way, if that is known: by the word of its agent process, or because the boot it
    /// was given to is over or lost. A node that is merely not heard may come back and say how it ended; that is believed.
    fn became_of(&self, name: &JobName, job: &JobState) -> Option<JobState> {
        let (node, boot) = job.place?;
        let open = matches!(job.phase, JobPhase::Started | JobPhase::Interrupted);
        if !open {
            return None;
        }
        let ended = |phase: JobPhase, detail: String, took_ms: u64| JobState {
            phase,
            detail,
            took_ms,
            ..job.clone()
        };
        let report = self.job_report_of(node, name);
        let same_boot = self.boot_of(node) == Some(boot);
        if let Some(report) = report.filter(|report| same_boot && report.run == job.run) {
            let detail = report.detail.clone();
            match report.outcome {
                JobOutcome::Done => return Some(ended(JobPhase::Done, detail, report.took_ms)),
                JobOutcome::Failed => return Some(ended(JobPhase::Failed, detail, report.took_ms)),
                JobOutcome::NotBegun => {
                    // It never begins any more, so its occurrence may be given out again.
                    let again = job.occurrence.saturating_sub(1);
                    let due = if job.who.is_empty() {
                        job.due.min(again)
                    } else {
                        job.due
                    };
                    return Some(JobState {
                        due,
                        ..ended(JobPhase::Skipped, detail, 0)
                    });
                }
                JobOutcome::Interrupted if job.is_started() => {
                    return Some(ended(JobPhase::Interrupted, detail, report.took_ms));
                }
                JobOutcome::Running if !job.is_started() && self.is_online(node) => {
                    return Some(ended(
                        JobPhase::Started,
                        format!("it goes on on {}", self.name(node)),
                        0,
                    ));
                }
                JobOutcome::Interrupted | JobOutcome::Running => {}
            }
        }
        if !job.is_started() {
            return None;
        }
        let why = self.why_interrupted(node, boot)?;
        Some(ended(JobPhase::Interrupted, why, 0))
    }

    fn why_interrupted(&self, node: NodeId, boot: BootId) -> Option<String> {
        let name = self.name(node);
        if self.boot_heard_now(node).is_some_and(|now| now != boot) {
            return Some(format!("{name} was booted anew while it ran"));
        }
        let ended_by = |proof: &&crate::proof::FenceProof| proof.ended_boot() == Some(boot);
        if self.proofs.get(&node).filter(ended_by).is_some() {
            return Some(format!("{name} was fenced while it ran"));
        }
        if self.is_lost(node) {
            return Some(format!("{name} is not heard any more: it may still run there"));
        }
        None
    }

    fn job_report_of(&self, node: NodeId, job: &str) -> Option<&JobReport> {
        if node == self.me.node {
            return self.jobs.seen.get(job);
        }
        self.members.get(&node)?.report.jobs.get(job)
    }

    /// An occurrence that is later than what is dealt with is dealt with now.
    fn take_due(&mut self, next: &mut ClusterState, section: &JobSection, due: &Due, seen: &Observations) {
        let name = &section.name;
        let Some(job) = next.jobs.get(name).cloned() else {
            // A calendar is followed from when it was first seen: what was due before then was nobody's business.
            let first = JobState {
                due: due.occurrence,
                detail: "its calendar is followed from now on".into(),
                ..JobState::default()
            };
            next.jobs.insert(name.clone(), first);
            return;
        };
        if due.occurrence <= job.due || due.verdict == DueVerdict::First {
            return;
        }
        if job.is_started() {
            let text =
                format!("job {name}: what is due now is left out, because the run before still goes on");
            self.journal("job-overrun", Level::Warn, text);
            self.set_job(
                next,
                name,
                JobState {
                    due: due.occurrence,
                    ..job
                },
            );
            return;
        }
        let chosen = match &due.verdict {
            DueVerdict::Missed(why) => Err(match self.jobs.waiting.get(name) {
                Some(waited_for) => format!("{why}: {waited_for}"),
                None => why.clone(),
            }),
            _ => self.place_for(next, section, seen),
        };
        match (chosen, &due.verdict) {
            (Ok((node, boot)), _) => {
                let begun = JobState {
                    due: due.occurrence,
                    occurrence: due.occurrence,
                    attempt: 1,
                    who: String::new(),
                    ..self.given(next, node, boot)
                };
                self.set_job(next, name, begun);
            }
            (Err(why), DueVerdict::Missed(_)) => {
                let skipped = JobState {
                    due: due.occurrence,
                    occurrence: due.occurrence,
                    phase: JobPhase::Skipped,
                    detail: why,
                    who: String::new(),
                    place: None,
                    took_ms: 0,
                    ..job
                };
                self.set_job(next, name, skipped);
            }
            // The shell says it again until it is too late.
            (Err(why), _) => drop(self.jobs.waiting.insert(name.clone(), why)),
        }
    }

    /// What was interrupted is begun again, if that is wanted: at least once instead of at most once.
    fn try_again(&mut self, next: &mut ClusterState, section: &JobSection, seen: &Observations) {
        let Some(job) = next.jobs.get(&section.name).cloned() else {
            return;
        };
        let again = job.phase == JobPhase::Interrupted
            && section.on_interrupt == JobInterrupted::Rerun
            && job.attempt < ATTEMPTS_MAX;
        if !again {
            return;
        }
        match self.place_for(next, section, seen) {
            Ok((node, boot)) => {
                let begun = JobState {
                    due: job.due,
                    occurrence: job.occurrence,
                    attempt: job.attempt + 1,
                    who: job.who,
                    ..self.given(next, node, boot)
                };
                self.set_job(next, &section.name, begun);
            }
            Err(why) => drop(self.jobs.waiting.insert(section.name.clone(), why)),
        }
    }

    /// A new run on `node`, with a number of its own.
    pub(super) fn given(&self, next: &mut ClusterState, node: NodeId, boot: BootId) -> JobState {
        JobState {
            run: take_epoch(next),
            place: Some((node, boot)),
            phase: JobPhase::Started,
            detail: format!("it was given to {}", self.name(node)),
            ..JobState::default()
        }
    }

    fn set_job(&mut self, next: &mut ClusterState, name: &JobName, job: JobState) {
        self.jobs.waiting.remove(name);
        next.reason = match job.phase {
            JobPhase::Started => format!("job {name}: {}", job.detail),
            phase => format!("job {name} is {}", phase.as_str()),
        };
        next.jobs.insert(name.clone(), job);
    }
}

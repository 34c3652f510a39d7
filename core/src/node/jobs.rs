//! Jobs: which node a run is given to, and what becomes of it. Each occurrence begins once.
//!
//! The clock that says what is due is the shell's, of whichever node leads ([`Due`]). What makes an occurrence begin once is
//! here: its number stands in the committed state before anything runs, and only a later one is ever committed again; so a
//! clock that is put back, and a new leader whose clock is behind, repeat nothing. The node that the run was given to begins
//! it under the same right as a group that requires a lease ([`super::permits`]), in the boot that is committed; its agent
//! process begins no run twice and none that is older than one it saw.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_proto::config::{JobFallback, JobInterrupted, JobMoved, JobSection, JobWhere};
use holdfast_proto::ids::{BootId, JobName, NodeId};
use holdfast_proto::job::{JobOutcome, JobPhase, JobReport, JobState, RunNumber};
use holdfast_proto::operator::OperatorOutcome;
use holdfast_proto::peer::RunState;
use holdfast_proto::state::{Assignment, ClusterState};

use super::Node;
use super::planning::take_epoch;
use crate::effect::Effect;
use crate::encoding::Encoder;
use crate::event::{Due, DueVerdict};
use crate::journal::{Entry, Level};
use crate::placement::{Observations, Observed};

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
    ordered: BTreeMap<JobName, (RunNumber, bool)>,
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
    fn given(&self, next: &mut ClusterState, node: NodeId, boot: BootId) -> JobState {
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

    /// The node that a run of `section` is given to now, or why there is none.
    pub(super) fn place_for(
        &self,
        state: &ClusterState,
        section: &JobSection,
        seen: &Observations,
    ) -> Result<(NodeId, BootId), String> {
        if state.maintenance {
            return Err("maintenance is on: nothing is started".into());
        }
        let group = &section.group;
        let primary = self.primary_of(state, group);
        let fit = |node: NodeId| self.is_fit(state, node, seen).map(|boot| (node, boot));
        let on_primary = || {
            let node = primary.clone()?;
            let running = seen.get(&node).is_some_and(|seen| seen.running.contains(group));
            if !running {
                return Err(format!("{group} is not running on {}", self.name(node)));
            }
            fit(node)
        };
        let others = || {
            let nodes = state.config.nodes.iter().map(|node| node.id);
            nodes.filter(|node| Ok(*node) != primary)
        };
        match section.on {
            JobWhere::Primary => on_primary(),
            JobWhere::Replica => {
                let mut unfit = Vec::new();
                for node in others() {
                    match fit(node).and_then(|place| self.is_good_copy(section, node, seen).map(|()| place)) {
                        Ok(place) => return Ok(place),
                        Err(why) => unfit.push(why),
                    }
                }
                let why = format!("no replica is fit: {}", unfit.join("; "));
                match section.fallback {
                    JobFallback::Primary => on_primary().map_err(|more| format!("{why}; {more}")),
                    JobFallback::Skip => Err(why),
                }
            }
            JobWhere::Any => {
                let last = primary.as_ref().ok().copied();
                let mut unfit = Vec::new();
                for node in others().chain(last) {
                    match fit(node) {
                        Ok(place) => return Ok(place),
                        Err(why) => unfit.push(why),
                    }
                }
                Err(format!("no node is fit: {}", unfit.join("; ")))
            }
        }
    }

    fn primary_of(&self, state: &ClusterState, group: &str) -> Result<NodeId, String> {
        match state.groups.get(group).map(|entry| &entry.assignment) {
            Some(Assignment::Owned { owner, .. }) => Ok(*owner),
            Some(Assignment::Releasing { .. }) => Err(format!("{group} is being moved")),
            _ => Err(format!("{group} runs nowhere")),
        }
    }

    /// The boot of a node that could begin a run now.
    fn is_fit(&self, state: &ClusterState, node: NodeId, seen: &Observations) -> Result<BootId, String> {
        let name = self.name(node);
        let none = Observed::default();
        let seen = seen.get(&node).unwrap_or(&none);
        if state.nodes.get(&node).is_some_and(|node| node.standby) {
            Err(format!("{name} is in standby"))
        } else if !seen.online || seen.lost || seen.fencing {
            Err(format!("{name} is not heard"))
        } else if !seen.synced {
            Err(format!("{name} has not caught up since its boot"))
        } else if !seen.agent_ready {
            Err(format!("the agent process of {name} is away"))
        } else {
            self.boot_of(node).ok_or_else(|| format!("{name} is not heard"))
        }
    }

    fn is_good_copy(&self, section: &JobSection, node: NodeId, seen: &Observations) -> Result<(), String> {
        let name = self.name(node);
        let member = seen.get(&node).and_then(|seen| seen.members.get(&section.group));
        let Some(member) = member.filter(|member| member.run == RunState::Running) else {
            return Err(format!("{} does not run on {name}", section.group));
        };
        let Some(copy) = member.copy.as_ref().filter(|copy| copy.readable) else {
            return Err(format!("the data of {name} cannot be read from"));
        };
        match copy.lag_ms {
            Some(lag_ms) if lag_ms <= section.max_lag_ms.into() => Ok(()),
            Some(lag_ms) => Err(format!(
                "{name} is {lag_ms} ms behind (max_lag {} ms)",
                section.max_lag_ms
            )),
            None => Err(format!("how old the data of {name} is, is not known")),
        }
    }

    // What an operator asks.

    /// Whether an operator's `job run` can be followed. Ok: the sentence for when it is committed.
    pub(super) fn check_run_job(
        &self,
        state: &ClusterState,
        job: &JobName,
    ) -> Result<String, OperatorOutcome> {
        let refused = |text: String| Err(OperatorOutcome::Refused(text));
        let Some(section) = state.config.job(job) else {
            let names: Vec<&str> = state.config.jobs.iter().map(|job| &*job.name).collect();
            return refused(format!("there is no job {job}; there are: {}", names.join(", ")));
        };
        if let Some(entry) = state.jobs.get(job).filter(|entry| entry.is_started()) {
            let node = entry.place.map(|(node, _)| self.name(node)).unwrap_or_default();
            return refused(format!("{job} runs already, on {node}; hactl job list shows it"));
        }
        match self.place_for(state, section, &self.observations()) {
            Ok((node, _)) => Ok(format!("{job} runs on {}", self.name(node))),
            Err(why) => refused(format!("{job} cannot run now: {why}")),
        }
    }

    /// Begins a run that an operator asked for, beside the calendar. It also has the calendar followed again after a clock
    /// that was ahead: what is dealt with is never later than the operator's now.
    pub(super) fn apply_run_job(&self, next: &mut ClusterState, job: &JobName, (who, at): (&str, i64)) {
        let config = Arc::clone(&next.config);
        let Some(section) = config.job(job) else { return };
        let before = next.jobs.get(job).cloned().unwrap_or(JobState {
            due: at,
            ..JobState::default()
        });
        let Some((node, boot)) = self
            .place_for(next, section, &self.observations())
            .ok()
            .filter(|_| !before.is_started())
        else {
            return;
        };
        let begun = JobState {
            due: before.due.min(at),
            occurrence: at,
            attempt: 1,
            who: who.into(),
            ..self.given(next, node, boot)
        };
        next.jobs.insert(job.clone(), begun);
    }

    // What this node does.

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

    // What is told.

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

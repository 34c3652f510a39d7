//! A job: every machine's wall clock says what is due, right or wrong, and its agent process begins what it is told to.
//!
//! A calendar of minutes would be due once in a run, so here each step of a wall clock by [`STEP_US`] is an occurrence; what
//! a calendar makes of a clock is shown where calendars are (`proto/src/calendar`, `daemon/src/jobs`).

use std::collections::BTreeMap;

use holdfast_core::event::{AgentEvent, Due, DueVerdict, Event};
use holdfast_proto::config::JobInterrupted;
use holdfast_proto::ids::{JobName, NodeId};
use holdfast_proto::job::{JobOutcome, JobReport, RunNumber};

use super::World;
use super::happening::Happening;

/// The wall clock's time from one occurrence to the next.
const STEP_US: u64 = 700_000;
/// The shell looks at its clock this often.
const LOOK_US: u64 = 230_000;
/// An occurrence is not begun later than this many steps.
const CATCH_UP: i64 = 3;
/// The longest run.
const RUN_MAX_US: u64 = 1_500_000;

/// Every try that began: which run, and where.
pub(super) type Begun = BTreeMap<(JobName, i64, u32), (RunNumber, NodeId)>;

/// Something that happens about jobs.
#[derive(Clone, Debug)]
pub(super) enum JobStep {
    /// The shell looks at its wall clock.
    Clock { node: NodeId },
    /// The program of a run ends.
    Ends {
        node: NodeId,
        boots: u64,
        job: JobName,
        run: RunNumber,
    },
}

impl World {
    pub(super) fn job_step(&mut self, step: JobStep) -> Result<(), String> {
        match step {
            JobStep::Clock { node } => self.job_clock(node),
            JobStep::Ends {
                node,
                boots,
                job,
                run,
            } => {
                self.job_ends(node, boots, &job, run);
                Ok(())
            }
        }
    }

    /// The shell of `node` looks at its wall clock, and again a while later.
    fn job_clock(&mut self, node: NodeId) -> Result<(), String> {
        let at = self.now_us + LOOK_US;
        self.schedule(at, Happening::Job(JobStep::Clock { node }));
        let now_us = self.now_us;
        let Some(machine) = self.machines.get(&node) else {
            return Ok(());
        };
        let wall = (machine.wall_us(now_us) / STEP_US) as i64;
        let run = machine.run;
        let Some(had) = machine.had.as_ref().filter(|_| machine.had_free_us() <= now_us) else {
            return Ok(());
        };
        let Some(durable) = had.durable() else {
            return Ok(());
        };
        let mut due = Vec::new();
        for section in &durable.committed.config.jobs {
            let name = section.name.clone();
            let (occurrence, verdict) = match durable.committed.jobs.get(&name) {
                None => (wall, DueVerdict::First),
                // The clock was put forward since the last occurrence: that one is too late.
                Some(job) if wall - job.due > CATCH_UP && wall % 5 == 0 => {
                    (wall, DueVerdict::Missed("it is too late".into()))
                }
                // Also where a clock was put back, and the shell could know that this is dealt with: that it begins once is up
                // to the core.
                Some(_) => (wall, DueVerdict::Begin),
            };
            due.push(Due {
                job: name,
                occurrence,
                verdict,
            });
        }
        for due in due {
            self.feed(node, run, Event::Due(due))?;
        }
        Ok(())
    }

    /// The agent process of `node` is told to begin a run, or to end one. It begins none twice, and none that is older than
    /// one it saw in this boot; what the promise is about is that the core never makes two of one occurrence.
    pub(super) fn job_order(
        &mut self,
        node: NodeId,
        job: &JobName,
        run: RunNumber,
        begin: Option<(i64, u32)>,
    ) -> Result<(), String> {
        let Some(machine) = self.machines.get_mut(&node).filter(|machine| machine.attached) else {
            return Ok(());
        };
        let boots = machine.boots;
        let known = machine.agent.jobs.get(job).copied();
        match (known, begin) {
            (Some((latest, _)), _) if latest > run => return Ok(()),
            (Some((latest, JobOutcome::Running)), None) if latest == run => {
                machine.agent.jobs.insert(job.clone(), (run, JobOutcome::Failed));
            }
            (Some((latest, _)), _) if latest == run => {}
            (Some((_, JobOutcome::Running)), _) => return Ok(()),
            (_, None) => {
                machine
                    .agent
                    .jobs
                    .insert(job.clone(), (run, JobOutcome::NotBegun));
            }
            (_, Some((occurrence, attempt))) => {
                machine.agent.jobs.insert(job.clone(), (run, JobOutcome::Running));
                self.begins(node, job, run, (occurrence, attempt))?;
                let took = self
                    .dice(crate::rng::Purpose::Service, node, node)
                    .range(1_000, RUN_MAX_US);
                let ends = JobStep::Ends {
                    node,
                    boots,
                    job: job.clone(),
                    run,
                };
                self.schedule(self.now_us + took, Happening::Job(ends));
            }
        }
        self.say_job(node, job);
        Ok(())
    }

    /// J1: a try of an occurrence begins once; and without `rerun` there is one try.
    fn begins(
        &mut self,
        node: NodeId,
        job: &JobName,
        run: RunNumber,
        (occurrence, attempt): (i64, u32),
    ) -> Result<(), String> {
        let now_us = self.now_us;
        self.trace.add(now_us, Some(node), || {
            format!("job {job}: run {run} begins, of {occurrence}, try {attempt}")
        });
        let rerun = self
            .config
            .job(job)
            .is_some_and(|section| section.on_interrupt == JobInterrupted::Rerun);
        let key = (job.clone(), occurrence, if rerun { attempt } else { 1 });
        match self.begun.insert(key, (run, node)) {
            None => Ok(()),
            Some((before, on)) => Err(format!(
                "J1: {job} begins a second time for {occurrence} (try {attempt}): run {run} on {node}, after run {before} on {on}"
            )),
        }
    }

    /// The program of a run ends.
    fn job_ends(&mut self, node: NodeId, boots: u64, job: &JobName, run: RunNumber) {
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.boots != boots || !machine.powered {
            return;
        }
        if let Some(entry) = machine.agent.jobs.get_mut(job)
            && *entry == (run, JobOutcome::Running)
        {
            entry.1 = JobOutcome::Done;
            self.say_job(node, job);
        }
    }

    /// The agent process attached: it says how all runs stand.
    pub(super) fn say_jobs(&mut self, node: NodeId) {
        let jobs: Vec<JobName> = self.machines[&node].agent.jobs.keys().cloned().collect();
        jobs.iter().for_each(|job| self.say_job(node, job));
    }

    /// Tells the daemon how the latest run stands, a moment later.
    fn say_job(&mut self, node: NodeId, job: &JobName) {
        let machine = &self.machines[&node];
        let Some((run, outcome)) = machine.agent.jobs.get(job).copied().filter(|_| machine.attached) else {
            return;
        };
        let report = JobReport {
            run,
            outcome,
            detail: String::new(),
            took_ms: 1,
        };
        let event = Event::Agent(AgentEvent::Job {
            job: job.clone(),
            report,
        });
        let (had, at) = (machine.run, self.now_us + 150);
        self.schedule(
            at,
            Happening::ToHad {
                node,
                run: had,
                event,
            },
        );
    }
}

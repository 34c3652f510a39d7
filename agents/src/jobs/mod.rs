//! Jobs: begins runs that `had` orders, each at most once, and says how they stand.
//!
//! What makes a run begin at most once on this node is its number, which grows: the highest that was seen of a job stands in a
//! state file, and is there before the program begins. A run that is not higher is not begun, whoever orders it. The file is
//! gone after a reboot, like everything in the state folder; so is the boot that a run was given to.
//!
//! The program belongs to a keeper ([`keeper`]), a small process of its own, so that somebody sees how it ends although
//! had-agentd was restarted meanwhile.

#[cfg(fuzzing)]
pub mod fuzzing;
mod keeper;
mod saved;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_proto::agent::{JobOrder, JobStatus};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc::UnboundedSender;

use crate::exec::members::{self, Members};
use crate::exec::process::Process;
use crate::group::store;
use crate::guard::Command;
use crate::sys::launch::{Launch, Step, launch};
pub use keeper::keep;
use saved::{Loaded, Outcome, Saved, Spec};

/// All jobs of this node.
pub struct Jobs {
    state_dir: PathBuf,
    guard: UnboundedSender<Command>,
    jobs: BTreeMap<String, Arc<Job>>,
}

/// One job.
struct Job {
    state_dir: PathBuf,
    guard: UnboundedSender<Command>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    saved: Saved,
    /// Its file cannot be read: what began before is not known.
    damage: Option<String>,
}

impl Jobs {
    /// Takes over what an earlier had-agentd left running, and says how everything stands.
    #[must_use]
    pub fn new(state_dir: PathBuf, guard: UnboundedSender<Command>) -> Jobs {
        let mut jobs = Jobs {
            state_dir,
            guard,
            jobs: BTreeMap::new(),
        };
        for (name, loaded) in saved::load_all(&jobs.state_dir) {
            let job = jobs.job(&name);
            match loaded {
                Loaded::Current(saved) => job.resume(saved),
                Loaded::Earlier => {}
                Loaded::Damaged(damage) => {
                    tracing::error!("{damage}");
                    job.lock().damage = Some(damage);
                }
            }
        }
        jobs
    }

    fn job(&mut self, name: &str) -> Arc<Job> {
        let made = || Job {
            state_dir: self.state_dir.clone(),
            guard: self.guard.clone(),
            state: Mutex::default(),
        };
        Arc::clone(
            self.jobs
                .entry(name.to_owned())
                .or_insert_with(|| Arc::new(made())),
        )
    }

    /// Carries out one order.
    pub fn obey(&mut self, order: JobOrder) {
        if order.job.is_empty() || order.run == 0 {
            return;
        }
        self.job(&order.job).obey(order);
    }
}

/// What is to be done with an order, judged by the number of the latest run.
#[derive(Debug, PartialEq, Eq)]
enum Judged {
    /// It is a later run, to be begun.
    Begin,
    /// It is a later run that is never to begin.
    CallOff,
    /// It is the run that goes on, and has to end.
    End,
    /// Nothing: only how the latest run stands is said.
    Say,
    /// It cannot be begun, for this reason.
    Refuse(String),
}

impl State {
    fn judge(&self, order: &JobOrder) -> Judged {
        if let Some(damage) = &self.damage {
            return Judged::Refuse(format!(
                "{damage}: whether this run began before is not known; end what is left of the job, remove the file, and \
                 restart had-agentd"
            ));
        }
        let running = self.saved.outcome == Outcome::Running;
        let same_cluster = self.saved.cluster == order.cluster_id;
        match order.run.cmp(&self.saved.run) {
            // Numbers of another cluster, which was there before on this node, say nothing.
            _ if !same_cluster && self.saved.run > 0 && running && order.begin => {
                Judged::Refuse("a run that another cluster gave to this node still goes on".into())
            }
            Ordering::Less if same_cluster => Judged::Say,
            Ordering::Equal if same_cluster && !order.begin && running => Judged::End,
            Ordering::Equal if same_cluster => Judged::Say,
            _ if running && order.begin => {
                Judged::Refuse(format!("run {} of it still goes on", self.saved.run))
            }
            _ if running => Judged::Say,
            _ if order.begin => Judged::Begin,
            _ => Judged::CallOff,
        }
    }
}

impl Job {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn obey(self: Arc<Self>, order: JobOrder) {
        let judged = self.lock().judge(&order);
        match judged {
            Judged::Begin => self.begin(order),
            Judged::CallOff => {
                let called_off = Saved {
                    outcome: Outcome::NotBegun,
                    detail: format!("it was called off before it began: {}", order.reason),
                    ..Saved::of(&order)
                };
                self.settle(called_off);
            }
            Judged::End => {
                let keeper = {
                    let mut state = self.lock();
                    state.saved.ended_for = order.reason;
                    state.saved.keeper
                };
                if let Some((pid, start_ticks)) = keeper
                    && Process::find(pid, start_ticks).is_some()
                {
                    // It ends the program, and then itself.
                    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                }
            }
            Judged::Say => self.say(),
            Judged::Refuse(why) => self.report(JobStatus {
                job: order.job,
                run: order.run,
                outcome: Outcome::Failed.word().into(),
                detail: why,
                took_ms: 0,
            }),
        }
    }

    /// Writes down that the run begins, then begins it. What allows it: `had` ordered it, which it does for a run that is
    /// committed to this boot, while a lease stands behind it; and no such number, or a higher one, was seen here before.
    fn begin(self: Arc<Self>, order: JobOrder) {
        let Some(spec) = order.spec.clone() else {
            return;
        };
        let members = Members::create("job", &order.job);
        let starting = Saved {
            members: members.clone(),
            ..Saved::of(&order)
        };
        let spec = Spec::of(&order, &spec);
        let written = starting
            .write(&self.state_dir)
            .and_then(|()| spec.write(&self.state_dir));
        if let Err(error) = written {
            members.remove();
            return self.settle_unsaved(Saved {
                outcome: Outcome::Failed,
                detail: format!("it was not begun: its state file cannot be written: {error}"),
                ..starting
            });
        }
        match start_keeper(&self.state_dir, &order.job, members) {
            Ok((process, pid, members)) => {
                let running = Saved {
                    keeper: Some((pid, process.start_ticks)),
                    members,
                    ..starting
                };
                self.settle(running);
                self.watch(process);
            }
            Err(error) => self.settle(Saved {
                outcome: Outcome::Failed,
                detail: error,
                ..starting
            }),
        }
    }

    /// Goes on with what an earlier had-agentd began.
    fn resume(self: Arc<Self>, saved: Saved) {
        let running = saved.outcome == Outcome::Running;
        let keeper = saved.keeper;
        self.lock().saved = saved;
        let process = keeper
            .filter(|_| running)
            .and_then(|(pid, start_ticks)| Process::find(pid, start_ticks));
        match process {
            Some(process) => {
                self.say();
                self.watch(process);
            }
            None if running => self.conclude(),
            None => self.say(),
        }
    }

    fn watch(self: Arc<Self>, process: Process) {
        let watched = match process.watch() {
            Ok(watched) => watched,
            Err(error) => {
                tracing::error!("the keeper of a job cannot be watched: {error}");
                return;
            }
        };
        tokio::spawn(async move {
            watched.ended().await;
            self.conclude();
        });
    }

    /// The keeper is gone: what it wrote down is what became of the run. If it wrote nothing down, nobody knows.
    fn conclude(&self) {
        let saved = self.lock().saved.clone();
        // What the program left behind goes with it.
        let left = saved.members.signal(Signal::SIGKILL);
        saved.members.remove();
        let ended = match saved::Ended::read(&self.state_dir, &saved.job, saved.run) {
            Some(ended) => Saved {
                outcome: if ended.well {
                    Outcome::Done
                } else {
                    Outcome::Failed
                },
                detail: ended.sentence(&saved.ended_for, left.len()),
                took_ms: ended.took_ms,
                ..saved
            },
            None => Saved {
                outcome: Outcome::Interrupted,
                detail: "its keeper was ended with it, or before it began: how far it came is not known"
                    .into(),
                ..saved
            },
        };
        self.settle(ended);
    }

    /// Keeps how the run stands, and says it.
    fn settle(&self, saved: Saved) {
        if let Err(error) = saved.write(&self.state_dir) {
            tracing::error!("the state file of job {} cannot be written: {error}", saved.job);
        }
        self.settle_unsaved(saved);
    }

    fn settle_unsaved(&self, saved: Saved) {
        self.lock().saved = saved;
        self.say();
    }

    /// Says how the latest run stands.
    fn say(&self) {
        let status = self.lock().saved.status();
        if status.run > 0 {
            self.report(status);
        }
    }

    fn report(&self, status: JobStatus) {
        // The guard is gone only when the process ends.
        let _ = self.guard.send(Command::Job(status));
    }
}

/// Starts the keeper in a cgroup of its own, where that is possible. It is this very program.
fn start_keeper(
    state_dir: &Path,
    job: &str,
    mut members: Members,
) -> Result<(Process, i32, Members), String> {
    let spec = Spec::path(state_dir, job);
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| "a path holds a NUL byte".to_owned());
    let marker = format!("{}={}", members::MARKER, members.marker());
    let mut env = vec![text(marker.as_bytes())?];
    for (name, value) in std::env::vars_os() {
        env.push(text(&[name.as_bytes(), b"=", value.as_bytes()].concat())?);
    }
    let cgroup = members.open_cgroup();
    if cgroup.is_none() {
        members = members.without_cgroup();
    }
    let stderr = io::stderr();
    let mut what = Launch {
        program: text(b"/proc/self/exe")?,
        args: vec![text(b"--keep-job")?, text(spec.as_os_str().as_bytes())?],
        env,
        cwd: text(b"/")?,
        // What the program prints is for the journal, also while had-agentd restarts.
        output: stderr.as_fd(),
        cgroup,
        identity: None,
    };
    let mut launched = launch(&what);
    if matches!(launched, Err((Step::Prepare, _))) && what.cgroup.take().is_some() {
        members = members.without_cgroup();
        launched = launch(&what);
    }
    let launched = launched.map_err(|(_, error)| {
        members.remove();
        format!("the keeper of the job cannot be started: {error}")
    })?;
    let pid = launched.0;
    let process = Process::of_child(launched);
    let members = members.with_leader(pid, process.start_ticks);
    Ok((process, pid, members))
}

/// Identity of this boot, for files of the state folder.
fn boot_id() -> String {
    store::boot_id()
}

//! Runs one action of an agent as a program, to its end or the end of its time.
//!
//! What `start` leaves behind belongs to the resource and lives on. What `monitor` leaves behind may finish what it does (an
//! announcement, say), and is killed before the next action.

use std::ffi::CString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, pipe2};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::code::Code;
use super::environment::{self, Call};
use super::said::Said;
use super::settings::Settings;
use super::tools;
use crate::agent::AgentError;
use crate::exec::halt::Halt;
use crate::exec::members::Members;
use crate::exec::process::{self, Process};
use crate::program;
use crate::sys::launch::{Launch, Step, launch};

/// Most that is read of what a process left behind after the agent itself ended.
const REST_BYTES: usize = 64 << 10;

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code.
    pub code: Code,
    /// Why, in the agent's words; without private values.
    pub reason: String,
}

/// Why an action has no exit code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRun {
    /// It was killed, and what it began with it.
    #[error("did not end within {} ms and was killed", .0.as_millis())]
    TimedOut(Duration),
    /// What happened to it.
    #[error("{0}")]
    Failed(String),
}

/// What all actions of one resource have in common.
pub struct Host {
    /// Name of the group.
    pub group: String,
    /// Name of the resource.
    pub resource: String,
    /// What the configuration says.
    pub settings: Settings,
    /// Where the stand-ins for Pacemaker's tools are put.
    tools_folder: PathBuf,
    /// Name of this node.
    pub node: String,
    /// Where the stand-ins keep the group's attributes.
    pub attributes: PathBuf,
    /// Values that are not to be shown.
    private: Vec<String>,
    /// What the last `monitor` left behind.
    left: Arc<Mutex<Option<Members>>>,
}

impl Host {
    /// For the resource of that name; files go to `state_dir`.
    #[must_use]
    pub fn new(group: &str, resource: &str, settings: Settings, state_dir: &Path) -> Host {
        let is_private =
            |(name, value): (&String, &String)| holdfast_proto::ocf::is_private(name).then(|| value.clone());
        Host {
            private: settings.params.iter().filter_map(is_private).collect(),
            attributes: state_dir.join(format!("{group}.attributes")),
            tools_folder: state_dir.join("ocf-tools"),
            group: group.to_owned(),
            resource: resource.to_owned(),
            settings,
            node: std::fs::read_to_string("/proc/sys/kernel/hostname")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            left: Arc::default(),
        }
    }

    /// Also hides the values of parameters that the agent itself calls private.
    pub fn hide(&mut self, names: impl Iterator<Item = String>) {
        let params = &self.settings.params;
        self.private
            .extend(names.filter_map(|name| params.get(&name).cloned()));
    }

    /// `text` in one line, without private values.
    pub fn shown(&self, text: &str) -> String {
        program::excerpt(text, &self.private)
    }

    /// Runs `monitor`, or another action that must leave nothing behind.
    ///
    /// # Errors
    /// It has no exit code.
    pub async fn look(&self, call: &Call<'_>) -> Result<Ran, NotRun> {
        self.clear();
        let members = Members::create(&self.group, &self.resource);
        self.run(call, members, true, None).await
    }

    /// Runs an action whose processes belong to the resource, as its `members`; not beyond a `halt`, if one is given.
    pub(crate) async fn act(
        &self,
        call: &Call<'_>,
        members: &Members,
        halt: Option<&Halt>,
    ) -> Result<Ran, NotRun> {
        self.clear();
        self.run(call, members.clone(), false, halt).await
    }

    /// Kills what the last look left behind.
    pub fn clear(&self) {
        let left = lock(&self.left).take();
        if let Some(members) = left {
            members.signal(Signal::SIGKILL);
            members.remove();
        }
    }

    async fn run(
        &self,
        call: &Call<'_>,
        members: Members,
        own: bool,
        halt: Option<&Halt>,
    ) -> Result<Ran, NotRun> {
        let cannot = |error: &dyn std::fmt::Display| NotRun::Failed(format!("cannot be run: {error}"));
        make_temporary_folder();
        let tools = tools::install(&self.tools_folder);
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|error| cannot(&error))?;
        let mut output = pipe::Receiver::from_owned_fd(reader).map_err(|error| cannot(&error))?;
        let program = self.settings.program();
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|error| cannot(&error));
        let mut what = Launch {
            program: text(program.as_os_str().as_bytes())?,
            args: vec![text(call.action.as_bytes())?],
            env: environment::of(self, call, members.marker(), tools.as_deref())
                .map_err(|error| cannot(&error))?,
            cwd: c"/".to_owned(),
            output: writer.as_fd(),
            cgroup: members.open_cgroup(),
            identity: None,
        };
        let mut launched = launch(&what);
        if matches!(launched, Err((Step::Prepare, _))) && what.cgroup.take().is_some() {
            // Somebody limits what may be done with cgroups here; the mark in the environment remains.
            launched = launch(&what);
        }
        drop(what);
        drop(writer);
        let launched = match launched {
            Ok(launched) => launched,
            Err((step, error)) => {
                if own {
                    members.remove();
                }
                return absent_or(step, &error, &program.display().to_string());
            }
        };
        let pid = launched.0;
        let process = Process::of_child(launched);
        let ticks = process.start_ticks;
        let resource = (!own).then(|| members.clone());
        let members = members.with_leader(pid, ticks);
        let mut running = Running {
            pid,
            members: own.then_some((members, Arc::clone(&self.left))),
            ended: false,
        };
        // A halt leaves its mark first and kills then; so what was started is looked at after it is there.
        if let Some(halt) = halt
            && let Some(members) = &resource
            && !halt.cover(members)
        {
            return Err(NotRun::Failed("was killed: the permit lapsed".to_owned()));
        }
        let watched = process.watch().map_err(|error| cannot(&error))?;
        let mut said = Said::default();
        let work = async {
            let mut ended = std::pin::pin!(watched.ended());
            let (mut buffer, mut open) = ([0; 4096], true);
            let status = loop {
                tokio::select! {
                    biased;
                    read = output.read(&mut buffer), if open => match read {
                        Ok(length @ 1..) => said.push(&buffer[..length]),
                        _ => open = false,
                    },
                    status = &mut ended => break status,
                }
            };
            let mut rest = REST_BYTES;
            while let Ok(length @ 1..) = output.try_read(&mut buffer) {
                said.push(&buffer[..length]);
                rest = rest.saturating_sub(length);
                if rest == 0 {
                    break;
                }
            }
            status
        };
        let status = tokio::time::timeout(call.timeout, work)
            .await
            .map_err(|_| NotRun::TimedOut(call.timeout))?;
        running.ended = true;
        self.outcome(status, said)
    }

    fn outcome(&self, status: Option<ExitStatus>, said: Said) -> Result<Ran, NotRun> {
        let reason = self.shown(&said.reason());
        match status.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => Ok(Ran {
                code: Code(code),
                reason,
            }),
            Some((None, Some(signal))) => Err(NotRun::Failed(format!("was ended by signal {signal}"))),
            _ => Err(NotRun::Failed("ended, and nobody knows how".to_owned())),
        }
    }
}

/// An agent that is not there is "not installed", as Pacemaker has it.
fn absent_or(step: Step, error: &io::Error, program: &str) -> Result<Ran, NotRun> {
    if step == Step::Execute && error.raw_os_error() == Some(libc::ENOENT) {
        return Ok(Ran {
            code: Code(5),
            reason: format!(
                "there is no agent {program} on this node, or the program that its first line names; install it"
            ),
        });
    }
    Err(NotRun::Failed(format!("{program} cannot be run: {error}")))
}

/// Agents keep their state there; a package's tmpfiles.d may not have been carried out yet.
fn make_temporary_folder() {
    // An agent says it better than we could when this is not possible.
    let _ = DirBuilder::new()
        .recursive(true)
        .mode(0o1755)
        .create(environment::TEMPORARY);
}

/// An action under way. Dropped before its end, it is killed: its process group, and for a look all that it began.
struct Running {
    pid: i32,
    members: Option<(Members, Arc<Mutex<Option<Members>>>)>,
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.ended {
            if let Some((members, left)) = self.members.take() {
                *lock(&left) = Some(members);
            }
            return;
        }
        // It was not reaped, so the number is still its own.
        let _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
        if let Some((members, _)) = self.members.take() {
            members.signal(Signal::SIGKILL);
            members.remove();
        }
        let pid = self.pid;
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Takes the zombie away. Nobody else does, so the number stays its own until then.
            runtime.spawn(async move {
                process::all_ended(&[pid]).await;
                process::reap(pid);
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<NotRun> for AgentError {
    fn from(error: NotRun) -> Self {
        AgentError(error.to_string())
    }
}

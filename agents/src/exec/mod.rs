//! The `exec` agent: runs a program and supervises it, for what has no unit.
//!
//! The program must stay in the foreground. It gets a session of its own, a cgroup of its own where agentd may make
//! one, and survives a restart of had-agentd.

mod members;
mod output;
mod params;
mod process;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_proto::time::Time;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::agent::{Action, AgentContext, AgentError, EventSink, Presence, ResourceAgent};
use crate::{clock, sys};
use members::Members;
use output::Output;
pub use params::META;
use params::Params;
use process::Process;

/// Pause between looks at members that a signal was sent to.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What a restarted had-agentd needs to find the program again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Saved {
    pid: i32,
    start_ticks: u64,
    members: Members,
}

/// One program.
pub struct ExecAgent {
    context: AgentContext,
    params: Params,
    output: Output,
    saved: Option<Saved>,
    watcher: Option<JoinHandle<()>>,
    ended: Arc<Mutex<Option<String>>>,
}

/// Builds the agent. Touches nothing.
///
/// # Errors
/// Parameters that are wrong.
pub fn build(context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    META.check_keys(&context.params)?;
    let params = Params::read(&context.params)?;
    let saved = serde_json::from_str(&context.saved).ok();
    let output = Output::new(
        context
            .state_dir
            .join(format!("{}.{}.out", context.group, context.resource)),
    );
    let ended = Arc::default();
    Ok(Box::new(ExecAgent {
        context,
        params,
        output,
        saved,
        watcher: None,
        ended,
    }))
}

impl ExecAgent {
    fn running(&self) -> Option<Process> {
        let saved = self.saved.as_ref()?;
        Process::find(saved.pid, saved.start_ticks)
    }

    async fn begin(&mut self) -> Result<(), AgentError> {
        if self.running().is_some() && self.watcher.is_some() {
            return Ok(());
        }
        let identity = self.params.identity()?;
        let members = Members::create(&self.context.group, &self.context.resource);
        let wrong = |what: &str, error: std::io::Error| AgentError(format!("{what}: {error}"));
        let write_end = self
            .output
            .open()
            .map_err(|error| wrong("cannot make the pipe for its output", error))?;
        let mut command = Command::new(&self.params.program);
        command
            .args(&self.params.arguments)
            .envs(self.params.env.iter().cloned());
        command
            .env(members::MARKER, members.marker())
            .current_dir(&self.params.cwd);
        command.stdin(Stdio::null());
        // What systemd tells had-agentd is not meant for the program.
        for name in [
            "NOTIFY_SOCKET",
            "WATCHDOG_PID",
            "WATCHDOG_USEC",
            "LISTEN_PID",
            "LISTEN_FDS",
        ] {
            command.env_remove(name);
        }
        command.stdout(
            write_end
                .try_clone()
                .map_err(|error| wrong("cannot duplicate its output", error))?,
        );
        command.stderr(write_end);
        sys::prepare_child(&mut command, members.entrance(), identity);
        let child = command
            .spawn()
            .map_err(|error| wrong(&format!("cannot run {}", self.params.program), error))?;
        let pid = child.id() as i32;
        // From here on the program is known by its descriptor: `child` is not waited for through std.
        let process = Process::open(pid).map_err(|error| wrong("cannot watch the program", error))?;
        self.saved = Some(Saved {
            pid,
            start_ticks: process.start_ticks,
            members: members.with_leader(pid),
        });
        self.watch(process)
    }

    /// Notices the end of the program at once.
    fn watch(&mut self, process: Process) -> Result<(), AgentError> {
        let watched = process
            .watch()
            .map_err(|error| AgentError(format!("cannot watch the program: {error}")))?;
        let (events, output, ended) = (
            self.context.events.clone(),
            self.output.tail(),
            Arc::clone(&self.ended),
        );
        *lock(&ended) = None;
        let watch = async move {
            let reason = describe_end(watched.ended().await, &output);
            *lock(&ended) = Some(reason.clone());
            EventSink::failed(&events, reason);
        };
        if let Some(old) = self.watcher.replace(tokio::spawn(watch)) {
            old.abort();
        }
        Ok(())
    }

    /// Stops watching, so that an end on request is not a failure.
    fn unwatch(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
    }

    /// Signals all members until none is left.
    async fn end(&mut self, signal: Signal, deadline: Time) -> Result<(), AgentError> {
        self.unwatch();
        let Some(saved) = self.saved.clone() else {
            return Ok(());
        };
        saved.members.thaw();
        saved.members.signal(signal);
        loop {
            process::reap(saved.pid);
            let left = saved.members.list();
            if left.is_empty() {
                self.saved = None;
                saved.members.remove();
                self.output.close();
                return Ok(());
            }
            if clock::now() >= deadline {
                return Err(AgentError(format!(
                    "{} did not end on {signal}: {}",
                    self.params.program,
                    names(&left)
                )));
            }
            if signal == Signal::SIGKILL {
                // A fork may have slipped through between the list and the signal.
                saved.members.signal(signal);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl ResourceAgent for ExecAgent {
    fn start(&mut self, _deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.begin())
    }

    fn stop(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.end(Signal::SIGTERM, deadline))
    }

    fn kill(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.end(Signal::SIGKILL, deadline))
    }

    fn freeze(&mut self) -> Result<(), AgentError> {
        self.saved
            .as_ref()
            .map_or(Ok(()), |saved| saved.members.freeze().map_err(AgentError))
    }

    fn probe(&mut self) -> Action<'_, Presence> {
        let running = self.running().is_some();
        let left = self
            .saved
            .as_ref()
            .map(|saved| saved.members.list())
            .unwrap_or_default();
        Box::pin(async move {
            match (running, left.is_empty()) {
                (true, _) => Presence::Active,
                (false, true) => Presence::Inactive,
                (false, false) => Presence::Partial(format!("the program ended and left {}", names(&left))),
            }
        })
    }

    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
        Box::pin(async move {
            let process = self
                .running()
                .ok_or_else(|| AgentError::new("the program ended meanwhile"))?;
            // Its end of the pipe is still open: read on where the old had-agentd left off.
            self.output
                .open()
                .map_err(|error| AgentError(format!("cannot read its output: {error}")))?;
            self.watch(process)
        })
    }

    fn detail(&self) -> String {
        match (&self.saved, &*lock(&self.ended)) {
            (Some(_), Some(ended)) => ended.clone(),
            (Some(saved), None) => format!("pid {}, {}", saved.pid, self.params.program),
            (None, _) => self.params.program.clone(),
        }
    }

    fn saved(&self) -> String {
        self.saved
            .as_ref()
            .and_then(|saved| serde_json::to_string(saved).ok())
            .unwrap_or_default()
    }
}

impl Drop for ExecAgent {
    fn drop(&mut self) {
        self.unwatch();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn describe_end(status: Option<ExitStatus>, output: &output::Tail) -> String {
    let what = match status {
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("the program exited with status {code}"),
            (None, Some(signal)) => format!("the program was ended by signal {signal}"),
            (None, None) => "the program ended".into(),
        },
        None => "the program ended (its status is unknown, had-agentd was restarted since it began)".into(),
    };
    let last = output.last_line();
    if last.is_empty() {
        what
    } else {
        format!("{what}; its last line: {last}")
    }
}

/// The first few members in words.
fn names(pids: &[i32]) -> String {
    let shown: Vec<_> = pids
        .iter()
        .take(4)
        .map(|pid| match fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(comm) => format!("{} (pid {pid})", comm.trim_end()),
            Err(_) => format!("pid {pid}"),
        })
        .collect();
    let more = pids.len().saturating_sub(shown.len());
    if more == 0 {
        shown.join(", ")
    } else {
        format!("{} and {more} more", shown.join(", "))
    }
}

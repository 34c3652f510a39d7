//! The `exec` agent: runs a program and supervises it, for what has no unit.
//!
//! The program must stay in the foreground. It gets a session of its own, a cgroup of its own where agentd may make
//! one, and survives a restart of had-agentd.

#[cfg(fuzzing)]
pub mod fuzzing;
pub(crate) mod halt;
pub(crate) mod members;
mod output;
pub(crate) mod params;
pub(crate) mod process;

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_proto::time::Time;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::agent::{Action, AgentContext, AgentError, Cutter, EventSink, Presence, ResourceAgent};
use crate::clock;
use crate::sys::launch::{Launch, Step, launch};
use halt::Halt;
use members::Members;
pub use members::remove_empty_cgroups;
use output::Output;
pub use params::META;
use params::Params;
use process::Process;

/// Longest pause between looks at members that a signal was sent to. The end of each is waited for; this is for those
/// that cannot be waited for, and for forks that a list missed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Members whose end is waited for at a time; of more than these, some end later than others anyway.
const AWAITED_MAX: usize = 64;

/// Tells the program its group.
const GROUP: &str = "HOLDFAST_GROUP";
/// Tells the program the epoch it was started under: a number that grows with every assignment of the group, for
/// storage that refuses writers with an older one (a fencing token).
const EPOCH: &str = "HOLDFAST_EPOCH";

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
    halt: Arc<Halt>,
}

/// Builds the agent. Touches nothing.
///
/// # Errors
/// Parameters that are wrong.
pub fn build(context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    META.check_keys(&context.params)?;
    let params = Params::read(&context.params)?;
    let saved: Option<Saved> = serde_json::from_str(&context.saved).ok();
    let halt = Arc::new(Halt::default());
    if let Some(saved) = &saved {
        halt.cover(&saved.members);
    }
    let output = Output::new(context.file("out"));
    let ended = Arc::default();
    Ok(Box::new(ExecAgent {
        context,
        params,
        output,
        saved,
        watcher: None,
        ended,
        halt,
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
        let mut members = Members::create(&self.context.group, &self.context.resource);
        let cgroup = members.open_cgroup();
        if cgroup.is_none() {
            members = members.without_cgroup();
        }
        let output = self
            .output
            .open()
            .map_err(|error| AgentError(format!("cannot make the pipe for its output: {error}")))?;
        let (program, args, cwd) = self.params.command()?;
        let epoch = self.context.permit.borrow().epoch.to_string();
        let told = [
            (members::MARKER, members.marker()),
            (GROUP, self.context.group.as_str()),
            (EPOCH, epoch.as_str()),
        ];
        let mut what = Launch {
            program,
            args,
            cwd,
            env: self.params.environment(&told)?,
            output: output.as_fd(),
            cgroup,
            identity,
        };
        let mut launched = launch(&what);
        if matches!(launched, Err((Step::Prepare, _))) && what.cgroup.take().is_some() {
            // Somebody limits what may be done with cgroups here.
            members = members.without_cgroup();
            launched = launch(&what);
        }
        let launched = launched.map_err(|(step, error)| {
            members.remove();
            AgentError(self.params.explain(step, &error))
        })?;
        let pid = launched.0;
        let process = Process::of_child(launched);
        let saved = Saved {
            pid,
            start_ticks: process.start_ticks,
            members: members.with_leader(pid, process.start_ticks),
        };
        let goes_on = self.halt.cover(&saved.members);
        self.saved = Some(saved);
        if !goes_on {
            return Err(AgentError::new("the permit lapsed while the program was started"));
        }
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
        if signal != Signal::SIGKILL {
            // What is frozen does not act on a signal, except on this one.
            saved.members.thaw();
        }
        let mut left = saved.members.signal(signal);
        loop {
            let all_ended = process::all_ended(&left[..left.len().min(AWAITED_MAX)]);
            let _ = tokio::time::timeout(LOOK_AGAIN, all_ended).await;
            process::reap(saved.pid);
            left = match signal {
                // A fork may have slipped through between the list and the signal.
                Signal::SIGKILL => saved.members.signal(signal),
                _ => saved.members.list(),
            };
            if left.is_empty() {
                // It may have ended since the look above. Its number would count as a process for ever: a server finds it in its lock
                // file, and does not start.
                process::reap(saved.pid);
                self.saved = None;
                self.halt.release();
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

    fn halter(&self) -> Option<Cutter> {
        let halt = Arc::clone(&self.halt);
        Some(Arc::new(move || {
            halt.halt();
            Ok(())
        }))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn nothing_is_left_of_a_program_that_was_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut context = crate::agent::tests::context();
        context.state_dir = folder.path().to_owned();
        context.params = BTreeMap::from([("command".to_owned(), "/bin/sleep\n600".to_owned())]);
        let mut agent = build(context).unwrap();
        let deadline = || clock::now() + Duration::from_secs(60);
        // It ends between one look and the next, or before, or after: so more than once.
        for round in 0..40 {
            agent.start(deadline()).await.unwrap();
            let saved: Saved = serde_json::from_str(&agent.saved()).unwrap();
            if round % 2 == 0 {
                agent.kill(deadline()).await.unwrap();
            } else {
                agent.stop(deadline()).await.unwrap();
            }
            assert!(
                process::stat(saved.pid).is_none(),
                "a zombie is left in round {round}"
            );
        }
    }
}

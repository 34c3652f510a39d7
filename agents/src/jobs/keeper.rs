//! The keeper of one run: starts the program, reads what it prints, ends it when its time is over, and writes down how it
//! ended. It lives on when had-agentd is restarted.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use super::saved::{Ended, Spec};
use crate::exec::params::Params;
use crate::exec::process::{Process, Watched};
use crate::sys::launch::{Launch, launch};

/// Time to end politely.
const GRACE: Duration = Duration::from_secs(10);
/// Printed lines that are passed on; a program that prints without end must not fill the journal.
const LINES_MAX: u64 = 10_000;
/// Longest line that is passed on.
const LINE_BYTES_MAX: usize = 2048;
/// How much of the last line is kept for the history.
const LAST_LINE_CHARS: usize = 200;
/// How long the pipe is read after the program ended, for what its children still print.
const PIPE_GRACE: Duration = Duration::from_millis(200);

/// Does what the file at `path` says. Everything that goes wrong is written down as how the run ended.
///
/// # Errors
/// What is to be done cannot be read, or how it ended cannot be written down.
pub fn keep(path: &Path) -> anyhow::Result<()> {
    let spec = Spec::read(path).map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let begun = Instant::now();
    let mut lines = Lines::new(&spec);
    let (well, how) = match runtime.block_on(run(&spec, begun, &mut lines)) {
        Ok(end) => end,
        Err(why) => (false, why),
    };
    let ended = Ended {
        run: spec.run,
        well,
        how,
        last_line: lines.last(),
        took_ms: begun.elapsed().as_millis() as u64,
    };
    Ok(ended.write(path)?)
}

/// Returns whether it ended well, and how.
async fn run(spec: &Spec, begun: Instant, lines: &mut Lines) -> Result<(bool, String), String> {
    let (output, mut receiver) = pipe::pipe().map_err(|error| format!("cannot make a pipe: {error}"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    let (group, watched) = start(spec, output)?;
    let mut ended = std::pin::pin!(watched.ended());
    let mut why: Option<String> = None;
    let mut next = begun + Duration::from_millis(spec.timeout_ms.into());
    let mut piece = [0; 4096];
    let mut open = true;
    let status = loop {
        tokio::select! {
            length = receiver.read(&mut piece), if open => match length {
                Ok(length @ 1..) => lines.push(&piece[..length]),
                _ => open = false,
            },
            status = &mut ended => break status,
            () = sleep_until(next) => {
                // The second time politeness is over.
                let (signal, reason) = match &why {
                    None => (Signal::SIGTERM, format!("it took longer than {} s and was stopped", spec.timeout_ms / 1000)),
                    Some(reason) => (Signal::SIGKILL, reason.clone()),
                };
                let _ = killpg(group, signal);
                next = Instant::now() + GRACE;
                why = Some(reason);
            }
            _ = terminate.recv() => if why.is_none() {
                let _ = killpg(group, Signal::SIGTERM);
                next = Instant::now() + GRACE;
                why = Some("it was ended".into());
            }
        }
    };
    let rest = async {
        while let Ok(length @ 1..) = receiver.read(&mut piece).await {
            lines.push(&piece[..length]);
        }
    };
    let _ = tokio::time::timeout(PIPE_GRACE, rest).await;
    lines.flush();
    // What it left behind is had-agentd's to end, which counts it: some of it may have left the process group.
    Ok(match (why, status) {
        (Some(why), _) => (false, why),
        (None, Some(status)) => (status.success(), describe(status)),
        (None, None) => (false, "how it ended could not be read".into()),
    })
}

fn start(spec: &Spec, output: pipe::Sender) -> Result<(Pid, Watched), String> {
    let params: BTreeMap<String, String> = [
        ("command", &spec.command),
        ("user", &spec.user),
        ("cwd", &spec.cwd),
        ("env", &spec.env),
    ]
    .map(|(key, value)| (key.to_owned(), value.clone()))
    .into();
    let plain = |error: crate::agent::AgentError| error.0.replace("agent exec: ", "");
    let params = Params::read(&params).map_err(plain)?;
    let numbers = [
        spec.run.to_string(),
        spec.occurrence.to_string(),
        spec.attempt.to_string(),
    ];
    let told = [
        ("HOLDFAST_JOB", spec.job.as_str()),
        ("HOLDFAST_GROUP", spec.group.as_str()),
        ("HOLDFAST_JOB_RUN", numbers[0].as_str()),
        ("HOLDFAST_JOB_OCCURRENCE", numbers[1].as_str()),
        ("HOLDFAST_JOB_ATTEMPT", numbers[2].as_str()),
    ];
    let (program, args, cwd) = params.command().map_err(plain)?;
    let output = output.into_blocking_fd().map_err(|error| error.to_string())?;
    let launched = launch(&Launch {
        program,
        args,
        cwd,
        env: params.environment(&told).map_err(plain)?,
        output: output.as_fd(),
        cgroup: None,
        identity: params.identity().map_err(plain)?,
    })
    .map_err(|(step, error)| params.explain(step, &error))?;
    let group = Pid::from_raw(launched.0);
    let watched = Process::of_child(launched).watch();
    let watched = watched.map_err(|error| format!("it cannot be watched: {error}"));
    if watched.is_err() {
        let _ = killpg(group, Signal::SIGKILL);
    }
    Ok((group, watched?))
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(0), _) => "it ended well".into(),
        (Some(code), _) => format!("it ended with status {code}"),
        (None, Some(signal)) => format!("it was killed by signal {signal}"),
        (None, None) => "it ended".into(),
    }
}

/// Passes on what is printed, line by line, to where had-agentd's own log goes.
struct Lines {
    head: String,
    open: Vec<u8>,
    last: Vec<u8>,
    count: u64,
}

impl Lines {
    fn new(spec: &Spec) -> Lines {
        Lines {
            head: format!("job {} (run {}): ", spec.job, spec.run),
            open: Vec::new(),
            last: Vec::new(),
            count: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.flush();
            } else if self.open.len() < LINE_BYTES_MAX {
                self.open.push(*byte);
            }
        }
    }

    /// The line that is open has ended.
    fn flush(&mut self) {
        let line = std::mem::take(&mut self.open);
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.count += 1;
        let text = match self.count {
            1..=LINES_MAX => clean(&line),
            count if count == LINES_MAX + 1 => "what it prints from here on is dropped".into(),
            _ => String::new(),
        };
        self.last = line;
        if !text.is_empty() {
            // Nobody may be there to read it.
            let _ = writeln!(std::io::stderr(), "{}{text}", self.head);
        }
    }

    fn last(&self) -> String {
        clean(&self.last).chars().take(LAST_LINE_CHARS).collect()
    }
}

fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

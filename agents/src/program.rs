//! Runs a program to its end: something on its standard input, bounded output, a bound on time, and nothing of it left
//! afterwards. For fence agents and probes.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::leftovers;

/// Output kept of each of stdout and stderr; the rest is read and dropped, so that the agent does not block.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// How long pipes may stay open after the program ended (a child of its that lives on).
const PIPE_GRACE: Duration = Duration::from_millis(200);
/// Longest excerpt of output in a sentence.
const EXCERPT_CHARS: usize = 300;

/// What a run gave.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Exit code; None when it was killed by a signal.
    pub code: Option<i32>,
    /// Standard output, bounded.
    pub stdout: String,
    /// Standard error, bounded.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

/// Why there is no [`Run`].
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not be started.
    #[error("cannot be run: {0}")]
    Spawn(#[from] io::Error),
    /// It was killed, with all its process group.
    #[error("did not end within {0:.1?} and was killed")]
    Timeout(Duration),
}

/// Kills the process group unless told that it ended; also when the future is dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Group(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .map(Pid::from_raw),
        )
    }

    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // It may be gone already.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `program` with `args`, gives it `input`, and waits at most `limit`.
///
/// # Errors
/// It could not be started, or took too long.
pub async fn run(program: &Path, args: &[String], input: &str, limit: Duration) -> Result<Run, RunError> {
    run_with(program, args, &[], input, limit).await
}

/// The same, with variables added to its environment.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    program: &Path,
    args: &[String],
    variables: &[(&str, &str)],
    input: &str,
    limit: Duration,
) -> Result<Run, RunError> {
    let begun = tokio::time::Instant::now();
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", crate::fence::locate::SEARCH_PATH)
        .env("LC_ALL", "C.UTF-8")
        .env(leftovers::MARKER, leftovers::marker())
        // Agents written in Python print deprecation warnings that say nothing about the device.
        .env("PYTHONWARNINGS", "ignore")
        .envs(variables.iter().copied())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let mut group = Group::of(&child);
    let stdin = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let work = async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // An agent may end without reading what it does not need.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let mut read = std::pin::pin!(async {
            tokio::join!(feed, drain(stdout, &mut out), drain(stderr, &mut err));
        });
        let mut read_done = false;
        loop {
            tokio::select! {
                () = &mut read, if !read_done => read_done = true,
                status = child.wait() => {
                    if !read_done && tokio::time::timeout(PIPE_GRACE, &mut read).await.is_err() {
                        group.kill();
                    }
                    return status;
                }
            }
        }
    };
    let status = match tokio::time::timeout(limit, work).await {
        Ok(status) => status?,
        Err(_) => {
            group.kill();
            let _ = child.wait().await;
            return Err(RunError::Timeout(limit));
        }
    };
    group.0 = None;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Run {
        code: status.code(),
        stdout: text(&out),
        stderr: text(&err),
        took: begun.elapsed(),
    })
}

/// Reads to the end, keeping a bounded head.
async fn drain(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        let room = OUTPUT_BYTES_MAX - kept.len();
        kept.extend(&buffer[..length.min(room)]);
    }
}

impl Run {
    /// What it said last, in one line, without control characters and `secrets`.
    #[must_use]
    pub fn excerpt(&self, secrets: &[impl AsRef<str>]) -> String {
        let said = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        excerpt(said, secrets)
    }
}

/// The end of `text` in one line of bounded length, without control characters and `secrets`.
#[must_use]
pub fn excerpt(text: &str, secrets: &[impl AsRef<str>]) -> String {
    let mut clean = text.to_owned();
    // Longest first: one secret may be part of another.
    let mut secrets: Vec<&str> = secrets
        .iter()
        .map(AsRef::as_ref)
        .filter(|secret| !secret.is_empty())
        .collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    for secret in secrets {
        clean = clean.replace(secret, "***");
    }
    let mut line = String::new();
    for part in clean.lines().map(str::trim).filter(|part| !part.is_empty()) {
        let _ = write!(line, "{}{part}", if line.is_empty() { "" } else { " | " });
    }
    let line: Vec<char> = line
        .chars()
        .map(|c| if c.is_control() || c == '\u{fffd}' { '?' } else { c })
        .collect();
    let from = line.len().saturating_sub(EXCERPT_CHARS);
    let head = if from > 0 { "…" } else { "" };
    format!("{head}{}", line[from..].iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excerpts_hide_secrets() {
        let text = "login with hunter2\nbad \x1b[31m\nhunter22 refused\n";
        let shown = excerpt(text, &["hunter2", "hunter22", ""]);
        assert_eq!(shown, "login with *** | bad ?[31m | *** refused");
        assert!(excerpt(&"x".repeat(5000), &[""; 0]).chars().count() <= EXCERPT_CHARS + 1);
    }
}

//! Running other programs: in the workspace's root, bounded in time, with nothing left behind.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

/// `cargo` in the workspace's root.
#[must_use]
pub fn cargo(args: &[&str]) -> Command {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root()).args(args);
    command
}

/// Cargo's target directory.
#[must_use]
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Builds every program of the workspace. Always all of them together: cargo builds a dependency anew for each set of
/// packages that wants other features of it.
pub fn build_release() -> Result<()> {
    done(&mut cargo(&[
        "build",
        "--quiet",
        "--release",
        "--workspace",
        "--bins",
    ]))
}

/// The program `bin` of [`build_release`], in the workspace's root.
#[must_use]
pub fn release_bin(bin: &str) -> Command {
    let mut command = Command::new(target_dir().join("release").join(bin));
    command.current_dir(root());
    command
}

/// Builds all and runs `bin` with `args`; its exit code.
pub fn run_bin(bin: &str, args: &[String]) -> Result<u8> {
    build_release()?;
    let status = release_bin(bin)
        .args(args)
        .status()
        .with_context(|| format!("could not run {bin}"))?;
    Ok(code(status))
}

/// Builds and runs the only program of `package` with `args`, for what no release has; its exit code.
pub fn run_package(package: &str, args: &[String]) -> Result<u8> {
    let status = cargo(&["run", "--quiet", "--package", package, "--"])
        .args(args)
        .status()
        .with_context(|| format!("could not run {package}"))?;
    Ok(code(status))
}

/// An exit status as a number from 0 to 255.
#[must_use]
pub fn code(status: ExitStatus) -> u8 {
    status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}

/// Runs `command` to its end and fails in words if it fails.
pub fn done(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("could not run {}", name(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", name(command));
    }
    Ok(())
}

/// The standard output of `command`, which must succeed.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("could not run {}", name(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", name(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no text", name(command)))
}

/// How a bounded run ended.
pub struct Ended {
    /// True if it exited 0 in time.
    pub success: bool,
    /// All it wrote to standard output.
    pub stdout: String,
}

/// Runs `command` in a process group of its own for at most `limit`. Each line of its standard output goes to `line`
/// as it comes, and all of it is in the result. At the end of the time the whole group is killed.
pub fn bounded(command: &mut Command, limit: Duration, mut line: impl FnMut(&str)) -> Result<Ended> {
    let what = name(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .with_context(|| format!("could not run {what}"))?;
    let (lines, incoming) = mpsc::channel();
    let stdout = child.stdout.take().context("no pipe to read from")?;
    let reader = std::thread::spawn(move || {
        for text in BufReader::new(stdout).lines().map_while(Result::ok) {
            if lines.send(text).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + limit;
    let mut stdout = String::new();
    let in_time = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match incoming.recv_timeout(left) {
            Ok(text) => {
                line(&text);
                stdout.push_str(&text);
                stdout.push('\n');
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break true,
            Err(mpsc::RecvTimeoutError::Timeout) => break false,
        }
    };
    if !in_time {
        eprintln!(
            "xtask: {what} took longer than {} s and was ended",
            limit.as_secs()
        );
    }
    let status = end(&mut child, in_time)?;
    drop(incoming);
    let _ = reader.join();
    Ok(Ended {
        success: in_time && status.success(),
        stdout,
    })
}

/// Waits for the child, after killing its group unless it is ending by itself.
fn end(child: &mut Child, by_itself: bool) -> Result<ExitStatus> {
    let group = Pid::from_raw(i32::try_from(child.id()).context("process id out of range")?);
    if !by_itself {
        // TERM first: the lab removes its nodes on it.
        let _ = killpg(group, Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                let _ = killpg(group, Signal::SIGKILL);
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = killpg(group, Signal::SIGKILL);
    }
    Ok(child.wait()?)
}

fn name(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .take(4)
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_and_are_kept() {
        let mut seen = Vec::new();
        let ended = bounded(
            Command::new("printf").arg("a\nb\n"),
            Duration::from_secs(60),
            |line| {
                seen.push(line.to_string());
            },
        )
        .unwrap();
        assert!(ended.success);
        assert_eq!(seen, ["a", "b"]);
        assert_eq!(ended.stdout, "a\nb\n");
    }

    #[test]
    fn a_run_without_end_is_ended() {
        let ended = bounded(
            Command::new("sleep").arg("600"),
            Duration::from_millis(50),
            |_| {},
        )
        .unwrap();
        assert!(!ended.success);
    }

    #[test]
    fn a_failure_is_told_with_its_command() {
        let error = done(Command::new("sh").args(["-c", "exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("sh -c exit 3 failed"), "{error}");
    }
}

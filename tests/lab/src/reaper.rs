//! Cleaning up whatever happens: a process of its own that outlives a killed harness by as long as it takes.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// The word on the command line that makes this program the reaper.
pub const WORD: &str = "--reap";

/// The harness' end of the reaper. When it goes, by [`Reaper::finish`] or by the harness' death, the reaper cleans up.
#[derive(Debug)]
pub struct Reaper {
    process: Child,
    alive: Option<ChildStdin>,
}

impl Reaper {
    /// Starts the reaper of this process.
    pub fn start() -> Result<Reaper> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args([WORD, &std::process::id().to_string()])
            .stdin(Stdio::piped())
            .process_group(0);
        let mut process = command.spawn().context("could not start the reaper")?;
        let alive = process.stdin.take();
        Ok(Reaper { process, alive })
    }

    /// Has it clean up, and waits for that.
    pub fn finish(mut self) -> Result<()> {
        drop(self.alive.take());
        let status = self.process.wait()?;
        anyhow::ensure!(
            status.success(),
            "what the run made could not be removed; see above"
        );
        Ok(())
    }
}

/// The reaper itself: waits for the end of the harness, then has what that made removed.
///
/// # Errors
/// As `remove`.
pub fn reap(remove: impl FnOnce() -> Result<()>) -> Result<()> {
    // Ends when the last holder of the other end is gone, however it went.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    remove()
}

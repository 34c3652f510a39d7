//! Notices when the test machine itself stands still: such a time is no outage of the cluster, and is written down.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use super::attempt::{Stall, stalls_file};
use crate::torture::history::Clock;

/// Pause between looks at the clock.
const PAUSE: Duration = Duration::from_millis(20);
/// Milliseconds by which a look may be late: what is less, clients and nodes do not notice.
const LATE_MS: u64 = 250;

/// A running look-out; ends when dropped.
#[derive(Debug)]
pub struct Pulse {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Pulse {
    /// Starts it; what it sees goes into a file of `dir`.
    pub fn start(dir: &Path, clock: Clock) -> Result<Pulse> {
        let path = stalls_file(dir);
        let file = File::create_new(&path).with_context(|| path.display().to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("pulse".into())
            .spawn(move || watch(file, clock, &end))?;
        Ok(Pulse {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends it.
    pub fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        thread.join().map_err(|_| anyhow::anyhow!("the pulse panicked"))?
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(mut file: File, clock: Clock, end: &AtomicBool) -> Result<()> {
    let mut last_ms = clock.now_ms();
    while !end.load(Ordering::Relaxed) {
        std::thread::sleep(PAUSE);
        let now_ms = clock.now_ms();
        if now_ms > last_ms + LATE_MS {
            let stall = Stall {
                from_ms: last_ms,
                until_ms: now_ms,
            };
            let mut line = serde_json::to_string(&stall)?;
            line.push('\n');
            file.write_all(line.as_bytes()).context("write down a stall")?;
        }
        last_ms = now_ms;
    }
    Ok(())
}

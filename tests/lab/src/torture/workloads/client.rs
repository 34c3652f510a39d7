//! A client: writes one number after the other, and writes down what became of each.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::attempt::{Attempt, Outcome, attempts_file, content_file};
use super::store::Store;
use crate::net::Net;
use crate::torture::history::Clock;

/// Pause between writes.
const PACE: Duration = Duration::from_millis(25);
/// How long the server may take to tell at the end what it has.
const READ: Duration = Duration::from_secs(90);

/// A running client; ends when dropped.
#[derive(Debug)]
pub struct Client {
    group: String,
    stop: Arc<AtomicBool>,
    /// When the newest acknowledged write was sent, and one more, so that 0 is none.
    newest: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Client {
    /// Starts writing to `store` from the lab's network; what it did goes into files of `dir`.
    pub fn start(
        group: &str,
        mut store: Box<dyn Store>,
        net: &Net,
        dir: &Path,
        clock: Clock,
    ) -> Result<Client> {
        let path = attempts_file(dir, group);
        let mut file = File::create_new(&path).with_context(|| path.display().to_string())?;
        let (stop, newest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (end, seen, net) = (Arc::clone(&stop), Arc::clone(&newest), net.clone());
        let (content, name) = (content_file(dir, group), group.to_string());
        let work = move || {
            net.enter()?;
            for id in 1.. {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                let attempt = Attempt::make(store.as_mut(), id, clock);
                if attempt.outcome == Outcome::Acknowledged {
                    seen.store(attempt.start_ms + 1, Ordering::Relaxed);
                }
                let mut line = serde_json::to_string(&attempt)?;
                line.push('\n');
                file.write_all(line.as_bytes()).context("write down an attempt")?;
                std::thread::sleep(PACE);
            }
            match read_at_last(store.as_mut()) {
                Ok(found) => {
                    std::fs::write(&content, serde_json::to_vec(&found)?).context("write down what was found")
                }
                // The checker misses the file and says so, after all else that it has to say.
                Err(error) => {
                    eprintln!("lab: {name}: {error:#}");
                    Ok(())
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name(format!("client-{group}"))
            .spawn(work)?;
        Ok(Client {
            group: group.into(),
            stop,
            newest,
            thread: Some(thread),
        })
    }

    /// When the newest write that was acknowledged was sent.
    #[must_use]
    pub fn last_ack_ms(&self) -> Option<u64> {
        self.newest.load(Ordering::Relaxed).checked_sub(1)
    }

    /// Ends it after it has read everything back, or could not.
    pub fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let ended = thread
            .join()
            .map_err(|_| anyhow::anyhow!("the client panicked"))?;
        ended.with_context(|| format!("the client of {}", self.group))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Asks again and again for everything that is there.
fn read_at_last(store: &mut dyn Store) -> Result<Vec<u64>> {
    let deadline = Instant::now() + READ;
    loop {
        match store.read_all() {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() >= deadline => {
                return Err(error).context("what it has could not be read at the end of the run");
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

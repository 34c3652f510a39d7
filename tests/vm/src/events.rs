//! What a machine's hardware did, as QEMU tells it: the watchdog fired, the machine was reset, its kernel panicked.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::{qmp, sh};

/// One of QEMU's events.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it was told.
    pub at: Instant,
    /// `WATCHDOG`, `RESET`, `GUEST_PANICKED`, `SHUTDOWN`, ...
    pub name: String,
}

/// Everything a machine's hardware did, over all its boots.
#[derive(Clone, Debug, Default)]
pub struct Events {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Events {
    /// Listens to the QEMU behind `socket` until it ends.
    pub fn listen(&self, socket: &Path) -> Result<()> {
        let mut stream = UnixStream::connect(socket)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        qmp::greet(&mut stream, &mut reader)?;
        let seen = Arc::clone(&self.seen);
        std::thread::Builder::new().name("events".into()).spawn(move || {
            for line in reader.lines().map_while(Result::ok) {
                let message: Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(name) = message["event"].as_str() {
                    let event = Seen {
                        at: Instant::now(),
                        name: name.into(),
                    };
                    seen.lock().unwrap_or_else(PoisonError::into_inner).push(event);
                }
            }
            // The other half keeps the connection open for as long as we read.
            drop(stream);
        })?;
        Ok(())
    }

    /// Forgets what was.
    pub fn clear(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// When the first event of that name was, if there was one.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<Instant> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().find(|event| event.name == name).map(|event| event.at)
    }

    /// Waits for an event of that name; when it was.
    pub fn wait(&self, name: &str, limit: Duration) -> Result<Instant> {
        sh::wait(&format!("QEMU to tell {name}"), limit, || self.first(name))
    }
}

//! What a client did, as lines of JSON.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::store::{self, Store};
use crate::torture::history::Clock;

/// Word for what became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server said that it is done: it must be there at the end.
    Acknowledged,
    /// It was not done: it must not be there.
    Failed,
    /// Nobody knows: it may be there or not.
    Unknown,
}

/// One write. Times are milliseconds of the run's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// The number that was written, never used again.
    pub id: u64,
    /// When it was sent.
    pub start_ms: u64,
    /// When the answer was there, or was given up.
    pub end_ms: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// By which number the server counts it; only of acknowledged ones.
    pub number: Option<u64>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

impl Attempt {
    /// Writes `id` and waits for what becomes of it.
    pub fn make(store: &mut dyn Store, id: u64, clock: Clock) -> Attempt {
        let start_ms = clock.now_ms();
        let (outcome, number, why) = match store.write(id) {
            store::Outcome::Acknowledged(number) => (Outcome::Acknowledged, Some(number), String::new()),
            store::Outcome::Failed(why) => (Outcome::Failed, None, why),
            store::Outcome::Unknown(why) => (Outcome::Unknown, None, why),
        };
        Attempt {
            id,
            start_ms,
            end_ms: clock.now_ms(),
            outcome,
            number,
            why,
        }
    }
}

/// A stretch of time in which the test machine itself did not run what was due.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Stall {
    /// When it began.
    pub from_ms: u64,
    /// When it was over.
    pub until_ms: u64,
}

/// When the run's clock began, on the host's clocks.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// Nanoseconds of the host's monotonic clock, as in the ledgers.
    pub monotonic_ns: u64,
    /// Milliseconds since 1970, as in the journals.
    pub wall_ms: u64,
}

/// File of what the client of `group` did.
#[must_use]
pub fn attempts_file(dir: &Path, group: &str) -> PathBuf {
    dir.join(format!("attempts-{group}.jsonl"))
}

/// File of what was found at the end in the server of `group`.
#[must_use]
pub fn content_file(dir: &Path, group: &str) -> PathBuf {
    dir.join(format!("content-{group}.json"))
}

/// File of the [`Stall`]s.
#[must_use]
pub fn stalls_file(dir: &Path) -> PathBuf {
    dir.join("stalls.jsonl")
}

/// File of the [`Origin`].
#[must_use]
pub fn origin_file(dir: &Path) -> PathBuf {
    dir.join("origin.json")
}

/// Reads the lines of `path`. A run that was killed may have left half a line at the end.
pub fn read_lines<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut values = Vec::new();
    let mut damaged = None;
    for (place, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| path.display().to_string())?;
        if let Some(place) = damaged {
            anyhow::bail!("{}: line {place} is damaged", path.display());
        }
        match serde_json::from_str(&line) {
            Ok(value) => values.push(value),
            Err(_) => damaged = Some(place + 1),
        }
    }
    Ok(values)
}

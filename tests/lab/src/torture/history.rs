//! What was done to the cluster, on one monotonic clock, as lines of JSON that the checker reads afterwards.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// File of the faults, in the run's directory.
pub const FAULTS: &str = "faults.jsonl";
/// File of the phases, in the run's directory.
pub const PHASES: &str = "phases.jsonl";

/// The run's clock: milliseconds since it began, the same for nemesis, workloads and checker.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Instant,
    wall: Duration,
}

impl Clock {
    /// Starts now.
    #[must_use]
    pub fn start() -> Clock {
        Clock {
            zero: Instant::now(),
            wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// Milliseconds since the start.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        millis(self.zero.elapsed())
    }

    /// Wall clock of the start, in milliseconds since 1970, to compare with journals: nodes share the host's wall clock.
    #[must_use]
    pub fn wall_ms(&self) -> u64 {
        millis(self.wall)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// One injected fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// Number of the fault; a later line with the same number replaces an earlier one.
    pub id: u32,
    /// When it was injected.
    pub at_ms: u64,
    /// When it was undone; none while it lasts.
    pub until_ms: Option<u64>,
    /// Until when it may have been the cause of an outage that begins: a fence under way, a node that boots.
    pub explains_until_ms: Option<u64>,
    /// What it was: `kill`, `stop`, `power-off`, `cut`, `loss`, ...
    pub kind: String,
    /// To whom: `n1`, `n1/had`, `n1-n2 link 0`.
    pub target: String,
    /// More about it, for people.
    pub detail: String,
    /// Groups that may be down because of it; empty for a fault that nobody should notice.
    pub expects_outage_of: Vec<String>,
}

/// What a stretch of time was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// Faults are injected.
    Faults,
    /// Every fault has been undone; every group must come back.
    Heal,
    /// All is well and nothing is done: no outage has an excuse.
    Quiet,
}

/// A phase of a round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Phase {
    /// Which round.
    pub round: u32,
    /// What it was for.
    pub kind: PhaseKind,
    /// When it began; it lasts until the next one begins.
    pub at_ms: u64,
    /// At the end of a heal phase: seconds from its begin until every group served and the cluster was whole.
    pub recovery_s: Option<f64>,
}

/// Writes the history into the run's directory. Clones write the same one.
#[derive(Clone, Debug)]
pub struct History {
    /// The run's clock.
    pub clock: Clock,
    dir: PathBuf,
    files: Arc<Mutex<(File, File)>>,
}

impl History {
    /// A new history in `dir`.
    pub fn new(dir: &Path) -> Result<History> {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let open = |name: &str| {
            OpenOptions::new()
                .create_new(true)
                .append(true)
                .open(dir.join(name))
        };
        let files = (open(FAULTS).context(FAULTS)?, open(PHASES).context(PHASES)?);
        Ok(History {
            clock: Clock::start(),
            dir: dir.to_path_buf(),
            files: Arc::new(Mutex::new(files)),
        })
    }

    /// The run's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes down a fault, or that it has ended.
    pub fn fault(&self, fault: &Fault) -> Result<()> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        line(&mut files.0, fault)
    }

    /// Writes down a phase, or how it ended.
    pub fn phase(&self, phase: &Phase) -> Result<()> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        line(&mut files.1, phase)
    }
}

/// Writes `value` as one line of JSON.
fn line(file: &mut File, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    file.write_all(text.as_bytes()).context("write the history")
}

/// The faults of the run in `dir`, in the order of their injection.
pub fn read_faults(dir: &Path) -> Result<Vec<Fault>> {
    let faults: Vec<Fault> = read(&dir.join(FAULTS))?;
    let last: BTreeMap<u32, Fault> = faults.into_iter().map(|fault| (fault.id, fault)).collect();
    Ok(last.into_values().collect())
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    BufReader::new(file)
        .lines()
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect()
}

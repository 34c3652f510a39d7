//! Files of jobs in the state folder: `JOB.job` (the latest run), `JOB.run` (what its keeper is to do) and `JOB.ended` (what the
//! keeper saw). All are written beside, synced and renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use holdfast_proto::agent::{JobOrder, JobSpec, JobStatus};
use serde::{Deserialize, Serialize};

use crate::exec::members::Members;
use crate::group::store::path_of;

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The latest run of a job on this node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Saved {
    pub job: String,
    pub boot: String,
    pub cluster: u64,
    /// The highest number that was seen.
    pub run: u64,
    pub outcome: Outcome,
    pub detail: String,
    pub took_ms: u64,
    /// Process and start time of the keeper.
    pub keeper: Option<(i32, u64)>,
    /// How to find whatever belongs to it.
    pub members: Members,
    /// Why it was ended, if `had` had it ended.
    #[serde(skip)]
    pub ended_for: String,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Running,
    Done,
    Failed,
    Interrupted,
    #[default]
    NotBegun,
}

impl Outcome {
    /// The word between `had` and had-agentd.
    pub fn word(self) -> &'static str {
        use holdfast_proto::job::JobOutcome;
        let outcome = match self {
            Outcome::Running => JobOutcome::Running,
            Outcome::Done => JobOutcome::Done,
            Outcome::Failed => JobOutcome::Failed,
            Outcome::Interrupted => JobOutcome::Interrupted,
            Outcome::NotBegun => JobOutcome::NotBegun,
        };
        outcome.as_str()
    }
}

impl Saved {
    /// The run of `order`, about to begin.
    pub fn of(order: &JobOrder) -> Saved {
        Saved {
            job: order.job.clone(),
            boot: super::boot_id(),
            cluster: order.cluster_id,
            run: order.run,
            outcome: Outcome::Running,
            ..Saved::default()
        }
    }

    pub fn status(&self) -> JobStatus {
        JobStatus {
            job: self.job.clone(),
            run: self.run,
            outcome: self.outcome.word().into(),
            detail: self.detail.clone(),
            took_ms: self.took_ms,
        }
    }

    pub fn write(&self, state_dir: &Path) -> io::Result<()> {
        write(&path_of(state_dir, &self.job, "job"), self)
    }
}

/// What a file of the state folder says.
pub enum Loaded {
    /// The latest run of this boot.
    Current(Saved),
    /// Something of an earlier boot, which says nothing any more.
    Earlier,
    /// It cannot be read.
    Damaged(String),
}

/// Reads the files of all jobs.
pub fn load_all(state_dir: &Path) -> Vec<(String, Loaded)> {
    let entries = fs::read_dir(state_dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "job"))
        .collect();
    paths.sort();
    let loaded = |path: PathBuf| match read::<Saved>(&path) {
        Ok(saved) if saved.boot == super::boot_id() => (saved.job.clone(), Loaded::Current(saved)),
        Ok(saved) => (saved.job, Loaded::Earlier),
        Err(error) => {
            let stem = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            (
                stem,
                Loaded::Damaged(format!("{} is damaged: {error}", path.display())),
            )
        }
    };
    paths.into_iter().map(loaded).collect()
}

/// What a keeper is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub job: String,
    pub group: String,
    pub run: u64,
    pub occurrence: i64,
    pub attempt: u32,
    pub command: String,
    pub user: String,
    pub cwd: String,
    pub env: String,
    pub timeout_ms: u32,
}

impl Spec {
    pub fn of(order: &JobOrder, spec: &JobSpec) -> Spec {
        Spec {
            job: order.job.clone(),
            group: spec.group.clone(),
            run: order.run,
            occurrence: order.occurrence,
            attempt: order.attempt,
            command: spec.command.clone(),
            user: spec.user.clone(),
            cwd: spec.cwd.clone(),
            env: spec.env.clone(),
            timeout_ms: spec.timeout_ms,
        }
    }

    pub fn path(state_dir: &Path, job: &str) -> PathBuf {
        path_of(state_dir, job, "run")
    }

    pub fn write(&self, state_dir: &Path) -> io::Result<()> {
        write(&Spec::path(state_dir, &self.job), self)
    }

    pub fn read(path: &Path) -> Result<Spec, String> {
        read(path)
    }
}

/// What a keeper saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ended {
    pub run: u64,
    /// The program ended with status 0, by itself.
    pub well: bool,
    /// How it ended.
    pub how: String,
    /// The last line that it printed.
    pub last_line: String,
    pub took_ms: u64,
}

impl Ended {
    pub fn write(&self, spec: &Path) -> io::Result<()> {
        write(&spec.with_extension("ended"), self)
    }

    /// What was written down about that very run.
    pub fn read(state_dir: &Path, job: &str, run: u64) -> Option<Ended> {
        let ended: Ended = read(&path_of(state_dir, job, "ended")).ok()?;
        (ended.run == run).then_some(ended)
    }

    /// How it ended, in one sentence.
    pub fn sentence(&self, ended_for: &str, left: usize) -> String {
        let mut text = self.how.clone();
        if !ended_for.is_empty() && !self.well {
            text = format!("{text}: {ended_for}");
        }
        if !self.well && !self.last_line.is_empty() {
            text = format!("{text}; it said: {}", self.last_line);
        }
        match left {
            0 => text,
            1 => format!("{text}; it left 1 process, which was ended"),
            more => format!("{text}; it left {more} processes, which were ended"),
        }
    }
}

fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("it has {length} bytes"));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}

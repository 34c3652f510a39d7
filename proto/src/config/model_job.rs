//! The validated configuration of jobs.

use crate::calendar::Calendar;
use crate::ids::{GroupName, JobName};

/// Most jobs of one cluster: each has an entry in the register.
pub const JOBS_MAX: usize = 200;

/// On which node a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum JobWhere {
    /// Where its group runs, or is promoted.
    #[default]
    Primary,
    /// On a replica of its group whose data is fit to be read.
    Replica,
    /// On any node that takes part; one that does not run the group, if there is one.
    Any,
}

impl JobWhere {
    /// The word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            JobWhere::Primary => "primary",
            JobWhere::Replica => "replica",
            JobWhere::Any => "any",
        }
    }
}

/// What is done when no replica is fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum JobFallback {
    /// The occurrence is left out.
    #[default]
    Skip,
    /// It runs on the primary.
    Primary,
}

/// What is done when the node of a run was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum JobInterrupted {
    /// Nothing: the next occurrence is the next run.
    #[default]
    Skip,
    /// It is run again: at least once, instead of at most once.
    Rerun,
}

/// What is done with a run on the primary when the group leaves that node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum JobMoved {
    /// It goes on to its end.
    #[default]
    Finish,
    /// It is ended.
    Kill,
}

/// `[[job]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSection {
    /// Name.
    pub name: JobName,
    /// The group it belongs to.
    pub group: GroupName,
    /// On which node it runs.
    pub on: JobWhere,
    /// When.
    pub calendar: Calendar,
    /// The calendar as it is written.
    pub calendar_text: String,
    /// IANA name of the zone that the calendar is read in (default UTC).
    pub timezone: String,
    /// The program, then its arguments, joined with newlines.
    pub command: String,
    /// User it runs as; empty for root.
    pub user: String,
    /// Its working folder.
    pub cwd: String,
    /// Its variables, a line each.
    pub env: String,
    /// How long it may take (default 3600000).
    pub timeout_ms: u32,
    /// How old the data of a replica may be (default 60000).
    pub max_lag_ms: u32,
    /// What is done when no replica is fit.
    pub fallback: JobFallback,
    /// How late an occurrence is still run (default 60000).
    pub catch_up_ms: u32,
    /// What is done when the node of a run was lost.
    pub on_interrupt: JobInterrupted,
    /// What is done when the group leaves the node of a run on the primary.
    pub on_move: JobMoved,
}

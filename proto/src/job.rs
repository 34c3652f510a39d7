//! Jobs: what is agreed about each, and what its node says of a run.

use crate::ids::{BootId, Epoch, NodeId};

/// Number of a run: an epoch, so that no two runs of the whole cluster have the same, and later ones have larger ones.
pub type RunNumber = Epoch;

/// What is agreed about one job: its latest run, and how far its calendar is dealt with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobState {
    /// The latest occurrence that is dealt with, in seconds since 1970: what is not later never begins (again).
    pub due: i64,
    /// Number of the latest run; 0 for none.
    pub run: RunNumber,
    /// What that run is for: its occurrence, or when an operator asked, in seconds since 1970.
    pub occurrence: i64,
    /// Which try of that occurrence it is, from 1 on.
    pub attempt: u32,
    /// Who asked for it; empty for the calendar.
    pub who: String,
    /// The node that it runs on, and that node's boot. Committed before anything runs.
    pub place: Option<(NodeId, BootId)>,
    /// What became of it.
    pub phase: JobPhase,
    /// What became of it, one sentence.
    pub detail: String,
    /// How long it took, once it ended.
    pub took_ms: u64,
}

impl JobState {
    /// True while its run may be under way.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.phase == JobPhase::Started
    }

    /// True when the latest run was given to that boot of `node` and may be under way.
    #[must_use]
    pub fn runs_on(&self, node: NodeId, boot: BootId) -> bool {
        self.is_started() && self.place == Some((node, boot))
    }
}

/// What became of the latest occurrence of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobPhase {
    /// None was due yet.
    #[default]
    New,
    /// It may run on the node that is named.
    Started,
    /// It ended well.
    Done,
    /// It ended, but not well; or could not be begun.
    Failed,
    /// Its node was lost: how far it came is not known.
    Interrupted,
    /// It was left out.
    Skipped,
}

impl JobPhase {
    /// All of them, in the order of their numbers on the wire.
    pub const ALL: [JobPhase; 6] = [
        JobPhase::New,
        JobPhase::Started,
        JobPhase::Done,
        JobPhase::Failed,
        JobPhase::Interrupted,
        JobPhase::Skipped,
    ];

    /// The phase's name in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JobPhase::New => "new",
            JobPhase::Started => "running",
            JobPhase::Done => "done",
            JobPhase::Failed => "failed",
            JobPhase::Interrupted => "interrupted",
            JobPhase::Skipped => "skipped",
        }
    }
}

/// What the agent process of a node says of the latest run it was told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobReport {
    /// Which run.
    pub run: RunNumber,
    /// How it stands.
    pub outcome: JobOutcome,
    /// One sentence.
    pub detail: String,
    /// How long it took, once it ended.
    pub took_ms: u64,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobOutcome {
    /// It runs.
    Running,
    /// Its program ended with status 0.
    Done,
    /// Its program ended otherwise, took too long, or could not be begun.
    Failed,
    /// It is over, and nobody saw how it ended.
    Interrupted,
    /// It was called off before it began, and never will.
    NotBegun,
}

impl JobOutcome {
    /// All of them, in the order of their numbers on the wire, from 1 on.
    pub const ALL: [JobOutcome; 5] = [
        JobOutcome::Running,
        JobOutcome::Done,
        JobOutcome::Failed,
        JobOutcome::Interrupted,
        JobOutcome::NotBegun,
    ];

    /// The word between `had` and `had-agentd`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            JobOutcome::Running => "running",
            JobOutcome::Done => "done",
            JobOutcome::Failed => "failed",
            JobOutcome::Interrupted => "interrupted",
            JobOutcome::NotBegun => "not-begun",
        }
    }
}

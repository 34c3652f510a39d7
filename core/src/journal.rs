//! Events for operators: one sentence each, with a stable kind.

use holdfast_proto::ids::{Epoch, GroupName};
use holdfast_proto::time::Time;

/// How much attention an entry wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the record.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Worth waking someone.
    Alert,
}

impl Level {
    /// The level's name in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Alert => "alert",
        }
    }
}

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, on this node's clock.
    pub at: Time,
    /// Stable name of the kind of event, for scripts and tests.
    pub kind: &'static str,
    /// Attention wanted.
    pub level: Level,
    /// One sentence.
    pub text: String,
    /// The group it concerns.
    pub group: Option<GroupName>,
    /// The epoch it concerns; 0 for none.
    pub epoch: Epoch,
}

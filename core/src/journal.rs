//! Events for operators: one sentence each, with a stable kind.

use std::time::Duration;

use holdfast_proto::ids::{BootId, Epoch, GroupName, JobName, NodeId, Version};
use holdfast_proto::job::JobState;
use holdfast_proto::state::ProofKind;
use holdfast_proto::time::Time;

use crate::proof::FenceProof;

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
    /// What the ledger of proofs is to hold about it.
    pub account: Option<Account>,
    /// What the history of jobs is to hold about it: the job, and how it stands.
    pub job: Option<(JobName, Box<JobState>)>,
}

/// One entry of the ledger of proofs: what was done about a node, what was seen, and what that proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The node that was to be ended.
    pub node: NodeId,
    /// What it proves; absent if it proves nothing.
    pub proof: Option<ProofKind>,
    /// The boot that is over by it.
    pub ended_boot: Option<BootId>,
    /// What was seen: one sentence for each device, countdown or operator.
    pub evidence: Vec<String>,
    /// From the decision to fence to this entry; absent if nothing was fenced.
    pub took: Option<Duration>,
    /// The committed state that rests on it; 0 for none.
    pub version: Version,
}

impl Account {
    /// That `proof` was established.
    #[must_use]
    pub fn of(proof: &FenceProof) -> Account {
        Account {
            node: proof.node(),
            proof: Some(proof.kind()),
            ended_boot: proof.ended_boot(),
            evidence: vec![proof.evidence().to_string()],
            took: None,
            version: 0,
        }
    }
}

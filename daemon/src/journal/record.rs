//! What is written down.

use holdfast_core::journal::Entry;
use holdfast_proto::agent::Note;
use holdfast_proto::control::{JobRunView, ProofView};
use holdfast_proto::ids::NodeId;
use holdfast_proto::time::Time;

use crate::clock;

/// Something to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When, on this node's clock.
    pub at: Time,
    /// Stable kind.
    pub kind: String,
    /// `info`, `warn` or `alert`.
    pub level: &'static str,
    /// One sentence.
    pub text: String,
    /// Group; empty for none.
    pub group: String,
    /// Epoch; 0 for none.
    pub epoch: u64,
    /// What the ledger of proofs is to hold about it.
    pub proof: Option<ProofView>,
    /// What the history of jobs is to hold about it.
    pub job: Option<Box<JobRunView>>,
}

impl Record {
    /// A record of the daemon's own.
    #[must_use]
    pub fn new(kind: &str, level: &'static str, text: impl Into<String>) -> Record {
        Record {
            at: clock::now(),
            kind: kind.into(),
            level,
            text: text.into(),
            group: String::new(),
            epoch: 0,
            proof: None,
            job: None,
        }
    }

    /// An entry of the core; `name` gives the names of members.
    #[must_use]
    pub fn of_core(entry: Entry, name: impl Fn(NodeId) -> String) -> Record {
        let proof = entry.account.map(|account| ProofView {
            node: name(account.node),
            kind: account.proof.map(|kind| kind.as_str().into()).unwrap_or_default(),
            ended_boot: account
                .ended_boot
                .map(|boot| boot.to_string())
                .unwrap_or_default(),
            evidence: account.evidence,
            took_ms: account.took.map(|took| took.as_millis() as u64),
            version: account.version,
        });
        let job = entry
            .job
            .map(|(job, state)| Box::new(crate::jobs::run_view(&job, &state, &name)));
        Record {
            at: entry.at,
            kind: entry.kind.into(),
            level: entry.level.as_str(),
            text: entry.text,
            group: entry.group.map(|group| group.to_string()).unwrap_or_default(),
            epoch: entry.epoch,
            proof,
            job,
        }
    }
}

impl From<Note> for Record {
    fn from(note: Note) -> Record {
        let level = match note.level.as_str() {
            "alert" => "alert",
            "warn" => "warn",
            _ => "info",
        };
        let at = if note.at_us == 0 {
            clock::now()
        } else {
            Time(note.at_us)
        };
        Record {
            at,
            kind: note.kind,
            level,
            text: note.text,
            group: note.group,
            epoch: 0,
            proof: None,
            job: None,
        }
    }
}

impl Record {
    /// Passes it to the log of the process.
    pub(super) fn log(&self) {
        let Record {
            kind,
            group,
            epoch,
            text,
            ..
        } = self;
        match (self.level, group.as_str()) {
            ("alert", "") => tracing::error!(kind, "{text}"),
            ("alert", group) => tracing::error!(kind, group, epoch, "{text}"),
            ("warn", "") => tracing::warn!(kind, "{text}"),
            ("warn", group) => tracing::warn!(kind, group, epoch, "{text}"),
            (_, "") => tracing::info!(kind, "{text}"),
            (_, group) => tracing::info!(kind, group, epoch, "{text}"),
        }
    }
}

//! Entries of the journal.

use holdfast_proto::ids::GroupName;

use super::Node;
use crate::effect::Effect;
use crate::journal::{Account, Entry, Level};

impl Node {
    pub(super) fn journal(&mut self, kind: &'static str, level: Level, text: String) {
        self.journal_about(kind, level, text, None, 0);
    }

    pub(super) fn journal_about(
        &mut self,
        kind: &'static str,
        level: Level,
        text: String,
        group: Option<GroupName>,
        epoch: u64,
    ) {
        self.outbox.push_back(Effect::Journal(Entry {
            at: self.now,
            kind,
            level,
            text,
            group,
            epoch,
            account: None,
            job: None,
        }));
    }

    /// Journals what the ledger of proofs is to hold as well.
    pub(super) fn journal_proof(&mut self, kind: &'static str, level: Level, text: String, account: Account) {
        self.outbox.push_back(Effect::Journal(Entry {
            at: self.now,
            kind,
            level,
            text,
            group: None,
            epoch: 0,
            account: Some(account),
            job: None,
        }));
    }

    pub(super) fn start_sentence(&self) -> String {
        match &self.durable {
            Some(durable) => format!(
                "{} started at version {}{}",
                self.name(self.me.node),
                durable.committed.version,
                if self.synced {
                    ", resuming within the same boot"
                } else {
                    ""
                }
            ),
            None => format!(
                "{} started without register state; it waits for the leader",
                self.name(self.me.node)
            ),
        }
    }
}

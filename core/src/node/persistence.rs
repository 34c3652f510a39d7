//! What has to be on disk before it may be acted on.

use std::collections::VecDeque;
use std::sync::Arc;

use holdfast_proto::ids::{Ballot, Version};
use holdfast_proto::state::ClusterState;

use super::Node;
use super::operator::Origin;
use crate::durable::Durable;
use crate::effect::{Effect, PersistId};
use crate::journal::Level;
use crate::timer::Timer;

/// Something that waits for a record to be on disk.
#[derive(Clone, Debug)]
pub(super) enum Deferred {
    /// An answer that promises what the record holds.
    Effect(Effect),
    /// This node's own promise as an acceptor.
    OwnPromise(Ballot),
    /// This node's own acceptance.
    OwnAccept(Ballot, Version),
    /// This node is synced, with a committed state of this version or later.
    Synced(Version),
    /// A change of voters is committed.
    Commit(Ballot, Version),
    /// A forced state is committed, and whoever asked for it is told.
    Forced(Origin, Ballot),
}

/// Book-keeping of records.
#[derive(Clone, Debug, Default)]
pub(super) struct Persistence {
    pub(super) next: u64,
    pub(super) waiting: VecDeque<(PersistId, Deferred)>,
    /// What each record under way promised.
    pub(super) under_way: VecDeque<(PersistId, Ballot)>,
    /// Highest promised ballot known to be on disk.
    pub(super) promised: Ballot,
    pub(super) failed: bool,
    /// The record that makes this node synced is being written.
    pub(super) syncing: bool,
    /// A state whose commit is being written before anybody hears of it.
    pub(super) sealing: Option<Arc<ClusterState>>,
}

impl Persistence {
    pub(super) fn of(durable: Option<&Durable>) -> Self {
        Persistence {
            promised: durable.map_or(Ballot::ZERO, |durable| durable.promised),
            ..Self::default()
        }
    }
}

impl Node {
    /// Writes the record as it is now.
    pub(super) fn persist(&mut self) -> PersistId {
        let mut record = self.durable.clone().expect("only a node with state persists");
        if let Some(sealing) = &self.persistence.sealing
            && sealing.version > record.committed.version
        {
            record.committed = Arc::clone(sealing);
        }
        self.persistence.next += 1;
        let id = PersistId(self.persistence.next);
        self.persistence.under_way.push_back((id, record.promised));
        self.outbox.push_back(Effect::Persist {
            id,
            record: Arc::new(record),
        });
        id
    }

    /// Holds `what` back until record `id` is on disk.
    pub(super) fn after(&mut self, id: PersistId, what: Deferred) {
        self.persistence.waiting.push_back((id, what));
    }

    pub(super) fn on_persisted(&mut self, id: PersistId) {
        if std::mem::take(&mut self.persistence.failed) {
            self.journal("disk-recovered", Level::Info, "state can be written again".into());
        }
        while let Some((record, promised)) = self
            .persistence
            .under_way
            .front()
            .copied()
            .filter(|it| it.0 <= id)
        {
            self.persistence.promised = self.persistence.promised.max(promised);
            self.persistence.under_way.pop_front();
            debug_assert!(record <= id);
        }
        while self
            .persistence
            .waiting
            .front()
            .is_some_and(|(record, _)| *record <= id)
        {
            let Some((_, what)) = self.persistence.waiting.pop_front() else {
                break;
            };
            match what {
                Deferred::Effect(effect) => self.outbox.push_back(effect),
                Deferred::OwnPromise(ballot) => self.on_own_promise(ballot),
                Deferred::OwnAccept(ballot, version) => self.on_accepted(self.me.node, ballot, version),
                Deferred::Synced(version) => self.on_synced(version),
                Deferred::Commit(ballot, version) => self.on_commit_durable(ballot, version),
                Deferred::Forced(origin, ballot) => self.on_forced(origin, ballot),
            }
        }
    }

    pub(super) fn on_persist_failed(&mut self, _id: PersistId, why: &str) {
        self.timers
            .set_earliest(Timer::PersistRetry, self.now + self.spans.heartbeat);
        if !std::mem::replace(&mut self.persistence.failed, true) {
            let text = format!(
                "state cannot be written ({why}): this node does not vote until it can; free the disk"
            );
            self.journal("disk-failed", Level::Alert, text);
            // A leader that decides already looks for another node to lead; one that does not yet only stands in the way.
            if !self.is_established() {
                self.step_down("its state cannot be written");
                self.schedule_election(self.now + self.spans.lease);
            }
        }
    }

    /// Tries again, once per heartbeat, while the disk refuses. The witness sends no heartbeats, so it has its own timer.
    pub(super) fn retry_persist(&mut self) {
        if self.persistence.failed && self.durable.is_some() {
            self.persist();
        }
    }

    pub(super) fn disk_failed(&self) -> bool {
        self.persistence.failed
    }
}

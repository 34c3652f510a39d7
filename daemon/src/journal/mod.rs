//! The journal of this node: the last entries in memory, all of them on disk within a bound.
//!
//! Lives on the ordinary thread. The deciding thread hands [`Record`]s over through a bounded queue.

mod disk;
mod record;

use std::collections::VecDeque;
use std::path::Path;

use holdfast_proto::control::EventView;
use tokio::sync::broadcast;

use crate::clock;
use disk::Disk;

#[cfg(any(test, fuzzing))]
pub(crate) use disk::read_entries;
pub use record::Record;

/// Entries kept in memory.
pub const RING_ENTRIES: usize = 2000;
/// Entries of the ledger kept in memory.
const LEDGER_ENTRIES: usize = 500;
/// Entries of the history of jobs kept in memory.
const JOB_ENTRIES: usize = 2000;
/// Entries a follower may lag behind before it is dropped.
const FOLLOWER_ENTRIES: usize = 256;
/// Longest sentence kept: an agent's note is not trusted to be short.
const TEXT_BYTES: usize = 2000;

/// The journal.
pub struct Journal {
    node: String,
    ring: VecDeque<EventView>,
    next_id: u64,
    disk: Disk,
    ledger: VecDeque<EventView>,
    ledger_disk: Disk,
    jobs: VecDeque<EventView>,
    jobs_disk: Disk,
    followers: broadcast::Sender<EventView>,
}

impl Journal {
    /// The journal of `node` in `state_dir`, without what was written before: [`Journal::read_back`] is not for the
    /// deciding thread.
    #[must_use]
    pub fn new(state_dir: &Path, node: &str) -> Journal {
        let (followers, _) = broadcast::channel(FOLLOWER_ENTRIES);
        Journal {
            node: node.into(),
            ring: VecDeque::new(),
            next_id: 1,
            disk: Disk::new(state_dir.join("events.jsonl")),
            ledger: VecDeque::new(),
            ledger_disk: Disk::new(state_dir.join("fences.jsonl")),
            jobs: VecDeque::new(),
            jobs_disk: Disk::new(state_dir.join("jobs.jsonl")),
            followers,
        }
    }

    /// Reads back what earlier runs wrote and goes on with their numbers. Never fails: a journal that cannot be read
    /// is no reason to be down.
    pub fn read_back(&mut self) {
        self.disk.read_back(&mut self.ring, RING_ENTRIES);
        self.ledger_disk.read_back(&mut self.ledger, LEDGER_ENTRIES);
        self.jobs_disk.read_back(&mut self.jobs, JOB_ENTRIES);
        self.next_id = next_id(&self.ring);
    }

    /// Writes one record down and tells followers.
    pub fn record(&mut self, record: Record) {
        record.log();
        let mut text = record.text;
        truncate(&mut text, TEXT_BYTES);
        let mut proof = record.proof;
        for said in proof.iter_mut().flat_map(|proof| &mut proof.evidence) {
            truncate(said, TEXT_BYTES);
        }
        let event = EventView {
            id: self.next_id,
            at: clock::wall(record.at),
            boot_us: record.at.0,
            node: self.node.clone(),
            kind: record.kind,
            level: record.level.into(),
            text,
            group: record.group,
            epoch: record.epoch,
            proof,
            job: record.job.map(|job| *job),
        };
        self.next_id = self.next_id.saturating_add(1);
        self.disk.append(&event);
        push(&mut self.ring, event.clone(), RING_ENTRIES);
        if belongs_to_ledger(&event) {
            self.ledger_disk.append(&event);
            push(&mut self.ledger, event.clone(), LEDGER_ENTRIES);
        }
        if event.job.is_some() {
            self.jobs_disk.append(&event);
            push(&mut self.jobs, event.clone(), JOB_ENTRIES);
        }
        // No follower is no error.
        let _ = self.followers.send(event);
    }

    /// The last `count` entries, oldest first, and what comes after them.
    #[must_use]
    pub fn follow(&self, count: usize) -> (Vec<EventView>, broadcast::Receiver<EventView>) {
        (self.last(count), self.followers.subscribe())
    }

    /// The last `count` entries, oldest first.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<EventView> {
        self.ring
            .iter()
            .skip(self.ring.len().saturating_sub(count))
            .cloned()
            .collect()
    }

    /// The last `count` entries of the ledger of proofs, oldest first: those about the node of this name, or all. It has a
    /// file of its own, so that no other event displaces it.
    #[must_use]
    pub fn ledger(&self, node: &str, count: usize) -> Vec<EventView> {
        let about = |event: &&EventView| {
            let proof = event.proof.as_ref();
            node.is_empty() || proof.is_some_and(|proof| proof.node == node)
        };
        let mut entries: Vec<EventView> = self
            .ledger
            .iter()
            .rev()
            .filter(about)
            .take(count)
            .cloned()
            .collect();
        entries.reverse();
        entries
    }

    /// The last `count` entries of the history of jobs, oldest first: those about the job of this name, or all. It has a file
    /// of its own, as the ledger has.
    #[must_use]
    pub fn job_history(&self, job: &str, count: usize) -> Vec<EventView> {
        let about = |event: &&EventView| {
            let run = event.job.as_ref();
            job.is_empty() || run.is_some_and(|run| run.job == job)
        };
        let newest = self.jobs.iter().rev().filter(about).take(count);
        let mut entries: Vec<EventView> = newest.cloned().collect();
        entries.reverse();
        entries
    }

    /// What explains `group`: its own last entries, and everything of weight that concerned no group meanwhile.
    #[must_use]
    pub fn history_of(&self, group: &str, count: usize) -> Vec<EventView> {
        let own = self
            .ring
            .iter()
            .rev()
            .filter(|event| event.group == group)
            .take(count);
        let Some(first) = own.last().map(|event| event.id) else {
            return Vec::new();
        };
        let relevant = |event: &&EventView| {
            event.id >= first && (event.group == group || event.group.is_empty() && event.level != "info")
        };
        let mut history: Vec<EventView> = self.ring.iter().filter(relevant).cloned().collect();
        history.drain(..history.len().saturating_sub(count * 2));
        history
    }
}

/// The number after the last one in `ring`.
pub(crate) fn next_id(ring: &VecDeque<EventView>) -> u64 {
    ring.back().map_or(1, |last| last.id.saturating_add(1))
}

fn push(ring: &mut VecDeque<EventView>, event: EventView, entries: usize) {
    if ring.len() == entries {
        ring.pop_front();
    }
    ring.push_back(event);
}

/// What was done to end a node, or to be sure that one could be.
fn belongs_to_ledger(event: &EventView) -> bool {
    event.proof.is_some() || event.kind.starts_with("fence-") || event.kind == "quorum-forced"
}

fn truncate(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let cut = (0..=bytes)
            .rev()
            .find(|cut| text.is_char_boundary(*cut))
            .unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::disk::FILE_BYTES;
    use super::*;
    use holdfast_proto::control::ProofView;
    use std::fs::OpenOptions;
    use std::io::Write as _;

    fn open(state_dir: &Path) -> Journal {
        let mut journal = Journal::new(state_dir, "db1");
        journal.read_back();
        journal
    }

    /// Found by fuzzing: the number after the last one of all.
    #[test]
    fn a_damaged_number_does_not_keep_had_from_starting() {
        let mut ring = VecDeque::new();
        let last = EventView {
            id: u64::MAX,
            ..EventView::default()
        };
        read_entries(
            serde_json::to_vec(&last).expect("written").as_slice(),
            &mut ring,
            RING_ENTRIES,
        );
        assert_eq!(next_id(&ring), u64::MAX);
    }

    fn note(group: &str, level: &'static str, text: &str) -> Record {
        Record {
            group: group.into(),
            ..Record::new("test", level, text)
        }
    }

    #[test]
    fn numbering_goes_on_after_a_restart() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = open(folder.path());
        journal.record(note("", "info", "one"));
        journal.record(note("mysql", "warn", "two"));
        drop(journal);
        let mut torn = OpenOptions::new()
            .append(true)
            .open(folder.path().join("events.jsonl"))
            .expect("file");
        torn.write_all(b"{\"id\":77,\"at").expect("torn line");
        let mut journal = open(folder.path());
        journal.record(note("", "info", "three"));
        let ids: Vec<u64> = journal.last(10).iter().map(|event| event.id).collect();
        assert_eq!(ids, [1, 2, 3]);
    }

    #[test]
    fn the_file_is_rotated_once_and_bounded() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = open(folder.path());
        let long = "x".repeat(5000);
        for _ in 0..1200 {
            journal.record(note("", "info", &long));
        }
        let size = |name: &str| std::fs::metadata(folder.path().join(name)).expect("file").len();
        assert!(size("events.jsonl") <= FILE_BYTES && size("events.jsonl.1") <= FILE_BYTES);
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 2);
        assert_eq!(open(folder.path()).next_id, 1201);
    }

    #[test]
    fn the_ring_is_bounded_and_a_full_disk_is_survived() {
        let mut journal = open(Path::new("/nonexistent/folder"));
        for number in 0..RING_ENTRIES + 10 {
            journal.record(note("", "info", &number.to_string()));
        }
        assert_eq!(journal.ring.len(), RING_ENTRIES);
        assert_eq!(journal.last(1)[0].id, RING_ENTRIES as u64 + 10);
    }

    #[test]
    fn history_holds_the_group_and_what_weighed_meanwhile() {
        let mut journal = open(Path::new("/nonexistent/folder"));
        journal.record(note("", "warn", "before"));
        journal.record(note("mysql", "info", "started"));
        journal.record(note("web", "warn", "other"));
        journal.record(note("", "alert", "db1 lost"));
        journal.record(note("", "info", "chatter"));
        journal.record(note("mysql", "info", "moved"));
        let texts: Vec<String> = journal
            .history_of("mysql", 20)
            .into_iter()
            .map(|event| event.text)
            .collect();
        assert_eq!(texts, ["started", "db1 lost", "moved"]);
        assert!(journal.history_of("nothing", 20).is_empty());
    }

    #[test]
    fn the_ledger_outlives_the_chatter() {
        let folder = tempfile::tempdir().expect("folder");
        let mut journal = open(folder.path());
        let proof = ProofView {
            node: "db2".into(),
            kind: "power".into(),
            ..ProofView::default()
        };
        journal.record(Record {
            proof: Some(proof.clone()),
            ..Record::new("fence-proved", "warn", "db2 is fenced")
        });
        journal.record(Record::new("fence-on", "info", "db2 is on again"));
        let long = "x".repeat(5000);
        for _ in 0..RING_ENTRIES {
            journal.record(note("", "info", &long));
        }
        drop(journal);
        let journal = open(folder.path());
        assert!(
            journal
                .last(RING_ENTRIES)
                .iter()
                .all(|event| event.proof.is_none())
        );
        assert_eq!(journal.ledger("", 10).len(), 2);
        let about = journal.ledger("db2", 10);
        assert_eq!((about.len(), about[0].proof.as_ref()), (1, Some(&proof)));
        assert!(journal.ledger("db1", 10).is_empty());
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let mut text = "ä".repeat(10);
        truncate(&mut text, 5);
        assert_eq!(text, "ää…");
    }
}

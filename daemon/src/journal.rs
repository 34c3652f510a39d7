//! The journal of this node: the last entries in memory, all of them on disk within a bound.
//!
//! Lives on the ordinary thread. The deciding thread hands [`Record`]s over through a bounded queue.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use holdfast_core::journal::Entry;
use holdfast_proto::agent::Note;
use holdfast_proto::control::EventView;
use holdfast_proto::time::Time;
use tokio::sync::broadcast;

use crate::clock;

/// Entries kept in memory.
pub const RING_ENTRIES: usize = 2000;
/// Size at which the file becomes `events.jsonl.1`, replacing the one before.
const FILE_BYTES: u64 = 1 << 20;
/// Entries a follower may lag behind before it is dropped.
const FOLLOWER_ENTRIES: usize = 256;
/// Longest sentence kept: an agent's note is not trusted to be short.
const TEXT_BYTES: usize = 2000;

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
        }
    }
}

impl From<Entry> for Record {
    fn from(entry: Entry) -> Record {
        Record {
            at: entry.at,
            kind: entry.kind.into(),
            level: entry.level.as_str(),
            text: entry.text,
            group: entry.group.map(|group| group.to_string()).unwrap_or_default(),
            epoch: entry.epoch,
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
        }
    }
}

/// The journal.
pub struct Journal {
    node: String,
    ring: VecDeque<EventView>,
    next_id: u64,
    disk: Disk,
    followers: broadcast::Sender<EventView>,
}

/// The file, and whether writing it works.
struct Disk {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    /// Said once per failure, not once per entry.
    failing: bool,
}

impl Journal {
    /// The journal of `node` in `state_dir`, without what was written before: [`Journal::read_back`] is not for the
    /// deciding thread.
    #[must_use]
    pub fn new(state_dir: &Path, node: &str) -> Journal {
        let (followers, _) = broadcast::channel(FOLLOWER_ENTRIES);
        let disk = Disk {
            path: state_dir.join("events.jsonl"),
            file: None,
            bytes: 0,
            failing: false,
        };
        Journal {
            node: node.into(),
            ring: VecDeque::new(),
            next_id: 1,
            disk,
            followers,
        }
    }

    /// Reads back what earlier runs wrote and goes on with their numbers. Never fails: a journal that cannot be read
    /// is no reason to be down.
    pub fn read_back(&mut self) {
        for file in [rotated(&self.disk.path), self.disk.path.clone()] {
            read_back(&file, &mut self.ring);
        }
        self.next_id = next_id(&self.ring);
    }

    /// Writes one record down and tells followers.
    pub fn record(&mut self, record: Record) {
        log(&record);
        let mut text = record.text;
        truncate(&mut text, TEXT_BYTES);
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
        };
        self.next_id = self.next_id.saturating_add(1);
        self.disk.append(&event);
        if self.ring.len() == RING_ENTRIES {
            self.ring.pop_front();
        }
        self.ring.push_back(event.clone());
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

impl Disk {
    fn append(&mut self, event: &EventView) {
        let result = self.try_append(event);
        match result {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.file = None;
                if !self.failing {
                    tracing::warn!(path = %self.path.display(), %error,
                        "the journal cannot be written; entries are kept in memory and in the log only");
                }
                self.failing = true;
            }
        }
    }

    fn try_append(&mut self, event: &EventView) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        if self.file.is_some() && self.bytes + line.len() as u64 > FILE_BYTES {
            self.file = None;
            std::fs::rename(&self.path, rotated(&self.path))?;
        }
        if self.file.is_none() {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o640)
                .open(&self.path)?;
            self.bytes = file.metadata()?.len();
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            // One write per line, so that a crash tears at most the last line.
            file.write_all(&line)?;
            self.bytes += line.len() as u64;
        }
        Ok(())
    }
}

fn rotated(path: &Path) -> PathBuf {
    path.with_extension("jsonl.1")
}

/// Reads the entries of a file that decode. Torn or foreign lines are skipped.
fn read_back(path: &Path, ring: &mut VecDeque<EventView>) {
    if let Ok(file) = File::open(path) {
        read_entries(BufReader::new(file), ring);
    }
}

/// The number after the last one in `ring`.
pub(crate) fn next_id(ring: &VecDeque<EventView>) -> u64 {
    ring.back().map_or(1, |last| last.id.saturating_add(1))
}

pub(crate) fn read_entries(lines: impl BufRead, ring: &mut VecDeque<EventView>) {
    for line in lines.split(b'\n').map_while(Result::ok) {
        let Ok(event) = serde_json::from_slice::<EventView>(&line) else {
            continue;
        };
        if ring.len() == RING_ENTRIES {
            ring.pop_front();
        }
        ring.push_back(event);
    }
}

fn log(record: &Record) {
    let Record {
        kind,
        group,
        epoch,
        text,
        ..
    } = record;
    match (record.level, group.as_str()) {
        ("alert", "") => tracing::error!(kind, "{text}"),
        ("alert", group) => tracing::error!(kind, group, epoch, "{text}"),
        ("warn", "") => tracing::warn!(kind, "{text}"),
        ("warn", group) => tracing::warn!(kind, group, epoch, "{text}"),
        (_, "") => tracing::info!(kind, "{text}"),
        (_, group) => tracing::info!(kind, group, epoch, "{text}"),
    }
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
    use super::*;

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
        read_entries(serde_json::to_vec(&last).expect("written").as_slice(), &mut ring);
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
    fn long_text_is_cut_at_a_character() {
        let mut text = "ä".repeat(10);
        truncate(&mut text, 5);
        assert_eq!(text, "ää…");
    }
}

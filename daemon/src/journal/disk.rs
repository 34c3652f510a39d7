//! A file of entries, one a line, rotated once.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use holdfast_proto::control::EventView;

/// Size at which the file becomes `NAME.jsonl.1`, replacing the one before.
pub(super) const FILE_BYTES: u64 = 1 << 20;

/// The file, and whether writing it works.
pub(super) struct Disk {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    /// Said once per failure, not once per entry.
    failing: bool,
}

impl Disk {
    /// The file at `path`, which is opened when something is to be written.
    pub fn new(path: PathBuf) -> Disk {
        Disk {
            path,
            file: None,
            bytes: 0,
            failing: false,
        }
    }

    /// What the file and the one before it hold, oldest first, as far as it fits into `ring`.
    pub fn read_back(&self, ring: &mut VecDeque<EventView>, entries: usize) {
        for file in [rotated(&self.path), self.path.clone()] {
            if let Ok(file) = File::open(file) {
                read_entries(BufReader::new(file), ring, entries);
            }
        }
    }

    /// Writes one entry. A disk that fails is told of once, in the log.
    pub fn append(&mut self, event: &EventView) {
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

/// Reads the entries that decode, and keeps the last `entries`. Torn or foreign lines are skipped.
pub(crate) fn read_entries(lines: impl BufRead, ring: &mut VecDeque<EventView>, entries: usize) {
    for line in lines.split(b'\n').map_while(Result::ok) {
        let Ok(event) = serde_json::from_slice::<EventView>(&line) else {
            continue;
        };
        if ring.len() == entries {
            ring.pop_front();
        }
        ring.push_back(event);
    }
}

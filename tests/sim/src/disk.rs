//! The disk of a machine, as far as `had` can tell it from another: the state record, and the number of its latest run.
//!
//! The rules for the two state files are those of `daemon/src/store/files.rs`, where tests keep them: the newest intact
//! record is used if it is certain that it is the newest, otherwise none. A disk that acknowledges an fsync and forgets it
//! is outside what Holdfast promises (docs/architecture.md, S3), so here an acknowledged write stays.

use std::collections::VecDeque;
use std::sync::Arc;

use holdfast_core::durable::Durable;
use holdfast_proto::ids::Incarnation;

use crate::schedule::Left;

/// A disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    /// The newest record.
    record: Option<Arc<Durable>>,
    /// A state file is damaged so that it cannot be told which is newer, for so many writes more.
    damaged_for_writes: u8,
    /// Writes that were ordered and have not ended, in order.
    writing: VecDeque<Arc<Durable>>,
    /// Number of the latest run, and when that is on disk.
    runs: [(u64, Incarnation); 2],
    /// When the last write ends.
    pub busy_until_us: u64,
    /// A write takes up to this much longer,
    pub slow_us: u64,
    /// until then.
    pub slow_until_us: u64,
    /// Every write fails.
    pub full: bool,
    /// Who writes next dies in it: with the whole machine or not, and what that leaves behind.
    pub crash: Option<(bool, Left)>,
}

impl Disk {
    /// A disk that holds `record`.
    #[must_use]
    pub fn with(record: Durable) -> Disk {
        Disk {
            record: Some(Arc::new(record)),
            ..Disk::default()
        }
    }

    /// What `had` finds when it starts. A damaged file, and the other with it, is set aside for good.
    pub fn load(&mut self) -> Option<Durable> {
        if self.damaged_for_writes > 0 {
            self.record = None;
            self.damaged_for_writes = 0;
        }
        self.record.as_deref().cloned()
    }

    /// True when `had` would find a record.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.record.is_some() && self.damaged_for_writes == 0
    }

    /// The record that `had` would find.
    #[must_use]
    pub fn sound(&self) -> Option<&Durable> {
        self.record.as_deref().filter(|_| self.is_sound())
    }

    /// It holds this from now on; none for a claim on a register, in whose place nothing is known.
    pub fn hold(&mut self, record: Option<Durable>) {
        self.record = record.map(Arc::new);
        self.damaged_for_writes = 0;
    }

    /// A write begins.
    pub fn begin_write(&mut self, record: Arc<Durable>) {
        self.writing.push_back(record);
    }

    /// The write that began first has ended.
    pub fn end_write(&mut self) {
        if let Some(record) = self.writing.pop_front() {
            self.record = Some(record);
            self.damaged_for_writes = self.damaged_for_writes.saturating_sub(1);
        }
    }

    /// Who writes is gone: of the write under way this is left behind, and those after it never began.
    pub fn abandon_writes(&mut self, left: Left) {
        match left {
            Left::Old => {}
            Left::New => self.end_write(),
            Left::Torn if !self.writing.is_empty() => self.damage(),
            Left::Torn => {}
        }
        self.writing.clear();
    }

    /// The newest file cannot be read any more.
    pub fn damage(&mut self) {
        // The next write goes beside it; the one after that replaces it.
        self.damaged_for_writes = 2;
    }

    /// The number of a run that starts now, by the rule of `daemon/src/store/marker.rs`; it is on disk at `durable_us`.
    pub fn next_run(&mut self, now_us: u64, wall_us: u64, durable_us: u64) -> Incarnation {
        let [before, latest] = self.runs;
        let known = if latest.0 <= now_us { latest } else { before };
        let last = known.1.0;
        let next = Incarnation(if last == 0 { wall_us } else { wall_us.max(last + 1) });
        self.runs = [known, (durable_us, next)];
        next
    }

    /// What was not on disk when the process or the machine died never gets there.
    pub fn forget_unwritten_run(&mut self, now_us: u64) {
        if self.runs[1].0 > now_us {
            self.runs[1] = self.runs[0];
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_proto::ids::NodeId;
    use holdfast_proto::state::genesis;

    use super::*;
    use crate::cluster::Cluster;
    use crate::rng::Rng;

    fn record(version: u64) -> Arc<Durable> {
        let config = Cluster::draw(&mut Rng::new(1)).config();
        let mut state = genesis(config, NodeId(1));
        state.version = version;
        Arc::new(Durable::initial(state))
    }

    fn version(disk: &mut Disk) -> Option<u64> {
        disk.load().map(|durable| durable.committed.version)
    }

    #[test]
    fn a_write_that_does_not_end_leaves_the_old_the_new_or_nothing_readable() {
        for (left, found) in [(Left::Old, Some(1)), (Left::New, Some(2)), (Left::Torn, None)] {
            let mut disk = Disk::with(Durable::clone(&record(1)));
            disk.begin_write(record(2));
            disk.begin_write(record(3));
            disk.abandon_writes(left);
            assert_eq!(version(&mut disk), found, "{left:?}");
        }
    }

    #[test]
    fn damage_is_gone_only_when_the_damaged_file_is_overwritten() {
        let mut disk = Disk::with(Durable::clone(&record(1)));
        disk.damage();
        disk.begin_write(record(2));
        disk.end_write();
        assert!(!disk.is_sound());
        disk.begin_write(record(3));
        disk.end_write();
        assert_eq!(version(&mut disk), Some(3));
    }

    #[test]
    fn runs_are_numbered_upwards_unless_clock_and_disk_both_forget() {
        let mut disk = Disk::default();
        assert_eq!(disk.next_run(0, 1000, 10), Incarnation(1000));
        assert_eq!(disk.next_run(20, 500, 30), Incarnation(1001));
        disk.forget_unwritten_run(25);
        assert_eq!(
            disk.next_run(40, 500, 50),
            Incarnation(1001),
            "the clock went back and the number was lost"
        );
    }
}

//! The permits on disk (in memory, that is: the folder is a tmpfs), so that a restarted had-agentd lets no group run
//! longer than the last permit that its predecessor took.
//!
//! What waits for this node counts from that permit: a successor adds a margin to its end, a watchdog proof the
//! watchdog's timeout. A restart that granted any time of its own would break both. Each renewal is one `pwrite` of 24
//! bytes; a record that is missing or damaged counts as a permit that has lapsed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use holdfast_proto::time::Time;

use crate::agent::PermitView;
use crate::group::store;

/// Ending of the files.
const ENDING: &str = "permit";
/// Makes all zero no record.
const SALT: u64 = 0x686f_6c64_6661_7374;

pub(crate) fn encode(permit: PermitView) -> [u8; 24] {
    let words = [permit.epoch, permit.until.0, permit.epoch ^ permit.until.0 ^ SALT];
    let mut bytes = [0; 24];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Option<PermitView> {
    let mut words = bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
    let (epoch, until, check) = (words.next()?, words.next()?, words.next()?);
    (check == epoch ^ until ^ SALT).then_some(PermitView {
        epoch,
        until: Time(until),
    })
}

/// The last permit that was recorded for `group` in this boot or an earlier one. None if there is no whole record.
#[must_use]
pub fn read(state_dir: &Path, group: &str) -> Option<PermitView> {
    decode(&fs::read(store::path_of(state_dir, group, ENDING)).ok()?)
}

/// A group that may run at `now` although its last permit has ended. The takeover counts on a watchdog that nobody pets
/// while there is one.
#[must_use]
pub fn overdue<'a>(loaded: &'a [store::Loaded], state_dir: &Path, now: Time) -> Option<&'a str> {
    let is_overdue = |(name, saved): &&store::Loaded| {
        // Of a group whose file is damaged nobody knows whether it runs.
        let may_run = saved.as_ref().map_or(true, store::SavedGroup::may_run);
        may_run && read(state_dir, name).is_none_or(|permit| permit.until <= now)
    };
    loaded.iter().find(is_overdue).map(|(name, _)| name.as_str())
}

/// The files of the groups that may run.
pub struct SavedPermits {
    state_dir: PathBuf,
    files: BTreeMap<String, File>,
}

impl SavedPermits {
    /// Records go to `state_dir`.
    #[must_use]
    pub fn new(state_dir: PathBuf) -> SavedPermits {
        SavedPermits {
            state_dir,
            files: BTreeMap::new(),
        }
    }

    /// Records the permit of a group.
    ///
    /// # Errors
    /// The file cannot be written: then a restart of had-agentd stops the group.
    pub fn record(&mut self, group: &str, permit: PermitView) -> io::Result<()> {
        if let Some(file) = self.files.get(group) {
            return file.write_all_at(&encode(permit), 0);
        }
        let path = store::path_of(&self.state_dir, group, ENDING);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        file.write_all_at(&encode(permit), 0)?;
        self.files.insert(group.to_owned(), file);
        Ok(())
    }

    /// Nothing of the group runs any more.
    pub fn forget(&mut self, group: &str) {
        self.files.remove(group);
        // Absent or not, what it says is over.
        let _ = fs::remove_file(store::path_of(&self.state_dir, group, ENDING));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_counts_and_a_damaged_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let permit = |until| PermitView {
            epoch: 7,
            until: Time(until),
        };
        assert_eq!(read(folder.path(), "web"), None);
        let mut saved = SavedPermits::new(folder.path().to_owned());
        for until in [100, 200] {
            saved.record("web", permit(until)).unwrap();
        }
        assert_eq!(read(folder.path(), "web"), Some(permit(200)));
        let file = store::path_of(folder.path(), "web", ENDING);
        for damaged in [&[0; 24][..], &encode(permit(300))[..23], &[]] {
            fs::write(&file, damaged).unwrap();
            assert_eq!(read(folder.path(), "web"), None);
        }
        saved.forget("web");
        assert!(!file.exists());
    }

    #[test]
    fn a_group_is_overdue_when_it_may_run_and_its_permit_is_over_or_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let state = |group: &str, run: &str| {
            let state = store::SavedGroup {
                group: group.into(),
                boot: store::boot_id(),
                run: run.into(),
                spec: Some(holdfast_proto::agent::GroupSpec::default()),
                ..store::SavedGroup::default()
            };
            (group.to_owned(), Ok(state))
        };
        let mut saved = SavedPermits::new(folder.path().to_owned());
        let until = |until| PermitView {
            epoch: 7,
            until: Time(until),
        };
        saved.record("web", until(200)).unwrap();
        saved.record("db", until(300)).unwrap();
        let both = [state("web", "running"), state("db", "stopping")];
        assert_eq!(overdue(&both, folder.path(), Time(199)), None);
        assert_eq!(overdue(&both, folder.path(), Time(200)), Some("web"));
        let stopped = [state("web", "stopped"), state("db", "stopping")];
        assert_eq!(overdue(&stopped, folder.path(), Time(299)), None);
        assert_eq!(overdue(&stopped, folder.path(), Time(300)), Some("db"));
        saved.forget("db");
        assert_eq!(overdue(&both[1..], folder.path(), Time(1)), Some("db"));
    }

    #[test]
    fn a_group_whose_file_is_damaged_may_run_and_is_overdue_after_its_permit() {
        let folder = tempfile::tempdir().unwrap();
        let damaged = [("web".to_owned(), Err("damaged".to_owned()))];
        assert_eq!(overdue(&damaged, folder.path(), Time(100)), Some("web"));
        let mut saved = SavedPermits::new(folder.path().to_owned());
        let (epoch, until) = (7, Time(200));
        saved.record("web", PermitView { epoch, until }).unwrap();
        assert_eq!(overdue(&damaged, folder.path(), Time(100)), None);
        assert_eq!(overdue(&damaged, folder.path(), Time(200)), Some("web"));
    }
}

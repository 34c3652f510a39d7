//! State files: one per group, written beside and renamed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use holdfast_proto::agent::{GroupRoles, GroupSpec};
use prost::Message;

/// Ending of the files.
const ENDING: &str = "group";

/// What a restarted had-agentd has to know about a group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SavedGroup {
    /// Name.
    #[prost(string, tag = "1")]
    pub group: String,
    /// The kernel's boot id: after a reboot only the epoch counts.
    #[prost(string, tag = "2")]
    pub boot: String,
    /// Highest epoch seen.
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    /// State, in the words of the protocol.
    #[prost(string, tag = "4")]
    pub run: String,
    /// What runs.
    #[prost(message, optional, tag = "5")]
    pub spec: Option<GroupSpec>,
    /// Length of a lease in milliseconds.
    #[prost(uint64, tag = "6")]
    pub lease_ms: u64,
    /// What each agent saved, in the order of the group's resources.
    #[prost(string, repeated, tag = "7")]
    pub agents: Vec<String>,
    /// What is committed about roles, for what runs unpromoted.
    #[prost(message, optional, tag = "8")]
    pub roles: Option<GroupRoles>,
}

/// Identity of this boot; empty where the kernel does not tell.
#[must_use]
pub fn boot_id() -> String {
    static READ: OnceLock<String> = OnceLock::new();
    let read = || fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    READ.get_or_init(|| read().trim().to_owned()).clone()
}

/// The file of `group` with this ending.
pub(crate) fn path_of(state_dir: &Path, group: &str, ending: &str) -> PathBuf {
    // A name cannot leave the folder, whatever it holds.
    let safe: String = group
        .chars()
        .map(|c| {
            if c.is_alphanumeric() || "-_".contains(c) {
                c
            } else {
                '%'
            }
        })
        .collect();
    state_dir.join(format!("{safe}.{ending}"))
}

/// Writes a group's file.
///
/// # Errors
/// When the folder cannot be written to.
pub fn save(state_dir: &Path, saved: &SavedGroup) -> io::Result<()> {
    let path = path_of(state_dir, &saved.group, ENDING);
    let beside = path.with_extension("new");
    fs::write(&beside, saved.encode_to_vec())?;
    fs::rename(beside, path)
}

impl SavedGroup {
    /// True when something of it may run in this boot.
    #[must_use]
    pub fn may_run(&self) -> bool {
        let run = ["starting", "running", "stopping", "unknown"].contains(&self.run.as_str());
        run && self.spec.is_some() && self.boot == boot_id()
    }
}

/// A group's name with what was saved of it, or with what is wrong with its file.
pub type Loaded = (String, Result<SavedGroup, String>);

/// Reads all groups' files. A file that cannot be read is an error that names it.
///
/// # Errors
/// When the folder cannot be listed.
pub fn load_all(state_dir: &Path) -> io::Result<Vec<Loaded>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(state_dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            paths.push(path);
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()));
        let saved = bytes.and_then(|bytes| {
            SavedGroup::decode(bytes.as_slice())
                .map_err(|error| format!("{} is damaged: {error}", path.display()))
        });
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        (saved.as_ref().map_or(stem, |saved| saved.group.clone()), saved)
    };
    Ok(paths.into_iter().map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_survive_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let saved = SavedGroup {
            group: "a/../b".into(),
            epoch: 7,
            run: "running".into(),
            ..SavedGroup::default()
        };
        save(folder.path(), &saved).unwrap();
        fs::write(folder.path().join("x.group"), b"\xff\xff\xff").unwrap();
        let loaded = load_all(folder.path()).unwrap();
        assert_eq!(loaded[0], ("a/../b".into(), Ok(saved)));
        let (name, damage) = &loaded[1];
        assert_eq!(name, "x");
        assert!(damage.as_ref().unwrap_err().contains("x.group is damaged"));
    }
}

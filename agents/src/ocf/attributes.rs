//! Node attributes as OCF agents keep them with Pacemaker's tools: promotion scores above all.
//!
//! They are kept per group in a file of had-agentd's state folder, so they are gone after a reboot, as Pacemaker's transient
//! attributes are. Each node knows its own only.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

/// Most attributes of one group, and the longest name or value.
const ITEMS_MAX: usize = 1000;
const TEXT_BYTES_MAX: usize = 4096;
/// More than a file of that many can have.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Pacemaker's infinity.
const INFINITY: i64 = 1_000_000;

/// Attributes by name.
pub type Attributes = BTreeMap<String, String>;

/// What is kept at `path`; nothing when nothing was kept yet.
///
/// # Errors
/// The file cannot be read, or is damaged.
pub fn read(path: &Path) -> io::Result<Attributes> {
    match File::open(path) {
        Ok(file) => load(&mut &*lock(file, FlockArg::LockShared)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Attributes::new()),
        Err(error) => Err(error),
    }
}

/// Changes what is kept at `path`; two changes at a time follow each other.
///
/// # Errors
/// The file cannot be read or written, or is damaged, or would be too large.
pub fn change(path: &Path, change: impl FnOnce(&mut Attributes)) -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    let mut file = lock(file, FlockArg::LockExclusive)?;
    let mut all = load(&mut &*file)?;
    change(&mut all);
    let too_long = |text: &String| text.len() > TEXT_BYTES_MAX;
    if all.len() > ITEMS_MAX || all.iter().any(|(name, value)| too_long(name) || too_long(value)) {
        return Err(io::Error::other("too many attributes, or one that is too long"));
    }
    let bytes = serde_json::to_vec(&all)?;
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(&bytes)
}

fn lock(file: File, how: FlockArg) -> io::Result<Flock<File>> {
    Flock::lock(file, how).map_err(|(_, error)| error.into())
}

pub(super) fn load(file: &mut impl Read) -> io::Result<Attributes> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Ok(Attributes::new());
    }
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// Name of the attribute that holds the promotion score of an agent's instance.
#[must_use]
pub fn score_name(instance: &str) -> String {
    // Anonymous clones share one name, as in Pacemaker.
    format!("master-{}", instance.split(':').next().unwrap_or(instance))
}

/// A score as agents write it: a number, `INFINITY`, `-INFINITY`. None when it is none.
#[must_use]
pub fn score(text: &str) -> Option<i64> {
    match text.trim() {
        "INFINITY" | "+INFINITY" | "infinity" => Some(INFINITY),
        "-INFINITY" | "-infinity" => Some(-INFINITY),
        number => number
            .parse::<i64>()
            .ok()
            .map(|number| number.clamp(-INFINITY, INFINITY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_add_up_and_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("g.attributes");
        assert!(read(&path).unwrap().is_empty());
        change(&path, |all| drop(all.insert("a".into(), "a long value".into()))).unwrap();
        change(&path, |all| drop(all.insert("b".into(), "2".into()))).unwrap();
        change(&path, |all| drop(all.remove("a"))).unwrap();
        let all = read(&path).unwrap();
        assert_eq!(all, Attributes::from([("b".to_owned(), "2".to_owned())]));
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        assert!(change(&path, |all| drop(all.insert("c".into(), long))).is_err());
        assert_eq!(read(&path).unwrap(), all);
        std::fs::write(&path, "{").unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn scores_are_read_as_agents_write_them() {
        let expected = [
            ("5", Some(5)),
            ("-1", Some(-1)),
            ("INFINITY", Some(INFINITY)),
            ("-INFINITY", Some(-INFINITY)),
            ("99999999", Some(INFINITY)),
            ("x", None),
            ("", None),
        ];
        for (text, number) in expected {
            assert_eq!(score(text), number, "{text}");
        }
        assert_eq!(score_name("g.r:1"), "master-g.r");
    }
}

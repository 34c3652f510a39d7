//! The mount table of this process: who is mounted where.
//!
//! Read from `/proc/thread-self`, not `/proc/self`: the runtime's thread may have a mount namespace of its own in tests.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::sys::mounts::DeviceNumber;

/// The table.
pub const TABLE: &str = "/proc/thread-self/mountinfo";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Number of the mount.
    pub id: u64,
    /// Device of the file system, as stat(2) shows it.
    pub device: DeviceNumber,
    /// Which folder of the file system is mounted; `/` for all of it.
    pub root: PathBuf,
    /// Where.
    pub path: PathBuf,
    /// Kind of file system.
    pub fstype: String,
    /// What was given as its device.
    pub source: String,
    /// Options of this mount, then those of the file system.
    pub options: Vec<String>,
}

impl Mount {
    /// It cannot be written to here: mounted so, or since the file system found errors in itself.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        let stops_writing = |option: &String| matches!(option.as_str(), "ro" | "emergency_ro" | "shutdown");
        self.options.iter().any(stops_writing)
    }

    /// For people.
    #[must_use]
    pub fn named(&self) -> String {
        let part = match self.root.as_os_str().as_encoded_bytes() {
            b"/" => String::new(),
            _ => format!("{} of ", self.root.display()),
        };
        format!("{part}{} ({})", self.source, self.fstype)
    }
}

/// All mounts, in the order in which they were made, as far as they lie over each other.
///
/// # Errors
/// The table cannot be read.
pub fn read() -> io::Result<Vec<Mount>> {
    Ok(fs::read_to_string(TABLE)?.lines().filter_map(parse).collect())
}

/// What is seen at `path`: the last that was mounted there.
#[must_use]
pub fn at<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.path == path)
}

/// What lies below `path`, the deepest first.
#[must_use]
pub fn below<'a>(mounts: &'a [Mount], path: &Path) -> Vec<&'a Mount> {
    let mut below: Vec<_> = mounts
        .iter()
        .filter(|mount| mount.path != path && mount.path.starts_with(path))
        .collect();
    below.reverse();
    below.sort_by_key(|mount| std::cmp::Reverse(mount.path.components().count()));
    below
}

/// One line: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
fn parse(line: &str) -> Option<Mount> {
    let (mount, file_system) = line.split_once(" - ")?;
    let fields: Vec<&str> = mount.split(' ').collect();
    let [id, _, device, root, path, options, ..] = fields[..] else {
        return None;
    };
    let mut rest = file_system.split(' ');
    let (fstype, source, more) = (rest.next()?, rest.next()?, rest.next().unwrap_or(""));
    let (major, minor) = device.split_once(':')?;
    Some(Mount {
        id: id.parse().ok()?,
        device: (major.parse().ok()?, minor.parse().ok()?),
        root: unescape(root).into(),
        path: unescape(path).into(),
        fstype: fstype.to_owned(),
        source: unescape(source).to_string_lossy().into_owned(),
        options: options
            .split(',')
            .chain(more.split(','))
            .map(str::to_owned)
            .collect(),
    })
}

/// Blanks, newlines and backslashes are written as `\040`.
fn unescape(text: &str) -> OsString {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = text
            .get(at + 1..at + 4)
            .filter(|_| bytes[at] == b'\\')
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = octal {
            plain.push(byte);
            at += 4;
        } else {
            plain.push(bytes[at]);
            at += 1;
        }
    }
    OsString::from_vec(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "65 43 7:0 / /srv/a\\040b rw,relatime shared:2 master:1 - ext4 /dev/loop0 rw,errors=remount-ro\n\
                        66 65 8:1 /sub /srv/a\\040b/c rw - xfs /dev/sda1 ro\n\
                        67 65 8:2 / /srv/a\\040b/c/d rw - xfs /dev/sdb rw,emergency_ro\n\
                        68 43 0:5 / /srv/a\\040b rw - tmpfs none rw\nnonsense\n";

    #[test]
    fn the_last_mount_at_a_path_is_the_one_that_is_seen() {
        let mounts: Vec<Mount> = TEXT.lines().filter_map(parse).collect();
        assert_eq!(mounts.len(), 4);
        let path = Path::new("/srv/a b");
        assert_eq!(at(&mounts, path).unwrap().fstype, "tmpfs");
        assert_eq!(at(&mounts[..3], path).unwrap().device, (7, 0));
        assert_eq!(
            below(&mounts, path)
                .iter()
                .map(|mount| mount.id)
                .collect::<Vec<_>>(),
            [67, 66]
        );
        assert_eq!(mounts[1].named(), "/sub of /dev/sda1 (xfs)");
    }

    #[test]
    fn read_only_in_every_spelling() {
        let mounts: Vec<Mount> = TEXT.lines().filter_map(parse).collect();
        let read_only: Vec<bool> = mounts.iter().map(Mount::is_read_only).collect();
        assert_eq!(read_only, [false, true, true, false]);
    }
}

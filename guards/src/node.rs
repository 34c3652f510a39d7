//! The files of a node: bounded reading, and a record of what was read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::finding::{Finding, Place};
use crate::pattern;

/// Longest file that is read; of a longer one the beginning counts.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Files read in one check.
const FILES_MAX: usize = 512;
/// Entries of a folder that are looked at.
const ENTRIES_MAX: usize = 4096;
/// `O_NONBLOCK | O_NOCTTY`: a pipe or a terminal in the place of a file does not hold the reader up.
const OPEN_FLAGS: i32 = 0o4000 | 0o400;

/// Where files come from.
pub trait Files {
    /// The beginning of a regular file.
    ///
    /// # Errors
    /// When it is not there, is no regular file, or cannot be read.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;

    /// Names in a folder, in no order; none if it is not there.
    fn names(&self, folder: &str) -> Vec<String>;

    /// True when something is there, be it a link that leads nowhere.
    fn exists(&self, path: &str) -> bool;
}

/// The files below a folder; `/` for those of this node.
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// This node.
    #[must_use]
    pub fn here() -> Disk {
        Disk::below("/")
    }

    /// A tree somewhere else.
    pub fn below(root: impl Into<PathBuf>) -> Disk {
        Disk { root: root.into() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Files for Disk {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let mut options = fs::OpenOptions::new();
        let file = options
            .read(true)
            .custom_flags(OPEN_FLAGS)
            .open(self.path(path))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else {
            return Vec::new();
        };
        let names = entries.take(ENTRIES_MAX).filter_map(Result::ok);
        names
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect()
    }

    fn exists(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }
}

/// Files that are made up, for tests and the fuzzer.
#[derive(Clone, Debug, Default)]
pub struct Memory(pub BTreeMap<String, Vec<u8>>);

impl Memory {
    /// These texts under these paths.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Memory {
        let pairs = files.iter();
        Memory(
            pairs
                .map(|(path, text)| ((*path).into(), text.as_bytes().to_vec()))
                .collect(),
        )
    }
}

impl Files for Memory {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let found = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(found.iter().copied().take(FILE_BYTES_MAX).collect())
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let folder = format!("{}/", folder.trim_end_matches('/'));
        let below = self.0.keys().filter_map(|path| path.strip_prefix(&folder));
        let names: BTreeSet<&str> = below.filter_map(|rest| rest.split('/').next()).collect();
        names.into_iter().map(str::to_owned).collect()
    }

    fn exists(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }
}

/// A node's files during one check.
pub struct Node<'a> {
    files: &'a dyn Files,
    read: RefCell<BTreeSet<String>>,
    unreadable: RefCell<Vec<(String, String)>>,
    /// Folders are listed once: every service looks into those of systemd.
    listed: RefCell<BTreeMap<String, Vec<String>>>,
}

impl<'a> Node<'a> {
    /// Reads from `files`.
    #[must_use]
    pub fn new(files: &'a dyn Files) -> Node<'a> {
        Node {
            files,
            read: RefCell::default(),
            unreadable: RefCell::default(),
            listed: RefCell::default(),
        }
    }

    /// The text of a file; None when it is not there or cannot be read. What is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        let mut read = self.read.borrow_mut();
        if read.len() >= FILES_MAX && !read.contains(path) {
            return None;
        }
        read.insert(path.into());
        match self.files.read(path) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) => {
                if error.kind() == io::ErrorKind::PermissionDenied {
                    self.unreadable
                        .borrow_mut()
                        .push((path.into(), error.to_string()));
                }
                None
            }
        }
    }

    /// Names in a folder, sorted. The folder counts as read.
    #[must_use]
    pub fn names(&self, folder: &str) -> Vec<String> {
        let folder = folder.trim_end_matches('/');
        let mut read = self.read.borrow_mut();
        if read.len() < FILES_MAX {
            read.insert(format!("{folder}/"));
        }
        if let Some(names) = self.listed.borrow().get(folder) {
            return names.clone();
        }
        let mut names = self.files.names(folder);
        names.sort_unstable();
        self.listed.borrow_mut().insert(folder.into(), names.clone());
        names
    }

    /// True when there is something at `path`.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.files.exists(path)
    }

    /// The paths that a pattern of a shell names, sorted: `*` and `?` in its last part only, as configuration files use it.
    /// A path without them is itself.
    #[must_use]
    pub fn paths(&self, pattern: &str) -> Vec<String> {
        let (folder, last) = pattern.rsplit_once('/').unwrap_or(("", pattern));
        if !last.contains(['*', '?', '[']) {
            return vec![pattern.into()];
        }
        let names = self.names(folder).into_iter();
        // As in a shell: hidden files only when they are asked for.
        let fits =
            |name: &String| pattern::matches(last, name) && (!name.starts_with('.') || last.starts_with('.'));
        names
            .filter(fits)
            .map(|name| format!("{folder}/{name}"))
            .collect()
    }

    /// What was read, or looked for in vain: these are to be watched. Folders end with `/`.
    #[must_use]
    pub fn read_so_far(&self) -> BTreeSet<String> {
        self.read.borrow().clone()
    }

    /// What could not be read for want of rights.
    pub(crate) fn unreadable(&self) -> Vec<Finding> {
        let denied = self.unreadable.borrow();
        let finding = |(path, error): &(String, String)| {
            Place::file(path).finding(
                "unreadable",
                format!("cannot be read ({error})"),
                "what it says was not checked",
                "run it as root",
            )
        };
        denied.iter().map(finding).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_and_what_was_missed_is_known() {
        let files = Memory::of(&[
            ("/etc/a.conf", "x"),
            ("/etc/d/2.conf", ""),
            ("/etc/d/10.conf", ""),
        ]);
        let node = Node::new(&files);
        assert_eq!(node.text("/etc/a.conf").as_deref(), Some("x"));
        assert_eq!(node.text("/etc/b.conf"), None);
        assert_eq!(node.paths("/etc/d/*.conf"), ["/etc/d/10.conf", "/etc/d/2.conf"]);
        assert_eq!(node.paths("/etc/c.conf"), ["/etc/c.conf"]);
        let read: Vec<_> = node.read_so_far().into_iter().collect();
        assert_eq!(read, ["/etc/a.conf", "/etc/b.conf", "/etc/d/"]);
    }

    #[test]
    fn a_pipe_is_no_file_and_does_not_hold_the_reader_up() {
        let folder = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(folder.path().join("pipe"))
            .status();
        assert!(made.unwrap().success());
        let disk = Disk::below(folder.path());
        assert!(disk.read("/pipe").is_err());
        assert!(disk.exists("/pipe"));
        assert_eq!(disk.names("/"), ["pipe"]);
    }
}

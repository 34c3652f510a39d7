//! Which processes keep a file system busy.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::source::Source;
use crate::exec::process;
use crate::sys::mounts::{self, DeviceNumber};

/// Processes named in a sentence.
const NAMED_MAX: usize = 8;
/// Longest command that is shown.
const COMMAND_CHARS: usize = 60;

/// One process, and how it uses the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub pid: i32,
    /// When it began: a number that was given anew is another process.
    pub start_ticks: u64,
    /// Its command line.
    pub command: String,
    /// By what: `cwd`, `fd 7`, `maps`.
    pub how: String,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The device that stat(2) shows for files in it.
    device: DeviceNumber,
    /// For a folder that is shown a second time: only what was reached by this path.
    below: Option<PathBuf>,
}

impl Wanted {
    /// Users of what is mounted at `place`.
    #[must_use]
    pub fn at(source: &Source, place: &Path) -> Option<Wanted> {
        let below = matches!(source, Source::Folder { .. }).then(|| place.to_path_buf());
        let device = mounts::device_holding(place).ok()?;
        Some(Wanted { device, below })
    }

    /// Users of the device itself, wherever they see it.
    #[must_use]
    pub fn of(source: &Source) -> Option<Wanted> {
        let Source::Block { number, .. } = source else {
            return None;
        };
        Some(Wanted {
            device: *number,
            below: None,
        })
    }

    fn is_used_by(&self, link: &Path) -> bool {
        if !mounts::device_holding(link).is_ok_and(|device| device == self.device) {
            return false;
        }
        let Some(below) = &self.below else { return true };
        fs::read_link(link).is_ok_and(|path| path.starts_with(below))
    }

    /// How `pid` uses it. None if it does not.
    fn used_by(&self, pid: i32) -> Option<String> {
        let own = PathBuf::from(format!("/proc/{pid}"));
        let by_name = ["cwd", "root", "exe"]
            .into_iter()
            .find(|name| self.is_used_by(&own.join(name)));
        if let Some(name) = by_name {
            return Some(name.to_owned());
        }
        let open = fs::read_dir(own.join("fd")).into_iter().flatten().flatten();
        let open = open.map(|entry| entry.path()).find(|path| self.is_used_by(path));
        if let Some(number) = open.as_deref().and_then(Path::file_name) {
            return Some(format!("fd {}", number.to_string_lossy()));
        }
        let maps = fs::read(own.join("maps")).unwrap_or_default();
        maps.split(|byte| *byte == b'\n')
            .any(|line| self.is_mapped(line))
            .then(|| "maps".to_owned())
    }

    /// A line of `maps`: `7f0c-7f0d r--s 00000000 07:00 12 /srv/data/file`.
    fn is_mapped(&self, line: &[u8]) -> bool {
        let mut fields = line.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
        let Some(device) = fields.nth(3) else { return false };
        let (inode, path) = (
            fields.next().unwrap_or_default(),
            fields.next().unwrap_or_default(),
        );
        let (major, minor) = self.device;
        let is_here = device == format!("{major:02x}:{minor:02x}").as_bytes() && inode != b"0";
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        is_here && self.below.as_ref().is_none_or(|below| path.starts_with(below))
    }

    /// All of them, without this process and the first.
    #[must_use]
    pub fn users(&self) -> Vec<User> {
        let own = std::process::id() as i32;
        process::all()
            .filter(|pid| *pid != own && *pid != 1)
            .filter_map(|pid| user(pid, self.used_by(pid)?))
            .collect()
    }

    /// Processes in whose mount namespace the device is mounted.
    #[must_use]
    pub fn namespaces(&self) -> Vec<User> {
        let (major, minor) = self.device;
        let device = format!(" {major}:{minor} ");
        let own = std::process::id() as i32;
        process::all()
            .filter(|pid| *pid != own && *pid != 1)
            .filter_map(|pid| {
                let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
                let is_there = table.contains(&device);
                user(pid, is_there.then(|| "its mount namespace".to_owned())?)
            })
            .collect()
    }
}

/// The process `pid`, which uses it in that way; None if it has ended.
#[must_use]
pub fn user(pid: i32, how: String) -> Option<User> {
    Some(User {
        pid,
        start_ticks: process::stat(pid)?.start_ticks,
        command: command(pid),
        how,
    })
}

fn command(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let shown = match line.trim() {
        "" => fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default(),
        line => line.to_owned(),
    };
    let clean = shown.trim().chars().map(|c| if c.is_control() { '?' } else { c });
    clean.take(COMMAND_CHARS).collect()
}

/// For people: `4711 (mysqld --basedir=/usr; cwd)`.
#[must_use]
pub fn named(users: &[User]) -> String {
    let mut shown: Vec<String> = users
        .iter()
        .take(NAMED_MAX)
        .map(|user| format!("{} ({}; {})", user.pid, user.command, user.how))
        .collect();
    if users.len() > NAMED_MAX {
        shown.push(format!("and {} more", users.len() - NAMED_MAX));
    }
    shown.join(", ")
}

/// Sends `signal` to those that are still the processes that were found.
pub fn signal(users: &[User], signal: Signal) {
    for user in users {
        if process::Process::find(user.pid, user.start_ticks).is_some() {
            // It may end in this instant.
            let _ = kill(Pid::from_raw(user.pid), signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_files_are_known_by_device_and_path() {
        let mut wanted = Wanted {
            device: (7, 16),
            below: None,
        };
        let line = b"7f0c3000-7f0c4000 r--s 00000000 07:10 12      /srv/data/file";
        assert!(wanted.is_mapped(line));
        wanted.below = Some("/srv/other".into());
        assert!(!wanted.is_mapped(line));
        wanted.device = (7, 1);
        wanted.below = None;
        assert!(!wanted.is_mapped(line));
    }

    #[test]
    fn a_long_list_is_cut() {
        let user = User {
            pid: 7,
            start_ticks: 1,
            command: "sleep 9".into(),
            how: "cwd".into(),
        };
        assert_eq!(named(std::slice::from_ref(&user)), "7 (sleep 9; cwd)");
        assert!(named(&vec![user; 10]).ends_with("and 2 more"));
    }
}

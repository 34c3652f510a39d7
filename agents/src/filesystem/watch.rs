//! Notices at once that a file system was unmounted, covered, or made read-only.
//!
//! - The kernel says when the mount table changes (poll on it).
//! - When a file system finds an error in itself, ext4 stops being written without touching the table; the kernel says
//!   that by fanotify, where it is new enough and the file system can.
//! - A look every two seconds is the backstop, and sees file systems that answer with errors only (xfs after a shutdown).

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::mountinfo::{self, TABLE};
use super::source::Source;
use crate::agent::EventSink;
use crate::blocking::blocking;
use crate::sys;
use crate::sys::mounts::{self, DeviceNumber};

/// Pause between looks when nothing is said.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After an error was reported: the file system is told of it first, and takes the consequence a moment later.
const LOOK_CLOSELY_EVERY: Duration = Duration::from_millis(10);
/// How many close looks follow.
const CLOSE_LOOKS: u32 = 100;
/// Once an error did not stop writing, further ones are not told within this many looks.
const EVENT_BYTES_MAX: usize = 4096;

/// What is watched.
pub struct Watched {
    /// What is mounted.
    pub source: Source,
    /// Where.
    pub place: PathBuf,
    /// It is meant to be read only.
    pub read_only: bool,
    /// Where failures go.
    pub events: EventSink,
}

impl Watched {
    /// Returns after it has reported a failure.
    pub async fn follow(self) {
        let table = File::open(TABLE).and_then(mounts::watch_priority);
        let table = match table {
            Ok(table) => Some(table),
            Err(error) => {
                let text = format!("the mount table cannot be watched ({error}): looking every 2 s");
                self.events.note("warn", "mount-table", text);
                None
            }
        };
        // Not every kernel and file system can tell: then the looks have to do.
        let errors = mounts::watch_errors(&self.place)
            .and_then(sys::watch_readable)
            .ok();
        let mut close = 0;
        loop {
            if let Some(reason) = self.fault().await {
                self.events.failed(reason);
                return;
            }
            let pause = if close > 0 { LOOK_CLOSELY_EVERY } else { LOOK_EVERY };
            close = u32::saturating_sub(close, 1);
            tokio::select! {
                () = changed(table.as_ref()) => {}
                () = reported(errors.as_ref()) => close = CLOSE_LOOKS,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Why it cannot be used any more.
    async fn fault(&self) -> Option<String> {
        let place = self.place.display();
        // A table that cannot be read says nothing about the file system.
        let table = mountinfo::read().ok()?;
        let Some(top) = mountinfo::at(&table, &self.place) else {
            return Some(format!("{place} was unmounted by somebody else"));
        };
        if !self.source.is_shown_by(top) {
            let is_below = table
                .iter()
                .any(|mount| mount.path == self.place && self.source.is_shown_by(mount));
            return Some(match is_below {
                true => format!("{} was mounted over {place} by somebody else", top.named()),
                false => format!(
                    "{place} was unmounted by somebody else; {} is there now",
                    top.named()
                ),
            });
        }
        if top.is_read_only() && !self.read_only {
            let why = last_error(&top.fstype, top.device).map_or_else(
                || ", by somebody or after an error".to_owned(),
                |at| format!(" after an error ({at})"),
            );
            let shown = self.source.path().display();
            return Some(format!(
                "{place} became read-only{why}; the kernel's log says more (dmesg), and {shown} should be checked"
            ));
        }
        let path = self.place.clone();
        let looked = blocking(move || fs::metadata(path)).await;
        let error = looked
            .err()
            .filter(|error| error.raw_os_error() == Some(libc::EIO))?;
        Some(format!(
            "{place} answers with errors only ({error}): the file system was shut down; the kernel's log says more (dmesg)"
        ))
    }
}

/// Where ext4 found its last error.
fn last_error(fstype: &str, device: DeviceNumber) -> Option<String> {
    if fstype != "ext4" {
        return None;
    }
    let name = fs::read_link(format!("/sys/dev/block/{}:{}", device.0, device.1)).ok()?;
    let folder = Path::new("/sys/fs/ext4").join(name.file_name()?);
    let read = |file: &str| fs::read_to_string(folder.join(file)).map(|text| text.trim().to_owned());
    let count = read("errors_count").ok().filter(|count| count != "0")?;
    let (function, line) = (read("last_error_func").ok()?, read("last_error_line").ok()?);
    Some(format!("{function}:{line}, {count} in all"))
}

async fn changed(table: Option<&AsyncFd<File>>) {
    match table {
        None => std::future::pending().await,
        Some(table) => match table.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => std::future::pending().await,
        },
    }
}

async fn reported(errors: Option<&AsyncFd<OwnedFd>>) {
    let Some(errors) = errors else {
        return std::future::pending().await;
    };
    let mut buffer = [0; EVENT_BYTES_MAX];
    let Ok(mut ready) = errors.readable().await else {
        return std::future::pending().await;
    };
    // What it says is not needed: only that there is one. Errors of the same kind are counted by the kernel.
    let _ = ready.try_io(|fd| nix::unistd::read(fd.get_ref(), &mut buffer).map_err(io::Error::from));
}

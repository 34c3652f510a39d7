//! Waits until one of some files changes, appears or goes, by inotify on their folders.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::unix::AsyncFd;

use crate::sys;

/// inotify's file descriptor, which `nix` keeps to itself.
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A watch over files. One that the kernel refuses (too many of them) sees nothing: then time alone tells.
pub struct Watch {
    paths: BTreeSet<PathBuf>,
    inotify: Option<AsyncFd<Descriptor>>,
    folders: BTreeMap<WatchDescriptor, PathBuf>,
}

impl Watch {
    /// Watches `paths`. Those that end with `/` are folders, of which every entry counts.
    pub fn over(paths: BTreeSet<PathBuf>) -> Watch {
        let mut watch = Watch {
            paths,
            inotify: None,
            folders: BTreeMap::new(),
        };
        match watch.begin() {
            Ok(inotify) => watch.inotify = Some(inotify),
            Err(error) => tracing::warn!(
                "changes of the services' files are not seen at once ({error}): they are looked at every hour"
            ),
        }
        watch
    }

    fn begin(&mut self) -> std::io::Result<AsyncFd<Descriptor>> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let changes = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        let folders: BTreeSet<PathBuf> = self.paths.iter().filter_map(|path| nearest(path)).collect();
        for folder in folders {
            match inotify.add_watch(&folder, changes) {
                Ok(descriptor) => drop(self.folders.insert(descriptor, folder)),
                // It went this moment: the next look finds another one.
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        sys::watch_readable(Descriptor(inotify))
    }

    /// What is watched.
    pub fn paths(&self) -> &BTreeSet<PathBuf> {
        &self.paths
    }

    /// Returns when one of them changed.
    pub async fn changed(&mut self) {
        let Some(inotify) = &self.inotify else {
            return std::future::pending().await;
        };
        loop {
            let Ok(mut ready) = inotify.readable().await else {
                return std::future::pending().await;
            };
            let events = ready.try_io(|descriptor| descriptor.get_ref().0.read_events().map_err(Into::into));
            let Ok(Ok(events)) = events else {
                continue;
            };
            let counts = events.iter().any(|event| {
                let lost = event
                    .mask
                    .intersects(AddWatchFlags::IN_Q_OVERFLOW | AddWatchFlags::IN_DELETE_SELF);
                let folder = self.folders.get(&event.wd);
                lost || folder.is_some_and(|folder| self.concerns(folder, event.name.as_deref()))
            });
            if counts {
                return;
            }
        }
    }

    fn concerns(&self, folder: &Path, name: Option<&OsStr>) -> bool {
        let Some(name) = name else {
            return true;
        };
        let entry = folder.join(name);
        self.paths.iter().any(|path| {
            // The file, a folder on the way to it that was not there, or anything in a folder.
            path.starts_with(&entry) || (is_folder(path) && path == folder)
        })
    }
}

fn is_folder(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// The folder that has to be watched: the one the file is in, or the nearest one that is there. None below /proc and /sys,
/// where nothing is told.
fn nearest(path: &Path) -> Option<PathBuf> {
    if path.starts_with("/proc") || path.starts_with("/sys") {
        return None;
    }
    let first = if is_folder(path) {
        Some(path)
    } else {
        path.parent()
    };
    first?
        .ancestors()
        .find(|folder| folder.is_dir())
        .map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_folders_and_what_is_not_there_yet_are_watched() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("d")).unwrap();
        for (watched, written) in [("a", "a"), ("d/", "d/new"), ("later/b", "later/b")] {
            let mut watch = Watch::over(BTreeSet::from([at(watched), PathBuf::from("/proc/sys/x")]));
            std::fs::write(at("other"), "").unwrap();
            std::fs::create_dir_all(at(written).parent().unwrap()).unwrap();
            std::fs::write(at(written), "x").unwrap();
            watch.changed().await;
        }
    }
}

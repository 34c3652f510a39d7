//! Whether there is room where a service keeps its data.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::{FsFlags, statvfs};
use tokio::time::timeout;

/// Less room than this on the data's file system is none: what is written next no longer fits.
const ROOM_BYTES_MIN: u64 = 1 << 20;
/// A disk that was full needs so much before a server is started on it: MySQL takes 12 MiB at once for temporary tables, and
/// what its end gave back would be gone again.
const ROOM_AFTER_FULL_BYTES: u64 = 16 << 20;
/// How long a look at a file system may take; a device that hangs is told by the service's own silence.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// Why nothing can be written to the file system of `folder`. None: it can, or it could not be looked at.
pub async fn fault(folder: &Path) -> Option<String> {
    let (left, read_only) = left(folder).await?;
    fault_of(folder, left, read_only)
}

/// Why nothing is to be started there that may wait for room instead of failing. `was_full`: as it was when the last one
/// ended.
pub async fn start_fault(folder: &Path, was_full: bool) -> Option<String> {
    let (left, read_only) = left(folder).await?;
    if let Some(fault) = fault_of(folder, left, read_only) {
        return Some(fault);
    }
    (was_full && left < ROOM_AFTER_FULL_BYTES).then(|| {
        let folder = folder.display();
        format!(
            "the disk was full: {left} bytes are left on that of {folder} now, and a server is started there again with \
             {ROOM_AFTER_FULL_BYTES}"
        )
    })
}

fn fault_of(folder: &Path, left: u64, read_only: bool) -> Option<String> {
    let folder = folder.display();
    if read_only {
        return Some(format!("the file system of {folder} is mounted read-only"));
    }
    (left < ROOM_BYTES_MIN).then(|| format!("the disk is full: {left} bytes are left on that of {folder}"))
}

/// Bytes that are left, and whether it is mounted read-only.
pub async fn left(folder: &Path) -> Option<(u64, bool)> {
    let folder: PathBuf = folder.to_owned();
    let look = tokio::task::spawn_blocking(move || {
        let found = statvfs(&folder).ok()?;
        let left = found.blocks_available().saturating_mul(found.fragment_size());
        Some((left, found.flags().contains(FsFlags::ST_RDONLY)))
    });
    timeout(LOOK_LIMIT, look).await.ok()?.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_full_or_read_only_has_one() {
        let folder = Path::new("/data");
        assert_eq!(fault_of(folder, ROOM_BYTES_MIN, false), None);
        assert!(fault_of(folder, ROOM_BYTES_MIN - 1, false).is_some());
        assert!(fault_of(folder, ROOM_BYTES_MIN, true).is_some());
    }

    #[tokio::test]
    async fn a_file_system_with_room_has_no_fault() {
        assert_eq!(fault(&std::env::temp_dir()).await, None);
        assert_eq!(start_fault(&std::env::temp_dir(), true).await, None);
        let absent = Path::new("/nonexistent/holdfast");
        assert_eq!(fault(absent).await, None);
        assert_eq!(start_fault(absent, true).await, None);
    }
}

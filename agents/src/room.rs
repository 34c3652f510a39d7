//! Whether there is room where a service keeps its data.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::{FsFlags, statvfs};
use tokio::time::timeout;

/// Less room than this on the data's file system is none: what is written next no longer fits.
const ROOM_BYTES_MIN: u64 = 1 << 20;
/// How long a look at a file system may take; a device that hangs is told by the service's own silence.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// Why nothing can be written to the file system of `folder`. None: it can, or it could not be looked at.
pub async fn fault(folder: &Path) -> Option<String> {
    let folder: PathBuf = folder.to_owned();
    let look = tokio::task::spawn_blocking(move || {
        let found = statvfs(&folder).ok()?;
        let folder = folder.display();
        if found.flags().contains(FsFlags::ST_RDONLY) {
            return Some(format!("the file system of {folder} is mounted read-only"));
        }
        let room = found.blocks_available().saturating_mul(found.fragment_size());
        (room < ROOM_BYTES_MIN)
            .then(|| format!("the disk is full: {room} bytes are left on that of {folder}"))
    });
    timeout(LOOK_LIMIT, look).await.ok()?.ok()?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_system_with_room_has_no_fault() {
        assert_eq!(fault(&std::env::temp_dir()).await, None);
        let absent = Path::new("/nonexistent/holdfast");
        assert_eq!(fault(absent).await, None);
    }
}

//! System calls about mounted file systems.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

mod requests {
    #![allow(missing_docs)]
    // The same number for ext4 (EXT4_IOC_SHUTDOWN), xfs (XFS_IOC_GOINGDOWN) and f2fs.
    nix::ioctl_read!(shutdown, b'X', 125, u32);
}

/// What is still in memory only is not written: as if the power had been cut.
const SHUT_DOWN_WITHOUT_FLUSH: u32 = 2;

/// Major and minor number of a device.
pub type DeviceNumber = (u32, u32);

/// Ends all reading and writing of the file system that `folder` is in, at once: whoever uses it gets errors, and nothing
/// more reaches the device, as if the power had been cut.
///
/// # Errors
/// ENOTTY when this kind of file system cannot do it.
pub fn shut_down_file_system(folder: &File) -> io::Result<()> {
    let mut how = SHUT_DOWN_WITHOUT_FLUSH;
    // SAFETY: the descriptor is open, and the kernel reads one u32 through a valid pointer.
    unsafe { requests::shutdown(folder.as_raw_fd(), &raw mut how) }?;
    Ok(())
}

/// The device of the file system that `path` is in, following links, without asking a server that may be away.
///
/// # Errors
/// As statx(2).
pub fn device_holding(path: &Path) -> io::Result<DeviceNumber> {
    let found = statx(path)?;
    Ok((found.stx_dev_major, found.stx_dev_minor))
}

/// The number of the block device `path`. None when it is none.
///
/// # Errors
/// As statx(2).
pub fn block_device(path: &Path) -> io::Result<Option<DeviceNumber>> {
    let found = statx(path)?;
    let is_block = u32::from(found.stx_mode) & libc::S_IFMT == libc::S_IFBLK;
    Ok(is_block.then_some((found.stx_rdev_major, found.stx_rdev_minor)))
}

fn statx(path: &Path) -> io::Result<libc::statx> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut found = MaybeUninit::<libc::statx>::zeroed();
    // SAFETY: the path ends in NUL, and the kernel writes one statx through a valid pointer.
    let result = unsafe {
        libc::statx(
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_STATX_DONT_SYNC,
            libc::STATX_BASIC_STATS,
            found.as_mut_ptr(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros are a valid statx, and the kernel has filled it in.
    Ok(unsafe { found.assume_init() })
}

/// Waits on `file` having an exceptional condition, within the runtime: a changed mount table.
///
/// # Errors
/// When the runtime cannot watch it.
pub fn watch_priority(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a File names an open descriptor as long as it lives, and the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) }?)
}

/// A descriptor that becomes readable when the file system that `path` is in has found an error in itself.
///
/// # Errors
/// EINVAL or EOPNOTSUPP when the kernel or this kind of file system cannot tell.
pub fn watch_errors(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::FAN_CLASS_NOTIF | libc::FAN_REPORT_FID | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
    // SAFETY: plain integers.
    let fd = unsafe { libc::fanotify_init(flags, libc::O_RDONLY as u32) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let how = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
    // SAFETY: the descriptor is open, and the path ends in NUL.
    let result = unsafe {
        libc::fanotify_mark(
            fd.as_raw_fd(),
            how,
            libc::FAN_FS_ERROR,
            libc::AT_FDCWD,
            path.as_ptr(),
        )
    };
    if result == 0 {
        Ok(fd)
    } else {
        Err(io::Error::last_os_error())
    }
}

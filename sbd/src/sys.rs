//! The system call that nix has no safe wrapper for. The only `unsafe` of this crate.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

mod request {
    #![allow(missing_docs)]
    nix::ioctl_read_bad!(sector_size, libc::BLKSSZGET, libc::c_int);
}

/// Bytes of a logical sector of the block device `file`.
///
/// # Errors
/// When it is no block device.
pub fn sector_size(file: &File) -> io::Result<u32> {
    let mut value: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the kernel writes one int through a valid pointer.
    unsafe { request::sector_size(file.as_raw_fd(), &raw mut value) }?;
    u32::try_from(value).map_err(|_| io::Error::other(format!("a sector of {value} bytes")))
}

//! The system calls that nix has no safe wrapper for. The only `unsafe` of this crate.

pub mod launch;
pub mod mounts;

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Who a program runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// All group ids.
    pub groups: Vec<u32>,
}

/// Puts this thread under SCHED_FIFO at `priority`; its children are not.
///
/// # Errors
/// As sched_setscheduler(2): EPERM without CAP_SYS_NICE.
pub fn schedule_fifo(priority: i32) -> io::Result<()> {
    let param = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: 0 is the calling thread, and `param` lives through the call.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &param) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Gives this thread the nice value `nice`; its children, threads or processes, have none below 0.
///
/// # Errors
/// As setpriority(2): EACCES without CAP_SYS_NICE.
pub fn be_nice(nice: i32) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is the calling thread, and `param` lives through the call.
    let result =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, &param) };
    // SAFETY: plain integers; on Linux 0 is the calling thread.
    if result == 0 && unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Locks memory, pages that are touched only: without ONFAULT it would cost the whole address space.
///
/// # Errors
/// As mlockall(2): EPERM or ENOMEM without CAP_IPC_LOCK.
pub fn lock_memory() -> io::Result<()> {
    // SAFETY: no pointers are passed.
    let result = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether the extended attribute `name` of `path` is `value`.
#[must_use]
pub fn has_attribute(path: &Path, name: &CStr, value: &[u8]) -> bool {
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else {
        return false;
    };
    let mut found = [0u8; 64];
    // SAFETY: both names end in NUL, and the kernel writes at most as much as the buffer holds.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            found.as_mut_ptr().cast(),
            found.len(),
        )
    };
    usize::try_from(length).is_ok_and(|length| found.get(..length) == Some(value))
}

/// A descriptor that becomes readable when process `pid` has ended.
///
/// # Errors
/// As pidfd_open(2): ESRCH when there is no such process.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain integers; flag 0 sets O_CLOEXEC by itself.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A descriptor that this process was given, by whoever started it or in a message, and that nothing else here has.
#[must_use]
pub fn inherited(fd: i32) -> OwnedFd {
    // SAFETY: it is open, because it was handed over as such, and each is asked for once.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Waits on `fd` becoming readable, within the runtime.
///
/// # Errors
/// When the runtime cannot watch it.
pub fn watch_readable<T: AsFd + AsRawFd>(fd: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: what implements AsFd names an open descriptor as long as it lives, and the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// The watchdog's requests, from linux/watchdog.h.
mod wdioc {
    #![allow(missing_docs)]
    /// `struct watchdog_info`.
    #[repr(C)]
    pub struct Info {
        pub options: u32,
        pub firmware_version: u32,
        pub identity: [u8; 32],
    }
    nix::ioctl_read!(get_support, b'W', 0, Info);
    nix::ioctl_read!(get_boot_status, b'W', 2, libc::c_int);
    nix::ioctl_readwrite!(set_timeout, b'W', 6, libc::c_int);
    nix::ioctl_read!(get_timeout, b'W', 7, libc::c_int);
}

/// What the driver of the watchdog device `file` can do (`WDIOF_*`), and how it calls itself.
///
/// # Errors
/// When it is no watchdog.
pub fn watchdog_support(file: &File) -> io::Result<(u32, String)> {
    let mut info = wdioc::Info {
        options: 0,
        firmware_version: 0,
        identity: [0; 32],
    };
    // SAFETY: the descriptor is open, and the kernel writes one `watchdog_info` through a valid pointer.
    unsafe { wdioc::get_support(file.as_raw_fd(), &raw mut info) }?;
    let name = info.identity.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok((info.options, String::from_utf8_lossy(name).trim().to_string()))
}

/// Why this boot began, as the watchdog device `file` tells it (`WDIOF_*`); 0 for nothing remarkable.
///
/// # Errors
/// When it does not tell.
pub fn watchdog_boot_status(file: &File) -> io::Result<u32> {
    let mut value: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the kernel writes one int through a valid pointer.
    unsafe { wdioc::get_boot_status(file.as_raw_fd(), &raw mut value) }?;
    Ok(value.cast_unsigned())
}

/// Asks the watchdog device `file` for a timeout and returns the one it chose, in seconds.
///
/// # Errors
/// When it is no watchdog, or its timeout is fixed.
pub fn watchdog_set_timeout(file: &File, seconds: u64) -> io::Result<u64> {
    let mut value = libc::c_int::try_from(seconds).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open, and the kernel reads and writes one int through a valid pointer.
    unsafe { wdioc::set_timeout(file.as_raw_fd(), &raw mut value) }?;
    Ok(u64::try_from(value).unwrap_or(0))
}

/// The timeout of the watchdog device `file`, in seconds.
///
/// # Errors
/// When it is no watchdog.
pub fn watchdog_timeout(file: &File) -> io::Result<u64> {
    let mut value: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the kernel writes one int through a valid pointer.
    unsafe { wdioc::get_timeout(file.as_raw_fd(), &raw mut value) }?;
    Ok(u64::try_from(value).unwrap_or(0))
}

/// The address that binds a packet socket to the interface `index` and the Ethernet type `protocol`; 0 receives
/// nothing. nix can only borrow such addresses from the kernel, without the protocol.
///
/// # Errors
/// None in practice: those of the constructor.
pub fn link_address(index: u32, protocol: u16) -> io::Result<socket2::SockAddr> {
    // SAFETY: the storage is zeroed, aligned and larger than a sockaddr_ll; the length is set to what was written.
    let made = unsafe {
        socket2::SockAddr::try_init(|storage, length| {
            let link = storage.cast::<libc::sockaddr_ll>();
            (*link).sll_family = libc::AF_PACKET as u16;
            (*link).sll_protocol = protocol.to_be();
            (*link).sll_ifindex = index as i32;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    };
    made.map(|((), address)| address)
}

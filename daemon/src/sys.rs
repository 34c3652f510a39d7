//! System calls that the crates in use do not wrap. All `unsafe` of this crate is here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::timerfd::TimerFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Gives the calling thread SCHED_FIFO at `priority`. Threads and children it starts do not inherit it.
///
/// # Errors
/// The kernel's answer: EPERM without CAP_SYS_NICE, or where real-time bandwidth is assigned by cgroup.
pub fn set_fifo(priority: i32) -> io::Result<()> {
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the parameter struct lives on this stack for the duration of the call, and 0 names this thread.
    let result = unsafe {
        let mut param: libc::sched_param = std::mem::zeroed();
        param.sched_priority = priority;
        libc::sched_setscheduler(0, policy, &raw const param)
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets the calling thread's nice value.
///
/// # Errors
/// The kernel's answer: EACCES without CAP_SYS_NICE.
pub fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: takes integers only; 0 names this thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Locks what this process has mapped and will map, as soon as it is touched (not before: stacks would be filled).
///
/// # Errors
/// The kernel's answer: EPERM or ENOMEM without CAP_IPC_LOCK.
pub fn lock_memory() -> io::Result<()> {
    // SAFETY: takes flags only and changes no memory's contents.
    let result = unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Takes [`lock_memory`] back.
pub fn unlock_memory() {
    // SAFETY: no parameters, changes no memory's contents.
    unsafe { libc::munlockall() };
}

/// True when a mapping of `bytes` can be made now. Under a memory lock with a limit it cannot, and the
/// allocator would fail later, at the worst moment. Nothing is touched, so nothing is used.
#[must_use]
pub fn can_map(bytes: usize) -> bool {
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice, unmapped before anyone sees it.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let area = libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            -1,
            0,
        );
        if area == libc::MAP_FAILED {
            return false;
        }
        libc::munmap(area, bytes);
        true
    }
}

/// Keeps the allocator from setting aside an arena for every thread: few threads, small memory.
pub fn limit_arenas() {
    // SAFETY: called before other threads exist; only sets a tunable.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
}

/// A timer's file descriptor, as tokio wants it.
pub struct TimerFile(pub TimerFd);

impl AsRawFd for TimerFile {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Lets the current runtime watch a timer.
///
/// # Errors
/// When the runtime's selector refuses it.
pub fn watch_timer(timer: TimerFile) -> io::Result<AsyncFd<TimerFile>> {
    // SAFETY: `TimerFile` owns its descriptor, always names the same one, and closes it only when dropped, which
    // `AsyncFd` does after it has deregistered it.
    unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }.map_err(io::Error::from)
}

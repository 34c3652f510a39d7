//! The few calls that need `unsafe`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::ForkResult;

/// Runs `setup` in the child between fork and exec. It may only make system calls on values prepared before.
pub fn before_exec<F>(command: &mut Command, setup: F) -> &mut Command
where
    F: FnMut() -> std::io::Result<()> + Send + Sync + 'static,
{
    // SAFETY: the callers' closures only make system calls (setns, unshare, prctl) on descriptors that they
    // own, and neither allocate nor lock.
    unsafe { command.pre_exec(setup) }
}

/// Forks. Only for a process that has a single thread.
pub fn fork() -> nix::Result<ForkResult> {
    // SAFETY: `stage::enter` calls this before it starts any thread, so that no lock can be held in the child.
    unsafe { nix::unistd::fork() }
}

/// Puts this thread ahead of ordinary ones where that is allowed, so that what it measures is not its own delay.
pub fn hurry() {
    // SAFETY: the call takes numbers only; 0 is the calling thread. Without the right to do so nothing changes.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, -20);
    }
}

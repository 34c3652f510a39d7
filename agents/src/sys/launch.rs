//! Starts a program inside its cgroup.
//!
//! By clone3 and not by std: a process that is *moved* into a cgroup makes the kernel wait until every processor has
//! passed a quiet state, 10 to 20 ms measured, and a service that fails over would wait with it. One that is *made* in
//! its cgroup waits for nothing.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::Identity;

/// From linux/sched.h; libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A program and what it is to run in.
pub struct Launch<'a> {
    /// Absolute path.
    pub program: CString,
    /// Arguments after the program's own name.
    pub args: Vec<CString>,
    /// NAME=VALUE, all of its environment.
    pub env: Vec<CString>,
    /// Its working folder.
    pub cwd: CString,
    /// Where it prints to.
    pub output: BorrowedFd<'a>,
    /// The folder of its cgroup.
    pub cgroup: Option<File>,
    /// Whom it runs as, if not as we do.
    pub identity: Option<Identity>,
}

/// What a launch failed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Before there was a process.
    Prepare,
    /// A session of its own, its files.
    Enter,
    /// Its user.
    Identity,
    /// Its working folder.
    Folder,
    /// The program itself.
    Execute,
}

impl Step {
    const ALL: [Step; 5] = [
        Step::Prepare,
        Step::Enter,
        Step::Identity,
        Step::Folder,
        Step::Execute,
    ];
}

/// A program that was started: its pid and a descriptor of the process.
pub type Launched = (i32, OwnedFd);

fn prepare(error: impl Into<io::Error>) -> (Step, io::Error) {
    (Step::Prepare, error.into())
}

/// Starts it; returns when it has been executed.
///
/// # Errors
/// What could not be done, and why.
pub fn launch(what: &Launch<'_>) -> Result<Launched, (Step, io::Error)> {
    let null = File::open("/dev/null").map_err(prepare)?;
    let (complaint, complain) = pipe2(OFlag::O_CLOEXEC).map_err(prepare)?;
    let pointers = |head: Option<&CStr>, rest: &[CString]| -> Vec<*const libc::c_char> {
        let all = head.into_iter().chain(rest.iter().map(CString::as_c_str));
        all.map(CStr::as_ptr).chain([ptr::null()]).collect()
    };
    let (argv, envp) = (
        pointers(Some(&what.program), &what.args),
        pointers(None, &what.env),
    );
    let child = Child {
        what,
        argv: &argv,
        envp: &envp,
        null: null.as_raw_fd(),
        complain: complain.as_raw_fd(),
    };
    let launched = clone_into(what.cgroup.as_ref(), &child).map_err(prepare)?;
    drop(complain);
    let mut said = Vec::new();
    File::from(complaint).read_to_end(&mut said).map_err(prepare)?;
    let Some((step, code)) = said.split_first() else {
        return Ok(launched);
    };
    // It has ended, or is about to.
    let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(launched.0), None);
    let step = Step::ALL
        .get(usize::from(*step))
        .copied()
        .unwrap_or(Step::Prepare);
    let code = code.try_into().map_or(libc::EIO, i32::from_ne_bytes);
    Err((step, io::Error::from_raw_os_error(code)))
}

/// What the child needs, all of it made before: it may not allocate.
struct Child<'a> {
    what: &'a Launch<'a>,
    argv: &'a [*const libc::c_char],
    envp: &'a [*const libc::c_char],
    null: RawFd,
    complain: RawFd,
}

/// Forks into the cgroup. The child never returns from here.
fn clone_into(cgroup: Option<&File>, child: &Child<'_>) -> io::Result<Launched> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: a fork: memory is copied, not shared, and the child calls only what is async-signal-safe. The structure
    // lives through the call, and the kernel writes one descriptor through `pidfd`.
    let mut pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) };
    if pid == -1 && cgroup.is_none() {
        // Containers may forbid clone3, which their filters cannot look into.
        let flags = libc::CLONE_PIDFD | libc::SIGCHLD;
        // SAFETY: as above.
        pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    }
    match pid {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: this is the child, which has one thread and ends in `run`.
        0 => unsafe { child.run() },
        // SAFETY: the kernel just gave us this descriptor, nobody else owns it.
        _ => Ok((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

impl Child<'_> {
    /// Becomes the program, or says why not and ends.
    ///
    /// # Safety
    /// Only in a forked child.
    unsafe fn run(&self) -> ! {
        // SAFETY: as the caller's.
        let step = unsafe { self.become_program() };
        // SAFETY: errno of the call that failed; plain system calls on values that live.
        unsafe {
            let [a, b, c, d] = (*libc::__errno_location()).to_ne_bytes();
            let said = [step as u8, a, b, c, d];
            libc::write(self.complain, said.as_ptr().cast(), said.len());
            libc::_exit(127)
        }
    }

    /// Returns only on failure, with what failed.
    unsafe fn become_program(&self) -> Step {
        // SAFETY: async-signal-safe system calls on values that were prepared before the fork.
        unsafe {
            let output = self.what.output.as_raw_fd();
            let entered = libc::setsid() >= 0
                && libc::dup2(self.null, 0) >= 0
                && libc::dup2(output, 1) >= 0
                && libc::dup2(output, 2) >= 0;
            if !entered {
                return Step::Enter;
            }
            shed_protection();
            if let Some(Identity { uid, gid, groups }) = &self.what.identity {
                // Not by libc, which would ask threads for it that were not copied.
                let changed = libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) == 0
                    && libc::syscall(libc::SYS_setgid, *gid) == 0
                    && libc::syscall(libc::SYS_setuid, *uid) == 0;
                if !changed {
                    return Step::Identity;
                }
            }
            if libc::chdir(self.what.cwd.as_ptr()) < 0 {
                return Step::Folder;
            }
            libc::execve(self.what.program.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr());
            Step::Execute
        }
    }
}

/// had-agentd protects itself from the OOM killer, from other users and from signals; none of it is for a program.
unsafe fn shed_protection() {
    // SAFETY: async-signal-safe system calls on values that live through them.
    unsafe {
        let flags = libc::O_WRONLY | libc::O_CLOEXEC;
        let oom = libc::open(c"/proc/self/oom_score_adj".as_ptr(), flags);
        if oom >= 0 {
            libc::write(oom, b"0".as_ptr().cast(), 1);
            libc::close(oom);
        }
        libc::umask(0o022);
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

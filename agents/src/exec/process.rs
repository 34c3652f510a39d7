//! One process, known by pid and start time so that a reused pid is never taken for it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::io::unix::AsyncFd;

use crate::sys::{self, launch::Launched};

/// A process that runs, or ran when it was looked up.
pub struct Process {
    pub start_ticks: u64,
    pidfd: OwnedFd,
}

impl Process {
    /// Our own child, which was not reaped yet.
    pub fn of_child((pid, pidfd): Launched) -> Process {
        let start_ticks = stat(pid).map_or(0, |stat| stat.start_ticks);
        Process { start_ticks, pidfd }
    }

    /// The process `pid` that began at `start_ticks`, if it still runs.
    pub fn find(pid: i32, start_ticks: u64) -> Option<Process> {
        let pidfd = sys::pidfd_open(pid).ok()?;
        // Looked at after the descriptor was opened: it is this process that has the start time.
        let stat = stat(pid)?;
        (stat.start_ticks == start_ticks && !stat.is_over()).then_some(Process { start_ticks, pidfd })
    }

    /// Begins to wait for its end.
    pub fn watch(self) -> io::Result<Watched> {
        sys::watch_readable(self.pidfd).map(Watched)
    }
}

/// A process that is waited for.
pub struct Watched(AsyncFd<OwnedFd>);

impl Watched {
    /// Returns when the process has ended, with its status if it was our child.
    pub async fn ended(self) -> Option<ExitStatus> {
        // A pidfd stays readable for ever once the process has ended.
        drop(self.0.readable().await.ok()?);
        match waitid(
            Id::PIDFd(self.0.get_ref().as_fd()),
            WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG,
        ) {
            Ok(WaitStatus::Exited(_, code)) => Some(ExitStatus::from_raw(code << 8)),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(ExitStatus::from_raw(signal as i32)),
            _ => None,
        }
    }
}

/// Returns when all of `pids` have ended. One that cannot be watched counts as ended: look again.
pub async fn all_ended(pids: &[i32]) {
    let open = |pid: &i32| sys::watch_readable(sys::pidfd_open(*pid).ok()?).ok();
    // All are opened before the first is waited for: a pid that is used again meanwhile is not waited for.
    let watched: Vec<_> = pids.iter().filter_map(open).collect();
    for pidfd in watched {
        let _ = pidfd.readable().await;
    }
}

/// Takes away our own child if it is a zombie; nothing happens to what is not our child.
pub fn reap(pid: i32) {
    let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
}

/// All processes that are there.
pub fn all() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// True if `pid` was started with `wanted` (`NAME=value`) in its environment, or inherited it.
pub fn has_variable(pid: i32, wanted: &[u8]) -> bool {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ
        .split(|byte| *byte == 0)
        .any(|variable| variable == wanted)
}

/// What /proc/PID/stat says.
pub struct Stat {
    pub state: char,
    pub threads: u32,
    pub group: i32,
    pub session: i32,
    pub start_ticks: u64,
}

impl Stat {
    /// Nothing of it runs any more. A process whose first thread has ended is shown as a zombie while its other threads go on:
    /// a large one that was killed may be so for a while, and still finish what it was writing.
    pub fn is_over(&self) -> bool {
        self.state == 'X' || (self.state == 'Z' && self.threads <= 1)
    }
}

/// Reads /proc/PID/stat. None when there is no such process.
pub fn stat(pid: i32) -> Option<Stat> {
    // Hundreds are looked at in a row: one read, of more than the file can hold.
    let mut text = [0; 1024];
    let length = File::open(format!("/proc/{pid}/stat"))
        .ok()?
        .read(&mut text)
        .ok()?;
    parse_stat(&String::from_utf8_lossy(&text[..length]))
}

/// The name in parentheses may itself hold blanks and parentheses: fields are counted from the last one.
pub(super) fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        threads: fields.get(17)?.parse().ok()?,
        start_ticks: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "77 (a) b) S 1 70 60 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987 1 2";
        let stat = parse_stat(text).unwrap();
        assert_eq!(
            (stat.state, stat.group, stat.session, stat.start_ticks),
            ('S', 70, 60, 987)
        );
        assert_eq!(stat.threads, 1);
    }

    #[test]
    fn a_process_is_over_with_its_last_thread_and_not_with_its_first() {
        let script = "import ctypes, threading, time\n\
                      threading.Thread(target=time.sleep, args=(60,)).start()\n\
                      ctypes.CDLL(None).syscall(60, 0)";
        let mut child = std::process::Command::new("python3")
            .args(["-c", script])
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while stat(pid).unwrap().state != 'Z' {
            assert!(std::time::Instant::now() < deadline, "its first thread goes on");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        assert!(!stat(pid).unwrap().is_over());
        child.kill().unwrap();
        while !stat(pid).unwrap().is_over() {
            assert!(std::time::Instant::now() < deadline, "it was killed");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        child.wait().unwrap();
    }

    #[test]
    fn a_process_is_found_only_by_its_own_start_time() {
        let pid = std::process::id() as i32;
        let own = stat(pid).unwrap().start_ticks;
        assert!(Process::find(pid, own).is_some());
        assert!(Process::find(pid, own + 1).is_none());
    }
}

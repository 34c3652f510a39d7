//! What the kernel and systemd see of a running `had`: capabilities, scheduling, notifications.

mod bench;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bench::Bench;
use holdfast_proto::control::{Empty, control_reply, control_request};

const CAP_IPC_LOCK: u64 = 1 << 14;
const SCHED_OTHER: &str = "0";
const SCHED_FIFO: &str = "1";

/// What a thread may and how it is scheduled, as /proc tells.
struct Thread {
    main: bool,
    status: String,
    policy: String,
}

impl Thread {
    fn all(pid: u32) -> Vec<Thread> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
        let read = |task: std::io::Result<std::fs::DirEntry>| {
            let path = task.ok()?.path();
            let stat = std::fs::read_to_string(path.join("stat")).ok()?;
            // The name in parentheses may hold blanks; the policy is the 41st field, counted from 1.
            let policy = stat
                .rsplit_once(')')?
                .1
                .split_whitespace()
                .nth(41 - 3)?
                .to_owned();
            Some(Thread {
                main: path.file_name()?.to_str()? == pid.to_string(),
                status: std::fs::read_to_string(path.join("status")).ok()?,
                policy,
            })
        };
        tasks.filter_map(read).collect()
    }

    fn field(&self, name: &str) -> &str {
        let line = self
            .status
            .lines()
            .find(|line| line.starts_with(&format!("{name}:")));
        line.and_then(|line| line.split_once(':'))
            .expect("field")
            .1
            .trim()
    }

    fn caps(&self, set: &str) -> u64 {
        u64::from_str_radix(self.field(set), 16).expect("hexadecimal")
    }
}

/// Runs `command` as systemd runs had.service: not as root, with two ambient capabilities.
fn as_service(command: &Command, uid: u32) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped
        .args([
            "--reuid",
            &uid.to_string(),
            "--regid",
            &uid.to_string(),
            "--clear-groups",
        ])
        .args([
            "--inh-caps",
            "-all,+sys_nice,+ipc_lock",
            "--ambient-caps",
            "-all,+sys_nice,+ipc_lock",
        ])
        .args(["--bounding-set", "-all,+sys_nice,+ipc_lock", "--no-new-privs"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_remove("NOTIFY_SOCKET");
    wrapped
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

#[test]
fn every_thread_keeps_what_it_needs_and_status_tells_the_scheduling() {
    let bench = Bench::new();
    bench.had("db1", "init");
    let mut command = bench.command("db1", "run");
    if is_root() {
        const NOBODY: u32 = 65534;
        bench.give_to(NOBODY);
        command = as_service(&command, NOBODY);
    }
    let daemon = bench.spawn("db1", command);
    let view = bench.until("db1", "an answer", |_| true);
    let threads = Thread::all(daemon.pid());
    assert!(threads.len() > 2 && threads.iter().any(|thread| thread.main));
    for thread in &threads {
        for set in ["CapEff", "CapPrm"] {
            assert_eq!(thread.caps(set) & !CAP_IPC_LOCK, 0, "{set}\n{}", thread.status);
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(thread.caps(set), 0, "{set}\n{}", thread.status);
        }
        let fifo = thread.main && view.scheduling.starts_with("SCHED_FIFO 10");
        assert_eq!(
            thread.policy,
            if fifo { SCHED_FIFO } else { SCHED_OTHER },
            "{}",
            thread.status
        );
        let locked = view.scheduling.ends_with("memory locked");
        assert_eq!(thread.field("VmLck") != "0 kB", locked, "{}", view.scheduling);
    }
    if !view.scheduling.starts_with("SCHED_FIFO 10") {
        assert!(
            view.scheduling.contains("CAP_SYS_NICE"),
            "says what to do: {}",
            view.scheduling
        );
    }
    if is_root() {
        assert!(
            threads
                .iter()
                .all(|thread| thread.field("Uid").starts_with("65534"))
        );
    }
}

/// The service manager's end.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn new(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).expect("socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("timeout");
        Manager { socket }
    }

    fn next(&self) -> Option<String> {
        let mut buffer = [0u8; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn until(&self, wanted: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        while !self.next().is_some_and(|state| state.starts_with(wanted)) {
            assert!(Instant::now() < end, "{wanted} never came");
        }
    }

    /// Forgets what has come so far.
    fn drain(&self) {
        while self.next().is_some() {}
    }
}

#[test]
fn systemd_hears_of_the_start_the_state_and_the_end_and_of_life_from_the_deciding_thread_alone() {
    let bench = Bench::new();
    bench.had("db1", "init");
    let path = bench.dir("db1", "notify");
    let manager = Manager::new(&path);
    let mut command = bench.command("db1", "run");
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000");
    let mut daemon = bench.spawn("db1", command);
    manager.until("READY=1");
    manager.until("STATUS=");
    manager.until("WATCHDOG=1");
    if let Some(hung) = Hung::new(daemon.pid()) {
        manager.drain();
        // The control thread lives and says what is wrong; it does not speak for the other.
        let replies = bench.ask("db1", control_request::Body::Status(Empty {}));
        assert!(
            matches!(&replies[..], [control_reply::Body::Error(error)] if error.message.contains("did not answer")),
            "{replies:?}"
        );
        assert_eq!(manager.next(), None);
        drop(hung);
        manager.until("WATCHDOG=1");
    }
    assert_eq!(daemon.terminate(), Some(0));
    manager.until("STOPPING=1");
}

/// The deciding thread, held by ptrace while the others run.
struct Hung {
    thread: libc::pid_t,
}

impl Hung {
    /// `None` where this test may not trace it.
    fn new(pid: u32) -> Option<Hung> {
        let thread = pid.cast_signed();
        if !trace(libc::PTRACE_SEIZE, thread) {
            return None;
        }
        assert!(trace(libc::PTRACE_INTERRUPT, thread));
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat")).expect("stat");
        while !stat().contains(") t ") {
            std::thread::sleep(Duration::from_millis(1));
        }
        Some(Hung { thread })
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        assert!(trace(libc::PTRACE_DETACH, self.thread));
    }
}

fn trace(request: libc::c_uint, thread: libc::pid_t) -> bool {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: none of the requests used here reads or writes memory of this process.
    unsafe { libc::ptrace(request, thread, none, none) == 0 }
}

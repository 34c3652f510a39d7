//! Real `had` processes on loopback addresses, with an agent process played by the test.
#![allow(dead_code, reason = "each test and benchmark uses a part of it")]

pub mod agentd;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use agentd::Agentd;
use holdfast_proto::control::{
    ControlReply, ControlRequest, EventView, EventsRequest, StatusView, control_reply, control_request,
};
use holdfast_proto::stream::{Deframer, frame_message};
use nix::sys::signal::Signal;

/// Longest wait for anything: generous, because it only ends tests that fail.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster of two nodes and a witness.
pub struct Bench {
    folder: tempfile::TempDir,
    addresses: [String; 3],
}

/// Names by position.
pub const NAMES: [&str; 3] = ["db1", "db2", "witness"];

impl Bench {
    /// Keys and configuration; nothing runs yet.
    pub fn new() -> Bench {
        Bench::at(&std::env::temp_dir(), "1s")
    }

    /// The same with everything kept below `place`, and with a detection time.
    pub fn at(place: &Path, detection: &str) -> Bench {
        let folder = tempfile::tempdir_in(place).expect("folder");
        // Loopback addresses of this process and bench alone, so that tests can run side by side.
        static BENCHES: AtomicU8 = AtomicU8::new(0);
        let (pid, first) = (std::process::id(), 4 * BENCHES.fetch_add(1, Ordering::Relaxed));
        let address = |host: u8| format!("127.{}.{}.{}", 128 + (pid >> 8) % 127, pid % 256, first + host);
        let bench = Bench {
            folder,
            addresses: [address(1), address(2), address(3)],
        };
        for name in NAMES {
            for kind in ["state", "run"] {
                std::fs::create_dir_all(bench.dir(name, kind)).expect("folder");
            }
        }
        let pins = NAMES.map(|name| bench.had(name, "keygen"));
        let [db1, db2, witness] = &bench.addresses;
        let text = format!(
            r#"
[cluster]
name = "shop"
id = "00000000000000a7"
detection = "{detection}"

[[node]]
name = "db1"
links = ["{db1}"]
keys = ["{}"]

[[node]]
name = "db2"
links = ["{db2}"]
keys = ["{}"]

[witness]
address = "{witness}"
keys = ["{}"]

[[group]]
name = "web"
prefer = ["db1"]
requires = "lease"

[[group.resource]]
name = "server"
type = "exec"
command = ["/bin/sleep", "1000"]
"#,
            pins[0], pins[1], pins[2]
        );
        std::fs::write(bench.config(), text).expect("configuration");
        bench
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("holdfast.toml")
    }

    /// A folder of `name`.
    pub fn dir(&self, name: &str, kind: &str) -> PathBuf {
        self.folder.path().join(name).join(kind)
    }

    /// The command line of `had` as `name`.
    pub fn command(&self, name: &str, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_had"));
        command
            .arg(verb)
            .args(["--node", name])
            .arg("--config")
            .arg(self.config());
        command
            .arg("--state-dir")
            .arg(self.dir(name, "state"))
            .arg("--run-dir")
            .arg(self.dir(name, "run"));
        // A machine's boot is its own; here three share one kernel.
        let boot = self.dir(name, "boot");
        if !boot.exists() {
            std::fs::copy("/proc/sys/kernel/random/uuid", &boot).expect("boot id");
        }
        command
            .arg("--boot-id-file")
            .arg(boot)
            .env_remove("NOTIFY_SOCKET")
            .env("HAD_LOG", "info");
        command
    }

    /// Runs a short command of `had` and returns what it printed.
    pub fn had(&self, name: &str, verb: &str) -> String {
        let output = self.command(name, verb).output().expect("had");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "had {verb}: {error}");
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    /// Starts the daemon.
    pub fn start(&self, name: &str) -> Daemon {
        self.spawn(name, self.command(name, "run"))
    }

    /// Makes everything belong to user and group `uid`.
    pub fn give_to(&self, uid: u32) {
        let done = Command::new("chown")
            .args(["-R", &format!("{uid}:{uid}")])
            .arg(self.folder.path())
            .status();
        assert!(done.expect("chown").success());
    }

    /// Starts the daemon by `command`.
    pub fn spawn(&self, name: &str, mut command: Command) -> Daemon {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.dir(name, "log"))
            .expect("log");
        let child = command.stdin(Stdio::null()).stderr(log).spawn().expect("had");
        Daemon { child }
    }

    /// Plays the agent process of `name`: every start succeeds at once.
    pub fn agentd(&self, name: &str) -> Agentd {
        Agentd::listen(&self.dir(name, "run").join("agentd.sock"))
    }

    /// One request on the control socket of `name`; all replies.
    pub fn ask(&self, name: &str, body: control_request::Body) -> Vec<control_reply::Body> {
        ask(&self.dir(name, "run").join("had.sock"), body).unwrap_or_default()
    }

    /// What all three wrote to their logs.
    pub fn logs(&self) -> String {
        let log = |name| std::fs::read_to_string(self.dir(name, "log")).unwrap_or_default();
        NAMES.map(log).join("\n---\n")
    }

    /// The events that `name` has in memory.
    pub fn events(&self, name: &str) -> Vec<EventView> {
        let body = control_request::Body::Events(EventsRequest {
            follow: false,
            last: 2000,
        });
        let replies = self.ask(name, body).into_iter();
        let events = replies.filter_map(|reply| match reply {
            control_reply::Body::Event(event) => Some(event),
            _ => None,
        });
        events.collect()
    }

    /// Waits until all three vote and the group runs on `db1`.
    pub fn until_formed(&self) -> StatusView {
        self.until("db1", "three voters", |view| {
            let here =
                |group: &holdfast_proto::control::GroupView| group.state == "running" && group.node == "db1";
            let online = |node: &holdfast_proto::control::NodeView| node.synced && node.state == "online";
            view.voters.len() == NAMES.len() && view.nodes.iter().all(online) && view.groups.iter().all(here)
        })
    }

    /// The status of `name`, if it answers.
    pub fn status(&self, name: &str) -> Option<StatusView> {
        let body = control_request::Body::Status(holdfast_proto::control::Empty {});
        self.ask(name, body).into_iter().find_map(|reply| match reply {
            control_reply::Body::Status(view) => Some(view),
            _ => None,
        })
    }

    /// Waits until the status of `name` satisfies `wanted`.
    pub fn until(&self, name: &str, what: &str, wanted: impl Fn(&StatusView) -> bool) -> StatusView {
        let end = Instant::now() + PATIENCE;
        loop {
            let view = self.status(name);
            if let Some(view) = &view
                && wanted(view)
            {
                return view.clone();
            }
            if Instant::now() > end {
                panic!("{name} never came to {what}: {view:#?}\n{}", self.logs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn ask(socket: &Path, body: control_request::Body) -> Option<Vec<control_reply::Body>> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream
        .write_all(&frame_message(&ControlRequest { body: Some(body) }))
        .ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let mut deframer = Deframer::new();
    deframer.push(&bytes);
    let mut replies = Vec::new();
    while let Some(reply) = deframer.next::<ControlReply>().expect("reply") {
        replies.extend(reply.body);
    }
    Some(replies)
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
}

impl Daemon {
    /// Pulls the plug.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and returns its exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.child.wait().expect("ended").code()
    }

    /// Waits until it ends by itself; how.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("ended")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = nix::unistd::Pid::from_raw(self.pid().cast_signed());
        nix::sys::signal::kill(pid, signal).expect("signal");
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

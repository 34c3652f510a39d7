//! A real had-agentd, and a stand-in for `had` at the other end of its socket.

#![allow(dead_code)] // Each test binary uses its part.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holdfast_agents::clock;
use holdfast_proto::agent::agent_report::Body as Report;
use holdfast_proto::agent::agent_request::Body as Ask;
use holdfast_proto::agent::*;
use holdfast_proto::stream::{Deframer, frame_message};

/// Far beyond anything that is waited for: reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(30);
pub const LONG: Duration = Duration::from_secs(3600);

/// A running had-agentd in a folder of its own.
pub struct Agentd {
    child: Child,
    /// Of this one and those before it.
    pids: Vec<u32>,
    folder: tempfile::TempDir,
    cgroup: Option<Delegated>,
}

impl Agentd {
    pub fn start() -> Agentd {
        let folder = tempfile::tempdir().unwrap();
        let child = Self::run(folder.path());
        Agentd {
            pids: vec![child.id()],
            child,
            folder,
            cgroup: None,
        }
    }

    /// One that has a cgroup of its own; without, and that is said, where none can be made.
    pub fn start_delegated() -> Agentd {
        let mut agentd = Agentd::start();
        agentd.cgroup = Delegated::new();
        if agentd.cgroup.is_none() {
            eprintln!("without a cgroup: none can be made here (needs root and cgroup v2)");
        }
        agentd.enter_cgroup();
        agentd
    }

    /// One without and one with a cgroup.
    pub fn both_kinds() -> [fn() -> Agentd; 2] {
        [Agentd::start, Agentd::start_delegated]
    }

    fn enter_cgroup(&self) {
        if let Some(Delegated(folder)) = &self.cgroup {
            std::fs::write(folder.join("cgroup.procs"), self.child.id().to_string()).unwrap();
        }
    }

    fn run(folder: &Path) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_had-agentd"));
        command
            .arg("--socket")
            .arg(folder.join("agentd.sock"))
            .arg("--state-dir")
            .arg(folder.join("state"));
        command
            .stdin(Stdio::null())
            .stderr(Self::log())
            .env_remove("NOTIFY_SOCKET")
            .spawn()
            .unwrap()
    }

    /// Its log, only on request: HOLDFAST_TEST_LOG=1.
    fn log() -> Stdio {
        if std::env::var_os("HOLDFAST_TEST_LOG").is_some() {
            Stdio::inherit()
        } else {
            Stdio::null()
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file in its state folder.
    pub fn state_file(&self, name: &str) -> PathBuf {
        self.folder.path().join("state").join(name)
    }

    /// SIGKILL.
    pub fn crash(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGKILL, and a new one in its place.
    pub fn crash_and_restart(&mut self) {
        self.crash();
        self.restart();
    }

    /// A new one, after a crash.
    pub fn restart(&mut self) {
        self.child = Self::run(self.folder.path());
        self.pids.push(self.child.id());
        self.enter_cgroup();
    }

    pub fn attach(&self) -> Had {
        self.attach_with(Duration::from_secs(1))
    }

    /// Attaches with a lease of this length.
    pub fn attach_with(&self, lease: Duration) -> Had {
        let begun = std::time::Instant::now();
        let stream = loop {
            match UnixStream::connect(self.file("agentd.sock")) {
                Ok(stream) => break stream,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut had = Had {
            stream,
            deframer: Deframer::new(),
            attached: Attached::default(),
            notes: Vec::new(),
        };
        had.ask(Ask::Attach(Attach {
            node: "a".into(),
            cluster: "test".into(),
            lease_ms: lease.as_millis() as u32,
            ..Attach::default()
        }));
        had.attached = had.until(|report| match report {
            Report::Attached(attached) => Some(attached.clone()),
            _ => None,
        });
        had
    }
}

impl Drop for Agentd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Nothing is left behind, whatever a test that failed had running.
        let folder = self.folder.path().to_string_lossy().into_owned();
        let programs = self
            .pids
            .iter()
            .map(|pid| format!("HOLDFAST_RESOURCE=web/program/{pid}-"));
        for pid in programs.chain([folder]).flat_map(|text| pids_with(&text)) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

/// A cgroup as systemd would leave it to had-agentd.
struct Delegated(PathBuf);

impl Delegated {
    /// None where no cgroup can be made.
    fn new() -> Option<Delegated> {
        let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let name = format!("holdfast-test-{}-{}", std::process::id(), clock::now().0);
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let mut folders = roots.iter().map(|root| Path::new(root).join(own));
        let folder = folders
            .find(|folder| folder.join("cgroup.procs").exists())?
            .join(name);
        std::fs::create_dir(&folder).ok()?;
        let delegated = Delegated(folder);
        let path = std::ffi::CString::new(delegated.0.to_str()?).ok()?;
        let (name, value) = (c"user.delegate", b"1");
        // SAFETY: two strings that end in NUL, and a buffer with its length.
        let marked = unsafe {
            libc::setxattr(
                path.as_ptr(),
                name.as_ptr(),
                value.as_ptr().cast(),
                value.len(),
                0,
            )
        };
        (marked == 0).then_some(delegated)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        let below = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut all: Vec<_> = below
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect();
        all.push(self.0.clone());
        for cgroup in all {
            wait_for("the cgroup to be empty", || std::fs::remove_dir(&cgroup).is_ok());
        }
    }
}

/// Processes with `text` in their arguments or environment, other than this one.
pub fn pids_with(text: &str) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let read = |file| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let texts = [read("cmdline"), read("environ")];
        *pid != std::process::id() as i32
            && texts
                .iter()
                .any(|bytes| String::from_utf8_lossy(bytes).contains(text))
    })
    .collect()
}

pub struct Had {
    stream: UnixStream,
    deframer: Deframer,
    pub attached: Attached,
    /// Notes that were read while something else was waited for.
    notes: Vec<Note>,
}

impl Had {
    pub fn ask(&mut self, body: Ask) {
        self.stream
            .write_all(&frame_message(&AgentRequest { body: Some(body) }))
            .unwrap();
    }

    pub fn start(&mut self, epoch: u64, lifetime: Duration, spec: &GroupSpec) {
        let until_us = (clock::now() + lifetime).0;
        let permit = Some(Permit {
            group: spec.name.clone(),
            epoch,
            until_us,
        });
        self.ask(Ask::Start(StartGroup {
            permit,
            spec: Some(spec.clone()),
            storage: Vec::new(),
        }));
    }

    /// Has `spec` running under epoch 2 and a permit that lapses after `lifetime`, however long the start took.
    pub fn run_until_lapse(&mut self, lifetime: Duration, spec: &GroupSpec) -> GroupStatus {
        self.start(1, LONG, spec);
        let running = self.group("running");
        self.start(2, lifetime, spec);
        running
    }

    pub fn permit(&mut self, group: &str, epoch: u64, lifetime: Duration) {
        let until_us = (clock::now() + lifetime).0;
        self.ask(Ask::Permits(Permits {
            permits: vec![Permit {
                group: group.into(),
                epoch,
                until_us,
            }],
            quorum_at_us: 0,
        }));
    }

    pub fn stop(&mut self, group: &str, epoch: u64) {
        self.ask(Ask::Stop(StopGroup {
            group: group.into(),
            epoch,
            reason: "test".into(),
            toward: None,
        }));
    }

    /// Reads reports until `wanted` finds what it looks for.
    pub fn until<T>(&mut self, mut wanted: impl FnMut(&Report) -> Option<T>) -> T {
        let mut piece = [0; 4096];
        loop {
            while let Some(report) = self.deframer.next::<AgentReport>().unwrap() {
                if let Some(found) = report.body.as_ref().and_then(&mut wanted) {
                    return found;
                }
                if let Some(Report::Note(note)) = report.body {
                    self.notes.push(note);
                }
            }
            let bytes = self
                .stream
                .read(&mut piece)
                .expect("a report that was waited for did not come");
            assert!(bytes > 0, "had-agentd closed the connection");
            self.deframer.push(&piece[..bytes]);
        }
    }

    pub fn group(&mut self, run: &str) -> GroupStatus {
        self.until(|report| match report {
            Report::Group(status) if status.run == run => Some(status.clone()),
            _ => None,
        })
    }

    pub fn note(&mut self, kind: &str) -> Note {
        if let Some(at) = self.notes.iter().position(|note| note.kind == kind) {
            return self.notes.remove(at);
        }
        self.until(|report| match report {
            Report::Note(note) if note.kind == kind => Some(note.clone()),
            _ => None,
        })
    }
}

/// A group of one exec resource that runs `script` in a shell.
pub fn shell(script: &str) -> GroupSpec {
    let resource = ResourceSpec {
        name: "program".into(),
        kind: "exec".into(),
        params: BTreeMap::from([("command".into(), format!("/bin/sh\n-c\n{script}"))]),
        probes: Vec::new(),
        start_timeout_ms: 20_000,
        stop_timeout_ms: 10_000,
    };
    GroupSpec {
        name: "web".into(),
        resources: vec![resource],
        max_restarts: 1,
        restart_window_ms: 600_000,
        requires: "fencing".into(),
        ..GroupSpec::default()
    }
}

/// The pid in an exec resource's detail.
pub fn pid_of(status: &GroupStatus) -> i32 {
    let detail = &status.resources[0].detail;
    let digits: String = detail
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or_else(|_| panic!("no pid in {detail:?}"))
}

pub fn lives(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim_start()
            .starts_with('Z')
    })
}

/// Waits for `condition`.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

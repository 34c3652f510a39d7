//! PID 1 of a demo node: what systemd is elsewhere. It starts the daemons, and starts them again when they die.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::mount::{MsFlags, mount};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, sethostname};

use super::link;
use super::paths::Paths;
use super::stage::{RUN_AGENTD, RUN_HAD};

/// Pause before a daemon that died is started again (`RestartSec=`).
const RESTART_PAUSE: Duration = Duration::from_millis(20);

/// A program that PID 1 keeps running.
pub struct Daemon {
    name: &'static str,
    command: Command,
    pid: Option<Pid>,
}

/// Runs node `name` with the daemons of `role` until its power is cut.
pub fn init(name: &str, role: &str) -> anyhow::Result<ExitCode> {
    let paths = Paths::in_stage();
    private_mounts(name, &paths).context("cannot set up the node's mounts")?;
    sethostname(name)?;
    link::set_up("lo", true)?;
    supervise(daemons(name, role, &paths)?)
}

/// Starts `daemons` as PID 1, and again whenever one has ended.
///
/// # Errors
/// When one cannot be started.
pub fn supervise(mut daemons: Vec<Daemon>) -> anyhow::Result<ExitCode> {
    loop {
        for daemon in &mut daemons {
            if daemon.pid.is_none() {
                daemon.start()?;
            }
        }
        let ended = reap_until_daemon_ends(&mut daemons)?;
        println!("{ended}; it is started again");
        std::thread::sleep(RESTART_PAUSE);
    }
}

impl Daemon {
    /// `command`, called `name` in messages.
    #[must_use]
    pub fn new(name: &'static str, command: Command) -> Daemon {
        Daemon {
            name,
            command,
            pid: None,
        }
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let child = self
            .command
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        self.pid = Some(Pid::from_raw(child.id() as i32));
        Ok(())
    }
}

/// Waits as PID 1 must, for orphans too, and returns when a daemon has ended.
fn reap_until_daemon_ends(daemons: &mut [Daemon]) -> anyhow::Result<String> {
    loop {
        let status = waitpid(None, Some(WaitPidFlag::__WALL))?;
        let how = match status {
            WaitStatus::Exited(_, code) => format!("exited with code {code}"),
            WaitStatus::Signaled(_, signal, _) => format!("was killed by {signal}"),
            _ => continue,
        };
        let Some(pid) = status.pid() else { continue };
        if let Some(daemon) = daemons.iter_mut().find(|daemon| daemon.pid == Some(pid)) {
            daemon.pid = None;
            return Ok(format!("{} {how}", daemon.name));
        }
    }
}

fn private_mounts(name: &str, paths: &Paths) -> anyhow::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)?;
    mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::empty(), none)?;
    bind(&paths.run(name), RUN_HAD)?;
    bind(&paths.agentd(name), RUN_AGENTD)
}

fn bind(from: &Path, to: &str) -> anyhow::Result<()> {
    let none = None::<&str>;
    mount(Some(from), to, none, MsFlags::MS_BIND, none).with_context(|| format!("cannot bind {to}"))
}

fn daemons(name: &str, role: &str, paths: &Paths) -> anyhow::Result<Vec<Daemon>> {
    let mut daemons = Vec::new();
    if role == "data" {
        let mut agentd = daemon_command(&paths.agentd_program(name), paths.log(name, "had-agentd")?)?;
        agentd.args([
            "--socket".as_ref(),
            format!("{RUN_HAD}/agentd.sock").as_ref(),
            "--state-dir".as_ref(),
            Path::new(RUN_AGENTD).as_os_str(),
        ]);
        daemons.push(Daemon::new("had-agentd", agentd));
    }
    let mut had = daemon_command(&paths.had_program(name), paths.log(name, "had")?)?;
    had.args(["run", "--node", name, "--run-dir", RUN_HAD]);
    had.arg("--config")
        .arg(paths.config(name))
        .arg("--state-dir")
        .arg(paths.state(name));
    had.arg("--boot-id-file").arg(paths.boot_id(name));
    daemons.push(Daemon::new("had", had));
    Ok(daemons)
}

/// `program` with its output going to `log`.
///
/// # Errors
/// When the log cannot be shared.
pub fn daemon_command(program: &Path, log: File) -> anyhow::Result<Command> {
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    Ok(command)
}

/// The daemons of the node whose PID 1 is `init`, as this PID namespace numbers them: name and process.
pub fn daemons_of(init: Pid) -> Vec<(String, Pid)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let parent: i32 = rest.split_whitespace().nth(1)?.parse().ok()?;
        (parent == init.as_raw()).then(|| (name.to_string(), Pid::from_raw(pid)))
    })
    .collect()
}

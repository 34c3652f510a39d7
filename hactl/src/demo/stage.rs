//! The namespaces that everything happens in, and the files in them.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use anyhow::Context;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Uid, getegid, geteuid, getppid, setsid};

use super::binaries::Binaries;
use super::{DemoArgs, run, sys};

/// Socket of the power controller.
pub const POWER_SOCKET: &str = "/run/demo/power.sock";
/// Socket to which service processes report.
pub const TRUTH_SOCKET: &str = "/run/demo/truth.sock";
/// Run folder of had, as a node sees it.
pub const RUN_HAD: &str = "/run/holdfast";
/// State folder of had-agentd, as a node sees it.
pub const RUN_AGENTD: &str = "/run/holdfast-agentd";
const ROOT: &str = "/run/demo";

/// Starts the stage in a process of its own and waits for it.
pub fn open(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let binaries = Binaries::find()?;
    if let Some(folder) = &args.keep_logs {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let hactl = std::env::current_exe().context("cannot tell where hactl itself is")?;
    let status = Command::new(hactl)
        .args(std::env::args_os().skip(1))
        .args(["--internal", "stage", &std::process::id().to_string()])
        .args([&binaries.had, &binaries.agentd])
        .status()
        .context("cannot start the demo's stage")?;
    Ok(ExitCode::from(status.code().map_or(1, |code| code as u8)))
}

/// Enters new namespaces and runs the demo as PID 1 there. `parent` is the process that `open` ran in.
pub fn enter(args: &DemoArgs, parent: &str, had: &Path, agentd: &Path) -> anyhow::Result<ExitCode> {
    setsid().context("cannot leave the terminal's session")?;
    new_namespaces()?;
    // After the change of namespaces, which clears it. If the parent has died before, nobody else will tell us.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid().to_string() != parent {
        return Ok(ExitCode::FAILURE);
    }
    let (alive, holder) = io::pipe()?;
    match sys::fork()? {
        ForkResult::Parent { child } => {
            drop(alive);
            let status = waitpid(child, None)?;
            drop(holder);
            Ok(match status {
                WaitStatus::Exited(_, code) => ExitCode::from(code as u8),
                _ => ExitCode::FAILURE,
            })
        }
        ForkResult::Child => {
            drop(holder);
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            anyhow::ensure!(!hung_up(&alive)?, "the demo was ended while it started");
            let paths = furnish(args, had, agentd)?;
            run::perform(args, &paths)
        }
    }
}

fn hung_up(pipe: &io::PipeReader) -> anyhow::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    Ok(poll(
        &mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)],
        PollTimeout::ZERO,
    )? > 0)
}

/// As root without a user namespace, so that the daemons get real-time scheduling as in production.
fn new_namespaces() -> anyhow::Result<()> {
    let rest = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let (user, group) = (geteuid(), getegid());
    if user == Uid::from_raw(0) && unshare(rest).is_ok() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER | rest).map_err(|errno| match errno {
        Errno::EPERM | Errno::ENOSPC | Errno::EACCES => anyhow::anyhow!(
            "this machine does not allow user namespaces to user {user} ({errno}): run `hactl demo` as root, or set \
             the sysctls kernel.unprivileged_userns_clone=1, user.max_user_namespaces above 0 and, with AppArmor, \
             kernel.apparmor_restrict_unprivileged_userns=0"
        ),
        other => anyhow::anyhow!("cannot make namespaces for the demo: {other}"),
    })?;
    let write =
        |file: &str, text: String| fs::write(file, text).with_context(|| format!("cannot write {file}"));
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("0 {user} 1"))?;
    write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Mounts the stage's own /proc, /run and /tmp, and puts the programs where every node finds them.
fn furnish(args: &DemoArgs, had: &Path, agentd: &Path) -> anyhow::Result<Paths> {
    let none = None::<&str>;
    let logs = args
        .keep_logs
        .as_ref()
        .map(File::open)
        .transpose()
        .context("cannot open the folder for logs")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context(
        "cannot mount /proc in a namespace: a container that hides parts of /proc does not allow it",
    )?;
    let hactl = std::env::current_exe().context("cannot tell where hactl itself is")?;
    let programs = [("had", had), ("had-agentd", agentd), ("hactl", hactl.as_path())];
    // Opened before /run is covered, in case they live there.
    let opened = programs.map(|(name, path)| (name, File::open(path)));
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )
    .context("cannot mount /run")?;
    // A cgroup hierarchy of the machine must not be written to from here.
    if Path::new("/sys/fs/cgroup").is_dir() {
        mount(
            Some("tmpfs"),
            "/sys/fs/cgroup",
            Some("tmpfs"),
            MsFlags::MS_RDONLY,
            none,
        )
        .context("cannot hide cgroups")?;
    }
    let bin = Path::new(ROOT).join("bin");
    for folder in [bin.as_path(), RUN_HAD.as_ref(), RUN_AGENTD.as_ref()] {
        fs::create_dir_all(folder)?;
    }
    for (name, file) in opened {
        let file = file.with_context(|| format!("cannot open {name}"))?;
        File::create(bin.join(name))?;
        let source = format!("/proc/self/fd/{}", file.as_raw_fd());
        mount(
            Some(source.as_str()),
            &bin.join(name),
            none,
            MsFlags::MS_BIND,
            none,
        )
        .with_context(|| format!("cannot bind {name} into the stage"))?;
    }
    Ok(Paths {
        hactl: bin.join("hactl"),
        logs: logs.map(Arc::new),
    })
}

/// Where things are on the stage.
#[derive(Clone, Debug)]
pub struct Paths {
    /// hactl itself.
    pub hactl: PathBuf,
    logs: Option<Arc<File>>,
}

impl Paths {
    /// The paths as processes inside the stage know them.
    pub fn in_stage() -> Paths {
        Paths {
            hactl: Path::new(ROOT).join("bin/hactl"),
            logs: None,
        }
    }

    fn of(&self, node: &str, rest: &str) -> PathBuf {
        Path::new(ROOT).join(node).join(rest)
    }

    fn program(&self, node: &str, name: &str) -> PathBuf {
        let own = self.of(node, "bin").join(name);
        if own.exists() {
            own
        } else {
            Path::new(ROOT).join("bin").join(name)
        }
    }

    /// The node's `had`.
    pub fn had_program(&self, node: &str) -> PathBuf {
        self.program(node, "had")
    }

    /// The node's `had-agentd`.
    pub fn agentd_program(&self, node: &str) -> PathBuf {
        self.program(node, "had-agentd")
    }

    /// Gives `node` copies of the daemons, so that it shares no memory with the other nodes.
    pub fn copy_programs(&self, node: &str) -> io::Result<()> {
        fs::create_dir_all(self.of(node, "bin"))?;
        for name in ["had", "had-agentd"] {
            fs::copy(
                Path::new(ROOT).join("bin").join(name),
                self.of(node, "bin").join(name),
            )?;
        }
        Ok(())
    }

    /// The node's configuration file.
    pub fn config(&self, node: &str) -> PathBuf {
        self.of(node, "disk/holdfast.toml")
    }

    /// The node's state folder, which outlives its boots.
    pub fn state(&self, node: &str) -> PathBuf {
        self.of(node, "disk/state")
    }

    /// The node's folder for redis.
    pub fn redis(&self, node: &str) -> PathBuf {
        self.of(node, "disk/redis")
    }

    /// The node's run folder of had as the stage sees it.
    pub fn run(&self, node: &str) -> PathBuf {
        self.of(node, "run/had")
    }

    /// The node's state folder of had-agentd, which does not outlive a boot.
    pub fn agentd(&self, node: &str) -> PathBuf {
        self.of(node, "run/agentd")
    }

    /// The file that holds the node's boot id: the kernel's is the same in all namespaces.
    pub fn boot_id(&self, node: &str) -> PathBuf {
        self.of(node, "run/boot_id")
    }

    /// The program that is the fence device of `node`.
    pub fn fence_program(&self, node: &str) -> PathBuf {
        self.of(node, "disk/fence")
    }

    /// The program of the service; its node finds itself by its host name.
    pub fn service_program(&self) -> PathBuf {
        Path::new(ROOT).join("bin/service")
    }

    /// Writes the small programs that call hactl with the right words.
    pub fn write_programs(&self, node: &str) -> io::Result<()> {
        let hactl = self.hactl.display();
        script(
            &self.fence_program(node),
            &format!("exec {hactl} demo --internal power {node}"),
        )?;
        script(
            &self.service_program(),
            &format!("exec {hactl} demo --internal service \"$1\""),
        )
    }

    /// The control socket of the node.
    pub fn control(&self, node: &str) -> PathBuf {
        self.run(node).join("had.sock")
    }

    /// Makes the folders of a node's disk.
    pub fn make_disk(&self, node: &str) -> io::Result<()> {
        fs::create_dir_all(self.state(node))?;
        fs::set_permissions(self.state(node), fs::Permissions::from_mode(0o700))
    }

    /// Empties what does not outlive a boot and makes a boot id.
    pub fn fresh_boot(&self, node: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.of(node, "run")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(self.run(node))?;
        fs::create_dir_all(self.agentd(node))?;
        fs::copy("/proc/sys/kernel/random/uuid", self.boot_id(node)).map(|_| ())
    }

    /// Opens a log of the node for appending.
    pub fn log(&self, node: &str, name: &str) -> io::Result<File> {
        let folder = self.of(node, "log");
        fs::create_dir_all(&folder)?;
        File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{name}.log")))
    }

    /// Copies the logs of `nodes` to the folder asked for, if one was.
    pub fn keep_logs(&self, nodes: &[&str]) -> io::Result<()> {
        let Some(folder) = &self.logs else { return Ok(()) };
        let target = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        for node in nodes {
            for entry in fs::read_dir(self.of(node, "log"))? {
                let entry = entry?;
                let name = format!("{node}-{}", entry.file_name().to_string_lossy());
                fs::write(target.join(name), fs::read(entry.path())?)?;
            }
            fs::write(
                target.join(format!("{node}-holdfast.toml")),
                fs::read(self.config(node))?,
            )?;
        }
        Ok(())
    }
}

fn script(path: &Path, line: &str) -> io::Result<()> {
    fs::write(path, format!("#!/bin/sh\n{line}\n"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

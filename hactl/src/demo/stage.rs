//! The namespaces that everything happens in, and the files in them.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Uid, getegid, geteuid, getppid, setsid};

use super::binaries::Binaries;
use super::paths::Paths;
use super::{DemoArgs, run, sys};

/// Socket of the power controller.
pub const POWER_SOCKET: &str = "/run/demo/power.sock";
/// Socket to which service processes report.
pub const TRUTH_SOCKET: &str = "/run/demo/truth.sock";
/// Run folder of had, as a node sees it.
pub const RUN_HAD: &str = "/run/holdfast";
/// State folder of had-agentd, as a node sees it.
pub const RUN_AGENTD: &str = "/run/holdfast-agentd";
/// Everything that is the stage's own.
pub const ROOT: &str = "/run/demo";

/// Starts the stage in a process of its own and waits for it. Ctrl-C ends the stage first.
pub fn open(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let binaries = Binaries::find(args.service)?;
    if let Some(folder) = &args.keep_logs {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let hactl = std::env::current_exe().context("cannot tell where hactl itself is")?;
    let mut stage = Command::new(hactl)
        .args(std::env::args_os().skip(1))
        .args(["--internal", "stage", &std::process::id().to_string()])
        .args([&binaries.had, &binaries.agentd])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start the demo's stage")?;
    let leash = stage.stdin.take();
    // Blocked only now: the stage and everything in it must not inherit that.
    let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]
        .into_iter()
        .collect::<SigSet>();
    signals.thread_block()?;
    let ended_by = Arc::new(OnceLock::new());
    let waiter = Arc::clone(&ended_by);
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let signal = signals.wait();
            // Set before the leash goes, so that the end of the stage is told as what it was.
            let _ = waiter.set(signal);
            drop(leash);
        })?;
    let status = stage.wait().context("cannot wait for the demo's stage")?;
    if let Some(Ok(signal)) = ended_by.get() {
        eprintln!("hactl: the demo was ended by {signal}; nothing of it is left");
        return Ok(ExitCode::from(128 + *signal as u8));
    }
    Ok(ExitCode::from(status.code().map_or(1, |code| code as u8)))
}

/// Enters new namespaces and runs the demo as PID 1 there. `parent` is the process that `open` runs in, and standard
/// input the leash that it holds.
pub fn perform(args: &DemoArgs, parent: &str, had: &Path, agentd: &Path) -> anyhow::Result<ExitCode> {
    enter(parent, || {
        end_with_leash()?;
        let logs = args
            .keep_logs
            .as_ref()
            .map(File::open)
            .transpose()
            .context("cannot open the folder for logs")?;
        let hactl = std::env::current_exe().context("cannot tell where hactl itself is")?;
        furnish(&[("had", had), ("had-agentd", agentd), ("hactl", &hactl)])?;
        run::perform(args, &Paths::new(logs))
    })
}

/// Enters new namespaces and does `act` as PID 1 there, as long as process `parent` lives, whose child this one is.
///
/// # Errors
/// When this machine does not allow the namespaces, and when `act` fails.
pub fn enter(parent: &str, act: impl FnOnce() -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
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
            act()
        }
    }
}

/// Ends this process, PID 1 of the stage, and with it everything on the stage, when `open` lets go of the leash.
fn end_with_leash() -> io::Result<()> {
    std::thread::Builder::new()
        .name("leash".into())
        .spawn(|| {
            // Nothing is ever written to it: whatever this returns, the other end is closed.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            std::process::exit(1)
        })
        .map(|_| ())
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

/// Mounts the stage's own /proc and /run, and puts `programs` (names and files) where every node finds them.
///
/// # Errors
/// When something cannot be mounted.
pub fn furnish(programs: &[(&str, &Path)]) -> anyhow::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context(
        "cannot mount /proc in a namespace: a container that hides parts of /proc does not allow it",
    )?;
    // Opened before /run is covered, in case they live there.
    let opened: Vec<_> = programs
        .iter()
        .map(|(name, path)| (name, File::open(path)))
        .collect();
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
    Ok(())
}

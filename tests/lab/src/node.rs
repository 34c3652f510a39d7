//! A node: a Debian root under an overlay of its own, booted by systemd-nspawn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::net::Net;
use crate::place::{Place, freeze, remove_cgroup};
use crate::torture::ledger::clock::HostClock;
use crate::{sh, throttle};

/// How long a node may take to boot on a busy machine.
const BOOT: Duration = Duration::from_secs(60);

/// What a node has beside a disk of its own.
#[derive(Clone, Debug, Default)]
pub struct Fittings {
    /// Folders of the host, and where the node sees them.
    pub binds: Vec<(PathBuf, String)>,
    /// The same, and the node cannot write there.
    pub shown: Vec<(PathBuf, String)>,
    /// Seconds by which its clocks that count from a boot are ahead of the host's, from its next boot on.
    pub ahead_s: u32,
    /// Part of a processor that it may use is to be limited at times.
    pub is_throttled: bool,
}

/// A machine of the lab; its disk survives a power cut.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its number in each network.
    pub host: u8,
    place: Place,
    net: Net,
    base: PathBuf,
    /// What else it has, from its next boot on.
    pub fittings: Fittings,
    /// When its power came (true) and went (false): nanoseconds of the host's monotonic clock.
    pub switched: Vec<(u64, bool)>,
    running: Option<Running>,
}

/// A node that has power.
#[derive(Debug)]
struct Running {
    nspawn: Child,
    init: u32,
}

impl Node {
    /// A node without power, with a fresh disk over `base`.
    pub fn new(place: &Place, net: &Net, base: &Path, name: &str, host: u8) -> Result<Node> {
        let node = Node {
            name: name.into(),
            host,
            place: place.clone(),
            net: net.clone(),
            base: base.to_path_buf(),
            fittings: Fittings::default(),
            switched: Vec::new(),
            running: None,
        };
        net.plug(name);
        let home = place.dir().join(name);
        if home.exists() {
            fs::remove_dir_all(&home).with_context(|| format!("remove the old disk {}", home.display()))?;
        }
        for part in ["disk", "work", "root"] {
            fs::create_dir_all(node.part(part))?;
        }
        let etc = node.part("disk").join("etc");
        fs::create_dir_all(&etc)?;
        fs::write(etc.join("hostname"), format!("{name}\n"))?;
        // Empty: systemd makes one at the first boot and keeps it.
        fs::write(etc.join("machine-id"), "")?;
        Ok(node)
    }

    fn part(&self, part: &str) -> PathBuf {
        self.place.dir().join(&self.name).join(part)
    }

    /// True while it has power.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.running.is_some()
    }

    /// Gives it power; it boots by itself.
    pub fn power_on(&mut self) -> Result<()> {
        if self.is_on() {
            return Ok(());
        }
        self.note_power(true)?;
        let root = self.part("root");
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            self.base.display(),
            self.part("disk").display(),
            self.part("work").display()
        );
        mount(
            Some("overlay"),
            &root,
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .context("mount the node's overlay")?;
        self.net.attach(&self.name, self.host)?;
        let cgroup = self.place.cgroup(&self.name)?;
        fs::create_dir_all(&cgroup)?;
        if self.fittings.is_throttled {
            throttle::prepare(&cgroup)?;
        }
        let mut nspawn = self.nspawn(&cgroup, &root)?;
        let children = format!("/proc/{0}/task/{0}/children", nspawn.id());
        let init = sh::wait("the node's init", BOOT, || {
            if let Ok(Some(_)) = nspawn.try_wait() {
                return Some(None);
            }
            let pid = fs::read_to_string(&children)
                .ok()?
                .split_whitespace()
                .next()?
                .parse::<u32>()
                .ok()?;
            // Before systemd there is nspawn's own child, which sets the container up.
            (fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim() == "systemd").then_some(Some(pid))
        })?;
        let init =
            init.with_context(|| format!("systemd-nspawn of {} ended: {}", self.name, self.console()))?;
        self.running = Some(Running { nspawn, init });
        Ok(())
    }

    fn nspawn(&self, cgroup: &Path, root: &Path) -> Result<Child> {
        let console = fs::File::create(self.part("console"))?;
        let netns = format!(
            "--network-namespace-path=/run/netns/{}",
            self.place.netns(&self.name)
        );
        // The shell puts itself into the node's cgroup, so that a power cut is one write to cgroup.kill.
        let ahead = self.fittings.ahead_s;
        let script = format!(
            "echo 0 > \"$0/cgroup.procs\" && {}exec {}systemd-nspawn \"$@\"",
            throttle::enter(cgroup),
            if ahead > 0 {
                format!("unshare --time --monotonic {ahead} --boottime {ahead} ")
            } else {
                String::new()
            }
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(cgroup);
        command.args([
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
            "--resolv-conf=off",
        ]);
        command.args([
            "--timezone=off",
            "--link-journal=no",
            "--capability=CAP_NET_ADMIN,CAP_IPC_LOCK",
            &netns,
        ]);
        for (from, to) in &self.fittings.binds {
            command.arg(format!("--bind={}:{to}", from.display()));
        }
        for (from, to) in &self.fittings.shown {
            command.arg(format!("--bind-ro={}:{to}", from.display()));
        }
        command.arg("-M").arg(&self.name).arg("-D").arg(root);
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        command
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console);
        command.spawn().context("could not run systemd-nspawn")
    }

    /// The last lines of its console.
    fn console(&self) -> String {
        let text = fs::read_to_string(self.part("console")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }

    /// Waits until systemd has finished booting.
    pub fn booted(&self) -> Result<()> {
        sh::wait(&format!("{} to boot", self.name), BOOT, || {
            // `degraded` exits 1 but has booted too.
            let output = self.command("systemctl is-system-running").output().ok()?;
            let state = String::from_utf8_lossy(&output.stdout);
            ["running", "degraded"].contains(&state.trim()).then_some(())
        })
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> Result<PathBuf> {
        self.place.cgroup(&self.name)
    }

    /// Cuts its power: everything in it is gone when this returns.
    pub fn power_off(&mut self) -> Result<()> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        let cgroup = self.place.cgroup(&self.name)?;
        // All at once, as power goes: nothing in it may see its cards vanish one by one, and tell of it by the last.
        freeze(&cgroup)?;
        self.net.detach(&self.name)?;
        remove_cgroup(&cgroup)?;
        running.nspawn.wait()?;
        self.note_power(false)?;
        umount2(&self.part("root"), MntFlags::MNT_DETACH).context("unmount the node's overlay")?;
        Ok(())
    }

    fn note_power(&mut self, on: bool) -> Result<()> {
        self.switched.push((HostClock::new()?.now_ns(), on));
        Ok(())
    }

    /// A shell command in the node, to be run.
    #[must_use]
    pub fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        let init = self.running.as_ref().map_or(0, |running| running.init);
        command.args([
            "-t",
            &init.to_string(),
            "-m",
            "-u",
            "-i",
            "-n",
            "-p",
            "-C",
            "-T",
            "--",
            "/bin/sh",
            "-c",
            script,
        ]);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null());
        command
    }

    /// Puts a file of the host on the node's disk.
    pub fn put(&self, from: &Path, to: &str) -> Result<()> {
        let root = if self.is_on() {
            self.part("root")
        } else {
            self.part("disk")
        };
        let to = root.join(to.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("a file needs a folder")?)?;
        fs::copy(from, &to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.power_off() {
            eprintln!("lab: {} did not go away: {error:#}", self.name);
        }
    }
}

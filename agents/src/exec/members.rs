//! All processes that belong to one program: its cgroup where one could be made, otherwise its session, its process
//! group, and whatever inherited a marker in its environment (which finds daemons that left both).

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::process;
use crate::{clock, sys};

/// The environment variable that marks members.
pub const MARKER: &str = "HOLDFAST_RESOURCE";

/// How to find the members.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Members {
    marker: String,
    cgroup: Option<PathBuf>,
    leader: i32,
    /// When the leader began: its number may be given to another process once nothing of the program is left.
    leader_ticks: u64,
}

impl Members {
    /// Prepares for a new program: makes its cgroup if that is possible here.
    pub fn create(group: &str, resource: &str) -> Members {
        // Unique, so that nothing of another run, or of another had-agentd on this machine, is taken for it.
        let run = format!("{}-{}", std::process::id(), clock::now().0);
        let marker = format!("{group}/{resource}/{run}");
        let cgroup = own_cgroup().map(|base| base.join(format!("exec-{group}.{resource}.{run}")));
        let cgroup = cgroup.filter(|path| fs::create_dir(path).is_ok());
        Members {
            marker,
            cgroup,
            leader: 0,
            leader_ticks: 0,
        }
    }

    /// The same, with the program's pid, which is its session and process group as well.
    pub fn with_leader(self, leader: i32, leader_ticks: u64) -> Members {
        Members {
            leader,
            leader_ticks,
            ..self
        }
    }

    /// The same without a cgroup, which cannot be used after all.
    pub fn without_cgroup(self) -> Members {
        self.remove();
        Members { cgroup: None, ..self }
    }

    /// Value of [`MARKER`].
    pub fn marker(&self) -> &str {
        &self.marker
    }

    /// The folder of the cgroup, to start the program in.
    pub fn open_cgroup(&self) -> Option<File> {
        self.cgroup.as_deref().and_then(|path| File::open(path).ok())
    }

    /// All members that run.
    pub fn list(&self) -> Vec<i32> {
        match self
            .cgroup
            .as_deref()
            .and_then(|path| read_pids(&path.join("cgroup.procs")))
        {
            Some(pids) => pids.into_iter().filter(|pid| lives(*pid)).collect(),
            None => self.scan(),
        }
    }

    fn scan(&self) -> Vec<i32> {
        let wanted = format!("{MARKER}={}", self.marker);
        let known = process::stat(self.leader);
        let other = known.is_some_and(|stat| stat.start_ticks != self.leader_ticks);
        let leader = if other { 0 } else { self.leader };
        let is_member = |pid: &i32| {
            // The first look is the cheap one, and spares most processes the second.
            let stat = process::stat(*pid).filter(|stat| !stat.is_over());
            let Some(stat) = stat.filter(|stat| stat.start_ticks >= self.leader_ticks) else {
                return false;
            };
            let related = leader > 0 && (stat.session == leader || stat.group == leader);
            related || process::has_variable(*pid, wanted.as_bytes())
        };
        process::all().filter(is_member).collect()
    }

    /// Sends `signal` to all members, and returns those that were found.
    pub fn signal(&self, signal: Signal) -> Vec<i32> {
        let killed_at_once = signal == Signal::SIGKILL && self.kill_at_once();
        let found = self.list();
        if !killed_at_once {
            for pid in &found {
                // One that has just ended needs no signal.
                let _ = kill(Pid::from_raw(*pid), signal);
            }
        }
        found
    }

    /// Kills what can be killed without a search. True when that was everything.
    pub fn kill_at_once(&self) -> bool {
        if let Some(path) = &self.cgroup
            && fs::write(path.join("cgroup.kill"), "1").is_ok()
        {
            return true;
        }
        if self.leads_its_group() {
            let _ = killpg(Pid::from_raw(self.leader), Signal::SIGKILL);
        }
        false
    }

    /// True while the leader, or its zombie, holds its number: then the process group of that number is its own.
    fn leads_its_group(&self) -> bool {
        let leads = |stat: process::Stat| stat.group == self.leader && stat.start_ticks == self.leader_ticks;
        self.leader > 1 && process::stat(self.leader).is_some_and(leads)
    }

    /// Stops members from running without ending them.
    pub fn freeze(&self) -> Result<(), String> {
        match &self.cgroup {
            Some(path) => {
                fs::write(path.join("cgroup.freeze"), "1").map_err(|error| format!("cgroup.freeze: {error}"))
            }
            None => {
                self.signal(Signal::SIGSTOP);
                Ok(())
            }
        }
    }

    /// Undoes [`Members::freeze`], so that signals are acted on.
    pub fn thaw(&self) {
        match &self.cgroup {
            Some(path) => drop(fs::write(path.join("cgroup.freeze"), "0")),
            None => drop(self.signal(Signal::SIGCONT)),
        }
    }

    /// Removes the cgroup, which must be empty.
    pub fn remove(&self) {
        if let Some(path) = &self.cgroup {
            // A zombie that we may not reap can still hold it; an empty folder does no harm.
            let _ = fs::remove_dir(path);
        }
    }
}

fn lives(pid: i32) -> bool {
    process::stat(pid).is_some_and(|stat| !stat.is_over())
}

fn read_pids(path: &Path) -> Option<Vec<i32>> {
    Some(
        fs::read_to_string(path)
            .ok()?
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect(),
    )
}

/// Removes what is left of programs that are gone. To be called before any is started.
pub fn remove_empty_cgroups() {
    let Some(own) = own_cgroup() else { return };
    for entry in fs::read_dir(own).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("exec-") {
            // Refused while something is in it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The cgroup v2 folder of this process, if its service manager left it to us (`Delegate=yes`). In any other we would
/// be a guest, and what we make there would outlive us.
fn own_cgroup() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // The second is where systemd mounts it beside version 1.
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let mut folders = roots.iter().map(|root| Path::new(root).join(path));
    let folder = folders.find(|folder| folder.join("cgroup.procs").exists())?;
    let marks = [c"user.delegate", c"trusted.delegate"];
    let delegated = marks.iter().any(|mark| sys::has_attribute(&folder, mark, b"1"));
    delegated.then_some(folder)
}

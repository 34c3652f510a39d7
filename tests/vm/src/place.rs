//! What a run makes on the host, under names of its own, and how it goes away again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::sh;

/// Where runs keep their files.
const HOME: &str = "/var/tmp/holdfast";
/// Where the image and the saved states stay from run to run.
pub const CACHE: &str = "/var/tmp/holdfast/vm";
/// What all names of a run begin with, before the number of its process.
const TAG: &str = "hfvm";
/// Where `ip netns` keeps namespaces.
const NETNS: &str = "/run/netns";

/// Names of everything one run makes.
#[derive(Clone, Debug)]
pub struct Place {
    tag: String,
}

impl Place {
    /// For the run of process `pid`.
    #[must_use]
    pub fn new(pid: u32) -> Place {
        Place {
            tag: format!("{TAG}{pid}"),
        }
    }

    /// Folder of disks and sockets.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        Path::new(HOME).join(&self.tag)
    }

    /// Name of a network namespace.
    #[must_use]
    pub fn netns(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// A cgroup for what is called `name`, made now: whatever runs in it is ended with the run.
    pub fn cgroup(&self, name: &str) -> Result<Cgroup> {
        let path = cgroup2()?.join(format!("{}-{name}", self.tag));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Cgroup { path })
    }

    /// Kills and removes all that is left of the run. Safe to call twice.
    pub fn remove(&self) -> Result<()> {
        let prefix = format!("{}-", self.tag);
        for path in entries(&cgroup2()?, &prefix) {
            Cgroup { path }.remove()?;
        }
        for netns in entries(Path::new(NETNS), &prefix) {
            let name = netns.file_name().unwrap_or_default().to_string_lossy();
            sh::run("ip", &["netns", "del", &name])?;
        }
        if self.dir().exists() {
            fs::remove_dir_all(self.dir()).with_context(|| self.dir().display().to_string())?;
        }
        Ok(())
    }
}

/// Removes what is left of runs that were killed together with their reaper.
pub fn remove_dead() -> Result<()> {
    let everything = [PathBuf::from(HOME), PathBuf::from(NETNS), cgroup2()?];
    let found = everything.iter().flat_map(|dir| entries(dir, TAG));
    let pids: BTreeSet<u32> = found.filter_map(|path| run_of(&path)).collect();
    for pid in pids.into_iter().filter(|pid| !is_run(*pid)) {
        eprintln!("vm: removing what is left of a killed run ({TAG}{pid})");
        Place::new(pid).remove()?;
    }
    Ok(())
}

/// The process whose run made `path`.
fn run_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_prefix(TAG)?;
    name.split('-').next()?.parse().ok()
}

/// True if the process `pid` is a run, not another one that has got its number since.
fn is_run(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "vm")
}

/// Where the unified cgroup hierarchy is mounted.
fn cgroup2() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = fields.find(|fields| fields.get(2) == Some(&"cgroup2"));
    mount
        .and_then(|fields| fields.get(1).map(PathBuf::from))
        .context("no cgroup2 hierarchy is mounted")
}

fn entries(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect()
}

/// A group of processes that can be stopped and ended as one.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// A command that runs `program` in the group, and in the network namespace `netns`, apart from our terminal.
    #[must_use]
    pub fn command(&self, netns: &str, program: &str) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&self.path)
            .args(["ip", "netns", "exec", netns, program])
            .stdin(std::process::Stdio::null())
            .process_group(0);
        command
    }

    /// Stops everything in it where it is, or lets it go on. What is stopped can still be killed.
    pub fn hold(&self, still: bool) -> Result<()> {
        self.write("cgroup.freeze", if still { "1" } else { "0" })?;
        let wanted = if still { "frozen 1" } else { "frozen 0" };
        self.until(wanted)
    }

    /// Kills everything in it.
    pub fn kill(&self) -> Result<()> {
        self.write("cgroup.kill", "1")?;
        self.until("populated 0")
    }

    /// Kills everything in it and removes it.
    pub fn remove(&self) -> Result<()> {
        if self.path.exists() {
            self.kill()?;
            fs::remove_dir(&self.path).with_context(|| self.path.display().to_string())?;
        }
        Ok(())
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let file = self.path.join(file);
        fs::write(&file, text).with_context(|| file.display().to_string())
    }

    fn until(&self, wanted: &str) -> Result<()> {
        sh::wait(
            &format!("a cgroup to say {wanted}"),
            Duration::from_secs(10),
            || {
                let events = fs::read_to_string(self.path.join("cgroup.events")).ok()?;
                events.contains(wanted).then_some(())
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whose_run_made_it() {
        assert_eq!(run_of(Path::new("/run/netns/hfvm4711-lan")), Some(4711));
        assert_eq!(run_of(Path::new("/var/tmp/holdfast/hfvm9")), Some(9));
        assert_eq!(run_of(Path::new("/var/tmp/holdfast/vm")), None);
    }
}

//! What a run of the lab makes on the host, under names of its own, and how it goes away again.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{sh, throttle};

/// Where the lab keeps its files.
pub const HOME: &str = "/var/tmp/holdfast";
/// What all names of a run begin with, before the number of its process.
const TAG: &str = "hflab";
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

    /// Folder of overlays and files.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        Path::new(HOME).join(&self.tag)
    }

    /// Name of a network namespace.
    #[must_use]
    pub fn netns(&self, name: &str) -> String {
        format!("{}-{name}", self.tag)
    }

    /// The cgroup of node `name`.
    pub fn cgroup(&self, name: &str) -> Result<PathBuf> {
        Ok(cgroup2()?.join(format!("{}-{name}", self.tag)))
    }

    /// Kills and removes all that is left of the run. Safe to call twice.
    pub fn remove(&self) -> Result<()> {
        let prefix = format!("{}-", self.tag);
        for group in entries(&cgroup2()?, &prefix) {
            remove_cgroup(&group)?;
        }
        throttle::remove(&prefix);
        for netns in entries(Path::new(NETNS), &prefix) {
            let name = netns
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if sh::run("ip", &["netns", "del", &name]).is_err() {
                // The mount was in the mount namespace of a harness that is gone; its file stays.
                let _ = fs::remove_file(&netns);
            }
        }
        if self.dir().exists() {
            // Mounts below it belong to the harness' own mount namespace and are gone with it, or were unmounted.
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
    for pid in pids.into_iter().filter(|pid| !is_lab(*pid)) {
        eprintln!("lab: removing what is left of a killed run ({TAG}{pid})");
        Place::new(pid).remove()?;
    }
    Ok(())
}

/// The process whose run made `path`.
fn run_of(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?.strip_prefix(TAG)?;
    name.split('-').next()?.parse().ok()
}

/// True if the process `pid` is a lab, not another one that has got its number since.
fn is_lab(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.contains("lab"))
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

/// Stops everything in the cgroup at `path` where it is. A frozen process can still be killed.
pub fn freeze(path: &Path) -> Result<()> {
    fs::write(path.join("cgroup.freeze"), "1").with_context(|| format!("freeze {}", path.display()))?;
    sh::wait("a cgroup to freeze", Duration::from_secs(10), || {
        let events = fs::read_to_string(path.join("cgroup.events")).ok()?;
        events.contains("frozen 1").then_some(())
    })
}

/// Lets everything in the cgroup at `path` go on.
pub fn thaw(path: &Path) -> Result<()> {
    fs::write(path.join("cgroup.freeze"), "0").with_context(|| format!("thaw {}", path.display()))
}

/// Kills everything in the cgroup at `path`, which stays.
pub fn kill_cgroup(path: &Path) -> Result<()> {
    fs::write(path.join("cgroup.kill"), "1").with_context(|| format!("kill {}", path.display()))?;
    sh::wait("a killed cgroup to be empty", Duration::from_secs(10), || {
        let events = fs::read_to_string(path.join("cgroup.events")).ok()?;
        events.contains("populated 0").then_some(())
    })
}

/// Kills everything in the cgroup at `path` and removes it.
pub fn remove_cgroup(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    kill_cgroup(path)?;
    remove_tree(path);
    Ok(())
}

/// Removes a tree of empty cgroups, innermost first.
fn remove_tree(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whose_run_made_it() {
        assert_eq!(run_of(Path::new("/run/netns/hflab4711-n1")), Some(4711));
        assert_eq!(run_of(Path::new("/var/tmp/holdfast/hflab9")), Some(9));
        assert_eq!(run_of(Path::new("/var/tmp/holdfast/root-16694db58a44e147")), None);
    }
}

//! What a test run left behind: processes, network namespaces, mounts, cgroups and cards that were not there before.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long what is just ending may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was there before the run.
pub struct Before {
    things: BTreeSet<String>,
}

impl Before {
    /// Looks around. From now on a process whose parent ends becomes ours, so that none can slip away.
    pub fn look() -> Result<Before> {
        nix::sys::prctl::set_child_subreaper(true).context("become the parent of orphans")?;
        Ok(Before { things: things()? })
    }

    /// What is there now that was not there before, in words; processes are ended.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            bury();
            let mut left: Vec<String> = things()?.difference(&self.things).cloned().collect();
            left.retain(|thing| !is_of_a_living_lab(thing));
            let orphans = children()?;
            if left.is_empty() && orphans.is_empty() {
                return Ok(Vec::new());
            }
            if Instant::now() >= deadline {
                let orphans = orphans.into_iter().map(end);
                return Ok(orphans.chain(left).collect());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Takes note of the end of every process that has ended.
fn bury() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

/// Processes whose parent we are; at the end of a run there should be none.
fn children() -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task").context("/proc/self/task")? {
        // A thread may end while we look.
        let text = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    Ok(found)
}

/// Ends the process `pid`; what it was, in words.
fn end(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    format!("process {pid}: {}", line.trim())
}

fn things() -> Result<BTreeSet<String>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts")?;
    let mut found = BTreeSet::new();
    let mut cgroups = None;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, at, kind, ..] = fields[..] else { continue };
        found.insert(format!("mount {at}"));
        if kind == "cgroup2" {
            cgroups = Some(at);
        }
    }
    names("/run/netns", "network namespace", &mut found);
    names("/sys/class/net", "network card", &mut found);
    names("/var/tmp/holdfast", "lab's folder", &mut found);
    if let Some(cgroups) = cgroups {
        names(cgroups, "cgroup", &mut found);
    }
    // What is kept on purpose: the lab's Debian root, the machines' disk and saved states.
    found.retain(|thing| !thing.starts_with("lab's folder root") && thing != "lab's folder vm");
    Ok(found)
}

/// True if `thing` belongs to a run of the lab or of the virtual machines that goes on: somebody else's.
fn is_of_a_living_lab(thing: &str) -> bool {
    let name = thing.rsplit([' ', '/']).next().unwrap_or_default();
    [("hflab", "lab"), ("hfvm", "vm")].iter().any(|(tag, program)| {
        let pid = name.strip_prefix(tag).and_then(|rest| rest.split('-').next());
        let comm = pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        comm.is_some_and(|comm| comm.contains(program))
    })
}

/// Adds the names in `dir`, each called a `kind`.
fn names(dir: impl AsRef<Path>, kind: &str, found: &mut BTreeSet<String>) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    found.extend(entries.map(|entry| format!("{kind} {}", entry.file_name().to_string_lossy())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_has_a_kind_and_a_name() {
        let found = things().unwrap();
        assert!(found.contains("mount /proc"), "{found:?}");
        assert!(found.contains("network card lo"), "{found:?}");
    }

    #[test]
    fn a_child_that_is_left_is_named_and_ended() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(children().unwrap().contains(&pid));
        // The kernel lets us go on a moment before the new program has its arguments.
        while fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.is_empty()) {
            std::thread::yield_now();
        }
        assert_eq!(end(pid), format!("process {pid}: sleep 600"));
        assert!(!child.wait().unwrap().success());
    }
}

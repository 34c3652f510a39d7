//! A processor of which a node gets only a part: the quota of a control group, of either version.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Over what time the quota is counted, in microseconds.
const PERIOD_US: u32 = 100_000;
/// Microseconds per second that real-time threads of a node may run, where groups have a budget for them: less than what
/// the machine has, divided by the nodes of two runs at once.
const REALTIME_US: &str = "140000";

/// Where version 1 of the `cpu` controller is mounted, if it is.
fn version1() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, at, kind, options, ..] = fields[..] else {
            return None;
        };
        (kind == "cgroup" && options.split(',').any(|option| option == "cpu")).then(|| PathBuf::from(at))
    })
}

/// The group of version 1 that belongs to the cgroup of a node.
fn twin(cgroup: &Path) -> Option<PathBuf> {
    Some(version1()?.join(cgroup.file_name()?))
}

/// Gets ready for the processes of the node whose cgroup is `cgroup`.
pub fn prepare(cgroup: &Path) -> Result<()> {
    if let Some(group) = twin(cgroup) {
        fs::create_dir_all(&group).with_context(|| group.display().to_string())?;
        let budget = group.join("cpu.rt_runtime_us");
        // A kernel without budgets has no such file, and its real-time threads need none.
        if budget.exists() {
            fs::write(&budget, REALTIME_US)
                .with_context(|| format!("processor time for real-time threads: {}", budget.display()))?;
        }
    } else if let Some(root) = cgroup.parent() {
        fs::write(root.join("cgroup.subtree_control"), "+cpu").context("let cgroups limit the processor")?;
    }
    Ok(())
}

/// What a shell does to be in the node's group.
#[must_use]
pub fn enter(cgroup: &Path) -> String {
    twin(cgroup)
        .filter(|group| group.is_dir())
        .map(|group| format!("echo 0 > '{}/cgroup.procs' && ", group.display()))
        .unwrap_or_default()
}

/// Gives the node that percentage of one processor, or all there is.
pub fn set(cgroup: &Path, percent: Option<u32>) -> Result<()> {
    let quota = percent.map(|percent| percent * PERIOD_US / 100);
    let (file, text) = match twin(cgroup) {
        Some(group) => {
            fs::write(group.join("cpu.cfs_period_us"), PERIOD_US.to_string())
                .context("the quota's period")?;
            let quota = quota.map_or("-1".to_string(), |quota| quota.to_string());
            (group.join("cpu.cfs_quota_us"), quota)
        }
        None => {
            let quota = quota.map_or("max".to_string(), |quota| quota.to_string());
            (cgroup.join("cpu.max"), format!("{quota} {PERIOD_US}"))
        }
    };
    fs::write(&file, text).with_context(|| file.display().to_string())
}

/// Removes the groups whose names begin with `prefix`, which have no processes any more.
pub fn remove(prefix: &str) {
    let Some(root) = version1() else { return };
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

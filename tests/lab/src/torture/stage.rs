//! The cluster of a run: nodes with a shared folder, small state disks, management boards, and the load's groups.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};

use super::act::{Data, Member, NAMES};
use super::wires::Wires;
use super::{GROUPS, SHARED, workloads};
use crate::bmc::{self, Bmc};
use crate::cluster::{Cluster, SETTLE, Shape};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::node::Fittings;

/// Where `had` keeps its state on a node.
const STATE: &str = "/var/lib/holdfast";
/// The size of the disk for that: small, so that it is full at once.
const STATE_SIZE: &str = "size=8m,mode=0700";

/// What a run plays on. Fields go in this order at the end.
#[derive(Debug)]
pub struct Stage {
    /// The members.
    pub cluster: Cluster,
    boards: [Mutex<Bmc>; 2],
    /// The links between them.
    pub wires: Wires,
    /// The host's path of what the data nodes share.
    pub shared: PathBuf,
    /// Everything else.
    pub lab: Lab,
}

impl Stage {
    /// Makes the cluster, and tells of it as it goes.
    pub fn build(witness: bool) -> Result<Stage> {
        let lab = Lab::new(0)?;
        let shared = lab.place.dir().join("shared");
        fs::create_dir_all(&shared)?;
        let shape = if witness { Shape::Trio } else { Shape::Pair };
        let cluster = Cluster::boot_with(&lab, shape, |name| fittings(&lab, &shared, name))?;
        let boards = [
            Mutex::new(Bmc::start(&lab, "n1", 1)?),
            Mutex::new(Bmc::start(&lab, "n2", 2)?),
        ];
        let stage = Stage {
            wires: Wires::new(&lab.net),
            cluster,
            boards,
            shared,
            lab,
        };
        stage
            .furnish()
            .inspect_err(|_| eprintln!("{}", stage.cluster.report()))?;
        Ok(stage)
    }

    /// Installs the packages, forms the cluster and gives it its groups.
    fn furnish(&self) -> Result<()> {
        self.cluster
            .provision(&self.lab)
            .context("install the packages")?;
        for machine in &self.cluster.machines {
            // As the package leaves the folder whose place the disk has taken.
            machine.sh(&format!("chown had:holdfast {STATE}"))?;
        }
        for machine in self.cluster.data() {
            bmc::introduce(machine)?;
            workloads::install(machine)?;
        }
        self.cluster.join().context("form the cluster")?;
        let config = self.configuration()?;
        let first = self.member(0);
        let apply =
            "cat > /root/new.toml && hactl config check /root/new.toml && hactl config apply /root/new.toml";
        first
            .sh_with(apply, &config)
            .context("give the cluster its groups")?;
        self.cluster.whole(SETTLE)
    }

    /// The configuration in force, with boards and groups, and without a limit to what may fail.
    fn configuration(&self) -> Result<String> {
        let mut text = self.member(0).sh("hactl config show")?;
        // The nemesis brings more failures in a minute than a year does: they must not count for as long as usual.
        let counts = "[cluster]\nflap_budget = 1000\nflap_window = \"20s\"\n";
        text = text.replacen("[cluster]\n", counts, 1);
        text.push_str(&Bmc::section("n1", 1));
        text.push_str(&Bmc::section("n2", 2));
        text.push('\n');
        text.push_str(&workloads::groups());
        Ok(text)
    }

    /// The machine of a member.
    #[must_use]
    pub fn member(&self, member: Member) -> &Arc<Machine> {
        &self.cluster.machines[member.min(self.cluster.machines.len() - 1)]
    }

    /// True if there is a witness.
    #[must_use]
    pub fn has_witness(&self) -> bool {
        self.cluster.shape == Shape::Trio
    }

    /// The board of a node.
    pub fn board(&self, node: Data) -> MutexGuard<'_, Bmc> {
        self.boards[node.min(1)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk of the member's state, as the host sees it.
    #[must_use]
    pub fn disk(&self, member: Member) -> PathBuf {
        disk(&self.lab, NAMES[member])
    }

    /// Processes of the member whose command line, words joined by blanks, is accepted by `wanted`; host's numbers.
    pub fn processes(&self, member: Member, wanted: impl Fn(&str) -> bool) -> Vec<i32> {
        let Ok(cgroup) = self.member(member).node().cgroup() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        each_process(&cgroup, &mut |pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if wanted(line.trim()) {
                found.push(pid);
            }
        });
        found
    }

    /// The nodes on which the service of the group runs; what is true, not what anybody says.
    #[must_use]
    pub fn hosts(&self, group: usize) -> Vec<Data> {
        let pattern = workloads::process(GROUPS[group]);
        let runs = |node: &Data| !self.processes(*node, |line| line.contains(pattern)).is_empty();
        [0, 1].into_iter().filter(runs).collect()
    }
}

fn disk(lab: &Lab, name: &str) -> PathBuf {
    lab.place.dir().join(format!("state-{name}"))
}

/// The disk for the state of the member `name`, and what it shares with others.
fn fittings(lab: &Lab, shared: &Path, name: &str) -> Result<Fittings> {
    let disk = disk(lab, name);
    fs::create_dir_all(&disk)?;
    // In the harness' own mount namespace: it ends with the run, and outlives every power cut.
    mount(
        Some("state"),
        &disk,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(STATE_SIZE),
    )
    .with_context(|| format!("a disk for the state of {name}"))?;
    let mut binds = vec![(disk, STATE.to_string())];
    if name != NAMES[2] {
        binds.push((shared.to_path_buf(), SHARED.to_string()));
    }
    Ok(Fittings {
        binds,
        shown: Vec::new(),
        ahead_s: 0,
        is_throttled: name != NAMES[2],
    })
}

/// Calls `with` for every process in the cgroup at `path` and those below it.
fn each_process(path: &Path, with: &mut impl FnMut(i32)) {
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.parse().ok())
        .for_each(&mut *with);
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            each_process(&entry.path(), with);
        }
    }
}

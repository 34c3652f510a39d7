//! That the torture runs would see what they are there to see.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cluster::{Cluster, SETTLE, Shape, fences};
use crate::lab::Lab;
use crate::node::Fittings;
use crate::sh;
use crate::torture::checker::check;
use crate::torture::history::{Fault, History};
use crate::torture::ledger::{self, Mark};
use crate::torture::workloads::{Workloads, collect_journals, groups, install};
use crate::torture::{GROUPS, SHARED};

/// How long the stranger may take to begin.
const BEGIN: Duration = Duration::from_secs(20);

/// A power cut under load leaves nothing to complain of. Then somebody starts the ledger and redis by hand on the wrong
/// node, past Holdfast: the checker reports both.
pub fn overlap(lab: &mut Lab) -> Result<String> {
    lab.discard();
    let dir = lab.place.dir().join("overlap");
    let shared = dir.join("shared");
    std::fs::create_dir_all(&shared)?;
    let cluster = form(lab, shared.clone())?;
    let done = under_load(lab, &cluster, &dir.join("run"), &shared);
    lab.power.wire(&[]);
    if done.is_err() {
        lab.log("overlap-nodes", &cluster.report())?;
    }
    done
}

/// A cluster whose data nodes share `shared` and run the groups of the torture runs.
fn form(lab: &Lab, shared: PathBuf) -> Result<Cluster> {
    let cluster = Cluster::boot_with(lab, Shape::Trio, |name| {
        let binds = vec![(shared.clone(), SHARED.to_string())];
        Ok(match name {
            "witness" => Fittings::default(),
            _ => Fittings {
                binds,
                ..Fittings::default()
            },
        })
    })?;
    cluster.provision(lab)?;
    cluster.join()?;
    for machine in cluster.data() {
        install(machine)?;
    }
    let config = fences() + &groups();
    cluster
        .machine("n1")
        .sh_with("/root/provision/services.sh", &config)?;
    run(&cluster)?;
    Ok(cluster)
}

/// Waits until every group runs somewhere.
fn run(cluster: &Cluster) -> Result<()> {
    cluster.whole(SETTLE)?;
    for machine in cluster.data() {
        machine.wait_status("every group to run", SETTLE, |view| {
            view.groups.len() == GROUPS.len() && view.groups.iter().all(|group| group.state == "running")
        })?;
    }
    Ok(())
}

fn under_load(lab: &Lab, cluster: &Cluster, dir: &Path, shared: &Path) -> Result<String> {
    let history = History::new(dir)?;
    let load = Workloads::start(&lab.net, shared, &history)?;
    served(&load, &history)?;
    cut_power(cluster, &load, &history)?;
    run(cluster)?;
    load.stop()?;
    collect_journals(&cluster.machines, dir)?;
    let clean = check(dir, shared)?;
    ensure!(
        clean.is_good(),
        "a power cut, and the checker complains: {clean:?}"
    );
    let writes: u64 = clean.acknowledged.values().sum();
    for group in ["ledger", "redis"] {
        stranger(cluster, shared, group)?;
    }
    let overlaps = check(dir, shared)?.overlaps;
    for group in ["ledger", "redis"] {
        let seen = overlaps.iter().any(|text| text.starts_with(group));
        ensure!(
            seen,
            "{group} ran on both nodes and the checker saw none of it: {overlaps:?}"
        );
    }
    Ok(format!(
        "{writes} writes accounted for after an outage of {:.1} s; then seen: {}",
        clean.longest_outage_s,
        overlaps.first().map_or("", String::as_str)
    ))
}

/// Waits until every group answers a request that is sent from now on.
fn served(load: &Workloads, history: &History) -> Result<()> {
    let now = history.clock.now_ms();
    for group in GROUPS {
        sh::wait(&format!("{group} to answer"), SETTLE, || {
            load.last_ack_ms(group).filter(|at| *at > now)
        })?;
    }
    Ok(())
}

/// Cuts the power of n1, waits until all groups answer from n2, and gives it back.
fn cut_power(cluster: &Cluster, load: &Workloads, history: &History) -> Result<()> {
    let clock = history.clock;
    let mut fault = Fault {
        id: 1,
        at_ms: clock.now_ms(),
        until_ms: None,
        explains_until_ms: None,
        kind: "power-off".into(),
        target: "n1".into(),
        detail: String::new(),
        expects_outage_of: GROUPS.map(str::to_string).to_vec(),
    };
    history.fault(&fault)?;
    let n1 = cluster.machine("n1");
    n1.node().power_off()?;
    served(load, history)?;
    n1.node().power_on()?;
    fault.until_ms = Some(clock.now_ms());
    fault.explains_until_ms = fault.until_ms;
    history.fault(&fault)
}

/// Starts the service of `group` on the node that does not own it.
fn stranger(cluster: &Cluster, shared: &Path, group: &str) -> Result<()> {
    let view = cluster
        .machine("n1")
        .status()
        .context("n1 does not answer hactl")?;
    let owner = view.groups.iter().find(|view| view.name == group);
    let owner = owner.map(|view| view.node.clone()).context("no owner")?;
    let machine = cluster.other(&owner);
    let command = match group {
        "ledger" => format!(
            "systemd-run --unit=stranger --collect /usr/local/lib/holdfast-lab/lab ledger {SHARED}/ledger"
        ),
        _ => "systemctl start torture-redis".to_string(),
    };
    let begun = || {
        let records = ledger::read(&shared.join(group).join(ledger::FILE)).ok()?.records;
        let begins = records
            .iter()
            .filter(|record| record.mark == Mark::Begin && record.writer.node == machine.name);
        Some(begins.count())
    };
    let before = begun();
    machine.sh(&command)?;
    sh::wait("the stranger to begin", BEGIN, || {
        begun().filter(|now| Some(*now) > before)
    })?;
    Ok(())
}

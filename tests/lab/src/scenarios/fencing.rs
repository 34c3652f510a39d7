//! Fencing by the agents that operators use.

use anyhow::{Context, Result};

use crate::bmc::{self, Bmc};
use crate::client::Client;
use crate::cluster::{Cluster, SETTLE, Shape};
use crate::lab::Lab;
use crate::net::MANAGEMENT;

/// The real `fence_ipmilan` against a management board per node: a cut node is powered off over IPMI.
pub fn ipmi(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let power = lab.power.clone();
    lab.cluster(Shape::Trio)?;
    let _boards = [Bmc::start(lab, "n1", 1)?, Bmc::start(lab, "n2", 2)?];
    let cluster = lab.cluster(Shape::Trio)?;
    let saved = cluster.machine("n1").sh("hactl config show")?;
    for machine in cluster.data() {
        bmc::introduce(machine)?;
    }
    apply(cluster, &with_ipmi(&saved)).context("take fence_ipmilan into the configuration")?;
    let owner = cluster.owner()?;
    let other = cluster.other(&owner);
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    drop(power.take_orders());
    for lan in 0..MANAGEMENT {
        net.cable(&owner, lan, false)?;
    }
    cluster.runs_on(other, &other.name)?;
    client.answered(SETTLE)?;
    let orders = power.take_orders();
    anyhow::ensure!(
        orders.contains(&format!("off {owner}")),
        "{owner} was not powered off over IPMI: {orders:?}"
    );
    cluster.machine(&owner).node().power_on()?;
    for lan in 0..MANAGEMENT {
        net.cable(&owner, lan, true)?;
    }
    cluster.healthy()?;
    cluster.single()?;
    apply(cluster, &saved)?;
    cluster.healthy()?;
    Ok(format!("fenced {owner} by fence_ipmilan"))
}

/// `config` with fence_ipmilan in place of the lab's own device.
fn with_ipmi(config: &str) -> String {
    let mut text = String::new();
    let mut in_device = false;
    for line in config.lines() {
        if line.starts_with('[') {
            in_device = line.starts_with("[[fence]]");
        }
        if !in_device {
            text.push_str(line);
            text.push('\n');
        }
    }
    text.push_str(&Bmc::section("n1", 1));
    text.push_str(&Bmc::section("n2", 2));
    text
}

/// Has the cluster take over `config`.
fn apply(cluster: &Cluster, config: &str) -> Result<()> {
    let script = "cat > /root/new.toml && hactl config apply /root/new.toml";
    cluster.machine("n1").sh_with(script, config).map(|_| ())
}

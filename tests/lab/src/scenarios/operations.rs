//! What an operator does: standby, upgrades.

use anyhow::{Context, Result};

use super::failures::outage;
use crate::client::Client;
use crate::cluster::{SETTLE, Shape, install};
use crate::lab::Lab;

/// The node that runs redis goes into standby and comes back: redis moves away, and does not move by itself again.
pub fn standby(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let cluster = lab.cluster(Shape::Trio)?;
    let owner = cluster.owner()?;
    let other = cluster.other(&owner);
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    client.begin();
    cluster.machine(&owner).sh(&format!("hactl standby {owner}"))?;
    cluster.runs_on(other, &other.name)?;
    client.answered(SETTLE)?;
    let seen = client.seen();
    cluster.machine(&owner).sh(&format!("hactl online {owner}"))?;
    cluster.healthy()?;
    anyhow::ensure!(cluster.owner()? == other.name, "the group moved back by itself");
    cluster.single()?;
    Ok(outage(seen))
}

/// The package is upgraded on one machine after the other, under load: no request fails, nothing moves.
pub fn rolling_upgrade(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let packages: Vec<_> = ["holdfast", "holdfast-witness"]
        .iter()
        .map(|name| lab.package(name, "+lab1"))
        .collect::<Result<_>>()?;
    let cluster = lab.cluster(Shape::Trio)?;
    let owner = cluster.owner()?;
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    client.begin();
    for machine in &cluster.machines {
        let package = if machine.name == "witness" {
            &packages[1]
        } else {
            &packages[0]
        };
        install(machine, package).with_context(|| format!("upgrade {}", machine.name))?;
        cluster
            .healthy()
            .with_context(|| format!("after the upgrade of {}", machine.name))?;
    }
    client.no_outage()?;
    anyhow::ensure!(cluster.owner()? == owner, "the group moved");
    for machine in &cluster.machines {
        let version = machine.sh("dpkg-query -W -f '${Version}' 'holdfast*'")?;
        anyhow::ensure!(version.ends_with("+lab1"), "{} has {version}", machine.name);
    }
    Ok(outage(client.seen()))
}

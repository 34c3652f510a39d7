//! What fails by itself: power, cables, daemons.

use std::time::Duration;

use anyhow::Result;

use crate::client::{Client, Seen};
use crate::cluster::{Cluster, SETTLE, Shape};
use crate::lab::Lab;
use crate::sh;

/// What the client saw, for the scenario's line.
pub fn outage(seen: Seen) -> String {
    format!(
        "longest gap {} ms in {} answers",
        seen.gap.as_millis(),
        seen.answered
    )
}

/// The node that runs redis loses its power. Redis answers from the other one; the node comes back and joins by itself.
pub fn power_loss(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let cluster = lab.cluster(Shape::Trio)?;
    let owner = cluster.owner()?;
    let other = cluster.other(&owner);
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    client.begin();
    cluster.machine(&owner).node().power_off()?;
    cluster.runs_on(other, &other.name)?;
    client.answered(SETTLE)?;
    let seen = client.seen();
    // Fencing restarts the node; if the proof was another one it has no power still, and somebody switches it on.
    cluster.machine(&owner).node().power_on()?;
    cluster.healthy()?;
    cluster.single()?;
    // Whoever came back is good for work: the group goes there and answers.
    other.sh(&format!("hactl move {} {owner}", crate::cluster::GROUP))?;
    cluster.runs_on(other, &owner)?;
    client.answered(SETTLE)?;
    Ok(outage(seen))
}

/// One of two links is cut: nothing moves and no request fails.
pub fn link_cut(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let cluster = lab.cluster(Shape::Trio)?;
    let owner = cluster.owner()?;
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    client.begin();
    net.cable(&owner, 1, false)?;
    let watcher = cluster.other(&owner);
    let link_is = |state: &'static str| {
        let owner = owner.clone();
        watcher.wait_status(&format!("a link to be {state}"), SETTLE, move |view| {
            let node = view.nodes.iter().find(|node| node.name == owner);
            node.is_some_and(|node| {
                node.links
                    .iter()
                    .any(|link| link.address.starts_with("10.81.1.") && link.state == state)
            })
        })
    };
    link_is("down")?;
    anyhow::ensure!(cluster.owner()? == owner, "the group moved for one of two links");
    net.cable(&owner, 1, true)?;
    link_is("up")?;
    client.no_outage()?;
    cluster.single()?;
    Ok(outage(client.seen()))
}

/// All cables of the node that runs redis are cut: the other fences it and takes over; it comes back by itself.
pub fn node_cut(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let power = lab.power.clone();
    let cluster = lab.cluster(Shape::Trio)?;
    let owner = cluster.owner()?;
    let other = cluster.other(&owner);
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    client.begin();
    for lan in 0..crate::net::MANAGEMENT {
        net.cable(&owner, lan, false)?;
    }
    cluster.runs_on(other, &other.name)?;
    client.answered(SETTLE)?;
    let seen = client.seen();
    let orders = power.take_orders();
    anyhow::ensure!(
        orders.iter().any(|order| order.ends_with(&format!(" {owner}"))),
        "{owner} was not fenced: {orders:?}"
    );
    // Its restart plugged it in anew; after a plain power-off somebody switches it on.
    cluster.machine(&owner).node().power_on()?;
    for lan in 0..crate::net::MANAGEMENT {
        net.cable(&owner, lan, true)?;
    }
    cluster.healthy()?;
    cluster.single()?;
    Ok(outage(seen))
}

/// Each daemon is killed in turn on the node that runs redis: systemd restarts it, and no request fails.
pub fn daemon_kill(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let cluster = lab.cluster(Shape::Trio)?;
    let owner = cluster.owner()?;
    let machine = cluster.machine(&owner);
    let redis = main_pid(cluster, &owner, "redis-server")?;
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    client.begin();
    for unit in ["had", "had-agentd"] {
        let before = main_pid(cluster, &owner, unit)?;
        machine.sh(&format!("kill -KILL {before}"))?;
        sh::wait(&format!("{unit} to be back"), SETTLE, || {
            let now = main_pid(cluster, &owner, unit).ok()?;
            (now != "0"
                && now != before
                && machine.look(&format!("systemctl is-active {unit}")).trim() == "active")
                .then_some(())
        })?;
        cluster.healthy()?;
    }
    client.no_outage()?;
    anyhow::ensure!(cluster.owner()? == owner, "the group moved");
    anyhow::ensure!(
        main_pid(cluster, &owner, "redis-server")? == redis,
        "redis was restarted"
    );
    Ok(outage(client.seen()))
}

fn main_pid(cluster: &Cluster, node: &str, unit: &str) -> Result<String> {
    let pid = cluster
        .machine(node)
        .sh(&format!("systemctl show --property MainPID --value {unit}"))?;
    Ok(pid.trim().to_string())
}

/// Both nodes lose their power at once and come back: the cluster runs again with nobody's help.
pub fn blackout(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let cluster = lab.cluster(Shape::Trio)?;
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    for machine in cluster.data() {
        machine.node().power_off()?;
    }
    for machine in cluster.data() {
        machine.node().power_on()?;
    }
    cluster.healthy()?;
    client.begin();
    client.answered(Duration::from_secs(30))?;
    cluster.single()?;
    Ok(format!("redis answers from {}", cluster.owner()?))
}

//! A pair without a witness.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::client::Client;
use crate::cluster::{SETTLE, Shape};
use crate::lab::Lab;
use crate::sh;

/// The nodes of a pair lose sight of each other, with power and cards intact on both: exactly one survives, each time.
pub fn fence_race(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let power = lab.power.clone();
    let (races, mut won) = (lab.races, [0u32; 2]);
    for run in 0..races {
        let cluster = lab.cluster(Shape::Pair)?;
        // Let each node be the one that runs the group in half of the runs.
        let wanted = if run % 2 == 0 { "n1" } else { "n2" };
        if cluster.owner()? != wanted {
            cluster
                .machine("n1")
                .sh(&format!("hactl move {} {wanted}", crate::cluster::GROUP))?;
            cluster.runs_on(cluster.machine("n1"), wanted)?;
        }
        let client = Client::start(&net)?;
        client.answered(SETTLE)?;
        net.part("n1", "n2")?;
        let first = sh::wait("one of the two to be fenced", SETTLE, || {
            power.take_orders().into_iter().next()
        })?;
        let loser = first.rsplit(' ').next().unwrap_or_default().to_string();
        let winner = cluster.other(&loser).name.clone();
        cluster.runs_on(cluster.machine(&winner), &winner)?;
        client.answered(SETTLE)?;
        cluster.single()?;
        let back = power.take_orders();
        anyhow::ensure!(
            !back.iter().any(|order| order.ends_with(&format!(" {winner}"))),
            "run {run}: both were fenced: {first}, {}",
            back.join(", ")
        );
        won[usize::from(winner == "n2")] += 1;
        net.heal()?;
        sh::wait("the fenced node's power", Duration::from_secs(30), || {
            cluster.machine(&loser).node().power_on().ok()
        })?;
        cluster.healthy()?;
    }
    Ok(format!(
        "{races} races, one survivor each: n1 {} times, n2 {} times",
        won[0], won[1]
    ))
}

/// Both nodes of a pair lose their power and come back: neither goes on alone, together they run the group again.
pub fn pair_blackout(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let power = lab.power.clone();
    let cluster = lab.cluster(Shape::Pair)?;
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    for machine in cluster.data() {
        machine.node().power_off()?;
    }
    drop(power.take_orders());
    let (first, second) = (cluster.machine("n1"), cluster.machine("n2"));
    first.node().power_on()?;
    first.wait_status("the first node to be up alone", SETTLE, |view| {
        !view.nodes.is_empty()
    })?;
    let alone = first.status().context("the first node does not answer")?;
    anyhow::ensure!(
        alone.groups.iter().all(|group| group.state != "running"),
        "a freshly booted node of a pair runs a group although nobody knows what the other does"
    );
    second.node().power_on()?;
    cluster.healthy()?;
    client.answered(SETTLE)?;
    cluster.single()?;
    let orders = power.take_orders();
    anyhow::ensure!(orders.is_empty(), "a node was fenced: {}", orders.join(", "));
    Ok(format!("redis answers from {}", cluster.owner()?))
}

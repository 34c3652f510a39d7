//! The witness in an etcd cluster of three members: what a witness is for, and what may become of etcd.

use std::time::Duration;

use anyhow::Result;

use super::failures::outage;
use crate::client::Client;
use crate::cluster::{SETTLE, Shape};
use crate::etcd::Etcd;
use crate::lab::Lab;
use crate::net::MANAGEMENT;

/// The node that runs redis loses its power, while one member of etcd is away: the other takes over with etcd's vote.
pub fn power_loss(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    lab.cluster(Shape::Etcd)?;
    lab.etcd()?.kill(0)?;
    let cluster = lab.cluster(Shape::Etcd)?;
    let owner = cluster.owner()?;
    let other = cluster.other(&owner);
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    client.begin();
    cluster.machine(&owner).node().power_off()?;
    cluster.runs_on(other, &other.name)?;
    client.answered(SETTLE)?;
    let seen = client.seen();
    cluster.machine(&owner).node().power_on()?;
    cluster.healthy()?;
    cluster.single()?;
    lab.etcd()?.run(0)?;
    Ok(outage(seen))
}

/// The nodes lose each other, both reach etcd: who leads keeps its groups, nobody is fenced, and no request fails.
pub fn nodes_part(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let power = lab.power.clone();
    let cluster = lab.cluster(Shape::Etcd)?;
    let owner = cluster.owner()?;
    let machine = cluster.machine(&owner);
    let other = cluster.other(&owner).name.clone();
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    client.begin();
    net.part("n1", "n2")?;
    machine.wait_status("the other node to be lost", SETTLE, |view| {
        view.nodes
            .iter()
            .any(|node| node.name == other && node.state != "online")
    })?;
    let mut head = lab.etcd_now()?.head()?;
    let cluster = lab.cluster_as_it_is()?;
    // Leases on etcd's word alone: so many writes take several of them.
    for _ in 0..20 {
        head = wait_other_head(lab.etcd_now()?, &head)?;
        // The other node cannot know.
        cluster.runs_on(cluster.machine(&owner), &owner)?;
        cluster.single()?;
    }
    client.no_outage()?;
    net.heal()?;
    cluster.healthy()?;
    let orders = power.take_orders();
    anyhow::ensure!(orders.is_empty(), "somebody was fenced: {orders:?}");
    Ok(format!(
        "{owner} went on with etcd's vote; {}",
        outage(client.seen())
    ))
}

/// The node that runs redis is cut off from the other and from etcd: the other fences it and takes over.
pub fn node_cut(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let power = lab.power.clone();
    let cluster = lab.cluster(Shape::Etcd)?;
    let owner = cluster.owner()?;
    let other = cluster.other(&owner);
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    client.begin();
    for lan in 0..MANAGEMENT {
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
    cluster.machine(&owner).node().power_on()?;
    for lan in 0..MANAGEMENT {
        net.cable(&owner, lan, true)?;
    }
    cluster.healthy()?;
    cluster.single()?;
    Ok(outage(seen))
}

/// The leader is cut off from etcd and not from the other node; then etcd is slow, then down beyond the grace, then back: no
/// request fails, nobody is fenced, and the witness is voted out and in again.
pub fn trouble(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let power = lab.power.clone();
    let owner = lab.cluster(Shape::Etcd)?.owner()?;
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    client.begin();
    lab.etcd()?.part(&owner)?;
    let cluster = lab.cluster_as_it_is()?;
    let machine = cluster.machine(&owner);
    machine.wait_status("the cut from etcd to be told", SETTLE, |view| {
        view.warnings
            .iter()
            .any(|warning| warning.contains("the witness etcd does not answer this node"))
    })?;
    net.heal()?;
    cluster.healthy()?;
    for _ in 0..20 {
        lab.etcd_now()?.hold(true)?;
        std::thread::sleep(Duration::from_millis(350));
        lab.etcd_now()?.hold(false)?;
        std::thread::sleep(Duration::from_millis(150));
    }
    (0..3).try_for_each(|member| lab.etcd()?.kill(member))?;
    let cluster = lab.cluster_as_it_is()?;
    let machine = cluster.machine(&owner);
    machine.wait_status("the witness to be voted out", SETTLE, |view| {
        view.voters.len() == 2
    })?;
    (0..3).try_for_each(|member| lab.etcd()?.run(member))?;
    lab.etcd()?.answers()?;
    let cluster = lab.cluster_as_it_is()?;
    cluster.healthy()?;
    anyhow::ensure!(cluster.owner()? == owner, "the group moved");
    cluster.single()?;
    client.no_outage()?;
    let orders = power.take_orders();
    anyhow::ensure!(orders.is_empty(), "somebody was fenced: {orders:?}");
    Ok(outage(client.seen()))
}

/// Etcd loses its data, and a little later goes back to an old record: each time the witness is blank, is voted out, made
/// anew under another identity and voted in.
pub fn wiped(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let power = lab.power.clone();
    let owner = lab.cluster(Shape::Etcd)?.owner()?;
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    client.begin();
    let first = lab.etcd()?.head()?;
    lab.etcd()?.ctl(&["del", "--prefix", "/holdfast/"])?;
    let second = made_anew(lab, &first)?;
    lab.etcd_now()?.back_up()?;
    wait_other_head(lab.etcd_now()?, &second)?;
    lab.etcd_now()?.restore()?;
    let third = made_anew(lab, &second)?;
    let cluster = lab.cluster_as_it_is()?;
    cluster.healthy()?;
    anyhow::ensure!(cluster.owner()? == owner, "the group moved");
    cluster.single()?;
    client.no_outage()?;
    let orders = power.take_orders();
    anyhow::ensure!(orders.is_empty(), "somebody was fenced: {orders:?}");
    Ok(format!(
        "{}, then {}, then {}; {}",
        identity(&first),
        identity(&second),
        identity(&third),
        outage(client.seen())
    ))
}

/// Waits until the witness votes with another register than the one of `before`; the line of it.
fn made_anew(lab: &Lab, before: &str) -> Result<String> {
    let cluster = lab.cluster_as_it_is()?;
    let etcd = lab.etcd_now()?;
    let head = crate::sh::wait("another register", SETTLE, || {
        let head = etcd.head().ok()?;
        (!head.is_empty() && identity(&head) != identity(before)).then_some(head)
    })?;
    cluster.whole(SETTLE)?;
    etcd.head().map(|now| if now.is_empty() { head } else { now })
}

fn identity(head: &str) -> &str {
    let mut words = head.split(' ');
    words
        .find_map(|word| word.strip_prefix("register="))
        .unwrap_or("none")
}

/// Waits until the witness was written since `before`.
fn wait_other_head(etcd: &Etcd, before: &str) -> Result<String> {
    crate::sh::wait("the leader to be backed", SETTLE, || {
        etcd.head().ok().filter(|head| head != before)
    })
}

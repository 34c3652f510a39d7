//! Fencing through management boards, and what happens when they do not answer.

use anyhow::{Result, ensure};

use super::Outcome;
use super::takeover::{Active, isolate, waits};
use crate::lab::Lab;

/// The agent that operators use.
pub fn fence_ipmilan(lab: &mut Lab) -> Result<Outcome> {
    powered_off(lab, "fence_ipmilan")
}

/// Ours.
pub fn ipmi(lab: &mut Lab) -> Result<Outcome> {
    powered_off(lab, "ipmi")
}

/// The active node is cut off: its board switches it off before the service runs elsewhere, and on again.
fn powered_off(lab: &mut Lab, agent: &str) -> Result<Outcome> {
    equip(lab, agent)?;
    let active = Active::find(lab)?;
    isolate(lab, &active.name)?;
    let (mut outcome, began) = active.taken_over(lab, &["power"])?;
    let off = format!("off {}", active.name);
    let orders = lab.power.orders();
    let done = orders
        .iter()
        .find(|order| order.text == off)
        .map(|order| order.at);
    ensure!(
        done.is_some_and(|at| at < began),
        "{} was not off before: {orders:?}",
        active.name
    );
    let took = done.map_or(0, |at| at.saturating_duration_since(active.struck).as_millis());
    lab.net.heal()?;
    active.back(lab)?;
    outcome.seen = format!("{} was off after {took} ms; {}", active.name, outcome.seen);
    Ok(outcome)
}

/// Server and board hang on one supply.
pub fn dead_with_server(lab: &mut Lab) -> Result<Outcome> {
    equip(lab, "ipmi")?;
    let active = Active::find(lab)?;
    lab.board(&active.name)?.kill()?;
    let cluster = lab.cluster()?;
    active.machine(cluster).vm().power_off()?;
    let (outcome, _) = active.taken_over(lab, &["watchdog"])?;
    lab.board(&active.name)?.run()?;
    active.back(lab)?;
    Ok(outcome)
}

/// The same without a watchdog: nobody can know whether it runs, so the survivor says so, and an operator's word is enough.
pub fn dead_without_watchdog(lab: &mut Lab) -> Result<Outcome> {
    equip(lab, "ipmi")?;
    let active = Active::find(lab)?;
    lab.board(&active.name)?.kill()?;
    let cluster = lab.cluster()?;
    active.machine(cluster).vm().power_off()?;
    let confirm = format!("hactl fence confirm {}", active.name);
    let survivor = cluster.other(&active.name);
    let why = waits(survivor, &confirm)?;
    survivor.sh(&format!("{confirm} --reason 'its power is cut' --yes"))?;
    let (mut outcome, _) = active.taken_over(lab, &["operator"])?;
    lab.board(&active.name)?.run()?;
    active.back(lab)?;
    outcome.seen = format!("waited: {why}; then {}", outcome.seen);
    Ok(outcome)
}

/// The same in a pair: the other one's word is missing as well, so nothing can be decided.
pub fn dead_in_a_pair(lab: &mut Lab) -> Result<Outcome> {
    let active = Active::find(lab)?;
    lab.board(&active.name)?.kill()?;
    let cluster = lab.cluster()?;
    active.machine(cluster).vm().power_off()?;
    let survivor = cluster.other(&active.name);
    let why = waits(survivor, "hactl quorum force")?;
    let elsewhere = lab.watch.runs().into_iter().find(|run| run.node != active.name);
    ensure!(
        elsewhere.is_none(),
        "the service runs elsewhere without any proof that {} ended",
        active.name
    );
    lab.board(&active.name)?.run()?;
    let (mut outcome, _) = active.taken_over(lab, &["power", "reset"])?;
    active.back(lab)?;
    outcome.seen = format!("waited: {why}; its board back, {}", outcome.seen);
    Ok(outcome)
}

/// The network takes the board away as well: nobody can ask it, and the server runs on.
pub fn unreachable(lab: &mut Lab) -> Result<Outcome> {
    equip(lab, "ipmi")?;
    let active = Active::find(lab)?;
    lab.board(&active.name)?.hold(true)?;
    isolate(lab, &active.name)?;
    let (outcome, _) = active.taken_over(lab, &["watchdog"])?;
    lab.board(&active.name)?.hold(false)?;
    lab.net.heal()?;
    active.whole(lab)?;
    Ok(outcome)
}

/// Gives the cluster the boards as fence devices through `agent`, and has them tested.
pub fn equip(lab: &Lab, agent: &str) -> Result<()> {
    let cluster = lab.cluster()?;
    let devices = cluster.devices(agent);
    cluster.configure(|config| config + &devices)?;
    cluster.healthy()?;
    let name = cluster.owner()?;
    cluster
        .other(&name)
        .sh(&format!("hactl fence test {name}"))
        .map(|_| ())
}

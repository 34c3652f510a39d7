//! Members are cut from each other: the service goes on in exactly one place.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Outcome;
use super::takeover::{Active, isolate};
use crate::cluster::SETTLE;
use crate::lab::Lab;
use crate::sh;

/// So recently must a service have been heard to be running.
const FRESH: Duration = Duration::from_millis(500);

/// The active node is alone: it stops, and the others go on.
pub fn active(lab: &mut Lab) -> Result<Outcome> {
    let active = Active::find(lab)?;
    isolate(lab, &active.name)?;
    let (outcome, _) = active.taken_over(lab, &["watchdog"])?;
    ensure!(
        running(lab) == [lab.cluster()?.other(&active.name).name.clone()],
        "it runs on {:?}",
        running(lab)
    );
    lab.net.heal()?;
    active.whole(lab)?;
    Ok(outcome)
}

/// The passive node is alone: nothing moves.
pub fn passive(lab: &mut Lab) -> Result<Outcome> {
    let active = Active::find(lab)?;
    let alone = lab.cluster()?.other(&active.name).name.clone();
    isolate(lab, &alone)?;
    undisturbed(lab, &active, &alone)
}

/// The witness is alone: nothing moves.
pub fn witness(lab: &mut Lab) -> Result<Outcome> {
    let active = Active::find(lab)?;
    isolate(lab, "witness")?;
    undisturbed(lab, &active, "witness")
}

/// The nodes see the witness and not each other: nothing moves.
pub fn nodes(lab: &mut Lab) -> Result<Outcome> {
    let active = Active::find(lab)?;
    let other = lab.cluster()?.other(&active.name).name.clone();
    lab.net.part(&active.name, &other)?;
    undisturbed(lab, &active, &other)
}

/// The service goes on where it is, although `lost` is lost.
fn undisturbed(lab: &Lab, active: &Active, lost: &str) -> Result<Outcome> {
    let cluster = lab.cluster()?;
    let machine = active.machine(cluster);
    machine.wait_status(&format!("{lost} to be lost"), SETTLE, |view| {
        view.nodes
            .iter()
            .any(|node| node.name == lost && node.state != "online")
    })?;
    lab.client.answered_by(&active.name, SETTLE)?;
    ensure!(
        running(lab) == [active.name.clone()],
        "it runs on {:?}",
        running(lab)
    );
    lab.net.heal()?;
    active.whole(lab)?;
    ensure!(lab.cluster()?.owner()? == active.name, "the group moved");
    let mut outcome = Outcome::new(format!("{} ran on without {lost}", active.name), lab.watch.dual());
    outcome.outage_ms = Some(lab.client.seen().gap.as_millis());
    Ok(outcome)
}

/// A pair is cut; both nodes reach both boards.
pub fn pair(lab: &mut Lab) -> Result<Outcome> {
    let active = Active::find(lab)?;
    let cluster = lab.cluster()?;
    lab.net.part("n1", "n2")?;
    let first = sh::wait("one of the two to be fenced", SETTLE, || {
        lab.power.orders().into_iter().next()
    })?;
    let loser = first.text.rsplit(' ').next().unwrap_or_default().to_string();
    let winner = cluster.other(&loser).name.clone();
    lab.client.answered_by(&winner, SETTLE)?;
    let outage = lab.client.seen().gap;
    lab.net.heal()?;
    sh::wait("the fenced node's power", SETTLE, || {
        cluster.machine(&loser).vm().power_on().ok()
    })?;
    cluster.machine(&loser).booted()?;
    active.whole(lab)?;
    let orders = lab.power.orders();
    ensure!(
        orders
            .iter()
            .all(|order| order.text.ends_with(&format!(" {loser}"))),
        "both were fenced: {orders:?}"
    );
    let seen = format!(
        "{winner} fenced {loser} after {} ms",
        (first.at - active.struck).as_millis()
    );
    let mut outcome = Outcome::new(seen, lab.watch.dual());
    outcome.outage_ms = Some(outage.as_millis());
    let said = cluster
        .machine(&winner)
        .sh("hactl fence history --json")
        .context("the ledger")?;
    outcome.proof = said.contains("\"power\"").then(|| "power".into());
    ensure!(outcome.proof.is_some(), "no power proof in the ledger: {said}");
    Ok(outcome)
}

/// The nodes on which the service was heard a moment ago.
fn running(lab: &Lab) -> Vec<String> {
    let now = Instant::now();
    let runs = lab.watch.runs();
    let fresh = runs
        .iter()
        .filter(|run| now.saturating_duration_since(run.last) < FRESH);
    fresh.map(|run| run.node.clone()).collect()
}

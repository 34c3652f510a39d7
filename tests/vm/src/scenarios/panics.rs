//! The kernel, or the whole machine, stops doing anything.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Outcome;
use super::takeover::Active;
use crate::lab::Lab;

/// A panic, after which the kernel hangs; there is only the watchdog.
pub fn sysrq(lab: &mut Lab) -> Result<Outcome> {
    let active = Active::find(lab)?;
    let cluster = lab.cluster()?;
    let machine = active.machine(cluster);
    machine.start_the_end("echo c > /proc/sysrq-trigger");
    machine.events.wait("GUEST_PANICKED", crate::cluster::SETTLE)?;
    let fired = active.reset_by_watchdog(cluster)?;
    let (mut outcome, _) = active.taken_over(lab, &["watchdog", "reset"])?;
    active.back(lab)?;
    outcome.seen = format!(
        "the watchdog fired after {} ms; {}",
        fired.as_millis(),
        outcome.seen
    );
    Ok(outcome)
}

/// A panic by NMI on a node with a management board.
pub fn nmi(lab: &mut Lab) -> Result<Outcome> {
    let cluster = lab.cluster()?;
    let devices = cluster.devices("ipmi");
    cluster.configure(|config| config + &devices)?;
    let name = cluster.owner()?;
    cluster
        .machine(&name)
        .sh("sysctl -q kernel.unknown_nmi_panic=1")?;
    let active = Active::find(lab)?;
    let machine = active.machine(cluster);
    machine.vm().ask("inject-nmi", Value::Null)?;
    machine.events.wait("GUEST_PANICKED", crate::cluster::SETTLE)?;
    let (outcome, _) = active.taken_over(lab, &["power"])?;
    active.back(lab)?;
    Ok(outcome)
}

/// The machine stands still with all its clocks, its watchdog included: nothing in it can act, only its board can.
pub fn frozen(lab: &mut Lab) -> Result<Outcome> {
    let cluster = lab.cluster()?;
    let devices = cluster.devices("ipmi");
    cluster.configure(|config| config + &devices)?;
    let active = Active::find(lab)?;
    active.machine(cluster).vm().ask("stop", Value::Null)?;
    let (outcome, _) = active.taken_over(lab, &["power"])?;
    ensure!(
        lab.power
            .orders()
            .iter()
            .any(|order| order.text == format!("off {}", active.name)),
        "the board did not power {} off",
        active.name
    );
    active.back(lab)?;
    Ok(outcome)
}

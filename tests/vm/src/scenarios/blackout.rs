//! Both nodes lose their power, and one of them comes back.

use anyhow::{Result, ensure};

use super::Outcome;
use super::takeover::{Active, waits};
use crate::cluster::SETTLE;
use crate::lab::Lab;

/// With boards: the node that does not come back is fenced after the grace, and the other goes on.
pub fn with_boards(lab: &mut Lab) -> Result<Outcome> {
    let cluster = lab.cluster()?;
    let devices = cluster.devices("ipmi");
    cluster.configure(|config| short_grace(&config) + &devices)?;
    let active = Active::find(lab)?;
    dark(lab)?;
    cluster.other(&active.name).vm().power_on()?;
    let (outcome, _) = active.taken_over(lab, &["power"])?;
    active.back(lab)?;
    Ok(outcome)
}

/// Without boards: that the node which does not come back had an armed watchdog is committed, so it counts although nobody has
/// heard that node since.
pub fn without_boards(lab: &mut Lab) -> Result<Outcome> {
    let cluster = lab.cluster()?;
    cluster.configure(|config| short_grace(&config))?;
    let active = Active::find(lab)?;
    dark(lab)?;
    cluster.other(&active.name).vm().power_on()?;
    let (outcome, _) = active.taken_over(lab, &["watchdog"])?;
    active.back(lab)?;
    Ok(outcome)
}

/// A pair: a node alone waits for its peer, and says so; with it, it goes on.
pub fn pair(lab: &mut Lab) -> Result<Outcome> {
    let active = Active::find(lab)?;
    dark(lab)?;
    let cluster = lab.cluster()?;
    let other = cluster.other(&active.name);
    other.vm().power_on()?;
    let why = waits(other, "hactl quorum force")?;
    let elsewhere = lab.watch.runs().into_iter().find(|run| run.node != active.name);
    ensure!(
        elsewhere.is_none(),
        "a freshly booted node of a pair runs a group although nobody knows what the other does"
    );
    ensure!(
        lab.power.orders().is_empty(),
        "a node was fenced: {:?}",
        lab.power.orders()
    );
    active.back(lab)?;
    lab.client.answered_by(&cluster.owner()?, SETTLE)?;
    let mut outcome = Outcome::new(
        format!("waited: {why}; with {} back it went on", active.name),
        lab.watch.dual(),
    );
    outcome.outage_ms = Some(lab.client.seen().gap.as_millis());
    Ok(outcome)
}

/// Cuts the power of both nodes.
fn dark(lab: &Lab) -> Result<()> {
    let [first, second] = lab.cluster()?.data();
    first.vm().power_off()?;
    second.vm().power_off()
}

/// `config` with a grace that a test can wait for.
fn short_grace(config: &str) -> String {
    config.replacen("[cluster]", "[cluster]\nstartup_grace = \"10s\"", 1)
}

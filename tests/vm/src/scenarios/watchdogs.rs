//! A node that must not run what it runs ends: by itself, or by its watchdog where nobody can enforce permits any more.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Outcome;
use super::takeover::{Active, isolate};
use crate::cluster::{GROUP, SETTLE, WATCHDOG};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::sh;

/// `had-agentd` is stopped where it is.
pub fn agentd_stopped(lab: &mut Lab) -> Result<Outcome> {
    let active = Active::find(lab)?;
    let machine = active.machine(lab.cluster()?);
    machine.sh("kill -STOP $(systemctl show --property MainPID --value had-agentd)")?;
    reset(lab, &active)
}

/// `had-agentd` is killed and nobody starts it again.
pub fn agentd_killed(lab: &mut Lab) -> Result<Outcome> {
    let cluster = lab.cluster()?;
    let name = cluster.owner()?;
    let drop_in = "/run/systemd/system/had-agentd.service.d";
    cluster.machine(&name).sh(&format!(
        "mkdir -p {drop_in} && printf '[Service]\\nRestart=no\\n' > {drop_in}/once.conf && systemctl daemon-reload"
    ))?;
    let active = Active::find(lab)?;
    active
        .machine(lab.cluster()?)
        .sh("kill -KILL $(systemctl show --property MainPID --value had-agentd)")?;
    reset(lab, &active)
}

/// `had-agentd` is restarted and killed on both nodes, with something running and without: each time the next one holds the
/// watchdog, and nobody is reset.
pub fn agentd_restarted(lab: &mut Lab) -> Result<Outcome> {
    let active = Active::find(lab)?;
    let cluster = lab.cluster()?;
    for machine in cluster.data() {
        machine.events.clear();
        for how in ["restart", "kill -s KILL"] {
            let before = armed(machine)?;
            machine.sh(&format!("systemctl {how} had-agentd"))?;
            let what = format!(
                "the watchdog of {} to be held after systemctl {how}",
                machine.name
            );
            sh::wait(&what, SETTLE, || (armed(machine).ok()? > before).then_some(()))?;
        }
    }
    // So long that a watchdog which nobody pets has fired.
    std::thread::sleep(WATCHDOG * 2);
    for machine in cluster.data() {
        let events = ["WATCHDOG", "RESET"].map(|event| machine.events.first(event).is_some());
        ensure!(events == [false, false], "{} was reset", machine.name);
    }
    active.whole(lab)?;
    ensure!(lab.cluster()?.owner()? == active.name, "the group moved");
    let seen = "each next had-agentd held the watchdog, and nobody was reset".to_string();
    let mut outcome = Outcome::new(seen, lab.watch.dual());
    outcome.outage_ms = Some(lab.client.seen().gap.as_millis());
    Ok(outcome)
}

/// How often a `had-agentd` of this boot has taken the watchdog in hand.
fn armed(machine: &Machine) -> Result<usize> {
    let said = machine.sh("journalctl -b --no-pager -o cat -u had-agentd")?;
    Ok(said.lines().filter(|line| line.contains(" armed, ")).count())
}

/// The node is cut off, so that its permit lapses, and what it runs cannot be killed: it waits for a file system that
/// is frozen. It ends itself before its watchdog has to.
pub fn hung_stop(lab: &mut Lab) -> Result<Outcome> {
    let active = stuck(lab)?;
    isolate(lab, &active.name)?;
    let machine = active.machine(lab.cluster()?);
    let ended = machine
        .events
        .wait("RESET", SETTLE)
        .context("the node did not end itself")?;
    ensure!(
        machine.events.first("WATCHDOG").is_none(),
        "its watchdog fired: {} did not end itself",
        active.name
    );
    ensure!(tried(machine)?, "{} was reset, and not by itself", active.name);
    let ended = ended.saturating_duration_since(active.struck);
    taken_over_after(lab, &active, ended, "the node ended itself")
}

/// The same where the kernel's own reset does nothing: the watchdog has gone on counting, and fires.
pub fn hung_stop_no_reset(lab: &mut Lab) -> Result<Outcome> {
    let active = stuck(lab)?;
    let machine = active.machine(lab.cluster()?);
    without_reset(machine)?;
    isolate(lab, &active.name)?;
    let outcome = reset(lab, &active)?;
    ensure!(tried(machine)?, "{} did not try to end itself", active.name);
    Ok(outcome)
}

/// The same, and `had-agentd` dies again and again meanwhile: none of its starts may begin the count anew.
pub fn hung_stop_crashes(lab: &mut Lab) -> Result<Outcome> {
    let active = stuck(lab)?;
    let machine = active.machine(lab.cluster()?);
    without_reset(machine)?;
    isolate(lab, &active.name)?;
    lapsed(machine)?;
    // Late, when a count that its death began anew would end long after the others' own.
    machine.start("sleep 2; while :; do systemctl kill -s KILL had-agentd; sleep 1; done")?;
    reset_in_time(lab, &active)
}

/// The same, and an operator stops `had-agentd` meanwhile: that closes the watchdog, which would begin the count anew.
pub fn hung_stop_stopped(lab: &mut Lab) -> Result<Outcome> {
    let active = stuck(lab)?;
    let machine = active.machine(lab.cluster()?);
    without_reset(machine)?;
    isolate(lab, &active.name)?;
    lapsed(machine)?;
    machine.start("sleep 2; systemctl stop had-agentd")?;
    reset_in_time(lab, &active)
}

/// Waits until the watchdog is not petted any more, because a group runs beyond its permit.
fn lapsed(machine: &Machine) -> Result<()> {
    sh::wait("the permit to lapse", SETTLE, || {
        let lapsed = "journalctl -b --no-pager -o cat -u had-agentd | grep 'no longer petted'";
        machine.sh(lapsed).ok().map(|_| ())
    })
}

/// [`reset`], and the device was not closed before.
fn reset_in_time(lab: &Lab, active: &Active) -> Result<Outcome> {
    let outcome = reset(lab, active)?;
    ensure!(
        !said(active.machine(lab.cluster()?), "watchdog did not stop")?,
        "the kernel began the watchdog's count anew when had-agentd ended"
    );
    Ok(outcome)
}

/// Gives the active node something to run that cannot be stopped any more.
fn stuck(lab: &Lab) -> Result<Active> {
    let cluster = lab.cluster()?;
    let name = cluster.owner()?;
    let machine = cluster.machine(&name);
    machine.sh("mkfs.ext4 -q /dev/vdb && mkdir -p /srv/stuck && mount /dev/vdb /srv/stuck")?;
    let writer = "while :; do echo $$ > /srv/stuck/file; sleep 0.1; done";
    let resource = format!(
        "[[group.resource]]\nname = \"writer\"\ntype = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", \"{writer}\"]\n\n"
    );
    // The other node has the folder, not the trouble.
    cluster.other(&name).sh("mkdir -p /srv/stuck")?;
    cluster.configure(|config| first_resource(&config, &resource))?;
    machine.sh(&format!(
        "hactl resource disable {GROUP} && hactl resource enable {GROUP}"
    ))?;
    sh::wait("the writer to write", SETTLE, || {
        machine.sh("test -s /srv/stuck/file").ok()
    })?;
    let active = Active::find(lab)?;
    machine.sh("fsfreeze -f /srv/stuck")?;
    Ok(active)
}

/// `config` with `resource` as the first one of the group.
fn first_resource(config: &str, resource: &str) -> String {
    // At the beginning of a line: comments have it too.
    let section = "\n[[group.resource]]";
    config.replacen(section, &format!("\n{resource}{}", section.trim_start()), 1)
}

/// Takes the kernel's own reset from a machine, until its next boot.
fn without_reset(machine: &Machine) -> Result<()> {
    machine
        .sh("mount --bind /dev/null /proc/sysrq-trigger")
        .map(|_| ())
}

/// True if the machine tried to end itself.
fn tried(machine: &Machine) -> Result<bool> {
    said(machine, "this node ends itself before its watchdog does")
}

/// True if these words stand on the machine's console, whichever of its boots wrote them.
fn said(machine: &Machine, words: &str) -> Result<bool> {
    let console = std::fs::read(machine.vm().files.at("console")).context("the console")?;
    Ok(String::from_utf8_lossy(&console).contains(words))
}

/// The watchdog fires, the other node takes over, and the node is back and says why it booted.
fn reset(lab: &Lab, active: &Active) -> Result<Outcome> {
    let cluster = lab.cluster()?;
    let fired = active.reset_by_watchdog(cluster)?;
    let mut outcome = taken_over_after(lab, active, fired, "the watchdog fired")?;
    let said = boot_status(active.machine(cluster))?;
    outcome.seen = format!("{}; back, {} said: {said}", outcome.seen, active.name);
    Ok(outcome)
}

/// The node ended `ended` after it was struck, as `how` says: the other one takes over, not before that, and it is back.
fn taken_over_after(lab: &Lab, active: &Active, ended: Duration, how: &str) -> Result<Outcome> {
    let (mut outcome, began) = active.taken_over(lab, &["watchdog", "reset"])?;
    let began = began.saturating_duration_since(active.struck);
    ensure!(
        began > ended,
        "the service ran elsewhere {} ms before {how}",
        (ended - began).as_millis()
    );
    lab.net.heal()?;
    active.back(lab)?;
    outcome.seen = format!(
        "{how} after {} ms, the service ran elsewhere after {} ms; {}",
        ended.as_millis(),
        began.as_millis(),
        outcome.seen
    );
    Ok(outcome)
}

/// What `had-agentd` says about the reason of this boot.
fn boot_status(machine: &Machine) -> Result<String> {
    let said = machine.sh("journalctl -b --no-pager -o cat -u had-agentd")?;
    let line = said.lines().find(|line| line.contains("because the watchdog"));
    ensure!(
        line.is_some(),
        "{} does not say that its watchdog reset it: {said}",
        machine.name
    );
    Ok(line.unwrap_or_default().trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_resource_comes_before_all_others() {
        let config = "# [[group.resource]]\n[[group]]\nname = \"g\"\n[[group.resource]]\nname = \"a\"\n[[group.resource]]\nname = \"b\"\n";
        let changed = first_resource(config, "[[group.resource]]\nname = \"new\"\n\n");
        let names: Vec<&str> = changed.lines().filter(|line| line.starts_with("name")).collect();
        assert_eq!(
            names,
            ["name = \"g\"", "name = \"new\"", "name = \"a\"", "name = \"b\""]
        );
    }
}

//! The watchdog resets a node on which nobody enforces permits any more.

use anyhow::{Result, ensure};

use super::Outcome;
use super::takeover::{Active, isolate};
use crate::cluster::{GROUP, SETTLE};
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

/// The node is cut off, so that its permit lapses, and what it runs cannot be killed: it waits for a file system that
/// is frozen.
pub fn hung_stop(lab: &mut Lab) -> Result<Outcome> {
    let active = stuck(lab)?;
    isolate(lab, &active.name)?;
    reset(lab, &active)
}

/// The same, and `had-agentd` dies again and again meanwhile: none of its starts may begin the count anew.
pub fn hung_stop_crashes(lab: &mut Lab) -> Result<Outcome> {
    let active = stuck(lab)?;
    isolate(lab, &active.name)?;
    let machine = active.machine(lab.cluster()?);
    sh::wait("the permit to lapse", SETTLE, || {
        let lapsed = "journalctl -b --no-pager -o cat -u had-agentd | grep 'no longer petted'";
        machine.sh(lapsed).ok()
    })?;
    machine.start("while :; do systemctl kill -s KILL had-agentd; sleep 1; done")?;
    reset(lab, &active)
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

/// The watchdog fires, the other node takes over, and the node is back and says why it booted.
fn reset(lab: &Lab, active: &Active) -> Result<Outcome> {
    let cluster = lab.cluster()?;
    let fired = active.reset_by_watchdog(cluster)?;
    let (mut outcome, began) = active.taken_over(lab, &["watchdog", "reset"])?;
    let began = began.saturating_duration_since(active.struck);
    ensure!(
        began > fired,
        "the service ran elsewhere {} ms before the watchdog fired",
        (fired - began).as_millis()
    );
    lab.net.heal()?;
    active.back(lab)?;
    let said = boot_status(active.machine(cluster))?;
    outcome.seen = format!(
        "the watchdog fired after {} ms, the service ran elsewhere after {} ms; {}; back, {} said: {said}",
        fired.as_millis(),
        began.as_millis(),
        outcome.seen,
        active.name
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

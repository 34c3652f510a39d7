//! What most scenarios have in common: something happens to the active node, and the other one takes over.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Outcome;
use crate::cluster::{Cluster, GROUP, SETTLE};
use crate::lab::Lab;
use crate::ledger;
use crate::machine::Machine;
use crate::sh;

/// How long a takeover may take: a countdown, elections, and a slow machine.
const TAKEOVER: Duration = Duration::from_secs(240);

/// The active node before it was struck.
pub struct Active {
    /// Its name.
    pub name: String,
    /// The boot that it was in.
    pub boot: String,
    /// When it was struck.
    pub struck: Instant,
}

impl Active {
    /// The active node: it answers clients. What is measured begins now.
    pub fn find(lab: &Lab) -> Result<Active> {
        let cluster = lab.cluster()?;
        let name = cluster.owner()?;
        let machine = cluster.machine(&name);
        let boot = machine.boot()?;
        lab.client.answered_by(&name, SETTLE)?;
        lab.client.begin();
        lab.watch.clear();
        machine.events.clear();
        Ok(Active {
            name,
            boot,
            struck: Instant::now(),
        })
    }

    /// Its machine.
    pub fn machine<'a>(&self, cluster: &'a Cluster) -> &'a Machine {
        cluster.machine(&self.name)
    }

    /// Waits until the other node has taken over: the service runs there and answers, never in two places, and the
    /// takeover rests on a proof of one of the kinds `expected`.
    pub fn taken_over(&self, lab: &Lab, expected: &[&str]) -> Result<(Outcome, Instant)> {
        let cluster = lab.cluster()?;
        let survivor = cluster.other(&self.name);
        let began = lab.watch.began(&survivor.name, self.struck, TAKEOVER)?;
        lab.client.answered_by(&survivor.name, SETTLE)?;
        let outage = lab.client.seen().gap;
        let proof = ledger::proof(survivor, &self.name).context("what the takeover rests on")?;
        let seen = proof.evidence.join("; ");
        ensure!(
            expected.contains(&proof.kind.as_str()),
            "the takeover rests on {}, not {expected:?}: {seen}",
            proof.kind
        );
        let dual = lab.watch.dual();
        ensure!(
            dual.is_zero(),
            "both nodes were active for {} ms",
            dual.as_millis()
        );
        let mut outcome = Outcome::new(seen, dual);
        outcome.outage_ms = Some(outage.as_millis());
        outcome.proof = Some(proof.kind);
        Ok((outcome, began))
    }

    /// Waits until its watchdog has fired; how long that took.
    pub fn reset_by_watchdog(&self, cluster: &Cluster) -> Result<Duration> {
        let machine = self.machine(cluster);
        let fired = machine
            .events
            .wait("WATCHDOG", TAKEOVER)
            .context("the watchdog did not fire")?;
        Ok(fired.saturating_duration_since(self.struck))
    }

    /// Waits until it is back in another boot and the cluster is whole, with the group in one place all the time.
    pub fn back(&self, lab: &Lab) -> Result<()> {
        let cluster = lab.cluster()?;
        let machine = self.machine(cluster);
        machine.vm().power_on()?;
        machine.booted()?;
        ensure!(machine.boot()? != self.boot, "{} did not boot again", self.name);
        self.whole(lab)
    }

    /// Waits until the cluster is whole, with the group in one place all the time.
    pub fn whole(&self, lab: &Lab) -> Result<()> {
        lab.cluster()?.healthy()?;
        let dual = lab.watch.dual();
        ensure!(
            dual.is_zero(),
            "both nodes were active for {} ms",
            dual.as_millis()
        );
        Ok(())
    }
}

/// Cuts every link between `name` and everybody else, its board excepted.
pub fn isolate(lab: &Lab, name: &str) -> Result<()> {
    for other in ["n1", "n2", "witness"].iter().filter(|other| **other != name) {
        lab.net.part(name, other)?;
    }
    Ok(())
}

/// Waits until `machine` says which command resolves what it waits for; its sentence.
pub fn waits(machine: &Machine, command: &str) -> Result<String> {
    machine.booted()?;
    let mut last = String::new();
    let found = sh::wait(&format!("{} to name {command}", machine.name), SETTLE, || {
        last = machine.look(&format!("hactl why {GROUP}; hactl status"));
        let flat = last.split_whitespace().collect::<Vec<_>>().join(" ");
        flat.contains(command).then_some(flat)
    });
    let said = found.with_context(|| format!("it says: {last}"))?;
    let at = said.find(command).unwrap_or(0);
    let from = said[..at].rfind(['.', ';', '!']).map_or(0, |dot| dot + 1);
    Ok(said[from..at + command.len()].trim().to_string())
}

//! Reads what a run left in its directory, and says whether a promise was broken.

mod events;
mod outages;
mod overlap;
mod power;
mod proofs;
mod reasons;
mod writes;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::GROUPS;
use super::history::{Fault, read_faults};
use super::ledger::{self, Ledger};
use super::workloads::attempt::{
    Attempt, Origin, Outcome, Stall, attempts_file, content_file, origin_file, read_lines, stalls_file,
};
use super::workloads::journals::power_file;
use events::Event;
use outages::{Outage, Served};
use power::Power;

/// A group has to be back this much after the last fault that could prevent it was undone: the bound that the
/// simulator asks for, too.
const BOUND_MS: u64 = 120_000;

/// What the checker found. A run is good if the first five lists are empty.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// Each trace of two processes having the data of a group at once, in words with evidence.
    pub overlaps: Vec<String>,
    /// Each acknowledged write that is not there, and whatever else contradicts what clients were told.
    pub lost_writes: Vec<String>,
    /// Each outage that no injected fault explains, or that went on too long after it.
    pub unexplained_outages: Vec<String>,
    /// Each time a group left a node and the journals do not show a proof, and each proof that was no fact.
    pub unproven_takeovers: Vec<String>,
    /// Each outage about which the journals say nothing.
    pub outages_without_reason: Vec<String>,
    /// How often a group left a node, by the proof on which it did.
    pub releases_by_proof: BTreeMap<String, u64>,
    /// Longest outage of any group, in seconds, faults included.
    pub longest_outage_s: f64,
    /// Longest time that a group took to come back, in seconds: from the beginning of an outage, or from the instant
    /// during it at which the last fault that could prevent it was undone.
    pub longest_recovery_s: f64,
    /// Acknowledged writes, by group; records, for the ledger.
    pub acknowledged: BTreeMap<String, u64>,
    /// Writes of which nobody knows what became of them, by group.
    pub unknown: BTreeMap<String, u64>,
    /// How often the data of a group was opened.
    pub openings: BTreeMap<String, u64>,
    /// All outages, with what is known of each.
    pub outages: Vec<Judged>,
}

/// An outage and its explanation.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// When it was, and of what.
    #[serde(flatten)]
    pub outage: Outage,
    /// How long the group took to come back after the last fault that could prevent it.
    pub recovery_ms: u64,
    /// The faults that explain it.
    pub causes: Vec<String>,
    /// What a journal says about it.
    pub reason: Option<String>,
    /// It was too short for a probe, so that nobody could notice it.
    pub is_below_probes: bool,
}

impl Verdict {
    /// True if no promise was broken.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let lists = [
            &self.overlaps,
            &self.lost_writes,
            &self.unexplained_outages,
            &self.unproven_takeovers,
            &self.outages_without_reason,
        ];
        lists.into_iter().all(Vec::is_empty)
    }
}

/// What a run left, read.
struct Evidence {
    origin: Origin,
    faults: Vec<Fault>,
    events: Vec<Event>,
    stalls: Vec<(u64, u64)>,
    power: Power,
    ledgers: BTreeMap<&'static str, Ledger>,
    attempts: BTreeMap<&'static str, Vec<Attempt>>,
}

/// Checks the run in `dir`; `shared` is a copy of what the nodes shared, or that directory itself.
pub fn check(dir: &Path, shared: &Path) -> Result<Verdict> {
    let evidence = Evidence::read(dir, shared)?;
    let mut verdict = Verdict::default();
    for group in GROUPS {
        let ledger = &evidence.ledgers[group];
        verdict.overlaps.extend(overlap::overlaps(group, ledger));
        let begun = ledger
            .records
            .iter()
            .filter(|record| record.mark == ledger::Mark::Begin);
        verdict.openings.insert(group.into(), begun.count() as u64);
    }
    judge_writes(&evidence, dir, &mut verdict)?;
    let releases = proofs::releases(&GROUPS, &evidence.events, &evidence.ledgers["ledger"]);
    verdict.releases_by_proof = releases.by_proof;
    verdict.unproven_takeovers = releases.unproven;
    verdict
        .unproven_takeovers
        .extend(power::false_proofs(&evidence.events, &evidence.power));
    judge_outages(&evidence, &mut verdict);
    Ok(verdict)
}

/// Compares what clients were told with what is there.
fn judge_writes(evidence: &Evidence, dir: &Path, verdict: &mut Verdict) -> Result<()> {
    for (group, attempts) in &evidence.attempts {
        verdict.lost_writes.extend(match content(dir, group)? {
            Some(there) => writes::lost_writes(group, attempts, &there),
            None => vec![format!(
                "{group}: it could not be read at the end, so nobody knows what was lost"
            )],
        });
        let count = |outcome| {
            attempts
                .iter()
                .filter(|attempt| attempt.outcome == outcome)
                .count() as u64
        };
        verdict
            .acknowledged
            .insert((*group).into(), count(Outcome::Acknowledged));
        verdict.unknown.insert((*group).into(), count(Outcome::Unknown));
    }
    let records = evidence.ledgers["ledger"].records.len() as u64;
    verdict.acknowledged.insert("ledger".into(), records);
    Ok(())
}

/// What was found in the server of `group` at the end; none if it could not be read.
fn content(dir: &Path, group: &str) -> Result<Option<Vec<u64>>> {
    let path = content_file(dir, group);
    if !path.exists() {
        return Ok(None);
    }
    let there = std::fs::read(&path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&there).with_context(|| path.display().to_string())
}

/// Looks for an explanation of every outage.
fn judge_outages(evidence: &Evidence, verdict: &mut Verdict) {
    let judged = evidence
        .outages()
        .into_iter()
        .map(|outage| judge(outage, evidence));
    verdict.outages = judged.collect();
    for judged in &verdict.outages {
        let text = judged.outage.text();
        if judged.causes.is_empty() {
            verdict
                .unexplained_outages
                .push(format!("{text}: no fault explains it"));
        } else if judged.recovery_ms > BOUND_MS {
            verdict.unexplained_outages.push(format!(
                "{text}: {} explain that it began, not that it took {} ms to come back",
                judged.causes.join(", "),
                judged.recovery_ms
            ));
        }
        if judged.reason.is_none() && !judged.is_below_probes {
            verdict.outages_without_reason.push(text);
        }
    }
    let longest = |length: fn(&Judged) -> u64| seconds(verdict.outages.iter().map(length).max().unwrap_or(0));
    verdict.longest_recovery_s = longest(|judged| judged.recovery_ms);
    verdict.longest_outage_s = longest(|judged| judged.outage.length_ms());
}

fn judge(outage: Outage, evidence: &Evidence) -> Judged {
    let causes: Vec<&Fault> = outages::causes(&outage, &evidence.faults).collect();
    let is_below_probes = reasons::is_below_probes(&outage, causes.iter().copied());
    let causes = causes
        .iter()
        .map(|fault| format!("{} {} at {} ms", fault.kind, fault.target, fault.at_ms));
    let reason = reasons::reason(&outage, &evidence.events);
    let reason =
        reason.map(|event| format!("{} at {} ms: {}", event.entry.node, event.at_ms, event.entry.text));
    Judged {
        recovery_ms: outages::recovery_ms(&outage, &evidence.faults),
        causes: causes.collect(),
        reason,
        is_below_probes,
        outage,
    }
}

/// Milliseconds as seconds.
fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

impl Evidence {
    fn read(dir: &Path, shared: &Path) -> Result<Evidence> {
        let path = origin_file(dir);
        let origin = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let origin: Origin = serde_json::from_slice(&origin).with_context(|| path.display().to_string())?;
        let mut ledgers = BTreeMap::new();
        let mut attempts = BTreeMap::new();
        for group in GROUPS {
            ledgers.insert(group, ledger::read(&shared.join(group).join(ledger::FILE))?);
            if group != "ledger" {
                attempts.insert(group, read_lines(&attempts_file(dir, group))?);
            }
        }
        let stalls = read_lines::<Stall>(&stalls_file(dir))?;
        Ok(Evidence {
            faults: read_faults(dir)?,
            events: events::read(dir, origin.wall_ms)?,
            power: power::read(&power_file(dir), origin.monotonic_ns)?,
            stalls: stalls
                .into_iter()
                .map(|stall| (stall.from_ms, stall.until_ms))
                .collect(),
            origin,
            ledgers,
            attempts,
        })
    }

    /// Every stretch in which a group served nothing.
    fn outages(&self) -> Vec<Outage> {
        let ends = self
            .attempts
            .values()
            .filter_map(|attempts| attempts.last().map(|last| last.end_ms));
        let end_ms = ends.max().unwrap_or(0);
        let zero = self.origin.monotonic_ns;
        // What was before the run began is no part of it.
        let instants = self.ledgers["ledger"]
            .records
            .iter()
            .filter_map(|record| Some(record.at_ns.checked_sub(zero)? / 1_000_000));
        let ledger = Served::from_instants(instants.filter(|at| *at <= end_ms), end_ms);
        let mut outages = ledger.outages("ledger", &self.stalls);
        for (group, attempts) in &self.attempts {
            outages.extend(Served::from_attempts(attempts).outages(group, &self.stalls));
        }
        outages
    }
}

#[cfg(test)]
mod tests;

//! The figures of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::judge;
use super::service::Service;
use super::writer::Target;
use crate::torture::workloads::attempt::Attempt;

/// Most lost writes that are named.
const NAMED_MAX: usize = 10;

/// One fault or switchover.
#[derive(Clone, Debug, Serialize)]
pub struct Round {
    /// Its kind.
    pub what: String,
    /// Longest time without an acknowledged write.
    pub outage_ms: u64,
    /// From the strike until both copies were whole again.
    pub whole_ms: u64,
    /// The same as `outage_ms` for a client that asks for the primary, as it would ask Sentinel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel_ms: Option<u64>,
    /// How often the node that takes writes changed.
    pub changes: usize,
}

/// A run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    service: String,
    /// In order.
    pub rounds: Vec<Round>,
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Of these, how many were not there at the end.
    pub lost: usize,
    /// What went wrong.
    pub faults: Vec<String>,
    #[serde(skip)]
    attempts: Vec<(Target, Vec<Attempt>)>,
}

impl Report {
    /// Of a run that begins.
    pub fn new(service: &str) -> Report {
        Report {
            service: service.into(),
            rounds: Vec::new(),
            acknowledged: 0,
            lost: 0,
            faults: Vec::new(),
            attempts: Vec::new(),
        }
    }

    /// What the clients tried.
    pub fn tried(&mut self, writers: &[(Target, Vec<Attempt>)]) {
        self.attempts = writers.to_vec();
    }

    /// Compares what was acknowledged with what was found.
    pub fn judge(&mut self, service: &Service, writers: &[(Target, Vec<Attempt>)], found: &BTreeSet<u64>) {
        for (target, attempts) in writers {
            self.acknowledged += judge::acknowledged(attempts);
            let lost = judge::lost(attempts, found, service.binds);
            self.lost += lost.len();
            if !lost.is_empty() {
                let named: Vec<String> = lost.iter().take(NAMED_MAX).map(u64::to_string).collect();
                let text = format!(
                    "{} acknowledged writes of {target:?} are lost: {}",
                    lost.len(),
                    named.join(", ")
                );
                self.faults.push(text);
            }
        }
    }

    /// Nothing was lost, and nothing else went wrong.
    pub fn is_good(&self) -> bool {
        self.lost == 0 && self.faults.is_empty()
    }

    /// Writes down every attempt.
    pub fn keep(&self, dir: &Path) -> Result<()> {
        for (target, attempts) in &self.attempts {
            let name = match target {
                Target::Vip => "vip".to_string(),
                Target::Node(node) => node.clone(),
            };
            let lines: Result<Vec<String>, _> = attempts.iter().map(serde_json::to_string).collect();
            let path = dir.join(format!("attempts-{name}.jsonl"));
            std::fs::write(&path, lines?.join("\n")).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// One line per kind, what went wrong, and the counts.
    pub fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let mut kinds: BTreeMap<&str, Vec<&Round>> = BTreeMap::new();
        for round in &self.rounds {
            kinds.entry(&round.what).or_default().push(round);
        }
        println!(
            "{:<12} {:>5} {:>16} {:>12} {:>20}",
            self.service, "times", "outage median", "worst", "whole again median"
        );
        for (what, rounds) in kinds {
            let outages: Vec<u64> = rounds.iter().map(|round| round.outage_ms).collect();
            let whole: Vec<u64> = rounds.iter().map(|round| round.whole_ms).collect();
            println!(
                "{what:<12} {:>5} {:>13} ms {:>9} ms {:>17} ms",
                rounds.len(),
                judge::median(&outages).unwrap_or(0),
                outages.iter().max().unwrap_or(&0),
                judge::median(&whole).unwrap_or(0)
            );
            let asked: Vec<u64> = rounds.iter().filter_map(|round| round.sentinel_ms).collect();
            if let (Some(median), Some(worst)) = (judge::median(&asked), asked.iter().max()) {
                println!("{:<18} {median:>13} ms {worst:>9} ms", "  by Sentinel");
            }
        }
        self.faults.iter().for_each(|fault| println!("FAULT: {fault}"));
        println!(
            "{} rounds, {} acknowledged writes, {} lost, {} faults",
            self.rounds.len(),
            self.acknowledged,
            self.lost,
            self.faults.len()
        );
        Ok(())
    }
}

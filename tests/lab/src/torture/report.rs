//! The end of a run: one screen for people, one line of JSON for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::checker::Verdict;
use super::nemesis::Deeds;
use super::options::Options;
use super::recovery::BOUND_S;

/// What a run found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// With a witness.
    pub witness: bool,
    /// How long faults were injected and mended.
    pub minutes: f64,
    /// Rounds.
    pub rounds: u32,
    /// Injected faults.
    pub faults: u32,
    /// The same by kind.
    pub faults_by_kind: BTreeMap<&'static str, u32>,
    /// Faults that could not be injected.
    pub not_possible: Vec<String>,
    /// Times at which two processes had the data of a group.
    pub overlaps: usize,
    /// Acknowledged writes that are not there.
    pub lost_writes: usize,
    /// Outages without a fault that explains them.
    pub unexplained_outages: usize,
    /// Times at which a group left a node without a proof in the journals.
    pub unproven_takeovers: usize,
    /// Outages of which the journals do not say why.
    pub outages_without_reason: usize,
    /// Daemons that ended by themselves.
    pub crashes: Vec<String>,
    /// What did not come back within the bound.
    pub late: Vec<String>,
    /// Longest time that a group took to serve again: from the end of the faults that kept it from it, or of all.
    pub longest_recovery_s: f64,
    /// The same by group.
    pub recovery_s_by_group: BTreeMap<&'static str, f64>,
    /// Longest time from the end of the faults until the cluster was whole.
    pub longest_whole_s: f64,
    /// Within what time that has to be.
    pub bound_s: u64,
    /// What the checker found.
    pub verdict: Verdict,
}

impl Report {
    /// Of a run.
    #[must_use]
    pub fn new(
        options: &Options,
        minutes: f64,
        deeds: Deeds,
        crashes: Vec<String>,
        verdict: Verdict,
    ) -> Report {
        let longest = deeds.longest_recovery_s.values().copied().fold(0.0, f64::max);
        Report {
            seed: options.seed,
            witness: options.witness,
            minutes,
            rounds: deeds.rounds,
            faults: deeds.kinds.values().sum(),
            faults_by_kind: deeds.kinds,
            not_possible: deeds.not_possible,
            overlaps: verdict.overlaps.len(),
            lost_writes: verdict.lost_writes.len(),
            unexplained_outages: verdict.unexplained_outages.len(),
            unproven_takeovers: verdict.unproven_takeovers.len(),
            outages_without_reason: verdict.outages_without_reason.len(),
            crashes,
            late: deeds.late,
            longest_recovery_s: tenths(longest.max(verdict.longest_recovery_s)),
            recovery_s_by_group: deeds.longest_recovery_s,
            longest_whole_s: tenths(deeds.longest_whole_s),
            bound_s: BOUND_S,
            verdict,
        }
    }

    /// True if no promise was broken.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.verdict.is_good() && self.late.is_empty() && self.crashes.is_empty() && self.faults > 0
    }

    /// One screen of it.
    #[must_use]
    pub fn screen(&self) -> String {
        let mut text = format!(
            "torture, {}, seed {}: {} faults of {} kinds in {} rounds, {:.1} minutes\n",
            if self.witness {
                "two nodes and a witness"
            } else {
                "two nodes without a witness"
            },
            self.seed,
            self.faults,
            self.faults_by_kind.len(),
            self.rounds,
            self.minutes
        );
        let kinds: Vec<String> = self
            .faults_by_kind
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        for row in kinds.chunks(6) {
            text.push_str(&format!("    {}\n", row.join(", ")));
        }
        let counts = [
            ("overlaps", &self.verdict.overlaps),
            ("acknowledged writes lost", &self.verdict.lost_writes),
            ("unexplained outages", &self.verdict.unexplained_outages),
            ("takeovers without a proof", &self.verdict.unproven_takeovers),
            ("outages without a reason", &self.verdict.outages_without_reason),
            ("daemons that ended by themselves", &self.crashes),
            ("not back in time", &self.late),
        ];
        for (what, found) in counts {
            text.push_str(&format!("{:>6}  {what}\n", found.len()));
            for line in found.iter().take(5) {
                text.push_str(&format!("          {line}\n"));
            }
        }
        for (group, writes) in &self.verdict.acknowledged {
            let back = self
                .recovery_s_by_group
                .get(group.as_str())
                .copied()
                .unwrap_or_default();
            let opened = self.verdict.openings.get(group).copied().unwrap_or_default();
            text.push_str(&format!(
                "    {group}: {writes} acknowledged writes, {opened} starts, back at most {back:.1} s after the faults\n"
            ));
        }
        text.push_str(&format!(
            "    the cluster was whole at most {:.1} s after the faults (bound {} s); longest outage {:.1} s, {} in all\n",
            self.longest_whole_s,
            self.bound_s,
            self.verdict.longest_outage_s,
            self.verdict.outages.len()
        ));
        text
    }
}

fn tenths(seconds: f64) -> f64 {
    (seconds * 10.0).round() / 10.0
}

//! When was a group away, and which fault was that?

use crate::torture::history::Fault;
use crate::torture::workloads::attempt::{Attempt, Outcome};
use serde::Serialize;

/// A group that answers nothing for longer than this is away. Twice the default detection time: what is shorter is no
/// failover, and a busy machine delays single answers by as much.
pub const AWAY_MS: u64 = 2000;
/// A fault is felt so soon that the last answer was at most this much before it.
const FELT_MS: u64 = 250;

/// A stretch of time in which a group answered nothing. Times are milliseconds of the run's clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outage {
    /// The group.
    pub group: String,
    /// The last answer before it.
    pub start_ms: u64,
    /// When the first request that was not answered was given up: its cause had begun by then.
    pub felt_ms: u64,
    /// The first answer after it.
    pub end_ms: u64,
    /// Time within it during which the test machine itself stood still.
    pub stalled_ms: u64,
}

impl Outage {
    /// How long it was.
    #[must_use]
    pub fn length_ms(&self) -> u64 {
        self.end_ms - self.start_ms
    }

    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        let stalled = match self.stalled_ms {
            0 => String::new(),
            ms => format!(" (the test machine stood still for {ms} ms of it)"),
        };
        format!(
            "{}: no answer for {} ms, from {} to {} ms{stalled}",
            self.group,
            self.length_ms(),
            self.start_ms,
            self.end_ms
        )
    }
}

/// Instants at which a group served, and when the run ended for it.
#[derive(Clone, Debug, Default)]
pub struct Served {
    /// Pairs of the time of an answer, and the end of the first request after it that was not answered, if there is one.
    answers: Vec<(u64, Option<u64>)>,
    /// The end of the last request, answered or not.
    end_ms: u64,
}

impl Served {
    /// As a client saw it.
    #[must_use]
    pub fn from_attempts(attempts: &[Attempt]) -> Served {
        let mut served = Served::default();
        for attempt in attempts {
            served.end_ms = attempt.end_ms;
            if attempt.outcome == Outcome::Acknowledged {
                served.answers.push((attempt.end_ms, None));
            } else if let Some((_, missed @ None)) = served.answers.last_mut() {
                *missed = Some(attempt.end_ms);
            }
        }
        served
    }

    /// As the ledger shows it: each record is an answer. The run ended at `end_ms`.
    #[must_use]
    pub fn from_instants(instants: impl Iterator<Item = u64>, end_ms: u64) -> Served {
        Served {
            answers: instants.map(|at| (at, None)).collect(),
            end_ms,
        }
    }

    /// The stretches without an answer that are longer than [`AWAY_MS`], `stalls` being when the machine stood still.
    #[must_use]
    pub fn outages(&self, group: &str, stalls: &[(u64, u64)]) -> Vec<Outage> {
        let next = self
            .answers
            .iter()
            .skip(1)
            .map(|(at, _)| *at)
            .chain([self.end_ms]);
        let gaps = self
            .answers
            .iter()
            .zip(next)
            .map(|((start_ms, missed), end_ms)| Outage {
                group: group.into(),
                start_ms: *start_ms,
                felt_ms: missed.unwrap_or(0).max(start_ms + FELT_MS),
                end_ms,
                stalled_ms: stalls
                    .iter()
                    .map(|stall| common(*stall, (*start_ms, end_ms)))
                    .sum(),
            });
        gaps.filter(|gap| gap.end_ms > gap.start_ms + AWAY_MS + gap.stalled_ms)
            .collect()
    }
}

/// How much two stretches of time have in common.
fn common(one: (u64, u64), other: (u64, u64)) -> u64 {
    one.1.min(other.1).saturating_sub(one.0.max(other.0))
}

/// The faults that may have caused `outage`: they had begun when it was felt, were not over when it began, and the
/// nemesis expected them to hit this group.
pub fn causes<'a>(outage: &'a Outage, faults: &'a [Fault]) -> impl Iterator<Item = &'a Fault> {
    faults.iter().filter(|fault| {
        fault.at_ms <= outage.felt_ms
            && fault
                .explains_until_ms
                .is_none_or(|until| outage.start_ms <= until)
            && fault.expects_outage_of.contains(&outage.group)
    })
}

/// How long the group took to come back: from the beginning of the outage, or from the instant during it at which the
/// last fault that could prevent it was undone.
#[must_use]
pub fn recovery_ms(outage: &Outage, faults: &[Fault]) -> u64 {
    let undone = faults
        .iter()
        .filter(|fault| fault.expects_outage_of.contains(&outage.group))
        .filter_map(|fault| fault.until_ms)
        .filter(|until| (outage.start_ms..=outage.end_ms).contains(until));
    outage.end_ms - undone.max().unwrap_or(outage.start_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(start_ms: u64, end_ms: u64, outcome: Outcome) -> Attempt {
        Attempt {
            id: start_ms,
            start_ms,
            end_ms,
            outcome,
            number: None,
            why: String::new(),
        }
    }

    /// Answers every 100 ms until 10 s, nothing until 15 s, then answers again until 20 s.
    fn seen() -> Vec<Attempt> {
        let answered = |at: u64| attempt(at, at + 10, Outcome::Acknowledged);
        let mut attempts: Vec<Attempt> = (0..=100).map(|number| answered(number * 100)).collect();
        attempts.extend((0..5).map(|number| {
            let at = 10_100 + number * 1000;
            attempt(at, at + 1000, Outcome::Unknown)
        }));
        attempts.extend((150..200).map(|number| answered(number * 100)));
        attempts
    }

    fn fault(at_ms: u64, until_ms: u64, explains_until_ms: u64, group: &str) -> Fault {
        Fault {
            id: 1,
            at_ms,
            until_ms: Some(until_ms),
            explains_until_ms: Some(explains_until_ms),
            kind: "power-off".into(),
            target: "n1".into(),
            detail: String::new(),
            expects_outage_of: vec![group.into()],
        }
    }

    fn outage() -> Outage {
        let outages = Served::from_attempts(&seen()).outages("redis", &[]);
        assert_eq!(outages.len(), 1, "{outages:?}");
        outages[0].clone()
    }

    #[test]
    fn an_outage_is_what_lies_between_two_answers() {
        let outage = outage();
        assert_eq!(
            (outage.start_ms, outage.felt_ms, outage.end_ms),
            (10_010, 11_100, 15_010)
        );
    }

    #[test]
    fn one_that_lasts_to_the_end_counts_too() {
        let mut attempts = seen();
        attempts.truncate(105);
        let outages = Served::from_attempts(&attempts).outages("redis", &[]);
        assert_eq!(outages.len(), 1);
        assert_eq!(outages[0].end_ms, 14_100);
        let ledger = Served::from_instants([1, 5, 10].into_iter(), 9000);
        assert_eq!(ledger.outages("ledger", &[]).len(), 1);
    }

    #[test]
    fn an_outage_without_a_fault_has_no_cause() {
        assert_eq!(causes(&outage(), &[]).count(), 0);
        // Not at that time, and not of that group.
        let wrong = [
            fault(1000, 2000, 5000, "redis"),
            fault(12_000, 13_000, 14_000, "redis"),
            fault(9900, 13_000, 14_000, "mariadb"),
        ];
        assert_eq!(causes(&outage(), &wrong).count(), 0);
    }

    #[test]
    fn an_outage_at_the_time_of_a_fault_that_hits_its_group_has_a_cause() {
        let right = [
            fault(9900, 9950, 14_000, "redis"),
            // The request that it cut off was sent before it.
            fault(10_900, 12_000, 14_000, "redis"),
        ];
        assert_eq!(causes(&outage(), &right).count(), 2);
    }

    #[test]
    fn recovery_counts_from_the_end_of_what_prevented_it() {
        assert_eq!(recovery_ms(&outage(), &[]), 5000);
        assert_eq!(
            recovery_ms(&outage(), &[fault(9900, 14_010, 20_000, "redis")]),
            1000
        );
    }

    #[test]
    fn a_machine_that_stood_still_is_no_outage_of_the_cluster() {
        let served = Served::from_attempts(&seen());
        assert!(served.outages("redis", &[(11_000, 15_000)]).is_empty());
        let outages = served.outages("redis", &[(11_000, 12_000), (1000, 4000)]);
        assert_eq!(outages[0].stalled_ms, 1000);
    }
}

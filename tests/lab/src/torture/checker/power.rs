//! Was every power proof a fact (S6)? What the nodes believe is held against what was done to their power.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::events::Event;
use crate::torture::workloads::journals::Switched;

/// Instants, in milliseconds of the run's clock, at which the power of each node came (true) and went (false).
pub type Power = BTreeMap<String, Vec<(i64, bool)>>;

/// Times in journals and of switches differ by less than this, in milliseconds.
const SLACK_MS: i64 = 100;

/// Reads them; the run's clock began at `zero_ns` of the host's.
pub fn read(path: &Path, zero_ns: u64) -> Result<Power> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    let switched: Switched = serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
    let mut power = Power::new();
    for (node, instants) in switched {
        let on_clock = |(at_ns, on): (u64, bool)| {
            let at = (i128::from(at_ns) - i128::from(zero_ns)) / 1_000_000;
            Ok((i64::try_from(at)?, on))
        };
        let instants: Result<_> = instants.into_iter().map(on_clock).collect();
        power.insert(node, instants?);
    }
    Ok(power)
}

/// Each proof in the journals about a node that had power all the time from the begin of its fencing to the proof.
#[must_use]
pub fn false_proofs(events: &[Event], power: &Power) -> Vec<String> {
    let mut found = Vec::new();
    for (place, event) in events.iter().enumerate() {
        let entry = &event.entry;
        let node = entry
            .text
            .split_once(" is fenced: ")
            .filter(|_| entry.kind == "fence-proved");
        let Some((node, evidence)) = node else { continue };
        // A storage device or an operator proves something else.
        if evidence.contains("confirmed at") {
            continue;
        }
        let from = begun(&events[..place], &entry.node, node, event.at_ms);
        let switched = power.get(node).map(Vec::as_slice).unwrap_or_default();
        if !was_off(switched, from - SLACK_MS, event.at_ms + SLACK_MS) {
            found.push(format!(
                "{} held {node} for fenced at {} ms, and it had power all the time since {from} ms: {evidence}",
                entry.node, event.at_ms
            ));
        }
    }
    found
}

/// When `by` last began to fence `node`, by its own journal so far; the time of the proof, `at_ms`, if it does not tell.
fn begun(before: &[Event], by: &str, node: &str, at_ms: i64) -> i64 {
    let started = |event: &&Event| {
        let entry = &event.entry;
        let words = [format!("fencing {node}: "), format!("fence {node}: ")];
        entry.node == by
            && ["fence-started", "fence-retried"].contains(&entry.kind.as_str())
            && words.iter().any(|words| entry.text.contains(words))
    };
    before
        .iter()
        .rev()
        .find(started)
        .map_or(at_ms, |event| event.at_ms)
}

/// True if the power was off at some time between the two instants. Before its first switch a node has none.
fn was_off(switched: &[(i64, bool)], from: i64, to: i64) -> bool {
    let on_at_first = switched
        .iter()
        .rev()
        .find(|(at, _)| *at <= from)
        .is_some_and(|(_, on)| *on);
    !on_at_first || switched.iter().any(|(at, on)| !on && (from..=to).contains(at))
}

#[cfg(test)]
mod tests {
    use holdfast_proto::control::EventView;

    use super::*;

    fn event(at_ms: i64, kind: &str, text: &str) -> Event {
        let entry = EventView {
            node: "n1".into(),
            kind: kind.into(),
            text: text.into(),
            ..EventView::default()
        };
        Event { at_ms, entry }
    }

    fn journal() -> Vec<Event> {
        vec![
            event(1000, "fence-started", "fencing n2: contact is lost"),
            event(5000, "fence-retried", "trying again to fence n2: contact is lost"),
            event(9000, "fence-proved", "n2 is fenced: status read said off"),
        ]
    }

    fn proofs(switched: &[(i64, bool)]) -> usize {
        false_proofs(&journal(), &Power::from([("n2".into(), switched.to_vec())])).len()
    }

    #[test]
    fn a_node_that_was_off_meanwhile_is_a_fact() {
        assert_eq!(proofs(&[(0, true), (7000, false), (8000, true)]), 0);
        // It had lost its power before anybody fenced it.
        assert_eq!(proofs(&[(0, true), (500, false)]), 0);
    }

    #[test]
    fn a_node_that_had_power_all_the_time_is_not() {
        assert_eq!(proofs(&[(0, true)]), 1);
        // It lost its power before this try, or after the proof.
        assert_eq!(proofs(&[(0, true), (2000, false), (3000, true)]), 1);
        assert_eq!(proofs(&[(0, true), (9500, false)]), 1);
    }

    #[test]
    fn a_proof_whose_begin_is_not_known_is_held_against_its_own_time() {
        let lone = |switched: &[(i64, bool)]| {
            let power = Power::from([("n2".into(), switched.to_vec())]);
            false_proofs(&journal()[2..], &power).len()
        };
        assert_eq!(lone(&[(0, true), (7000, false)]), 0);
        assert_eq!(lone(&[(0, true), (7000, false), (8000, true)]), 1);
    }
}

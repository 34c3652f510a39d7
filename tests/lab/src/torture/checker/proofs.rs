//! Did every group leave its node on a proof? Read from the journals, in which every node that heard of a decision
//! wrote it down with its epoch.

use std::collections::BTreeMap;

use super::events::Event;
use crate::torture::ledger::{Ledger, Mark};

/// Kinds of proof that release a group that requires fencing.
const VALID: [&str; 5] = ["power", "reset", "watchdog", "storage", "operator"];
/// An entry may be written down this much later, in milliseconds, than what followed from it elsewhere.
const LATE_MS: i64 = 1000;

/// In the reason of a decision about a group whose node was heard with another boot.
const REBOOTED: &str = " rebooted: ";

/// A decision about a group.
#[derive(Clone, Debug)]
struct Step {
    at_ms: i64,
    kind: Kind,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Owned(String),
    Releasing,
    Stopped,
}

/// Decisions about a group by epoch.
type Steps = BTreeMap<u64, Step>;

/// How groups left their nodes.
#[derive(Clone, Debug, Default)]
pub struct Releases {
    /// Everything that contradicts the rule.
    pub unproven: Vec<String>,
    /// How often on what proof.
    pub by_proof: BTreeMap<String, u64>,
}

/// How `groups`, which all require fencing, left their nodes; `ledger` is what the group of that name wrote.
#[must_use]
pub fn releases(groups: &[&str], events: &[Event], ledger: &Ledger) -> Releases {
    let mut releases = Releases::default();
    for group in groups {
        let steps = decisions(group, events, &mut releases.unproven);
        for ((epoch, before), (next, after)) in steps.iter().zip(steps.iter().skip(1)) {
            if let Some(what) = wrong(before, after, events) {
                let what = format!("{group}: epoch {next} followed epoch {epoch}: {what}");
                releases.unproven.push(what);
            } else if let Some(proof) = released_by(before, after) {
                *releases.by_proof.entry(proof.into()).or_default() += 1;
            }
        }
        if *group == "ledger" {
            releases.unproven.extend(strangers(&steps, ledger));
        }
    }
    releases
}

/// On what proof the group left its node between two decisions, if it did.
fn released_by<'a>(before: &Step, after: &'a Step) -> Option<&'a str> {
    if before.kind == Kind::Stopped || after.kind == Kind::Releasing {
        return None;
    }
    let reset = after.text.contains(REBOOTED).then_some("reset");
    proof(&after.text).or(reset).or(Some("stopped"))
}

/// What was decided about `group`. Two nodes that tell differently of one epoch are a finding.
fn decisions(group: &str, events: &[Event], found: &mut Vec<String>) -> Steps {
    let mut steps = Steps::new();
    for event in events.iter().filter(|event| event.entry.group == group) {
        let entry = &event.entry;
        let kind = match entry.kind.as_str() {
            "assigned" => Kind::Owned(owner(&entry.text)),
            "releasing" => Kind::Releasing,
            "unassigned" => Kind::Stopped,
            _ => continue,
        };
        let step = Step {
            at_ms: event.at_ms,
            kind,
            text: entry.text.clone(),
        };
        let known = steps.entry(entry.epoch).or_insert_with(|| step.clone());
        if known.kind != step.kind {
            found.push(format!(
                "{group}: two histories of epoch {}: '{}', and on {} '{}'",
                entry.epoch, known.text, entry.node, step.text
            ));
        }
    }
    steps
}

/// The node in "GROUP: ...; so it runs on NODE" or "GROUP: it runs on NODE, because ...".
fn owner(text: &str) -> String {
    let rest = text
        .rsplit_once("so it runs on ")
        .or_else(|| text.split_once("it runs on "));
    let name = rest.map_or("", |(_, rest)| rest);
    let end = |c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.';
    name.split(end).next().unwrap_or_default().to_string()
}

/// What is wrong about going from one decision to the next.
fn wrong(before: &Step, after: &Step, events: &[Event]) -> Option<String> {
    let Kind::Owned(owner) = &before.kind else {
        // Stopped it ran nowhere; releasing ends with the owner's word or with one of the proofs below.
        return invalid(&after.text);
    };
    if after.kind == Kind::Releasing {
        return None;
    }
    if let Some(what) = invalid(&after.text) {
        return Some(what);
    }
    if after.text.contains(REBOOTED) {
        return None;
    }
    let Some(proof) = proof(&after.text) else {
        return Some(format!("it left {owner} without a proof: '{}'", after.text));
    };
    let stands = |event: &&Event| {
        event.entry.kind == "fence-proved"
            && event.entry.text.starts_with(&format!("{owner} is fenced"))
            && (before.at_ms - LATE_MS..=after.at_ms + LATE_MS).contains(&event.at_ms)
    };
    let missing = proof == "power" && !events.iter().any(|event| stands(&event));
    missing.then(|| format!("no node tells that it fenced {owner} meanwhile: '{}'", after.text))
}

/// What is wrong about the proof that `text` names, if it names one.
fn invalid(text: &str) -> Option<String> {
    let proof = proof(text).filter(|proof| !VALID.contains(proof))?;
    Some(format!(
        "proof '{proof}' is none for a group that requires fencing: '{text}'"
    ))
}

/// The kind in "NODE was lost (proof: KIND, EVIDENCE)".
fn proof(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("was lost (proof: ")?;
    rest.split([',', ')']).next()
}

/// Writers that began under an epoch that was not decided, or not for them.
fn strangers(steps: &Steps, ledger: &Ledger) -> Vec<String> {
    let begins = ledger.records.iter().filter(|record| record.mark == Mark::Begin);
    let wrong =
        |writer: &crate::torture::ledger::Writer| match steps.get(&writer.epoch).map(|step| &step.kind) {
            Some(Kind::Owned(owner)) if *owner == writer.node => None,
            Some(kind) => Some(format!(
                "ledger: {} wrote under epoch {}, which is {kind:?}",
                writer.node, writer.epoch
            )),
            None => Some(format!(
                "ledger: {} wrote under epoch {}, of which no journal tells",
                writer.node, writer.epoch
            )),
        };
    begins.filter_map(|record| wrong(&record.writer)).collect()
}

#[cfg(test)]
mod tests {
    use holdfast_proto::control::EventView;

    use super::*;
    use crate::torture::ledger::{Record, Writer};

    fn event(at_ms: i64, node: &str, kind: &str, epoch: u64, text: &str) -> Event {
        let entry = EventView {
            node: node.into(),
            kind: kind.into(),
            text: text.into(),
            group: if epoch > 0 { "ledger".into() } else { String::new() },
            epoch,
            ..EventView::default()
        };
        Event { at_ms, entry }
    }

    /// Runs on n1, is moved to n2, which is fenced, and goes back to n1.
    fn history() -> Vec<Event> {
        vec![
            event(
                0,
                "n1",
                "assigned",
                1,
                "ledger: it runs on n1, because it is preferred",
            ),
            event(
                1,
                "n2",
                "assigned",
                1,
                "ledger: it runs on n1, because it is preferred",
            ),
            event(1000, "n1", "releasing", 4, "ledger: moved by root"),
            event(
                1100,
                "n1",
                "assigned",
                5,
                "ledger: moved by root; so it runs on n2",
            ),
            event(9000, "n1", "fence-proved", 0, "n2 is fenced: exec says off"),
            event(
                9100,
                "n1",
                "assigned",
                7,
                "ledger: n2 was lost (proof: power, exec says off); so it runs on n1",
            ),
        ]
    }

    fn check(events: &[Event]) -> Vec<String> {
        releases(&["ledger"], events, &Ledger::default()).unproven
    }

    #[test]
    fn a_release_and_a_proof_are_well() {
        let releases = releases(&["ledger"], &history(), &Ledger::default());
        assert_eq!(releases.unproven, Vec::<String>::new());
        let expected = [("power".to_string(), 1), ("stopped".to_string(), 1)];
        assert_eq!(releases.by_proof, BTreeMap::from(expected));
    }

    #[test]
    fn a_takeover_without_release_or_proof_is_seen() {
        let mut events = history();
        events.remove(2);
        let found = check(&events);
        assert!(
            found.len() == 1 && found[0].contains("left n1 without a proof"),
            "{found:?}"
        );
    }

    #[test]
    fn a_power_proof_that_nobody_established_is_seen() {
        let mut events = history();
        events.remove(4);
        assert!(check(&events)[0].contains("no node tells that it fenced n2"));
        // One from before the assignment says nothing about it.
        events.push(event(0, "n1", "fence-proved", 0, "n2 is fenced: exec says off"));
        assert_eq!(check(&events).len(), 1);
    }

    #[test]
    fn a_lapse_is_no_proof_for_what_requires_fencing() {
        let mut events = history();
        events[5].entry.text = "ledger: n2 was lost (proof: lapsed, 1 s); so it runs on n1".into();
        assert!(check(&events)[0].contains("'lapsed' is none"));
    }

    #[test]
    fn two_histories_are_seen() {
        let mut events = history();
        events.push(event(
            1200,
            "n2",
            "assigned",
            5,
            "ledger: moved by root; so it runs on n1",
        ));
        assert!(check(&events)[0].contains("two histories of epoch 5"));
    }

    #[test]
    fn a_writer_under_the_epoch_of_another_node_is_seen() {
        let writer = |node: &str, epoch| Record {
            mark: Mark::Begin,
            contended: false,
            writer: Writer {
                node: node.into(),
                boot: 1,
                pid: 1,
                epoch,
            },
            sequence: 0,
            at_ns: 0,
        };
        let ledger = Ledger {
            records: vec![writer("n1", 1), writer("n1", 5), writer("n2", 6)],
            damaged: Vec::new(),
        };
        let found = releases(&["ledger"], &history(), &ledger).unproven;
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].contains("no journal tells"), "{found:?}");
    }
}

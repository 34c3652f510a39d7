//! The ledger: what was done and seen about nodes that had to be ended, and which proofs committed states rest on.

use std::time::Duration;

use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::operator::OperatorCall;
use holdfast_proto::state::ClusterState;

use super::Node;
use super::fencing::FenceRun;
use crate::event::FenceResult;
use crate::journal::{Account, Level};
use crate::proof::FenceProof;

impl Node {
    /// A method of the level proved that the node is off. Those that did not end yet have lost the race.
    pub(super) fn account_for_proof(&mut self, node: NodeId, number: usize, proof: &FenceProof) {
        let Some(run) = self.fences.get(&node) else { return };
        let by = run.by(number);
        let losers = run.still_racing(number);
        let given_up = match losers.as_str() {
            "" => String::new(),
            losers => format!("; {losers} lost the race: what it still answers is only noted"),
        };
        let name = self.name(node);
        let text = format!("{name} is fenced{by}: {}{given_up}", proof.evidence());
        let account = Account {
            evidence: run.said(number, true),
            took: Some(self.now.since(run.begun_at)),
            ..Account::of(proof)
        };
        self.journal_proof("fence-proved", Level::Warn, text, account);
    }

    /// No method of a level proved it.
    pub(super) fn account_for_failure(&mut self, node: NodeId) {
        let Some(run) = self.fences.get(&node) else { return };
        let methods = 0..run.methods.len();
        let said: Vec<String> = methods.flat_map(|number| run.said(number, false)).collect();
        let text = format!("{} is not proven off: {}", self.name(node), said.join("; "));
        let evidence = run.methods.iter().flat_map(|method| &method.results);
        let evidence = evidence
            .map(|(_, result)| result.sentence().to_string())
            .collect();
        let account = unproven(node, evidence, Some(self.now.since(run.begun_at)));
        self.journal_proof("fence-failed", Level::Alert, text, account);
    }

    /// One method did not prove it; others go on, or proved it.
    pub(super) fn account_for_method(&mut self, node: NodeId, number: usize) {
        let Some(run) = self.fences.get(&node) else { return };
        let said = run.said(number, false);
        let text = format!(
            "{} is not proven off{}: {}",
            self.name(node),
            run.by(number),
            said.join("; ")
        );
        let account = unproven(node, said, Some(self.now.since(run.begun_at)));
        self.journal_proof("fence-method-failed", Level::Warn, text, account);
    }

    /// A device of a method that lost the race has answered.
    pub(super) fn account_for_late(&mut self, node: NodeId, number: usize, result: &FenceResult) {
        let Some(run) = self.fences.get(&node) else { return };
        let text = format!(
            "{}: after it was fenced{}, an answer came{}, which is only noted: {}",
            self.name(node),
            run.won.map_or(String::new(), |won| run.by(won)),
            run.from(number),
            result.sentence()
        );
        let account = unproven(
            node,
            vec![result.sentence().to_string()],
            Some(self.now.since(run.begun_at)),
        );
        self.journal_proof("fence-late", Level::Info, text, account);
    }

    /// An operator gave their word.
    pub(super) fn account_for_word(&mut self, proof: &FenceProof) {
        let text = format!("{}: {}", self.name(proof.node()), proof.evidence());
        self.journal_proof("fence-confirmed", Level::Alert, text, Account::of(proof));
    }

    /// A committed state rests on proofs that the one before did not.
    pub(super) fn account_for_releases(&mut self, old: &ClusterState, new: &ClusterState) {
        for (node, entry) in &new.nodes {
            let before = old.nodes.get(node).and_then(|before| before.proof.as_ref());
            let Some(record) = entry.proof.as_ref().filter(|record| before != Some(*record)) else {
                continue;
            };
            self.note_fenced_by(*node, record);
            let owns = |state: &ClusterState, group: &GroupName| {
                let entry = state.groups.get(group);
                entry.and_then(|entry| entry.assignment.owner()) == Some(*node)
            };
            let left = old.groups.keys();
            let left = left.filter(|group| owns(old, group) && !owns(new, group)).count();
            let what = match left {
                0 => "it votes no more".to_string(),
                1 => "1 group left it".to_string(),
                more => format!("{more} groups left it"),
            };
            let text = format!(
                "{}: {what} on a proof: {}, {}",
                self.name(*node),
                record.kind.as_str(),
                record.evidence
            );
            let account = Account {
                node: *node,
                proof: Some(record.kind),
                ended_boot: record.ended_boot,
                evidence: vec![record.evidence.clone()],
                took: None,
                version: record.version,
            };
            self.journal_proof("proof-used", Level::Info, text, account);
        }
    }
}

impl FenceRun {
    /// What the devices of a method said that read off, or that did not.
    fn said(&self, number: usize, off: bool) -> Vec<String> {
        let results = self.methods[number].results.iter();
        let results = results.filter(|(_, result)| result.off_read_back == off);
        results.map(|(_, result)| result.sentence().to_string()).collect()
    }

    /// A method in words; nothing where there is no other.
    fn by(&self, number: usize) -> String {
        self.with_word("by", number)
    }

    fn from(&self, number: usize) -> String {
        self.with_word("from", number)
    }

    fn with_word(&self, word: &str, number: usize) -> String {
        match &self.methods[number].name {
            Some(name) => format!(" {word} the method {name}"),
            None if self.methods.len() > 1 => format!(" {word} the devices without a method"),
            None => String::new(),
        }
    }

    /// The methods but `winner` that did not end yet, in words.
    fn still_racing(&self, winner: usize) -> String {
        let others = self.methods.iter().enumerate();
        let others = others.filter(|(number, method)| *number != winner && method.proved.is_none());
        let names: Vec<&str> = others
            .map(|(_, method)| method.name.as_deref().unwrap_or("what has no method"))
            .collect();
        names.join(", ")
    }
}

/// That something was tried, and proves nothing.
fn unproven(node: NodeId, evidence: Vec<String>, took: Option<Duration>) -> Account {
    Account {
        node,
        proof: None,
        ended_boot: None,
        evidence,
        took,
        version: 0,
    }
}

/// Who gives their word, when and why.
pub(super) fn word_of(call: &OperatorCall, reason: &str) -> String {
    match reason {
        "" => format!("{} confirmed at {} that it is off", call.who, call.at),
        reason => format!("{} confirmed at {} that it is off: {reason}", call.who, call.at),
    }
}

//! The ledger: what was done and seen about nodes that had to be ended, and which proofs committed states rest on.

use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::operator::OperatorCall;
use holdfast_proto::state::ClusterState;

use super::Node;
use super::fencing::FenceRun;
use crate::journal::{Account, Level};
use crate::proof::FenceProof;

impl Node {
    /// The devices proved that the node is off.
    pub(super) fn account_for_proof(&mut self, run: &FenceRun, proof: &FenceProof) {
        let text = format!("{} is fenced: {}", self.name(proof.node()), proof.evidence());
        let account = Account {
            evidence: said(run, true),
            took: Some(self.now.since(run.begun_at)),
            ..Account::of(proof)
        };
        self.journal_proof("fence-proved", Level::Warn, text, account);
    }

    /// The devices of one level did not prove it.
    pub(super) fn account_for_failure(&mut self, node: NodeId) {
        let Some(run) = self.fences.get(&node) else { return };
        let text = format!(
            "{} is not proven off: {}",
            self.name(node),
            said(run, false).join("; ")
        );
        let account = Account {
            node,
            proof: None,
            ended_boot: None,
            evidence: run
                .results
                .iter()
                .map(|(_, result)| result.sentence().to_string())
                .collect(),
            took: Some(self.now.since(run.begun_at)),
            version: 0,
        };
        self.journal_proof("fence-failed", Level::Alert, text, account);
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

/// What the devices said that read off, or that did not.
fn said(run: &FenceRun, off: bool) -> Vec<String> {
    let results = run
        .results
        .iter()
        .filter(|(_, result)| result.off_read_back == off);
    results.map(|(_, result)| result.sentence().to_string()).collect()
}

/// Who gives their word, when and why.
pub(super) fn word_of(call: &OperatorCall, reason: &str) -> String {
    match reason {
        "" => format!("{} confirmed at {} that it is off", call.who, call.at),
        reason => format!("{} confirmed at {} that it is off: {reason}", call.who, call.at),
    }
}

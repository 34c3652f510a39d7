//! Release proofs as types: a group leaves a node only on one of these, and each can be made only by the check that
//! establishes it.

use holdfast_proto::config::{FenceKind, Requires};
use holdfast_proto::ids::{Ballot, BootId, Epoch, NodeId, Version};
use holdfast_proto::state::{Assignment, ProofKind, ProofRecord};
use holdfast_proto::time::Time;

use crate::event::FenceResult;

/// A proof about a node, held by the node that established it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceProof {
    kind: ProofKind,
    node: NodeId,
    ended_boot: Option<BootId>,
    evidence: String,
    at: Time,
    /// Assignments of this epoch and later were made after it, and it says nothing about them.
    before_epoch: Epoch,
}

impl FenceProof {
    /// From the results of all devices of a level. `None` unless every one of them read the state back as off: that a
    /// command exited 0 proves nothing (S6).
    #[must_use]
    pub fn from_devices(
        node: NodeId,
        boot: Option<BootId>,
        results: &[(FenceKind, FenceResult)],
        at: Time,
        before_epoch: Epoch,
    ) -> Option<Self> {
        let all_off = !results.is_empty() && results.iter().all(|(_, result)| result.off_read_back);
        if !all_off {
            return None;
        }
        let ends_boot = results.iter().any(|(kind, _)| *kind == FenceKind::Power);
        let evidence: Vec<&str> = results
            .iter()
            .map(|(_, result)| result.evidence.as_str())
            .collect();
        Some(FenceProof {
            kind: if ends_boot {
                ProofKind::Power
            } else {
                ProofKind::Storage
            },
            node,
            ended_boot: boot,
            evidence: evidence.join("; "),
            at,
            before_epoch,
        })
    }

    /// The operator's word, in one sentence that says who gave it and when.
    #[must_use]
    pub fn operator(node: NodeId, boot: Option<BootId>, word: String, at: Time, before_epoch: Epoch) -> Self {
        FenceProof {
            kind: ProofKind::Operator,
            node,
            ended_boot: boot,
            evidence: word,
            at,
            before_epoch,
        }
    }

    /// The node it is about.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// When it was established.
    #[must_use]
    pub fn at(&self) -> Time {
        self.at
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ProofKind {
        self.kind
    }

    /// The boot that it ended.
    #[must_use]
    pub fn ended_boot(&self) -> Option<BootId> {
        self.ended_boot
    }

    /// Assignments of this epoch and later were made after it.
    #[must_use]
    pub fn before_epoch(&self) -> Epoch {
        self.before_epoch
    }

    /// What was seen.
    #[must_use]
    pub fn evidence(&self) -> &str {
        &self.evidence
    }

    /// May stand in for the node's vote in a pair: only a proof that ended its boot and after which it was not heard.
    #[must_use]
    pub fn votes(&self) -> bool {
        self.kind == ProofKind::Power
    }

    /// Releases `assignment` if that was made before the proof: whatever ran on the node then is over.
    #[must_use]
    pub fn releases(&self, assignment: &Assignment) -> Option<ReleaseProof> {
        let covered = assignment.owner() == Some(self.node) && assignment.epoch() < self.before_epoch;
        covered.then(|| ReleaseProof {
            kind: self.kind,
            node: self.node,
            ended_boot: self.ended_boot,
            evidence: self.evidence.clone(),
        })
    }
}

/// A countdown that has ended: valid only inside the ballot in which it was counted (architecture.md rule 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Countdown {
    /// The ballot it is counted in.
    pub ballot: Ballot,
    /// The node.
    pub node: NodeId,
    /// When the last permit it may hold has certainly ended, margin included.
    pub lapsed_at: Time,
    /// When its armed watchdog has certainly fired; absent without one.
    pub fired_at: Option<Time>,
    /// When a leader in this run of `had` last answered a heartbeat of the node; absent if none did.
    pub answered: Option<Time>,
    /// When this leader was elected.
    pub elected_at: Time,
}

impl Countdown {
    /// The strongest proof that the countdown gives at `now`, in `ballot`, for a group that requires `requires`.
    #[must_use]
    pub fn releases(
        &self,
        now: Time,
        ballot: Ballot,
        assignment: &Assignment,
        requires: Requires,
    ) -> Option<ReleaseProof> {
        if ballot != self.ballot || assignment.owner() != Some(self.node) {
            return None;
        }
        let proof = |kind, evidence| {
            Some(ReleaseProof {
                kind,
                node: self.node,
                ended_boot: assignment.boot(),
                evidence,
            })
        };
        let ago = |at: Time| format!("{:.3} s ago", at.until(now).as_secs_f64());
        // What it was answered before counts for nothing: permits from then ended with the leaders before.
        let answered = match self.answered.filter(|at| *at >= self.elected_at) {
            Some(at) => format!("its last heartbeat was answered {}", ago(at)),
            None => format!(
                "it was answered nothing since this leader was elected {}",
                ago(self.elected_at)
            ),
        };
        match self.fired_at {
            Some(fired_at) if now >= fired_at => proof(
                ProofKind::Watchdog,
                format!(
                    "{answered}, and its armed watchdog fired {} at the latest",
                    ago(fired_at)
                ),
            ),
            _ if requires != Requires::Fencing && now >= self.lapsed_at => proof(
                ProofKind::Lapsed,
                format!(
                    "{answered}, and its permit lapsed, margin included, {} at the latest",
                    ago(self.lapsed_at)
                ),
            ),
            _ => None,
        }
    }
}

/// A proof that one assignment is over. Only this turns `Owned` or `Releasing` into something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseProof {
    kind: ProofKind,
    node: NodeId,
    ended_boot: Option<BootId>,
    evidence: String,
}

impl ReleaseProof {
    /// The owner was heard, in the present ballot, with another boot than the one the assignment was made for.
    #[must_use]
    pub fn observed_reset(assignment: &Assignment, node: NodeId, heard: BootId) -> Option<Self> {
        let assigned = assignment
            .boot()
            .filter(|boot| *boot != heard && assignment.owner() == Some(node))?;
        Some(ReleaseProof {
            kind: ProofKind::Reset,
            node,
            ended_boot: Some(assigned),
            evidence: format!("it came back with boot {heard}, so boot {assigned} is over"),
        })
    }

    /// The owner confirmed, under the epoch of the release, that nothing of the group runs.
    #[must_use]
    pub fn stopped(assignment: &Assignment, node: NodeId, confirmed: Epoch) -> Option<Self> {
        match assignment {
            Assignment::Releasing { owner, epoch, .. } if *owner == node && confirmed >= *epoch => {
                Some(ReleaseProof {
                    kind: ProofKind::Stopped,
                    node,
                    ended_boot: None,
                    evidence: "it confirmed the stop".into(),
                })
            }
            _ => None,
        }
    }

    /// A group that requires nothing leaves a node that is not heard, by the operator's choice in the configuration.
    #[must_use]
    pub fn not_required(assignment: &Assignment, requires: Requires) -> Option<Self> {
        let node = assignment.owner().filter(|_| requires == Requires::Nothing)?;
        Some(ReleaseProof {
            kind: ProofKind::Lapsed,
            node,
            ended_boot: None,
            evidence: "the group requires no proof (requires = \"nothing\")".into(),
        })
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ProofKind {
        self.kind
    }

    /// What was seen.
    #[must_use]
    pub fn evidence(&self) -> &str {
        &self.evidence
    }

    /// As recorded in the register.
    #[must_use]
    pub fn record(&self, version: Version) -> ProofRecord {
        ProofRecord {
            kind: self.kind,
            ended_boot: self.ended_boot,
            evidence: self.evidence.clone(),
            version,
        }
    }
}

#[cfg(test)]
mod tests;

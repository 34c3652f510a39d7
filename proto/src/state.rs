//! The cluster state: the one value that the replicated register holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::Config;
use crate::ids::{BootId, Epoch, GroupName, JobName, NodeId, Version, VoterSet};
use crate::job::JobState;

/// Everything the cluster has agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterState {
    /// Position in the history; the first state is 1.
    pub version: Version,
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Who votes.
    pub voters: VoterSet,
    /// In a pair: who fences at once when contact is lost.
    pub survivor: NodeId,
    /// Next epoch to be given out.
    pub next_epoch: Epoch,
    /// Resources are left alone, whatever happens to them.
    pub maintenance: bool,
    /// The detection time before a change of it, in milliseconds, until no promise or permit of that length can be left; 0
    /// for none. Meanwhile the shorter of both counts for what one may do, the longer for what others may be doing.
    pub lease_before_ms: u32,
    /// The register that holds the witness's vote, by its own identity, while a witness votes that is kept in etcd. Another
    /// register that answers in its place (another etcd, or one that lost its data) is not the acceptor that votes.
    pub register: Option<BootId>,
    /// One entry per group of the configuration, and per group still to be stopped that left it.
    pub groups: BTreeMap<GroupName, GroupState>,
    /// One entry per data node that is or was a member.
    pub nodes: BTreeMap<NodeId, NodeState>,
    /// One entry per job whose calendar is followed, and per job that left the configuration while it ran.
    pub jobs: BTreeMap<JobName, JobState>,
    /// What the latest change was, in one sentence.
    pub reason: String,
}

/// The first state of a new cluster: `first` is its only voter, and every group is stopped.
#[must_use]
pub fn genesis(config: Arc<Config>, first: NodeId) -> ClusterState {
    let reason = "cluster formed";
    let stopped = || GroupState {
        assignment: Assignment::Stopped { epoch: 0 },
        disabled: false,
        intent: None,
        failures: BTreeMap::new(),
        automatic_moves: 0,
        reason: reason.into(),
        in_sync: InSync::default(),
    };
    ClusterState {
        version: 1,
        voters: VoterSet::EMPTY.with(first),
        survivor: first,
        next_epoch: 1,
        maintenance: false,
        lease_before_ms: 0,
        register: None,
        groups: config
            .groups
            .iter()
            .map(|group| (group.name.clone(), stopped()))
            .collect(),
        nodes: config
            .nodes
            .iter()
            .map(|node| (node.id, NodeState::default()))
            .collect(),
        jobs: BTreeMap::new(),
        reason: reason.into(),
        config,
    }
}

/// What is agreed about one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// Where it may be running.
    pub assignment: Assignment,
    /// The operator's wish to keep it stopped.
    pub disabled: bool,
    /// A manual move in progress: an event, not a rule. Cleared when it is done or refused.
    pub intent: Option<MoveIntent>,
    /// Failures that keep the group off a node until `resource cleanup`.
    pub failures: BTreeMap<NodeId, Failure>,
    /// How often failures moved it since the last `resource cleanup`; the flap budget counts by it.
    pub automatic_moves: u32,
    /// Why it is where it is, in one sentence.
    pub reason: String,
    /// Of a group with roles: whose copies hold everything that was acknowledged.
    pub in_sync: InSync,
}

/// The nodes whose copies of a group's data hold everything that was acknowledged: only these are promoted. What the
/// promoted one acknowledges is on every other node of the set, which its agent sees to (`agents/src/roles.rs`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InSync {
    /// Grows with each change, and never goes back. 0: nobody was promoted yet, so nothing is known.
    pub generation: u64,
    /// The nodes, the promoted one among them.
    pub nodes: BTreeSet<NodeId>,
}

impl InSync {
    /// The set that follows this one.
    #[must_use]
    pub fn followed_by(&self, nodes: BTreeSet<NodeId>) -> InSync {
        InSync {
            generation: self.generation + 1,
            nodes,
        }
    }
}

/// Where a group may be running: always a superset of the truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// Nowhere: every earlier owner released it with a proof.
    Stopped {
        /// Epoch of this decision.
        epoch: Epoch,
    },
    /// May run on `owner`, which starts it once it holds a permit.
    Owned {
        /// The node.
        owner: NodeId,
        /// The owner's boot when it was assigned, if it was known: another boot is not running it yet.
        boot: Option<BootId>,
        /// Epoch of this decision.
        epoch: Epoch,
    },
    /// `owner` has to stop it; it may still be running there.
    Releasing {
        /// The node.
        owner: NodeId,
        /// Its boot, as in `Owned`.
        boot: Option<BootId>,
        /// Epoch of this decision, which the owner's confirmation names.
        epoch: Epoch,
        /// Where it goes afterwards, if that is known.
        toward: Option<NodeId>,
    },
}

impl Assignment {
    /// The node it may be running on.
    #[must_use]
    pub fn owner(&self) -> Option<NodeId> {
        match self {
            Assignment::Stopped { .. } => None,
            Assignment::Owned { owner, .. } | Assignment::Releasing { owner, .. } => Some(*owner),
        }
    }

    /// The boot of the owner it belongs to.
    #[must_use]
    pub fn boot(&self) -> Option<BootId> {
        match self {
            Assignment::Stopped { .. } => None,
            Assignment::Owned { boot, .. } | Assignment::Releasing { boot, .. } => *boot,
        }
    }

    /// The epoch of the decision.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Assignment::Stopped { epoch }
            | Assignment::Owned { epoch, .. }
            | Assignment::Releasing { epoch, .. } => *epoch,
        }
    }

    /// True when `node` is to run it.
    #[must_use]
    pub fn runs_on(&self, node: NodeId) -> bool {
        matches!(self, Assignment::Owned { owner, .. } if *owner == node)
    }
}

/// A manual move: who asked, why, where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveIntent {
    /// Target.
    pub to: NodeId,
    /// Who asked.
    pub who: String,
    /// When they said, in words, that what the target's copy lacks may be lost; absent if they did not say so.
    pub accepts_loss: Option<String>,
}

/// Why a group is kept off a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How often it failed there since the last cleanup.
    pub count: u32,
    /// The latest failure in words.
    pub reason: String,
}

/// What is agreed about one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeState {
    /// Runs nothing until `hactl online`.
    pub standby: bool,
    /// The latest proof that ended what ran on this node, kept as a record of why groups left it.
    pub proof: Option<ProofRecord>,
    /// Timeout of its armed watchdog, by its own word, in milliseconds; 0 for none. Takeovers count on it, also those of
    /// leaders that never heard the node, so it is given no permit while it has none, or one that takes longer.
    pub watchdog_ms: u32,
}

/// How it was proven that a node no longer runs something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProofKind {
    /// The node confirmed the stop itself.
    Stopped,
    /// A power agent acted and the power state was read back as off.
    Power,
    /// The node was heard with a new boot id, so its old boot is over.
    Reset,
    /// The node's armed watchdog must have fired.
    Watchdog,
    /// A storage reservation or fabric port was cut and read back.
    Storage,
    /// The operator vouched for it.
    Operator,
    /// The permit has lapsed, and its margin.
    Lapsed,
}

impl ProofKind {
    /// The proof's name in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ProofKind::Stopped => "stopped",
            ProofKind::Power => "power",
            ProofKind::Reset => "reset",
            ProofKind::Watchdog => "watchdog",
            ProofKind::Storage => "storage",
            ProofKind::Operator => "operator",
            ProofKind::Lapsed => "lapsed",
        }
    }
}

/// A proof as recorded in the register, with its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofRecord {
    /// How it was proven.
    pub kind: ProofKind,
    /// The boot that it ended, if it ended one that was known.
    pub ended_boot: Option<BootId>,
    /// What was seen, in one sentence: device, read-back, countdown, or who said so and when.
    pub evidence: String,
    /// The version that recorded it.
    pub version: Version,
}

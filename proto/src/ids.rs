//! Names for nodes, ballots, boots, versions and epochs.

use std::fmt;
use std::sync::Arc;

/// A group's name. Cheap to clone: it travels in every permit and journal entry.
pub type GroupName = Arc<str>;

/// Name of a job.
pub type JobName = Arc<str>;

/// A member of the cluster. Data nodes are 1 to 16; 0 is the witness.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u8);

impl NodeId {
    /// The witness, of which there is at most one.
    pub const WITNESS: NodeId = NodeId(0);
    /// Highest data node number.
    pub const DATA_MAX: u8 = 16;

    /// True for the witness, which votes but runs no resources.
    #[must_use]
    pub fn is_witness(self) -> bool {
        self == NodeId::WITNESS
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_witness() {
            write!(f, "witness")
        } else {
            write!(f, "node{}", self.0)
        }
    }
}

/// A set of members, used for voters and for collecting answers.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoterSet(pub u32);

impl VoterSet {
    /// The empty set.
    pub const EMPTY: VoterSet = VoterSet(0);

    /// The set with `node` added.
    #[must_use]
    pub fn with(self, node: NodeId) -> Self {
        VoterSet(self.0 | 1 << node.0)
    }

    /// The set with `node` removed.
    #[must_use]
    pub fn without(self, node: NodeId) -> Self {
        VoterSet(self.0 & !(1 << node.0))
    }

    /// Adds `node`.
    pub fn insert(&mut self, node: NodeId) {
        *self = self.with(node);
    }

    /// True when `node` is in the set.
    #[must_use]
    pub fn contains(self, node: NodeId) -> bool {
        self.0 & 1 << node.0 != 0
    }

    /// Number of members.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// True for the empty set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Members in ascending order.
    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        (0..32u8).filter(move |bit| self.0 & 1 << bit != 0).map(NodeId)
    }

    /// Members of both sets.
    #[must_use]
    pub fn and(self, other: VoterSet) -> Self {
        VoterSet(self.0 & other.0)
    }

    /// Members of either set.
    #[must_use]
    pub fn or(self, other: VoterSet) -> Self {
        VoterSet(self.0 | other.0)
    }

    /// True when `answers` holds more than half of this set. Never true for the empty set.
    #[must_use]
    pub fn has_majority(self, answers: VoterSet) -> bool {
        !self.is_empty() && self.and(answers).len() * 2 > self.len()
    }

    /// True when the set is exactly two data nodes, the shape to which the pair's own rules apply.
    #[must_use]
    pub fn is_data_pair(self) -> bool {
        self.len() == 2 && !self.contains(NodeId::WITNESS)
    }
}

impl FromIterator<NodeId> for VoterSet {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        nodes.into_iter().fold(VoterSet::EMPTY, VoterSet::with)
    }
}

impl fmt::Debug for VoterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Largest round, version or epoch that is believed. Each is counted up by one; whoever counted once a nanosecond would
/// get there after a century, so a larger one is damage, and counting on from it would end where numbers end.
pub const NUMBER_MAX: u64 = 1 << 62;

/// A Paxos ballot: rounds are ordered first, the node that opened the round breaks ties.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// Round number; 0 is the ballot of the initial state.
    pub round: u64,
    /// The node that opened the round.
    pub node: u8,
}

impl Ballot {
    /// The ballot of the initial state, below every ballot that a node opens.
    pub const ZERO: Ballot = Ballot { round: 0, node: 0 };

    /// A ballot of `node` above this one.
    #[must_use]
    pub fn next_for(self, node: NodeId) -> Ballot {
        Ballot {
            round: self.round + 1,
            node: node.0,
        }
    }

    /// The node that opened the ballot.
    #[must_use]
    pub fn leader(self) -> NodeId {
        NodeId(self.node)
    }
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.node)
    }
}

/// Identity of one boot of one machine (the kernel's boot id). Proofs of fencing name the boot they ended.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub u128);

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for BootId {
    /// First eight hex digits: enough to tell boots apart on a phone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", (self.0 >> 96) as u32)
    }
}

/// One run of the `had` process within a boot; grows with each start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// Identifies a cluster for its lifetime; peers of another cluster are refused.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Position of a state in the register's history.
pub type Version = u64;

/// Number of one assignment of one group; never reused within a cluster. Actions of an older epoch are refused.
pub type Epoch = u64;

//! Groups whose resources have roles: they run on every eligible node, and are promoted on one.
//!
//! Which node that is, and whose copy of the data is whole, is committed in the register and nowhere else. Agents learn of
//! it as a [`RolesView`], and say what they see as a [`CopyStatus`].
//!
//! **Nothing acknowledged is lost** by this rule, which is Patroni's synchronous mode put into our register: the committed
//! [`InSync`] names every node whose copy holds all that was acknowledged, and only those are promoted.
//!
//! - The primary acknowledges nothing that is not on every other node of the set: its agent keeps the service waiting for
//!   them (semi-synchronous replication, `min-replicas-to-write`, a block device that is connected).
//! - A node joins the set when the primary already waits for it, and its copy has reached a position read after the wait
//!   began: then the agent *wishes* the larger set.
//! - It leaves the set first, and only then does the primary stop to wait for it: the agent wishes the smaller set under a new
//!   generation, and goes on without that node when it sees this very generation committed. A wish of before cannot be committed any more,
//!   because generations only grow.
//! - An agent that is started anew beside a service that it finds promoted does not know what its predecessor wished, and that may
//!   be on its way still. So it leaves the service waiting for whom it waits, and wishes a set under a fresh generation first.
//!   Two sets may then carry one generation: it is *this* set that has to be seen committed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use holdfast_proto::agent::{GroupRoles, PeerNode};
use tokio::sync::watch;

/// Which role a resource has on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may write: the primary, source or master.
    Promoted,
    /// It follows: replica or secondary.
    Unpromoted,
}

/// A data node, as agents need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Name.
    pub name: String,
    /// Number in the cluster, 1 to 16: for ids that have to differ (`server_id`).
    pub id: u32,
    /// Addresses of its links, the first one first.
    pub addresses: Vec<IpAddr>,
}

/// Whose copies hold everything that was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InSync {
    /// Grows with each change. 0: nobody was promoted yet.
    pub generation: u64,
    /// Names of the nodes, the primary among them. Empty: not known, as in a new cluster.
    pub nodes: BTreeSet<String>,
}

/// What the cluster has committed about a group with roles, as this node knows it. May be old on a node that was cut off;
/// what may be written is told by the permit alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolesView {
    /// This node.
    pub own: Peer,
    /// All other data nodes.
    pub others: Vec<Peer>,
    /// The node on which the group is promoted, or about to be. None while it is nowhere.
    pub primary: Option<String>,
    /// Epoch of that assignment.
    pub epoch: u64,
    /// Whose copies are whole.
    pub in_sync: InSync,
}

impl Peer {
    /// As `had` tells it. Addresses that are none are left out.
    #[must_use]
    pub fn from_wire(node: &PeerNode) -> Peer {
        Peer {
            name: node.name.clone(),
            id: node.id,
            addresses: node
                .addresses
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect(),
        }
    }
}

impl InSync {
    /// As `had` tells it.
    #[must_use]
    pub fn from_wire(set: &holdfast_proto::agent::InSync) -> InSync {
        InSync {
            generation: set.generation,
            nodes: set.nodes.iter().cloned().collect(),
        }
    }

    /// For `had`.
    #[must_use]
    pub fn to_wire(&self) -> holdfast_proto::agent::InSync {
        holdfast_proto::agent::InSync {
            generation: self.generation,
            nodes: self.nodes.iter().cloned().collect(),
        }
    }
}

impl RolesView {
    /// As `had` tells it.
    #[must_use]
    pub fn from_wire(roles: &GroupRoles) -> RolesView {
        RolesView {
            own: roles.own.as_ref().map(Peer::from_wire).unwrap_or_default(),
            others: roles.others.iter().map(Peer::from_wire).collect(),
            primary: Some(roles.primary.clone()).filter(|name| !name.is_empty()),
            epoch: roles.epoch,
            in_sync: roles.in_sync.as_ref().map(InSync::from_wire).unwrap_or_default(),
        }
    }

    /// The primary, when it is another node.
    #[must_use]
    pub fn remote_primary(&self) -> Option<&Peer> {
        let name = self.primary.as_ref()?;
        self.others.iter().find(|peer| peer.name == *name)
    }

    /// True when the committed set says that the primary, another node, has all that was acknowledged, and that this node's copy
    /// is not counted on: the proof without which nothing of it may be thrown away.
    #[must_use]
    pub fn is_dispensable(&self) -> bool {
        let is_counted_on = |peer: &Peer| self.in_sync.nodes.contains(&peer.name);
        self.in_sync.generation > 0
            && self.remote_primary().is_some_and(is_counted_on)
            && !is_counted_on(&self.own)
    }

    /// True when a promoted service here has to wait for the copy on another node before it acknowledges.
    #[must_use]
    pub fn waits_for_others(&self) -> bool {
        self.in_sync.nodes.iter().any(|node| *node != self.own.name)
    }
}

/// What an agent sees of the copy of the data on its node. Told to [`CopySink::tell`] on every change, and
/// about once a second while `lag_ms` or `position` change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyStatus {
    /// Why it cannot be promoted here, whatever the cluster thinks of it (broken replication, Inconsistent disk). Empty: it
    /// can.
    pub obstacle: String,
    /// How far the copy is: of two copies with the same `history` the larger one has more. 0: not known.
    pub position: u64,
    /// Which history that position counts in (replication id, GTID domain, data generation). Empty: not known.
    pub history: String,
    /// The whole position in the service's own terms, for people (GTID set, offset).
    pub position_text: String,
    /// How old its data is against the primary's. None: not known, or it does not follow.
    pub lag_ms: Option<u64>,
    /// What might be lost if it was promoted now, in words ("at most 12 transactions since 14:02:11"); empty for nothing
    /// that is known of.
    pub possible_loss: String,
    /// On the primary: the set that is to be committed, under a generation above the committed one and above every earlier
    /// wish.
    pub wish: Option<InSync>,
    /// It may be read from: replication runs and the data is whole. On the primary true while it serves.
    pub readable: bool,
}

/// What is known of the copies of a group's resources, by their places in the group.
pub type Copies = BTreeMap<usize, CopyStatus>;

/// Takes what an agent sees of its copy; the newest word counts.
#[derive(Clone, Debug, Default)]
pub struct CopySink {
    index: usize,
    sender: watch::Sender<Copies>,
}

impl CopySink {
    /// A sink for the resource at place `index` of its group.
    #[must_use]
    pub fn new(index: usize, sender: watch::Sender<Copies>) -> Self {
        CopySink { index, sender }
    }

    /// The newest word. Saying the same again wakes nobody.
    pub fn tell(&self, copy: CopyStatus) {
        self.sender.send_if_modified(|copies| {
            let changed = copies.get(&self.index) != Some(&copy);
            if changed {
                copies.insert(self.index, copy);
            }
            changed
        });
    }

    /// What is told, for the runner and for tests of agents.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Copies> {
        self.sender.subscribe()
    }
}

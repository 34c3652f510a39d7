//! What is said of groups with roles, and of copies of their data.

use super::GroupSpec;

/// What is committed about a group whose resources have roles (or that runs on every node), and whether this node is to run
/// them. Says nothing about being promoted here: that is `StartGroup`, under a permit. Sent on every change.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupRoles {
    /// What to run of it, unpromoted; also its name.
    #[prost(message, optional, tag = "1")]
    pub spec: Option<GroupSpec>,
    /// True when its resources with roles are to run here; false to stop them, unless the group is promoted here.
    #[prost(bool, tag = "2")]
    pub wanted: bool,
    /// This node.
    #[prost(message, optional, tag = "3")]
    pub own: Option<PeerNode>,
    /// All other data nodes.
    #[prost(message, repeated, tag = "4")]
    pub others: Vec<PeerNode>,
    /// Node on which the group is promoted, or about to be; empty while it is nowhere.
    #[prost(string, tag = "5")]
    pub primary: String,
    /// Epoch of that assignment.
    #[prost(uint64, tag = "6")]
    pub epoch: u64,
    /// Whose copies hold all that was acknowledged.
    #[prost(message, optional, tag = "7")]
    pub in_sync: Option<InSync>,
    /// Length of a lease.
    #[prost(uint32, tag = "8")]
    pub lease_ms: u32,
    /// Version of the committed state that says so: an older one than was seen is not followed.
    #[prost(uint64, tag = "9")]
    pub version: u64,
}

/// A data node, for agents.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PeerNode {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Number.
    #[prost(uint32, tag = "2")]
    pub id: u32,
    /// Addresses of its links.
    #[prost(string, repeated, tag = "3")]
    pub addresses: Vec<String>,
}

/// A set of nodes whose copies hold everything that was acknowledged.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InSync {
    /// Grows with each change.
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// Names.
    #[prost(string, repeated, tag = "2")]
    pub nodes: Vec<String>,
}

/// What is seen of this node's copy of a group's data.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CopyStatus {
    /// Why it cannot be promoted here; empty if it can.
    #[prost(string, tag = "1")]
    pub obstacle: String,
    /// How far it is, comparable within one history.
    #[prost(uint64, tag = "2")]
    pub position: u64,
    /// Which history that counts in.
    #[prost(string, tag = "3")]
    pub history: String,
    /// The position for people.
    #[prost(string, tag = "4")]
    pub position_text: String,
    /// How old its data is against the primary's.
    #[prost(uint64, optional, tag = "5")]
    pub lag_ms: Option<u64>,
    /// What might be lost if it was promoted; empty for nothing that is known of.
    #[prost(string, tag = "6")]
    pub possible_loss: String,
    /// What the primary wants committed.
    #[prost(message, optional, tag = "7")]
    pub wish: Option<InSync>,
    /// It may be read from.
    #[prost(bool, tag = "8")]
    pub readable: bool,
}

/// The unpromoted part of a group on this node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberStatus {
    /// State of its resources with roles, in the words of `GroupStatus.run`; `running` also while the group is promoted here.
    #[prost(string, tag = "1")]
    pub run: String,
    /// What its agent sees of the copy; absent without one.
    #[prost(message, optional, tag = "2")]
    pub copy: Option<CopyStatus>,
    /// The latest trouble with it, one sentence.
    #[prost(string, tag = "3")]
    pub detail: String,
}

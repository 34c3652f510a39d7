//! A node's picture of the cluster, for status output. Nothing decides by it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::ids::{Ballot, BootId, Epoch, GroupName, JobName, NodeId};
use holdfast_proto::peer::{MemberReport, RunState};
use holdfast_proto::state::ClusterState;
use holdfast_proto::time::Time;

/// The picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// This node.
    pub node: NodeId,
    /// Newest committed state; absent on a blank node.
    pub state: Option<Arc<ClusterState>>,
    /// Highest promised ballot.
    pub ballot: Ballot,
    /// The leader this node follows or is.
    pub leader: Option<NodeId>,
    /// Whether and why this node is part of a quorum, one sentence.
    pub quorum: String,
    /// True when a lease (own or the leader's) or the pair's own rules hold.
    pub has_quorum: bool,
    /// Whether this node has voted in this boot for a state that committed.
    pub synced: bool,
    /// Members other than this node.
    pub peers: Vec<PeerView>,
    /// Groups.
    pub groups: Vec<GroupView>,
    /// On the leader: jobs that are due and wait, each with what it waits for.
    pub waiting_jobs: BTreeMap<JobName, String>,
    /// The next deadline and its reason.
    pub next: Option<(Time, &'static str)>,
    /// Standing conditions worth an operator's attention.
    pub warnings: Vec<String>,
}

/// Another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Which.
    pub node: NodeId,
    /// `online`, `lost`, `fencing`, `fenced`, `joining`, `never seen`.
    pub state: &'static str,
    /// One sentence; empty if there is nothing to say.
    pub detail: String,
    /// Its boot, once heard.
    pub boot: Option<BootId>,
    /// Whether it says it is synced.
    pub synced: bool,
    /// Its watchdog.
    pub watchdog: Option<Duration>,
    /// How often it was fenced within the last hour.
    pub fenced_lately: u32,
    /// When it may vote again: it was fenced so often that it has to stay first.
    pub stays_out_until: Option<Time>,
}

/// The part of a group that runs on a node without a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Where.
    pub node: NodeId,
    /// `primary`, `replica`, or `member` of a group that runs on every node.
    pub role: &'static str,
    /// Its copy of the data is agreed to be whole.
    pub in_sync: bool,
    /// The node is heard; the report of one that is not is its last.
    pub online: bool,
    /// What its node says of it.
    pub report: Option<Arc<MemberReport>>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Which.
    pub name: GroupName,
    /// `running`, `starting`, `stopping`, `stopped`, `failed`, `moving`, `waiting`, `unknown`; of a group that runs on every
    /// node also `degraded`: on some it does not.
    pub state: &'static str,
    /// The node it is assigned to.
    pub node: Option<NodeId>,
    /// Epoch of the assignment.
    pub epoch: Epoch,
    /// Why, one sentence. When something is waited for, it says what.
    pub reason: String,
    /// What runs here.
    pub local: Option<RunState>,
    /// Expiry of the permit held here.
    pub permit_until: Option<Time>,
    /// The latest outage as this node saw it.
    pub last_outage: Option<Duration>,
    /// What runs of it without a permit, on each data node; empty for a group that runs on one node only.
    pub members: Vec<MemberView>,
    /// For each data node: could it run the group, and why or why not.
    pub candidates: Vec<(NodeId, bool, String)>,
}

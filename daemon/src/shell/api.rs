//! What passes between the deciding thread and the ordinary one.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_core::event::Due;
use holdfast_core::view::View;
use holdfast_proto::agent::GroupStatus;
use holdfast_proto::config::Config;
use holdfast_proto::ids::{BootId, Incarnation, NodeId, Version};
use holdfast_proto::operator::{OperatorCall, OperatorOutcome};
use holdfast_proto::time::Time;
use tokio::sync::oneshot;

use crate::fence_tests::DeviceTest;
use crate::join::JoinRequest;
use crate::journal::Record;
use crate::register::Picture;
use crate::rt::Scheduling;

/// To the deciding thread.
pub enum Ask {
    /// Everything that status output needs.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Test the fence devices of a node, and say what each showed.
    FenceTest {
        /// The node.
        node: NodeId,
        /// Where the answer goes.
        reply: oneshot::Sender<Vec<DeviceTest>>,
    },
    /// Occurrences of jobs that are due by the wall clock.
    Due(Vec<Due>),
    /// A request of an operator; dropped unanswered when the core never answers.
    Operator {
        /// The call.
        call: OperatorCall,
        /// Where the answer goes.
        reply: oneshot::Sender<OperatorOutcome>,
    },
}

/// From the deciding thread, to be carried out where blocking is allowed.
pub enum Chore {
    /// Write a journal entry.
    Record(Record),
    /// Keep a copy of the configuration in force.
    WriteConfig {
        /// The configuration.
        config: Arc<Config>,
        /// Version of the state it came with.
        version: Version,
    },
    /// Note the number of this run.
    RecordRun(Incarnation),
    /// Note in the run directory that this boot is synced.
    MarkSynced(BootId),
    /// Bring a member in that showed a valid join token.
    Join(JoinRequest),
}

/// A picture of everything, taken between two events.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When.
    pub now: Time,
    /// The core's view.
    pub view: View,
    /// The configuration in force.
    pub config: Arc<Config>,
    /// Links to peers.
    pub links: Vec<LinkSample>,
    /// What the agent process last said.
    pub agent: AgentPicture,
    /// What the tests of fence devices showed, in the order of the configuration.
    pub fence_tests: Vec<DeviceTest>,
    /// How the deciding thread runs.
    pub scheduling: Scheduling,
    /// This machine's boot.
    pub boot: BootId,
    /// A standing trouble with the disk, in words; empty for none.
    pub disk_trouble: String,
    /// How the witness that is kept in etcd is reached, if there is one.
    pub register: Option<Picture>,
}

/// One link to one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSample {
    /// The peer.
    pub peer: NodeId,
    /// Index of the link.
    pub link: usize,
    /// Its address on the link.
    pub address: String,
    /// Heard within the silence limit.
    pub up: bool,
    /// Smoothed round trip; 0 if unknown.
    pub rtt_us: u32,
    /// Beats lost of the last 100.
    pub lost_percent: u32,
}

/// What is known of the agent process.
#[derive(Clone, Debug, Default)]
pub struct AgentPicture {
    /// A witness has none and needs none.
    pub wanted: bool,
    /// Connected.
    pub attached: bool,
    /// Why not, if not.
    pub reason: String,
    /// Its armed watchdog; 0 for none.
    pub watchdog_ms: u32,
    /// How the driver of that calls itself.
    pub watchdog: String,
    /// Agent kinds it has.
    pub kinds: Vec<String>,
    /// The latest status of each group.
    pub groups: BTreeMap<String, GroupStatus>,
}

//! What the core asks of its shell.

use std::sync::Arc;

use holdfast_proto::config::Config;
use holdfast_proto::ids::{BootId, Epoch, GroupName, JobName, NodeId, Version};
use holdfast_proto::job::RunNumber;
use holdfast_proto::operator::OperatorOutcome;
use holdfast_proto::peer::{Beat, Message};
use holdfast_proto::state::InSync;
use holdfast_proto::time::Time;

use crate::durable::Durable;
use crate::journal::Entry;

/// Number of a persist effect. Grows by one with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersistId(pub u64);

/// Number of a fence command. Grows by one with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FenceId(pub u64);

/// What a fence device is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FenceStep {
    /// The action of its section, then a read-back.
    Act,
    /// Off and a read-back, even if its section says reboot: another device feeds the same node.
    Off,
    /// Only a read-back, after all devices of the level read off.
    ReadBack,
    /// On again. Nobody waits for the answer.
    On,
}

/// An output of the core. Effects are carried out in order; none of them fails in place: its result is an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send on a stream, at most once, in order per peer. May be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Send a datagram on every link to a peer.
    SendBeat {
        /// To whom.
        to: NodeId,
        /// What.
        beat: Beat,
    },
    /// Write the record and fsync, then report [`crate::event::Event::Persisted`]. What depends on it is held back by
    /// the core. A later record contains everything an earlier one does, so only the newest needs writing.
    Persist {
        /// Number of the record.
        id: PersistId,
        /// The record.
        record: Arc<Durable>,
    },
    /// Write to /run (gone after a reboot) that this boot has voted for a state that committed.
    MarkSynced,
    /// Renew permits with `had-agentd`.
    Permits(Vec<Permit>),
    /// A quorum stood behind this node as of this instant: it may go on without the shared disks for a while. Only sent where
    /// there are any.
    Quorum(Time),
    /// Start a group. The permit comes with it.
    StartGroup {
        /// The permit; its group and epoch are the group to start.
        permit: Permit,
        /// The configuration to start it from.
        config: Arc<Config>,
    },
    /// Stop a group and report when nothing of it runs.
    StopGroup {
        /// The group.
        group: GroupName,
        /// Epoch of the decision.
        epoch: Epoch,
        /// Why.
        reason: String,
        /// The node that is to take it next, if that is known: resources with roles hand over to it.
        toward: Option<NodeId>,
    },
    /// What is committed about a group of which something runs without a permit, and whether that is to run here. Says
    /// nothing about being promoted here. Sent when the agent process attached, and on each change.
    GroupRoles(Box<GroupRoles>),
    /// Restart a resource (and those after it) in place.
    RestartResource {
        /// The group.
        group: GroupName,
        /// Epoch it runs under.
        epoch: Epoch,
        /// The resource; the whole group if absent.
        resource: Option<String>,
    },
    /// Begin a run of a job, unless it or a later one was begun before. The agent process says how it stands, also if so.
    RunJob {
        /// The job.
        job: JobName,
        /// Number of the run.
        run: RunNumber,
        /// What it is for, in seconds since 1970.
        occurrence: i64,
        /// Which try it is.
        attempt: u32,
        /// The configuration to run it from.
        config: Arc<Config>,
    },
    /// End a run of a job, or never begin it. The agent process says how it stands.
    EndJob {
        /// The job.
        job: JobName,
        /// Number of the run.
        run: RunNumber,
        /// Why.
        reason: String,
    },
    /// Tell `had-agentd` whether resources are to be left alone.
    Maintenance(bool),
    /// Ask the fence device `config.fences[device]` for `step`. The answer is `Event::Fenced`.
    Fence {
        /// Number that the answer carries.
        id: FenceId,
        /// The node to fence.
        node: NodeId,
        /// The boot that is to end, if one was heard. A device that can end only a boot that it knows needs it; its
        /// result then says nothing about later ones (`read_at` is zero).
        boot: Option<BootId>,
        /// Index into `config.fences`.
        device: usize,
        /// What it is asked for.
        step: FenceStep,
        /// The configuration the index belongs to.
        config: Arc<Config>,
    },
    /// Answer an operator.
    Reply {
        /// Number of the request.
        request: u64,
        /// The answer.
        outcome: OperatorOutcome,
    },
    /// Tell operators.
    Journal(Entry),
    /// The committed configuration changed: follow it (links, keys, timers, local copy of the file).
    ConfigChanged(Arc<Config>),
    /// `Event::Shutdown` has been dealt with: the process may end.
    ShutdownReady,
}

/// What is committed about a group whose resources have roles, or that runs on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRoles {
    /// The group.
    pub group: GroupName,
    /// The configuration to run it from; the group may have left it, and is not wanted then.
    pub config: Arc<Config>,
    /// Its resources with roles (all of them if it runs on every node) are to run here, promoted or not.
    pub wanted: bool,
    /// The node on which it is promoted, or about to be.
    pub primary: Option<NodeId>,
    /// Epoch of that assignment.
    pub epoch: Epoch,
    /// Whose copies hold everything that was acknowledged.
    pub in_sync: InSync,
    /// The version that says so.
    pub version: Version,
}

/// The right to run a group until an instant on this node's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The group.
    pub group: GroupName,
    /// Epoch of its assignment.
    pub epoch: Epoch,
    /// Expiry.
    pub until: Time,
}

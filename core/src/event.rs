//! What can happen to a node.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::ids::{BootId, Epoch, GroupName, JobName, NodeId};
use holdfast_proto::job::JobReport;
use holdfast_proto::operator::{OperatorCall, OperatorOutcome};
use holdfast_proto::peer::{Beat, MemberReport, Message, RunState, Sender};
use holdfast_proto::time::Time;

use crate::effect::{FenceId, PersistId};

/// An input of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message from a member whose hello was accepted.
    Message {
        /// Who sent it, as the hello established.
        from: Sender,
        /// The message.
        message: Message,
    },
    /// A heartbeat or its answer. The shell removes duplicates that came over several links.
    Beat {
        /// Who sent it.
        from: Sender,
        /// The frame.
        beat: Beat,
    },
    /// This node's own view of its network, on change.
    Network(NetworkHealth),
    /// From `had-agentd`.
    Agent(AgentEvent),
    /// A fence device ended.
    Fenced {
        /// The command it answers.
        id: FenceId,
        /// What was seen.
        result: FenceResult,
    },
    /// A record is on disk.
    Persisted(PersistId),
    /// A record could not be written; the sentence says why. The node stops voting until a write succeeds.
    PersistFailed(PersistId, String),
    /// An operator's request on this node's control socket.
    Operator {
        /// Number that the reply carries.
        request: u64,
        /// The call.
        call: OperatorCall,
    },
    /// By the wall clock of this node an occurrence of a job is due. Said again until it is dealt with; only a leader heeds it.
    Due(Due),
    /// The deadline of [`crate::node::Node::poll_timeout`] has passed.
    Timeout,
    /// `had` was asked to end (SIGTERM): hand leadership over if that can be done.
    Shutdown,
}

/// This node's own view of its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkHealth {
    /// At least one configured link has a carrier.
    pub any_link_up: bool,
    /// At least one ping target answers, or none is configured.
    pub ping_answers: bool,
}

impl NetworkHealth {
    /// A node that cannot reach the network must not take a peer's silence for the peer's death.
    #[must_use]
    pub fn may_fence(self) -> bool {
        self.any_link_up && self.ping_answers
    }
}

/// From `had-agentd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// The agent process is connected. All groups it knows follow; a group not named is stopped.
    Attached {
        /// Every group that is not stopped.
        groups: Vec<GroupObservation>,
        /// Timeout of the armed watchdog.
        watchdog: Option<Duration>,
    },
    /// The connection to it is gone: nothing can be started or confirmed stopped.
    Detached,
    /// A group changed.
    Group(GroupObservation),
    /// How the latest run of a job stands. After `Attached` all that are known follow.
    Job {
        /// The job.
        job: JobName,
        /// How it stands.
        report: JobReport,
    },
}

/// An occurrence of a job's calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The job.
    pub job: JobName,
    /// When it was due, in seconds since 1970.
    pub occurrence: i64,
    /// What is to be done about it.
    pub verdict: DueVerdict,
}

/// What is to be done about an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DueVerdict {
    /// Begin it.
    Begin,
    /// It is too late for it, or it cannot be told when it is due: leave it out, and say why.
    Missed(String),
    /// The calendar was not followed before: follow it from here on.
    First,
}

/// A group as the agent process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupObservation {
    /// The group.
    pub group: GroupName,
    /// Epoch it runs or was stopped under.
    pub epoch: Epoch,
    /// State.
    pub run: RunState,
    /// Restarts in place.
    pub restarts: u32,
    /// Latest trouble in words.
    pub detail: String,
    /// Its part that runs without a permit.
    pub member: Option<Arc<MemberReport>>,
}

/// What a fence device reported, after its read-back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceResult {
    /// The action was done and a separate status read said off.
    pub off_read_back: bool,
    /// What was seen, one sentence.
    pub evidence: String,
    /// What went wrong; empty on success.
    pub error: String,
    /// When the status read began, on this node's clock; zero if there was none, or if what was proven is about no other
    /// boot than the one that was named.
    pub read_at: Time,
}

impl FenceResult {
    /// What was seen, or else what went wrong.
    #[must_use]
    pub fn sentence(&self) -> &str {
        if self.error.is_empty() {
            &self.evidence
        } else {
            &self.error
        }
    }
}

/// A reply to an operator, as in [`crate::effect::Effect::Reply`].
pub type Reply = (u64, OperatorOutcome);

/// Identity of this node in this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which member this is.
    pub node: NodeId,
    /// The machine's boot.
    pub boot: BootId,
    /// The run of `had`.
    pub incarnation: holdfast_proto::ids::Incarnation,
}

//! Messages between members, as the core sees them. `wire` encodes them, `frame` the heartbeat.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::ids::{Ballot, BootId, Epoch, GroupName, Incarnation, JobName, NodeId, Version, VoterSet};
use crate::job::JobReport;
use crate::operator::{OperatorCall, OperatorOutcome};
use crate::state::{ClusterState, InSync};
use crate::time::Time;

/// Who sent something: a member, in one boot, in one run of its `had`. Established by the hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// The member.
    pub node: NodeId,
    /// Its boot.
    pub boot: BootId,
    /// Its run of `had`.
    pub incarnation: Incarnation,
}

/// Most epochs that one heartbeat answer can withhold; beyond, it withholds all.
pub const WITHHELD_MAX: usize = 4;

/// Sent by every data node to every member once per heartbeat interval, on every link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Grows by one with each round; the same number goes out on all links.
    pub seq: u64,
    /// The sender's clock when it sent this. Only ever compared with the sender's own clock, when it is echoed.
    pub sent_at: Time,
    /// How late the sender's own deciding thread woke for this round.
    pub lateness: Duration,
    /// The sender's highest promised ballot; its own ballot when `leading`.
    pub ballot: Ballot,
    /// The sender leads under `ballot` and asks for backing of its lease.
    pub leading: bool,
    /// Latest committed version the sender knows.
    pub committed: Version,
    /// The sender has acknowledged, in this boot, a state that then committed.
    pub synced: bool,
    /// The sender has no register state (new, or its disk was lost) and cannot vote.
    pub blank: bool,
    /// The pre-agreed survivor, as the sender knows it.
    pub survivor: NodeId,
    /// Timeout of the sender's armed watchdog, if it holds one.
    pub watchdog: Option<Duration>,
    /// The sender's agent process is attached: it can run groups.
    pub agent_ready: bool,
}

/// The answer to one heartbeat, sent at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatAck {
    /// The heartbeat answered.
    pub seq: u64,
    /// Its `sent_at`, echoed.
    pub sent_at: Time,
    /// The answerer's highest promised ballot.
    pub ballot: Ballot,
    /// The answerer backs the lease of `ballot`: it will help no other candidate for one lease length.
    pub backs: bool,
    /// The answerer leads, and had this much left of its lease when it answered.
    pub lease_left: Duration,
    /// The committed version for which the leader grants permits; 0 for none.
    pub granted: Version,
    /// Epochs for which it grants nothing because their group is being moved.
    pub withheld: [Epoch; WITHHELD_MAX],
    /// It grants nothing at all.
    pub withhold_all: bool,
    /// Latest committed version the answerer knows.
    pub committed: Version,
    /// The answerer has no register state.
    pub blank: bool,
}

/// A heartbeat or its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// A heartbeat.
    Heartbeat(Heartbeat),
    /// An answer.
    Ack(HeartbeatAck),
}

/// Everything else, on streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Would you promise `ballot`? Changes nothing at the receiver.
    PreVote {
        /// The ballot the candidate would open.
        ballot: Ballot,
    },
    /// Answer to `PreVote`.
    PreVoteReply {
        /// The ballot asked about.
        ballot: Ballot,
        /// The answer.
        verdict: Verdict,
        /// The answerer's highest promised ballot, so that the candidate opens a higher one.
        promised: Ballot,
        /// Voters of the newest committed and accepted states the answerer knows.
        voters: KnownVoters,
    },
    /// Phase 1a.
    Prepare {
        /// The candidate's ballot.
        ballot: Ballot,
        /// The ballot of a leader that stepped down in favour of this candidate, which ends promises to it.
        transfer: Option<Ballot>,
    },
    /// Phase 1b, sent after the promise was persisted.
    Promise {
        /// The ballot promised.
        ballot: Ballot,
        /// Ballot of the accepted state.
        accepted_ballot: Ballot,
        /// The accepted state.
        accepted: Arc<ClusterState>,
        /// Voters of the newest committed state, and its version.
        voters: KnownVoters,
    },
    /// Phase 1 or 2 refused.
    Refuse {
        /// The ballot refused.
        ballot: Ballot,
        /// The highest promised ballot.
        promised: Ballot,
        /// Why.
        verdict: Verdict,
    },
    /// Phase 2a.
    Accept {
        /// The leader's ballot.
        ballot: Ballot,
        /// The proposed state.
        state: Arc<ClusterState>,
    },
    /// Phase 2b, sent after the state was persisted.
    Accepted {
        /// The ballot.
        ballot: Ballot,
        /// Version accepted.
        version: Version,
    },
    /// A committed state. Also serves to bring a member up to date.
    Commit {
        /// Ballot under which it committed.
        ballot: Ballot,
        /// The state.
        state: Arc<ClusterState>,
    },
    /// I lead under `ballot` no longer; campaign now, with this ballot as your warrant.
    Transfer {
        /// The ballot given up.
        ballot: Ballot,
    },
    /// What a data node sees of its groups, sent to the leader on change and now and then.
    Report(NodeReport),
    /// A request from an operator at another node, for the leader.
    Forward {
        /// Number given by the origin.
        request: u64,
        /// The call.
        call: OperatorCall,
    },
    /// The leader's answer.
    ForwardReply {
        /// Number given by the origin.
        request: u64,
        /// The answer.
        outcome: OperatorOutcome,
    },
}

/// Voters of the newest committed and accepted states that a member knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownVoters {
    /// Version of the committed state.
    pub committed_version: Version,
    /// Its voters.
    pub committed: VoterSet,
    /// Voters of the accepted state.
    pub accepted: VoterSet,
}

/// Whether an acceptor would help or did help a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Granted,
    /// No: bound to another leader for this long.
    Bound(Duration),
    /// No: promised a higher ballot.
    Stale,
    /// No: the candidate is not among its committed voters.
    Stranger,
    /// No: it has no state, or a damaged one.
    Blank,
}

/// What a data node sees of its groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeReport {
    /// Committed version the report was made at.
    pub version: Version,
    /// One entry per group that is or was running here, or that failed here.
    pub groups: BTreeMap<GroupName, GroupReport>,
    /// The latest run of each job that this node was given in this boot.
    pub jobs: BTreeMap<JobName, JobReport>,
    /// True when the node's links or ping targets say it is isolated from clients.
    pub isolated: bool,
}

/// One group as its node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReport {
    /// Epoch the observation belongs to.
    pub epoch: Epoch,
    /// What is observed.
    pub run: RunState,
    /// Failures in place since the group started here.
    pub restarts: u32,
    /// The latest trouble in words; empty if none.
    pub detail: String,
    /// Its part that runs without a permit: resources with roles, or all of a group that runs on every node.
    pub member: Option<Arc<MemberReport>>,
}

/// The part of a group that runs on a node without a permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberReport {
    /// What is observed; running also while the group is promoted there.
    pub run: RunState,
    /// What its agent sees of the copy of the data, if there is one.
    pub copy: Option<CopyReport>,
    /// The latest trouble in words; empty if none.
    pub detail: String,
}

/// What an agent sees of a copy of a group's data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// Why it cannot be promoted, whatever the cluster thinks of it; empty if it can.
    pub obstacle: String,
    /// How far it is: of two copies with the same history the larger one has more. 0: not known.
    pub position: u64,
    /// Which history that counts in. Empty: not known.
    pub history: String,
    /// The position for people.
    pub position_text: String,
    /// How old its data is against the promoted one's. None: not known, or it does not follow.
    pub lag_ms: Option<u64>,
    /// What might be lost if it was promoted now, in words; empty for nothing that is known of.
    pub possible_loss: String,
    /// On the promoted one: the set that is to be committed.
    pub wish: Option<InSync>,
    /// It may be read from.
    pub readable: bool,
}

/// What a group is doing on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RunState {
    /// Nothing of it runs, by confirmation of the agent process.
    Stopped,
    /// Being started.
    Starting,
    /// All of it runs.
    Running,
    /// Being stopped.
    Stopping,
    /// It failed here beyond what may be mended in place; nothing of it runs any more.
    Failed,
    /// A stop failed, or the agent process is away: it may be running.
    Unknown,
}

impl RunState {
    /// The state's name in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            RunState::Stopped => "stopped",
            RunState::Starting => "starting",
            RunState::Running => "running",
            RunState::Stopping => "stopping",
            RunState::Failed => "failed",
            RunState::Unknown => "unknown",
        }
    }

    /// True when nothing of the group can be running.
    #[must_use]
    pub fn is_down(self) -> bool {
        matches!(self, RunState::Stopped | RunState::Failed)
    }
}

//! The protobuf messages. Tags are never reused; numbers of enums start at 1, so that 0 is "absent".

use crate::ids::{Ballot, BootId};

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct BallotWire {
    #[prost(uint64, tag = "1")]
    pub round: u64,
    #[prost(uint32, optional, tag = "2")]
    pub node: Option<u32>,
}

impl From<Ballot> for BallotWire {
    fn from(ballot: Ballot) -> Self {
        BallotWire {
            round: ballot.round,
            node: Some(ballot.node.into()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct BootWire {
    #[prost(fixed64, tag = "1")]
    pub high: u64,
    #[prost(fixed64, tag = "2")]
    pub low: u64,
}

impl From<BootId> for BootWire {
    fn from(boot: BootId) -> Self {
        BootWire {
            high: (boot.0 >> 64) as u64,
            low: boot.0 as u64,
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MessageWire {
    #[prost(oneof = "Body", tags = "1,2,3,4,5,6,7,8,9,10,11,12")]
    pub body: Option<Body>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Body {
    #[prost(message, tag = "1")]
    PreVote(BallotOnly),
    #[prost(message, tag = "2")]
    PreVoteReply(PreVoteReplyWire),
    #[prost(message, tag = "3")]
    Prepare(PrepareWire),
    #[prost(message, tag = "4")]
    Promise(PromiseWire),
    #[prost(message, tag = "5")]
    Refuse(RefuseWire),
    #[prost(message, tag = "6")]
    Accept(StateAtBallot),
    #[prost(message, tag = "7")]
    Accepted(AcceptedWire),
    #[prost(message, tag = "8")]
    Commit(StateAtBallot),
    #[prost(message, tag = "9")]
    Transfer(BallotOnly),
    /// An encoded [`ReportWire`].
    #[prost(bytes, tag = "10")]
    Report(Vec<u8>),
    #[prost(message, tag = "11")]
    Forward(ForwardWire),
    #[prost(message, tag = "12")]
    ForwardReply(ForwardReplyWire),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct BallotOnly {
    #[prost(message, optional, tag = "1")]
    pub ballot: Option<BallotWire>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct VerdictWire {
    /// 1 granted, 2 bound, 3 stale, 4 stranger, 5 blank.
    #[prost(uint32, tag = "1")]
    pub code: u32,
    #[prost(uint64, tag = "2")]
    pub bound_us: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct KnownVotersWire {
    #[prost(uint64, tag = "1")]
    pub committed_version: u64,
    #[prost(uint32, tag = "2")]
    pub committed: u32,
    #[prost(uint32, tag = "3")]
    pub accepted: u32,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct PreVoteReplyWire {
    #[prost(message, optional, tag = "1")]
    pub ballot: Option<BallotWire>,
    #[prost(message, optional, tag = "2")]
    pub verdict: Option<VerdictWire>,
    #[prost(message, optional, tag = "3")]
    pub promised: Option<BallotWire>,
    #[prost(message, optional, tag = "4")]
    pub voters: Option<KnownVotersWire>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct PrepareWire {
    #[prost(message, optional, tag = "1")]
    pub ballot: Option<BallotWire>,
    #[prost(message, optional, tag = "2")]
    pub transfer: Option<BallotWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PromiseWire {
    #[prost(message, optional, tag = "1")]
    pub ballot: Option<BallotWire>,
    #[prost(message, optional, tag = "2")]
    pub accepted_ballot: Option<BallotWire>,
    /// An encoded [`StateWire`].
    #[prost(bytes = "vec", optional, tag = "3")]
    pub accepted: Option<Vec<u8>>,
    #[prost(message, optional, tag = "4")]
    pub voters: Option<KnownVotersWire>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct RefuseWire {
    #[prost(message, optional, tag = "1")]
    pub ballot: Option<BallotWire>,
    #[prost(message, optional, tag = "2")]
    pub promised: Option<BallotWire>,
    #[prost(message, optional, tag = "3")]
    pub verdict: Option<VerdictWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StateAtBallot {
    #[prost(message, optional, tag = "1")]
    pub ballot: Option<BallotWire>,
    /// An encoded [`StateWire`].
    #[prost(bytes = "vec", optional, tag = "2")]
    pub state: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct AcceptedWire {
    #[prost(message, optional, tag = "1")]
    pub ballot: Option<BallotWire>,
    #[prost(uint64, tag = "2")]
    pub version: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReportWire {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    #[prost(bool, tag = "2")]
    pub isolated: bool,
    /// Encoded [`GroupReportWire`]s.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub groups: Vec<Vec<u8>>,
    /// Encoded [`JobReportWire`]s.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub jobs: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct JobReportWire {
    #[prost(string, tag = "1")]
    pub job: String,
    #[prost(uint64, tag = "2")]
    pub run: u64,
    /// Position in `JobOutcome::ALL`, from 1 on.
    #[prost(uint32, tag = "3")]
    pub outcome: u32,
    #[prost(string, tag = "4")]
    pub detail: String,
    #[prost(uint64, tag = "5")]
    pub took_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupReportWire {
    #[prost(string, tag = "1")]
    pub group: String,
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// 1 stopped, 2 starting, 3 running, 4 stopping, 5 failed, 6 unknown.
    #[prost(uint32, tag = "3")]
    pub run: u32,
    #[prost(uint32, tag = "4")]
    pub restarts: u32,
    #[prost(string, tag = "5")]
    pub detail: String,
    #[prost(message, optional, tag = "6")]
    pub member: Option<MemberReportWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberReportWire {
    /// As in [`GroupReportWire`].
    #[prost(uint32, tag = "1")]
    pub run: u32,
    #[prost(string, tag = "2")]
    pub detail: String,
    #[prost(message, optional, tag = "3")]
    pub copy: Option<CopyReportWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CopyReportWire {
    #[prost(string, tag = "1")]
    pub obstacle: String,
    #[prost(uint64, tag = "2")]
    pub position: u64,
    #[prost(string, tag = "3")]
    pub history: String,
    #[prost(string, tag = "4")]
    pub position_text: String,
    #[prost(uint64, optional, tag = "5")]
    pub lag_ms: Option<u64>,
    #[prost(string, tag = "6")]
    pub possible_loss: String,
    #[prost(message, optional, tag = "7")]
    pub wish: Option<InSyncWire>,
    #[prost(bool, tag = "8")]
    pub readable: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ForwardWire {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    #[prost(message, optional, tag = "2")]
    pub call: Option<CallWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ForwardReplyWire {
    #[prost(uint64, tag = "1")]
    pub request: u64,
    /// 1 done, 2 refused.
    #[prost(uint32, tag = "2")]
    pub outcome: u32,
    #[prost(string, tag = "3")]
    pub sentence: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CallWire {
    #[prost(string, tag = "1")]
    pub who: String,
    #[prost(string, tag = "2")]
    pub at: String,
    #[prost(oneof = "Request", tags = "3,4,5,6,7,8,9,10,11,12,14,15,16")]
    pub request: Option<Request>,
    /// Why, for requests that are recorded with a reason.
    #[prost(string, tag = "13")]
    pub reason: String,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Request {
    #[prost(message, tag = "3")]
    Move(TargetWire),
    #[prost(message, tag = "4")]
    Standby(NodeSwitchWire),
    #[prost(bool, tag = "5")]
    Maintenance(bool),
    #[prost(message, tag = "6")]
    Restart(MemberWire),
    /// The group; empty for all.
    #[prost(string, tag = "7")]
    Cleanup(String),
    #[prost(message, tag = "8")]
    Enable(GroupSwitchWire),
    #[prost(uint32, tag = "9")]
    Fence(u32),
    #[prost(uint32, tag = "10")]
    FenceConfirm(u32),
    #[prost(bool, tag = "11")]
    QuorumForce(bool),
    /// TOML text.
    #[prost(string, tag = "12")]
    ApplyConfig(String),
    #[prost(uint32, tag = "14")]
    Drill(u32),
    #[prost(message, tag = "15")]
    MoveAcceptingLoss(TargetWire),
    #[prost(message, tag = "16")]
    RunJob(RunJobWire),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RunJobWire {
    #[prost(string, tag = "1")]
    pub job: String,
    #[prost(sint64, tag = "2")]
    pub at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TargetWire {
    #[prost(string, tag = "1")]
    pub group: String,
    #[prost(uint32, optional, tag = "2")]
    pub to: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct NodeSwitchWire {
    #[prost(uint32, optional, tag = "1")]
    pub node: Option<u32>,
    #[prost(bool, tag = "2")]
    pub on: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberWire {
    #[prost(string, tag = "1")]
    pub group: String,
    #[prost(string, optional, tag = "2")]
    pub resource: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupSwitchWire {
    #[prost(string, tag = "1")]
    pub group: String,
    #[prost(bool, tag = "2")]
    pub on: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StateWire {
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// The configuration as TOML text.
    #[prost(string, tag = "2")]
    pub config: String,
    #[prost(uint32, tag = "3")]
    pub voters: u32,
    #[prost(uint32, optional, tag = "4")]
    pub survivor: Option<u32>,
    #[prost(uint64, tag = "5")]
    pub next_epoch: u64,
    #[prost(bool, tag = "6")]
    pub maintenance: bool,
    /// Encoded [`GroupWire`]s.
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub groups: Vec<Vec<u8>>,
    /// Encoded [`NodeWire`]s.
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub nodes: Vec<Vec<u8>>,
    #[prost(string, tag = "9")]
    pub reason: String,
    #[prost(uint32, tag = "10")]
    pub lease_before_ms: u32,
    #[prost(message, optional, tag = "11")]
    pub register: Option<BootWire>,
    /// Encoded [`JobWire`]s. A member that does not know this field does not know `[[job]]` either: it refuses the
    /// configuration, and so never writes a state without it.
    #[prost(bytes = "vec", repeated, tag = "12")]
    pub jobs: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct JobWire {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(sint64, tag = "2")]
    pub due: i64,
    #[prost(uint64, tag = "3")]
    pub run: u64,
    #[prost(sint64, tag = "4")]
    pub occurrence: i64,
    #[prost(uint32, tag = "5")]
    pub attempt: u32,
    #[prost(string, tag = "6")]
    pub who: String,
    #[prost(uint32, optional, tag = "7")]
    pub node: Option<u32>,
    #[prost(message, optional, tag = "8")]
    pub boot: Option<BootWire>,
    /// Position in `JobPhase::ALL`.
    #[prost(uint32, tag = "9")]
    pub phase: u32,
    #[prost(string, tag = "10")]
    pub detail: String,
    #[prost(uint64, tag = "11")]
    pub took_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupWire {
    #[prost(string, tag = "1")]
    pub name: String,
    /// 1 stopped, 2 owned, 3 releasing.
    #[prost(uint32, tag = "2")]
    pub assignment: u32,
    #[prost(uint64, tag = "3")]
    pub epoch: u64,
    #[prost(uint32, optional, tag = "4")]
    pub owner: Option<u32>,
    #[prost(message, optional, tag = "5")]
    pub boot: Option<BootWire>,
    #[prost(uint32, optional, tag = "6")]
    pub toward: Option<u32>,
    #[prost(bool, tag = "7")]
    pub disabled: bool,
    #[prost(message, optional, tag = "8")]
    pub intent: Option<IntentWire>,
    #[prost(message, repeated, tag = "9")]
    pub failures: Vec<FailureWire>,
    #[prost(string, tag = "10")]
    pub reason: String,
    #[prost(uint32, tag = "11")]
    pub automatic_moves: u32,
    /// Only of a group with roles. A member that does not know this field does not know such groups either: it refuses the
    /// configuration, and so never writes a state without it.
    #[prost(message, optional, tag = "12")]
    pub in_sync: Option<InSyncWire>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct InSyncWire {
    #[prost(uint64, tag = "1")]
    pub generation: u64,
    /// One bit for each node.
    #[prost(uint32, tag = "2")]
    pub nodes: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct IntentWire {
    #[prost(uint32, optional, tag = "1")]
    pub to: Option<u32>,
    #[prost(string, tag = "2")]
    pub who: String,
    #[prost(string, optional, tag = "3")]
    pub accepts_loss: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FailureWire {
    #[prost(uint32, optional, tag = "1")]
    pub node: Option<u32>,
    #[prost(uint32, tag = "2")]
    pub count: u32,
    #[prost(string, tag = "3")]
    pub reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeWire {
    #[prost(uint32, optional, tag = "1")]
    pub node: Option<u32>,
    #[prost(bool, tag = "2")]
    pub standby: bool,
    #[prost(message, optional, tag = "3")]
    pub proof: Option<ProofWire>,
    #[prost(uint32, tag = "4")]
    pub watchdog_ms: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ProofWire {
    /// 1 stopped, 2 power, 3 reset, 4 watchdog, 5 storage, 6 operator, 7 lapsed.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(message, optional, tag = "2")]
    pub ended_boot: Option<BootWire>,
    #[prost(string, tag = "3")]
    pub evidence: String,
    #[prost(uint64, tag = "4")]
    pub version: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HelloWire {
    #[prost(fixed64, tag = "1")]
    pub cluster: u64,
    #[prost(uint32, optional, tag = "2")]
    pub from: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub to: Option<u32>,
    #[prost(message, optional, tag = "4")]
    pub boot: Option<BootWire>,
    #[prost(uint64, tag = "5")]
    pub incarnation: u64,
    #[prost(string, tag = "6")]
    pub daemon_version: String,
    #[prost(uint32, tag = "7")]
    pub wire_version: u32,
    #[prost(uint32, tag = "8")]
    pub link: u32,
    /// 1 beats, 2 messages.
    #[prost(uint32, tag = "9")]
    pub purpose: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HelloReplyWire {
    #[prost(oneof = "HelloAnswer", tags = "1,2")]
    pub answer: Option<HelloAnswer>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum HelloAnswer {
    #[prost(message, tag = "1")]
    Accepted(AcceptedHelloWire),
    #[prost(message, tag = "2")]
    Refused(RefusedHelloWire),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AcceptedHelloWire {
    #[prost(uint32, optional, tag = "1")]
    pub node: Option<u32>,
    #[prost(message, optional, tag = "2")]
    pub boot: Option<BootWire>,
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
    #[prost(string, tag = "4")]
    pub daemon_version: String,
    #[prost(uint32, tag = "5")]
    pub wire_version: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RefusedHelloWire {
    /// See `Refusal::code`.
    #[prost(string, tag = "1")]
    pub code: String,
    #[prost(string, tag = "2")]
    pub sentence: String,
}

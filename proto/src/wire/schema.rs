//! The protobuf messages. Tags are never reused; numbers of enums start at 1, so that 0 is "absent".

mod hello;
mod operator;
mod state;

use crate::ids::{Ballot, BootId};

pub use hello::*;
pub use operator::*;
pub use state::*;

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

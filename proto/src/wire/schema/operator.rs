//! What operators ask, passed on to the leader.

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

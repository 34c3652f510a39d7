//! The cluster state.

use super::BootWire;

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

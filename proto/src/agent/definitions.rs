//! What a group consists of, as had-agentd gets it.

use std::collections::BTreeMap;

/// A group's definition.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupSpec {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Members in start order.
    #[prost(message, repeated, tag = "2")]
    pub resources: Vec<ResourceSpec>,
    /// Restarts in place within `restart_window_ms` before the group is reported failed.
    #[prost(uint32, tag = "3")]
    pub max_restarts: u32,
    /// Window of `max_restarts`.
    #[prost(uint32, tag = "4")]
    pub restart_window_ms: u32,
    /// What a takeover waits for: `fencing`, `lease` or `nothing`. Says how a lapse stops the group: with `fencing` its
    /// resources may end politely, since nobody takes over before this node is proven off; with anything else they
    /// are halted by force at that instant, since the successor waits for a margin only.
    #[prost(string, tag = "5")]
    pub requires: String,
    /// It runs on every node and is promoted nowhere: all of its resources are started without a permit.
    #[prost(bool, tag = "6")]
    pub every_node: bool,
}

/// A resource's definition.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResourceSpec {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Agent: `vip`, `systemd`, `exec`.
    #[prost(string, tag = "2")]
    pub kind: String,
    /// Parameters; lists are joined with newlines.
    #[prost(btree_map = "string, string", tag = "3")]
    pub params: BTreeMap<String, String>,
    /// Probes.
    #[prost(message, repeated, tag = "4")]
    pub probes: Vec<ProbeSpec>,
    /// Time allowed to start.
    #[prost(uint32, tag = "5")]
    pub start_timeout_ms: u32,
    /// Time allowed to stop before the next step of the ladder.
    #[prost(uint32, tag = "6")]
    pub stop_timeout_ms: u32,
}

/// A probe's definition.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProbeSpec {
    /// `tcp`, `http` or `exec`.
    #[prost(string, tag = "1")]
    pub kind: String,
    /// `host:port`, a URL, or the program followed by its arguments, joined with newlines.
    #[prost(string, tag = "2")]
    pub target: String,
    /// Time between probes.
    #[prost(uint32, tag = "3")]
    pub interval_ms: u32,
    /// Time allowed for one.
    #[prost(uint32, tag = "4")]
    pub timeout_ms: u32,
    /// Failures among the last `of` that count as failed.
    #[prost(uint32, tag = "5")]
    pub failures: u32,
    /// Window size.
    #[prost(uint32, tag = "6")]
    pub of: u32,
    /// Of `tcp`: what is sent first; empty for nothing.
    #[prost(string, tag = "7")]
    pub send: String,
    /// Of `tcp`: what the answer begins with; empty when a connection is enough.
    #[prost(string, tag = "8")]
    pub expect: String,
}

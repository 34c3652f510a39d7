//! What travels between Holdfast processes, and the types that all of them share.
//!
//! - [`ids`], [`time`]: names for nodes, ballots, boots, epochs and instants.
//! - [`config`]: the cluster configuration, its parser, its errors with file, line and column, and the
//!   timers derived from the one number an operator sets.
//! - [`calendar`]: when jobs are due; [`job`]: what is agreed about them.
//! - [`state`]: the cluster state that the replicated register holds.
//! - [`peer`]: messages between nodes; [`frame`] is the fixed-size heartbeat, [`wire`] the codec of the rest.
//! - [`agent`]: the API between `had` and `had-agentd`. [`control`]: the API between `hactl` and `had`.
//! - [`drbd`]: what DRBD's handlers and `hactl drbd` say to the agent; what a managed DRBD resource must be configured as.
//! - [`ocf`]: what OCF agents say of themselves; [`markup`] reads it.
//!
//! This crate performs no I/O. Every decoder is bounded and returns an error for bad input.

pub mod agent;
pub mod calendar;
pub mod config;
pub mod control;
pub mod drbd;
pub mod frame;
pub mod ids;
pub mod job;
pub mod markup;
pub mod mysqld;
pub mod ocf;
pub mod operator;
pub mod peer;
pub mod state;
pub mod stream;
pub mod time;
pub mod wire;

/// ALPN identifiers offered between peers, newest first. N and N-1 interoperate.
pub const ALPN_VERSIONS: [&[u8]; 1] = [b"holdfast/1"];

/// Largest peer, agent or control message accepted, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

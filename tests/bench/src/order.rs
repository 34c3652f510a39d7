//! What the bench tells a stage, and what the stage measured: one JSON line each.

use serde::{Deserialize, Serialize};

/// What goes wrong, or is done on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The active node loses power: everything in it is killed at once and its carriers drop.
    Crash,
    /// The active node's links carry nothing any more, with the carrier up; its power can still be cut.
    Cut,
    /// The operator moves the service to the other node.
    Switchover,
}

impl Fault {
    /// All faults.
    pub const ALL: [Fault; 3] = [Fault::Crash, Fault::Cut, Fault::Switchover];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Fault::Crash => "crash",
            Fault::Cut => "cut",
            Fault::Switchover => "switchover",
        }
    }
}

/// An order to a stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Order {
    /// Wait until everything is as it should be; answers `{"active"}`.
    Ready,
    /// Measure the outage that `fault` causes; answers [`Outage`]. What was broken is mended afterwards.
    Strike {
        /// What happens.
        fault: Fault,
        /// Wait this long first, so that the fault does not fall on the same moment of every heartbeat.
        wait_us: u64,
    },
    /// Measure what it costs to do nothing; answers [`Idle`].
    Idle {
        /// For how long.
        seconds: u32,
    },
    /// Measure for how long the active node is silent between two packets; answers [`Silence`].
    Silence {
        /// For how long.
        seconds: u32,
    },
}

/// One outage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outage {
    /// The service answers again from the node where it should.
    pub recovered: bool,
    /// How long the client got no answer.
    pub outage_ms: f64,
    /// How long the service was active on two nodes at once, until the fault was mended: address or service, and for a
    /// manager that moves nothing but the address, the address.
    pub dual_active_ms: f64,
}

/// The cost of doing nothing, per node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Idle {
    /// The node that runs the service, the one that does not, the third if there is one.
    pub nodes: Vec<NodeCost>,
    /// Length of the measurement.
    pub seconds: u32,
}

/// What one node uses.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeCost {
    /// Its name.
    pub node: String,
    /// `active`, `passive` or `third`.
    pub part: String,
    /// CPU time of all processes of the manager and of what they started, in seconds per minute.
    pub cpu_s_per_min: f64,
    /// Memory as the node would use it alone: anonymous memory, and each page of a file once.
    pub memory_mb: f64,
    /// Packets sent and received per second on all links.
    pub packets_per_s: f64,
    /// Bytes sent and received per second on all links, with their Ethernet headers.
    pub bytes_per_s: f64,
}

/// Distribution of the time between two packets of the active node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Silence {
    /// Packets seen.
    pub packets: usize,
    /// Median.
    pub p50_ms: f64,
    /// 99 of 100 were no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// How often the address came up on a node meanwhile: a takeover without a fault.
    pub takeovers: usize,
    /// How often a node's power was cut meanwhile.
    pub fencings: usize,
}

//! All that was measured, as it is written to a file.

use serde::{Deserialize, Serialize};

use crate::decisions::Decision;
use crate::machine::Machine;
use crate::order::{Fault, Idle, Silence};
use crate::scheduler::Schedule;
use crate::simulator::Simulated;
use crate::stats::Spread;

/// A run of the bench. What was not asked for is empty.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// What the one who ran it wants to be read beside the figures.
    pub note: String,
    /// Where it ran.
    pub machine: Machine,
    /// Outages of the client.
    #[serde(default)]
    pub outages: Vec<Outages>,
    /// The cost of doing nothing.
    #[serde(default)]
    pub idle: Vec<IdleCost>,
    /// Silences with and without load.
    #[serde(default)]
    pub jitter: Vec<Jitter>,
    /// The simulator.
    #[serde(default)]
    pub simulator: Option<Simulated>,
    /// Decisions of the core.
    #[serde(default)]
    pub decisions: Vec<Decision>,
    /// Pacemaker's scheduler on the same tasks.
    #[serde(default)]
    pub scheduler: Vec<Schedule>,
}

/// Outages of one contender by one fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outages {
    /// Who.
    pub contender: String,
    /// Its detection time.
    pub detection_ms: u32,
    /// What happened.
    pub fault: Fault,
    /// Spread of `outages_ms`.
    pub outage_ms: Spread,
    /// Each run, in the order they were made.
    pub outages_ms: Vec<f64>,
    /// Runs after which the other node served.
    pub recovered: usize,
    /// The longest time for which two nodes were active.
    pub dual_active_ms: f64,
}

/// Idle cost of one contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdleCost {
    /// Who.
    pub contender: String,
    /// Its detection time.
    pub detection_ms: u32,
    /// What was measured.
    pub idle: Idle,
}

/// Silences of one contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Jitter {
    /// Who.
    pub contender: String,
    /// Its detection time.
    pub detection_ms: u32,
    /// Processes that took all the CPU they got meanwhile.
    pub hogs: u32,
    /// What was measured.
    pub silence: Silence,
}

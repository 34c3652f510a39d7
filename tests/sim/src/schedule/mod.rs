//! A schedule: everything that a run is made of. A seed draws one; one that broke a promise can be made smaller and kept as
//! text. Running it draws nothing more from it: the same schedule is the same run.

mod ambush;
mod draw;
mod fault;
mod lasting;
mod text;

use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;

pub use ambush::{Ambush, Moment};
pub use fault::{DeviceMode, Fault, Left, Request};
pub use lasting::Lasting;

/// A fault at an instant of the fault phase, or at a moment of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    /// Microseconds since the cluster had formed, or since the moment.
    pub at_us: u64,
    /// The moment that it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Ambush>,
    /// What goes wrong.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What a run is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Seed of the dice that the world throws: delays, durations, failures of starts.
    pub seed: u64,
    /// The cluster.
    pub cluster: Cluster,
    /// Length of the fault phase.
    pub length_us: u64,
    /// The faults, in the order of their instants.
    pub strikes: Vec<Strike>,
    /// The fault that stays after all others were healed.
    pub lasting: Option<Lasting>,
}

//! What the guard and the agents' thread tell each other.

use std::time::Duration;

use holdfast_proto::agent::{
    FenceDevice, FenceOutcome, GroupSpec, GroupStatus, JobOrder, JobStatus, Note, Permit, RegisterAnswer,
    RegisterCall,
};
use tokio::sync::oneshot;

use crate::group::Order;
use crate::permits::Armed;
use crate::{register, sbd};

/// From the agents' thread to the guard.
pub enum Command {
    /// A group needs a permit from now on.
    Arm {
        /// The group.
        group: String,
        /// Its permit, and what to do when that lapses.
        armed: Armed,
    },
    /// Nothing of the group runs any more.
    Disarm(String),
    /// A group changed.
    Status(GroupStatus),
    /// Something to tell the operator.
    Note(Note),
    /// A fence device ended.
    Fenced(FenceOutcome),
    /// A call to the register on shared disks ended.
    Registered(RegisterAnswer),
    /// How the latest run of a job stands.
    Job(JobStatus),
    /// Answered at once: shows that this thread lives.
    Ping(oneshot::Sender<()>),
    /// The answer to [`Request::Ping`].
    Alive,
    /// The process ends. Answered when the watchdog was dealt with.
    Shutdown(oneshot::Sender<()>),
}

/// From `had`, by way of the guard, to the agents' thread.
#[derive(Debug)]
pub enum Request {
    /// Start a group.
    Start {
        /// The permit.
        permit: Permit,
        /// What to run.
        spec: GroupSpec,
        /// Length of a lease.
        lease: Duration,
        /// This node's own storage devices.
        storage: Vec<FenceDevice>,
    },
    /// An order for a group.
    Group(String, Order),
    /// Run a fence device.
    Fence {
        /// The device and what it is asked.
        device: FenceDevice,
        /// Name of this node, which is never fenced from here.
        own: String,
    },
    /// The shared disks to watch, and those that the witness is kept on, as `had` names them when it attaches.
    Disks(Option<sbd::Settings>, Option<register::Settings>),
    /// A call to the register of that witness.
    Register(RegisterCall),
    /// Begin or end a run of a job.
    Job(JobOrder),
    /// Maintenance.
    Maintenance(bool),
    /// To be answered with [`Command::Alive`].
    Ping,
}

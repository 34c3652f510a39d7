//! The API between `had` and `had-agentd`: length-delimited prost messages on a unix socket
//! (`/run/holdfast/agentd.sock`). `had` connects; `had-agentd` checks the peer's credentials.
//!
//! All times are microseconds on CLOCK_BOOTTIME of this machine, which both processes share.

mod definitions;
mod jobs;
mod roles;

use std::collections::BTreeMap;

pub use definitions::{GroupSpec, ProbeSpec, ResourceSpec};
pub use jobs::{JobOrder, JobSpec, JobStatus};
pub use roles::{CopyStatus, GroupRoles, InSync, MemberStatus, PeerNode};

/// From `had` to `had-agentd`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentRequest {
    /// What is asked.
    #[prost(oneof = "agent_request::Body", tags = "1,2,3,4,5,6,7,8,9,20")]
    pub body: Option<agent_request::Body>,
}

/// Bodies of [`AgentRequest`].
pub mod agent_request {
    /// What is asked.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// First message on a connection.
        #[prost(message, tag = "1")]
        Attach(super::Attach),
        /// Renews permits. A group not named keeps the permit it has, until that lapses.
        #[prost(message, tag = "2")]
        Permits(super::Permits),
        /// Start a group.
        #[prost(message, tag = "3")]
        Start(super::StartGroup),
        /// Stop a group.
        #[prost(message, tag = "4")]
        Stop(super::StopGroup),
        /// Restart a resource of a running group.
        #[prost(message, tag = "5")]
        Restart(super::RestartResource),
        /// Run a fence device.
        #[prost(message, tag = "6")]
        Fence(super::FenceDevice),
        /// Maintenance mode: observe, but do nothing about what is observed. Permits do not lapse into stops.
        #[prost(message, tag = "7")]
        Maintenance(super::Maintenance),
        /// A call to the register of the witness that is kept on shared disks. It takes the place of one that is under way.
        #[prost(message, tag = "8")]
        Register(super::RegisterCall),
        /// Run the resources with roles of a group unpromoted, or no longer; and what is committed about them.
        #[prost(message, tag = "9")]
        Roles(super::GroupRoles),
        /// Begin or end a run of a job.
        #[prost(message, tag = "20")]
        Job(super::JobOrder),
    }
}

/// First message on a connection.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attach {
    /// Name of the node, for fence agents and logs.
    #[prost(string, tag = "1")]
    pub node: String,
    /// Cluster name.
    #[prost(string, tag = "2")]
    pub cluster: String,
    /// Lease length in milliseconds, from which announcement and lifetime intervals are derived.
    #[prost(uint32, tag = "3")]
    pub lease_ms: u32,
    /// The shared disks on which this node watches its mailbox; absent if the configuration names none.
    #[prost(message, optional, tag = "4")]
    pub sbd: Option<SbdDisks>,
}

/// Shared disks in the format of SBD.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SbdDisks {
    /// Paths.
    #[prost(string, repeated, tag = "1")]
    pub devices: Vec<String>,
    /// Time allowed for one read or write.
    #[prost(uint32, tag = "2")]
    pub io_timeout_ms: u32,
    /// The boot that watches, as `had` tells it to the other members: 32 hex digits.
    #[prost(string, tag = "3")]
    pub boot: String,
    /// Those of them that the witness is kept on; none unless it is.
    #[prost(string, repeated, tag = "4")]
    pub witness: Vec<String>,
    /// Number of this node.
    #[prost(uint32, tag = "5")]
    pub node_id: u32,
    /// The cluster's identity.
    #[prost(uint64, tag = "6")]
    pub cluster_id: u64,
}

/// A call to a register on shared disks.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RegisterCall {
    /// Number that the answer carries. No other call has it, of this run of `had` or another.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Replace what it holds, if that has the head `expect`; otherwise only say what it holds.
    #[prost(bool, tag = "2")]
    pub swap: bool,
    /// The head that was seen; empty for an empty register.
    #[prost(string, tag = "3")]
    pub expect: String,
    /// Head of what is written.
    #[prost(string, tag = "4")]
    pub head: String,
    /// Body of what is written.
    #[prost(bytes = "vec", tag = "5")]
    pub body: Vec<u8>,
    /// It is answered within this time.
    #[prost(uint32, tag = "6")]
    pub patience_ms: u32,
}

/// A set of permits.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Permits {
    /// The permits renewed.
    #[prost(message, repeated, tag = "1")]
    pub permits: Vec<Permit>,
    /// As of when a quorum stood behind this node: that stands in for the shared disks for a while. 0 says nothing about it.
    #[prost(uint64, tag = "2")]
    pub quorum_at_us: u64,
}

/// The right to run a group until an instant.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Permit {
    /// The group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// Epoch of the assignment.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Expiry.
    #[prost(uint64, tag = "3")]
    pub until_us: u64,
}

/// Start a group under a permit.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StartGroup {
    /// The permit: a start whose permit has lapsed is refused.
    #[prost(message, optional, tag = "1")]
    pub permit: Option<Permit>,
    /// What to run. Kept by agentd (in its state folder too), so that it can stop the group without `had`.
    #[prost(message, optional, tag = "2")]
    pub spec: Option<GroupSpec>,
    /// Storage devices of this node itself: each has to let it in before anything starts. Their action counts for nothing.
    #[prost(message, repeated, tag = "3")]
    pub storage: Vec<FenceDevice>,
}

/// Stop a group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StopGroup {
    /// The group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// Epoch of the decision to stop it: at least the epoch it runs under.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// Why, for the journal.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// The node that is to be promoted next, if that is known: the agents of resources with roles hand over to it.
    #[prost(message, optional, tag = "4")]
    pub toward: Option<PeerNode>,
}

/// Restart a resource and those after it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RestartResource {
    /// The group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// Epoch it runs under.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// The resource; empty for the whole group.
    #[prost(string, tag = "3")]
    pub resource: String,
}

/// Run one fence device, or only read its state.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FenceDevice {
    /// Number that the answer carries.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The node to fence.
    #[prost(string, tag = "2")]
    pub node: String,
    /// Agent name, or `exec`.
    #[prost(string, tag = "3")]
    pub agent: String,
    /// Its parameters. Values of `*_file` keys are read by agentd and passed without the suffix.
    #[prost(btree_map = "string, string", tag = "4")]
    pub params: BTreeMap<String, String>,
    /// `off`, `reboot` or `on`; `status` and `test` change nothing, and `test` gives way to all others.
    #[prost(string, tag = "5")]
    pub action: String,
    /// Whole time allowed, read-back included.
    #[prost(uint32, tag = "6")]
    pub timeout_ms: u32,
    /// The boot that is to end, 32 hex digits; empty if that is not known. For devices whose proof is about one boot.
    #[prost(string, tag = "7")]
    pub boot: String,
}

/// Maintenance mode.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Maintenance {
    /// True to leave resources alone.
    #[prost(bool, tag = "1")]
    pub on: bool,
}

/// From `had-agentd` to `had`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AgentReport {
    /// What is reported.
    #[prost(oneof = "agent_report::Body", tags = "1,2,3,4,5,6,20")]
    pub body: Option<agent_report::Body>,
}

/// Bodies of [`AgentReport`].
pub mod agent_report {
    /// What is reported.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// Answer to `Attach`: everything that runs. A group not named is stopped.
        #[prost(message, tag = "1")]
        Attached(super::Attached),
        /// A group changed.
        #[prost(message, tag = "2")]
        Group(super::GroupStatus),
        /// A fence device ended.
        #[prost(message, tag = "3")]
        Fenced(super::FenceOutcome),
        /// Something worth telling an operator that changes no state ("VIP deleted by hand, restored in 4 ms").
        #[prost(message, tag = "4")]
        Note(super::Note),
        /// Answer to `Permits`: had-agentd is alive.
        #[prost(message, tag = "5")]
        Alive(super::Alive),
        /// A call to the register on shared disks ended.
        #[prost(message, tag = "6")]
        Registered(super::RegisterAnswer),
        /// How the latest run of a job stands. After `Attached` all of them follow.
        #[prost(message, tag = "20")]
        Job(super::JobStatus),
    }
}

/// How a call to a register on shared disks ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RegisterAnswer {
    /// Number of the call.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The swap was carried out.
    #[prost(bool, tag = "2")]
    pub swapped: bool,
    /// Why it is not known what it holds; empty if it is.
    #[prost(string, tag = "3")]
    pub error: String,
    /// Head of what it holds; empty for an empty register, and for a swap that was carried out.
    #[prost(string, tag = "4")]
    pub head: String,
    /// Body of what it holds.
    #[prost(bytes = "vec", tag = "5")]
    pub body: Vec<u8>,
    /// How long it took.
    #[prost(uint32, tag = "6")]
    pub took_us: u32,
}

/// Sign of life. Several answers become one when `had` is slow to read.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Alive {
    /// When the thread that enforces permits wrote this.
    #[prost(uint64, tag = "1")]
    pub at_us: u64,
    /// When the thread that runs agents last answered that one; it is asked about once a second.
    #[prost(uint64, tag = "2")]
    pub agents_at_us: u64,
}

/// Answer to `Attach`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attached {
    /// All groups that agentd knows to be other than stopped.
    #[prost(message, repeated, tag = "1")]
    pub groups: Vec<GroupStatus>,
    /// Timeout of the armed watchdog in milliseconds; 0 for none.
    #[prost(uint32, tag = "2")]
    pub watchdog_ms: u32,
    /// Agent kinds this agentd has.
    #[prost(string, repeated, tag = "3")]
    pub kinds: Vec<String>,
    /// How the driver of the armed watchdog calls itself; empty for none.
    #[prost(string, tag = "4")]
    pub watchdog: String,
}

/// One group's state.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupStatus {
    /// The group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// Epoch it was started or last told to stop under.
    #[prost(uint64, tag = "2")]
    pub epoch: u64,
    /// `stopped`, `starting`, `running`, `stopping`, `failed` (all of it stopped after failures) or `unknown`
    /// (a stop failed; it may be running).
    #[prost(string, tag = "3")]
    pub run: String,
    /// Members in start order.
    #[prost(message, repeated, tag = "4")]
    pub resources: Vec<ResourceStatus>,
    /// Restarts in place within the window.
    #[prost(uint32, tag = "5")]
    pub restarts: u32,
    /// The latest trouble, one sentence.
    #[prost(string, tag = "6")]
    pub detail: String,
    /// When this state was entered.
    #[prost(uint64, tag = "7")]
    pub since_us: u64,
    /// Its part that needs no permit: resources with roles, or all of a group that runs on every node. Absent without.
    #[prost(message, optional, boxed, tag = "8")]
    pub member: Option<Box<MemberStatus>>,
}

/// One resource's state.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResourceStatus {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Agent kind.
    #[prost(string, tag = "2")]
    pub kind: String,
    /// As in [`GroupStatus::run`].
    #[prost(string, tag = "3")]
    pub run: String,
    /// What an operator wants to see: the address and interface, the unit and its pid.
    #[prost(string, tag = "4")]
    pub detail: String,
}

/// How a fence device ended.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FenceOutcome {
    /// Number of the request.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// True only when the action was done *and* a separate status said off (or, for `status` and `test`, says off now).
    #[prost(bool, tag = "2")]
    pub off_read_back: bool,
    /// What was seen, in one sentence, without secrets.
    #[prost(string, tag = "3")]
    pub evidence: String,
    /// What went wrong; empty on success.
    #[prost(string, tag = "4")]
    pub error: String,
    /// When the look at the power state began, in microseconds on CLOCK_BOOTTIME; 0 if there was none.
    #[prost(uint64, tag = "5")]
    pub read_at_us: u64,
    /// How long it took.
    #[prost(uint32, tag = "6")]
    pub took_ms: u32,
    /// A test that was not done, because the device was or became busy: it says nothing about the device.
    #[prost(bool, tag = "7")]
    pub skipped: bool,
}

/// A note for the journal.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Note {
    /// The group, if any.
    #[prost(string, tag = "1")]
    pub group: String,
    /// One sentence.
    #[prost(string, tag = "2")]
    pub text: String,
    /// `info` or `warn`.
    #[prost(string, tag = "3")]
    pub level: String,
    /// A short stable name of the kind of event (`vip-announced`, `vip-restored`, `permit-lapsed`).
    #[prost(string, tag = "4")]
    pub kind: String,
    /// When it happened.
    #[prost(uint64, tag = "5")]
    pub at_us: u64,
}

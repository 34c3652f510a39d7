//! What `had` answers: the stable JSON contract of `hactl --json`, so a field is never renamed or reused.

use serde::{Deserialize, Serialize};

/// An error for the operator.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct ErrorView {
    /// Stable word: `refused`, `no-quorum`, `not-found`, `invalid`, `denied`, `internal`.
    #[prost(string, tag = "1")]
    pub code: String,
    /// What happened, to what, what to do.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// The cluster as this node sees it.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct StatusView {
    /// Cluster name.
    #[prost(string, tag = "1")]
    pub cluster: String,
    /// This node.
    #[prost(string, tag = "2")]
    pub node: String,
    /// One sentence: `healthy`, or what is wrong and what to do.
    #[prost(string, tag = "3")]
    pub summary: String,
    /// `ok`, `degraded` or `down`.
    #[prost(string, tag = "4")]
    pub health: String,
    /// The leader's name; empty if none is known.
    #[prost(string, tag = "5")]
    pub leader: String,
    /// Why there is or is not a quorum, one sentence.
    #[prost(string, tag = "6")]
    pub quorum: String,
    /// Names of the voters.
    #[prost(string, repeated, tag = "7")]
    pub voters: Vec<String>,
    /// The pre-agreed survivor.
    #[prost(string, tag = "8")]
    pub survivor: String,
    /// Register version and ballot.
    #[prost(uint64, tag = "9")]
    pub version: u64,
    /// Ballot, `round.node`.
    #[prost(string, tag = "10")]
    pub ballot: String,
    /// Maintenance mode.
    #[prost(bool, tag = "11")]
    pub maintenance: bool,
    /// Lease length.
    #[prost(uint32, tag = "12")]
    pub lease_ms: u32,
    /// Members.
    #[prost(message, repeated, tag = "13")]
    pub nodes: Vec<NodeView>,
    /// Groups.
    #[prost(message, repeated, tag = "14")]
    pub groups: Vec<GroupView>,
    /// Things worth an operator's attention.
    #[prost(string, repeated, tag = "15")]
    pub warnings: Vec<String>,
    /// How the deciding thread runs: `SCHED_FIFO 10, memory locked`, or why not.
    #[prost(string, tag = "16")]
    pub scheduling: String,
    /// Version of the daemon.
    #[prost(string, tag = "17")]
    pub daemon_version: String,
    /// The next timer: what happens next and when.
    #[prost(string, tag = "18")]
    pub next: String,
}

/// One member.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct NodeView {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// `data` or `witness`.
    #[prost(string, tag = "2")]
    pub role: String,
    /// `online`, `lost`, `fencing`, `fenced`, `standby`, `joining`, `never seen`.
    #[prost(string, tag = "3")]
    pub state: String,
    /// One sentence about it; empty if there is nothing to say.
    #[prost(string, tag = "4")]
    pub detail: String,
    /// Leads.
    #[prost(bool, tag = "5")]
    pub leader: bool,
    /// Votes.
    #[prost(bool, tag = "6")]
    pub voter: bool,
    /// Has acknowledged a committed state since its boot.
    #[prost(bool, tag = "7")]
    pub synced: bool,
    /// Links to it.
    #[prost(message, repeated, tag = "8")]
    pub links: Vec<LinkView>,
    /// First digits of its boot id.
    #[prost(string, tag = "9")]
    pub boot: String,
    /// Watchdog timeout; 0 for none.
    #[prost(uint32, tag = "10")]
    pub watchdog_ms: u32,
    /// Fence devices, `agent (state)`.
    #[prost(string, repeated, tag = "11")]
    pub fences: Vec<String>,
    /// The same with what tests from this node showed.
    #[prost(message, repeated, tag = "12")]
    pub fence_devices: Vec<FenceDeviceView>,
    /// How the driver of its watchdog calls itself (known on that node only).
    #[prost(string, tag = "13")]
    #[serde(default)]
    pub watchdog: String,
    /// How often it was fenced within the last hour, as far as the node asked knows.
    #[prost(uint32, tag = "14")]
    #[serde(default)]
    pub fenced_lately: u32,
    /// It is back, and votes and may take groups in so many seconds, if it stays: it was fenced more than once lately.
    #[prost(uint32, optional, tag = "15")]
    #[serde(default)]
    pub votes_again_in_s: Option<u32>,
}

/// One fence device, as tests from this node showed it.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct FenceDeviceView {
    /// Its agent.
    #[prost(string, tag = "1")]
    pub agent: String,
    /// Its level.
    #[prost(uint32, tag = "2")]
    pub level: u32,
    /// `power` or `storage`.
    #[prost(string, tag = "3")]
    pub kind: String,
    /// `proven`, `failing` or `untested`.
    #[prost(string, tag = "4")]
    pub state: String,
    /// Age of the last test; absent if there was none since `had` started.
    #[prost(uint64, optional, tag = "5")]
    pub tested_s_ago: Option<u64>,
    /// Age of the last test that succeeded.
    #[prost(uint64, optional, tag = "6")]
    pub proven_s_ago: Option<u64>,
    /// How long the last test took.
    #[prost(uint32, tag = "7")]
    pub took_ms: u32,
    /// What the device said, or what went wrong; one sentence.
    #[prost(string, tag = "8")]
    pub detail: String,
    /// The method of its level that it belongs to; empty without one.
    #[prost(string, tag = "9")]
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub method: String,
}

/// What the fence devices of a node showed.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct FenceTestView {
    /// The node they fence.
    #[prost(string, tag = "1")]
    pub node: String,
    /// The node that tested them.
    #[prost(string, tag = "2")]
    pub from: String,
    /// True if every one is proven.
    #[prost(bool, tag = "3")]
    pub ok: bool,
    /// The devices.
    #[prost(message, repeated, tag = "4")]
    pub devices: Vec<FenceDeviceView>,
}

/// One link.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct LinkView {
    /// The peer's address on it.
    #[prost(string, tag = "1")]
    pub address: String,
    /// `up` or `down`.
    #[prost(string, tag = "2")]
    pub state: String,
    /// Smoothed round trip in microseconds; 0 if unknown.
    #[prost(uint32, tag = "3")]
    pub rtt_us: u32,
    /// Beats lost among the last 100.
    #[prost(uint32, tag = "4")]
    pub lost_percent: u32,
}

/// One group.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct GroupView {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// `running`, `starting`, `stopping`, `stopped`, `failed`, `moving`, `waiting`, `unknown`; of a group that runs on every
    /// node also `degraded`: on some it does not.
    #[prost(string, tag = "2")]
    pub state: String,
    /// The node it is assigned to; empty for none.
    #[prost(string, tag = "3")]
    pub node: String,
    /// Why, one sentence.
    #[prost(string, tag = "4")]
    pub reason: String,
    /// Epoch of the assignment.
    #[prost(uint64, tag = "5")]
    pub epoch: u64,
    /// Its resources, as the node that runs it sees them (known on that node only).
    #[prost(message, repeated, tag = "6")]
    pub resources: Vec<ResourceView>,
    /// Failures by node, in words.
    #[prost(string, repeated, tag = "7")]
    pub failures: Vec<String>,
    /// Kept stopped by the operator.
    #[prost(bool, tag = "8")]
    pub disabled: bool,
    /// `fencing`, `lease` or `nothing`.
    #[prost(string, tag = "9")]
    pub requires: String,
    /// The latest outage as the leader measured it, from leaving `running` to `running` again; 0 if none.
    #[prost(uint64, tag = "10")]
    pub last_outage_ms: u64,
    /// Time left on this node's permit; 0 if it holds none.
    #[prost(uint64, tag = "11")]
    pub permit_ms: u64,
    /// What runs of it on each node without a permit: members of a group with roles, or that runs on every node.
    #[prost(message, repeated, tag = "12")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberView>,
}

/// The part of a group that runs on a node without a permit.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
pub struct MemberView {
    /// The node.
    #[prost(string, tag = "1")]
    pub node: String,
    /// `primary`, `replica`, or `member` of a group that runs on every node.
    #[prost(string, tag = "2")]
    pub role: String,
    /// As of a group; `lost` while its node is not heard, and empty before its first report.
    #[prost(string, tag = "3")]
    pub state: String,
    /// Its copy of the data is agreed to hold everything that was acknowledged.
    #[prost(bool, tag = "4")]
    pub in_sync: bool,
    /// How old its data is against the primary's; absent if that is not known.
    #[prost(uint64, optional, tag = "5")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_ms: Option<u64>,
    /// How far its copy is, in the service's own terms.
    #[prost(string, tag = "6")]
    pub position: String,
    /// What might be lost if it was promoted; empty for nothing that is known of.
    #[prost(string, tag = "7")]
    pub possible_loss: String,
    /// Why it cannot be promoted; empty if it can.
    #[prost(string, tag = "8")]
    pub obstacle: String,
    /// It may be read from.
    #[prost(bool, tag = "9")]
    pub readable: bool,
    /// The latest trouble with it, one sentence.
    #[prost(string, tag = "10")]
    pub detail: String,
}

/// One resource.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct ResourceView {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Agent.
    #[prost(string, tag = "2")]
    pub kind: String,
    /// State.
    #[prost(string, tag = "3")]
    pub state: String,
    /// Detail.
    #[prost(string, tag = "4")]
    pub detail: String,
}

/// One event.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct EventView {
    /// Number, growing within one node.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Wall clock, RFC 3339 with microseconds.
    #[prost(string, tag = "2")]
    pub at: String,
    /// Microseconds since boot (CLOCK_BOOTTIME) on the node.
    #[prost(uint64, tag = "3")]
    pub boot_us: u64,
    /// The node that recorded it.
    #[prost(string, tag = "4")]
    pub node: String,
    /// Stable name of the kind of event (`peer-lost`, `elected`, `fence-proved`).
    #[prost(string, tag = "5")]
    pub kind: String,
    /// `info`, `warn` or `alert`.
    #[prost(string, tag = "6")]
    pub level: String,
    /// One sentence.
    #[prost(string, tag = "7")]
    pub text: String,
    /// Group it concerns; empty for none.
    #[prost(string, tag = "8")]
    pub group: String,
    /// Epoch it concerns; 0 for none.
    #[prost(uint64, tag = "9")]
    pub epoch: u64,
    /// What the ledger of proofs holds about it.
    #[prost(message, optional, tag = "10")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofView>,
    /// What the history of jobs holds about it.
    #[prost(message, optional, tag = "11")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobRunView>,
}

/// How a run of a job stood.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
pub struct JobRunView {
    /// The job.
    #[prost(string, tag = "1")]
    pub job: String,
    /// Number of the run; larger ones are later.
    #[prost(uint64, tag = "2")]
    pub run: u64,
    /// `new`, `running`, `done`, `failed`, `interrupted` or `skipped`.
    #[prost(string, tag = "3")]
    pub state: String,
    /// Node that it was given to; empty for none.
    #[prost(string, tag = "4")]
    pub node: String,
    /// What it was for, RFC 3339; empty for nothing yet.
    #[prost(string, tag = "5")]
    pub occurrence: String,
    /// Which try of that occurrence it is.
    #[prost(uint32, tag = "6")]
    pub attempt: u32,
    /// Who asked for it; empty for the calendar.
    #[prost(string, tag = "7")]
    pub who: String,
    /// One sentence.
    #[prost(string, tag = "8")]
    pub detail: String,
    /// How long it took, once it ended.
    #[prost(uint64, tag = "9")]
    pub took_ms: u64,
}

/// All jobs.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct JobsView {
    /// In the order of the configuration.
    #[prost(message, repeated, tag = "1")]
    pub jobs: Vec<JobView>,
}

/// A job.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct JobView {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its group.
    #[prost(string, tag = "2")]
    pub group: String,
    /// `primary`, `replica` or `any`.
    #[prost(string, tag = "3")]
    pub on: String,
    /// Its calendar, as it is written.
    #[prost(string, tag = "4")]
    pub calendar: String,
    /// Its time zone.
    #[prost(string, tag = "5")]
    pub timezone: String,
    /// When it is due next, RFC 3339; empty when that is not known.
    #[prost(string, tag = "6")]
    pub next: String,
    /// Its latest run; absent before its calendar was followed.
    #[prost(message, optional, tag = "7")]
    pub latest: Option<JobRunView>,
    /// What is wrong, or waited for, one sentence; empty for nothing.
    #[prost(string, tag = "8")]
    pub trouble: String,
}

/// What was seen of a node that had to be ended, and what that proves.
#[derive(Clone, PartialEq, Eq, prost::Message, Serialize, Deserialize)]
pub struct ProofView {
    /// The node.
    #[prost(string, tag = "1")]
    pub node: String,
    /// `power`, `storage`, `watchdog`, `lapsed`, `reset`, `operator`; empty if it proves nothing.
    #[prost(string, tag = "2")]
    pub kind: String,
    /// First digits of the boot that is over by it; empty if none is known.
    #[prost(string, tag = "3")]
    pub ended_boot: String,
    /// What was seen: one sentence for each device, countdown or operator.
    #[prost(string, repeated, tag = "4")]
    pub evidence: Vec<String>,
    /// From the decision to fence to this entry; absent if nothing was fenced.
    #[prost(uint64, optional, tag = "5")]
    pub took_ms: Option<u64>,
    /// Version of the committed state that rests on it; 0 for none.
    #[prost(uint64, tag = "6")]
    pub version: u64,
}

/// Why a group is where it is.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct WhyView {
    /// The group.
    #[prost(string, tag = "1")]
    pub group: String,
    /// One sentence.
    #[prost(string, tag = "2")]
    pub sentence: String,
    /// For each node: whether it could run the group, and why or why not.
    #[prost(string, repeated, tag = "3")]
    pub candidates: Vec<String>,
    /// The events that led here, oldest first.
    #[prost(message, repeated, tag = "4")]
    pub history: Vec<EventView>,
}

/// Timers with what was measured.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct TimersView {
    /// One row per timer.
    #[prost(message, repeated, tag = "1")]
    pub rows: Vec<TimerRow>,
    /// Findings: a timer that does not fit what was measured, and what to set instead.
    #[prost(string, repeated, tag = "2")]
    pub findings: Vec<String>,
}

/// One timer.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
pub struct TimerRow {
    /// Name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value in milliseconds.
    #[prost(double, tag = "2")]
    pub value_ms: f64,
    /// Meaning.
    #[prost(string, tag = "3")]
    pub meaning: String,
}

//! The API between `hactl` and `had`: length-delimited prost messages on `/run/holdfast/had.sock`.
//!
//! One request per connection; the answer is a stream of replies that ends with `Done` or `Error`
//! (`Watch` and `Events` with `follow` go on until the client closes). The views also derive serde: they are
//! the stable JSON contract of `hactl --json`, so a field is never renamed or reused.

mod views;

pub use views::{
    ErrorView, EventView, FenceDeviceView, FenceTestView, GroupView, JobRunView, JobView, JobsView, LinkView,
    MemberView, NodeView, ProofView, ResourceView, StatusView, TimerRow, TimersView, WhyView,
};

/// From `hactl`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ControlRequest {
    /// What is asked.
    #[prost(
        oneof = "control_request::Body",
        tags = "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,30,31,32"
    )]
    pub body: Option<control_request::Body>,
}

/// Bodies of [`ControlRequest`].
pub mod control_request {
    /// What is asked.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// One [`super::StatusView`].
        #[prost(message, tag = "1")]
        Status(super::Empty),
        /// A [`super::StatusView`] now and after each change.
        #[prost(message, tag = "2")]
        Watch(super::Empty),
        /// [`super::EventView`]s.
        #[prost(message, tag = "3")]
        Events(super::EventsRequest),
        /// A [`super::WhyView`] of one group.
        #[prost(message, tag = "4")]
        Why(super::GroupRequest),
        /// Move a group.
        #[prost(message, tag = "5")]
        Move(super::MoveRequest),
        /// Standby on or off.
        #[prost(message, tag = "6")]
        Standby(super::NodeRequest),
        /// Maintenance on or off.
        #[prost(message, tag = "7")]
        Maintenance(super::Switch),
        /// Restart, clean up, enable or disable.
        #[prost(message, tag = "8")]
        Resource(super::ResourceRequest),
        /// Fence a node.
        #[prost(message, tag = "9")]
        Fence(super::NodeRequest),
        /// Vouch that a node is off.
        #[prost(message, tag = "10")]
        FenceConfirm(super::NodeRequest),
        /// Force quorum: without a token, shows what could be lost and hands one out.
        #[prost(message, tag = "11")]
        QuorumForce(super::TokenRequest),
        /// The configuration in force, as text in `Done`.
        #[prost(message, tag = "12")]
        ConfigShow(super::Empty),
        /// Validate and commit a configuration.
        #[prost(message, tag = "13")]
        ConfigApply(super::ConfigRequest),
        /// Make a join token for a new member.
        #[prost(message, tag = "14")]
        JoinToken(super::JoinTokenRequest),
        /// A [`super::TimersView`], with what was measured.
        #[prost(message, tag = "15")]
        Timers(super::Empty),
        /// Test the fence devices of a node, which changes nothing: a [`super::FenceTestView`].
        #[prost(message, tag = "16")]
        FenceTest(super::NodeRequest),
        /// The ledger of proofs: [`super::EventView`]s.
        #[prost(message, tag = "17")]
        FenceHistory(super::FenceHistoryRequest),
        /// Fence a node that runs nothing, to see that it works.
        #[prost(message, tag = "18")]
        Drill(super::NodeRequest),
        /// A [`super::JobsView`].
        #[prost(message, tag = "30")]
        Jobs(super::Empty),
        /// What became of runs of jobs: [`super::EventView`]s.
        #[prost(message, tag = "31")]
        JobHistory(super::JobHistoryRequest),
        /// Run a job now.
        #[prost(message, tag = "32")]
        JobRun(super::JobRequest),
    }
}

/// No parameters.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Empty {}

/// Parameters of `Events`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EventsRequest {
    /// Keep sending new ones.
    #[prost(bool, tag = "1")]
    pub follow: bool,
    /// Number of past events to begin with.
    #[prost(uint32, tag = "2")]
    pub last: u32,
}

/// Parameters of `FenceHistory`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct FenceHistoryRequest {
    /// Only what is about this node; empty for all.
    #[prost(string, tag = "1")]
    pub node: String,
    /// Number of past entries.
    #[prost(uint32, tag = "2")]
    pub last: u32,
}

/// A group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct GroupRequest {
    /// Its name.
    #[prost(string, tag = "1")]
    pub group: String,
}

/// Parameters of `JobHistory`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobHistoryRequest {
    /// Only what is about this job; empty for all.
    #[prost(string, tag = "1")]
    pub job: String,
    /// Number of past entries.
    #[prost(uint32, tag = "2")]
    pub last: u32,
}

/// A job.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobRequest {
    /// Its name.
    #[prost(string, tag = "1")]
    pub job: String,
}

/// A group and where to.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MoveRequest {
    /// Its name.
    #[prost(string, tag = "1")]
    pub group: String,
    /// Target node; empty for the best other one.
    #[prost(string, tag = "2")]
    pub to: String,
    /// What the target's copy of the data lacks may be lost.
    #[prost(bool, tag = "3")]
    pub accept_loss: bool,
}

/// A node and a switch.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeRequest {
    /// Its name.
    #[prost(string, tag = "1")]
    pub node: String,
    /// For standby: true to enter it.
    #[prost(bool, tag = "2")]
    pub on: bool,
    /// Why, where that is recorded.
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// On or off.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Switch {
    /// On.
    #[prost(bool, tag = "1")]
    pub on: bool,
}

/// An action on a group or resource.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResourceRequest {
    /// `restart`, `cleanup`, `enable` or `disable`.
    #[prost(string, tag = "1")]
    pub action: String,
    /// The group; empty with `cleanup` means all.
    #[prost(string, tag = "2")]
    pub group: String,
    /// The resource, for `restart`; empty for the whole group.
    #[prost(string, tag = "3")]
    pub resource: String,
}

/// A token, or empty to ask for one.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TokenRequest {
    /// The token.
    #[prost(string, tag = "1")]
    pub token: String,
}

/// A configuration to apply.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConfigRequest {
    /// TOML text.
    #[prost(string, tag = "1")]
    pub text: String,
    /// Show the plan only.
    #[prost(bool, tag = "2")]
    pub dry_run: bool,
}

/// Parameters of `JoinToken`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JoinTokenRequest {
    /// For a witness.
    #[prost(bool, tag = "1")]
    pub witness: bool,
}

/// From `had`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ControlReply {
    /// The answer.
    #[prost(oneof = "control_reply::Body", tags = "1,2,3,4,5,6,7,8,30")]
    pub body: Option<control_reply::Body>,
}

/// Bodies of [`ControlReply`].
pub mod control_reply {
    /// The answer.
    #[allow(
        clippy::large_enum_variant,
        reason = "one reply exists at a time, and a box helps nobody read it"
    )]
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Body {
        /// Finished; one sentence, or the text asked for.
        #[prost(string, tag = "1")]
        Done(String),
        /// Refused or failed.
        #[prost(message, tag = "2")]
        Error(super::ErrorView),
        /// Still at it: what is waited for.
        #[prost(string, tag = "3")]
        Progress(String),
        /// The status.
        #[prost(message, tag = "4")]
        Status(super::StatusView),
        /// An event.
        #[prost(message, tag = "5")]
        Event(super::EventView),
        /// Why a group is where it is.
        #[prost(message, tag = "6")]
        Why(super::WhyView),
        /// Timers.
        #[prost(message, tag = "7")]
        Timers(super::TimersView),
        /// What fence devices showed.
        #[prost(message, tag = "8")]
        FenceTest(super::FenceTestView),
        /// Jobs.
        #[prost(message, tag = "30")]
        Jobs(super::JobsView),
    }
}

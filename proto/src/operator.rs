//! What an operator may ask of the cluster, and what it answers.

use std::sync::Arc;

use crate::config::Config;
use crate::ids::{GroupName, JobName, NodeId};

/// A request that changes the cluster. Every one is idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorRequest {
    /// Move `group` to `to`, or to the best other node.
    Move {
        /// The group.
        group: GroupName,
        /// Target.
        to: Option<NodeId>,
    },
    /// Promote `group` on `to`, whose copy of the data may lack something that was acknowledged: the operator says that
    /// it may be lost. Recorded with who and when, and good for once.
    MoveAcceptingLoss {
        /// The group.
        group: GroupName,
        /// Target.
        to: NodeId,
    },
    /// Put a node in standby (`on`) or take it out.
    Standby {
        /// The node.
        node: NodeId,
        /// True for standby.
        on: bool,
    },
    /// Leave resources alone, or manage them again.
    Maintenance {
        /// True to leave them alone.
        on: bool,
    },
    /// Restart a group's resource and what comes after it, in place.
    Restart {
        /// The group.
        group: GroupName,
        /// The resource; the whole group if absent.
        resource: Option<String>,
    },
    /// Forget failures, so that nodes become eligible again.
    Cleanup {
        /// The group; all of them if absent.
        group: Option<GroupName>,
    },
    /// Keep a group stopped (`enabled` false) or let it run.
    Enable {
        /// The group.
        group: GroupName,
        /// True to let it run.
        enabled: bool,
    },
    /// Fence a node now.
    Fence {
        /// The node.
        node: NodeId,
    },
    /// Fence a node that runs nothing, in a healthy cluster, to see that it works.
    Drill {
        /// The node.
        node: NodeId,
    },
    /// The operator's word that a node is off.
    FenceConfirm {
        /// The node.
        node: NodeId,
        /// How they know, in their own words; recorded.
        reason: String,
    },
    /// Run a job now, beside its calendar.
    RunJob {
        /// The job.
        job: JobName,
        /// The wall clock of the node that was asked, in seconds since 1970.
        at: i64,
    },
    /// Make this node the only voter. The shell has checked the one-time token.
    QuorumForce,
    /// Replace the configuration.
    ApplyConfig {
        /// The new one, validated.
        config: Arc<Config>,
    },
}

/// A request with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorCall {
    /// What is asked.
    pub request: OperatorRequest,
    /// Who asked: user name and, if known, where from; recorded with the decision.
    pub who: String,
    /// Wall-clock time in words, for the record only.
    pub at: String,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorOutcome {
    /// Committed, or nothing was left to do; the sentence says which. Effects on resources follow and show in status.
    Done(String),
    /// Refused, with the reason and what to do about it.
    Refused(String),
    /// Nothing can be committed now: no leader is known here.
    NoQuorum(String),
}

//! The rules of the decision core, each as a test that reads like its statement. Nodes are driven by hand ([`harness`],
//! [`solo`]); what nobody thought of is the simulator's part.

mod acceptance;
mod acceptor;
mod candidates;
mod contradictions;
mod copies;
mod countdowns;
mod detection;
mod drill;
mod election;
mod encoding;
mod fence_count;
mod fence_runs;
mod fencing;
mod followers;
mod forced_quorum;
mod grants;
mod guards;
mod harness;
mod jobs;
mod last_copy;
mod ledger;
mod lifecycle;
mod looks;
mod members;
mod membership;
mod never_heard;
mod operator;
mod orders;
mod own_groups;
mod pair;
mod permits;
mod placing;
mod proposals;
mod race;
mod roles;
mod roles_moves;
mod setup;
mod solo;
mod takeover;
mod watchdog_claims;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::config::Config;
use holdfast_proto::ids::{Ballot, BootId, Incarnation, NodeId, VoterSet};
use holdfast_proto::operator::{OperatorCall, OperatorOutcome, OperatorRequest};
use holdfast_proto::peer::{
    Beat, CopyReport, Heartbeat, HeartbeatAck, KnownVoters, MemberReport, Message, RunState, Sender, Verdict,
};
use holdfast_proto::state::{Assignment, ClusterState, InSync, ProofKind};
use holdfast_proto::time::Time;

use super::{Node, Start};
use crate::durable::Durable;
use crate::effect::{Effect, GroupRoles, PersistId};
use crate::event::{AgentEvent, Event, FenceResult, Identity, NetworkHealth};
use crate::journal::Entry;
use copies::*;
use harness::*;
use setup::*;
use solo::*;

//! The validated configuration of groups.

use std::collections::BTreeMap;

use super::KindSpec;
use crate::ids::{GroupName, NodeId};

/// What must be proven before a group may start elsewhere. Ordered from loosest to strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Requires {
    /// Nothing: may briefly run twice. Only by the operator's explicit choice.
    Nothing,
    /// The old permit has lapsed.
    Lease,
    /// The old node confirmed the stop, or was fenced.
    Fencing,
}

impl Requires {
    /// The word in the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Requires::Nothing => "nothing",
            Requires::Lease => "lease",
            Requires::Fencing => "fencing",
        }
    }
}

/// On how many nodes a group runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RunOn {
    /// On one; resources with roles also elsewhere, unpromoted.
    #[default]
    OneNode,
    /// On every data node, without a permit: its assignment in the register is never more than stopped.
    EveryNode,
}

/// What happens when the only copies of a group's data that could be promoted may lack something that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnPossibleLoss {
    /// The group waits, until a whole copy is back or an operator says so.
    #[default]
    Refuse,
    /// The best copy is promoted.
    Promote,
}

/// Which members of another group a group goes after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follows {
    /// The other group.
    pub group: GroupName,
    /// Which of its members.
    pub role: FollowedRole,
    /// How old the data of a replica may be, in milliseconds (default 60000).
    pub max_lag_ms: u32,
}

/// A kind of member that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowedRole {
    /// The promoted one.
    Primary,
    /// One that is not promoted, can be read from and is not too old; the promoted one while there is none.
    Replica,
    /// Any that runs.
    Any,
}

/// `[[group]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSection {
    /// Name.
    pub name: GroupName,
    /// Preferred nodes, best first.
    pub prefer: Vec<NodeId>,
    /// What a takeover needs; the strictest of its resources unless set.
    pub requires: Requires,
    /// On how many nodes it runs.
    pub run: RunOn,
    /// What happens when only a copy of the data could take over that may lack something.
    pub on_possible_loss: OnPossibleLoss,
    /// Whose members it goes after, for addresses of a service.
    pub follows: Option<Follows>,
    /// Runs where this group runs; with `follows` of a primary also the group that it names.
    pub with: Vec<GroupName>,
    /// Never runs where these run.
    pub apart_from: Vec<GroupName>,
    /// Starts only when these run somewhere.
    pub after: Vec<GroupName>,
    /// Restarts in place within `restart_window_ms` before the group moves (default 3).
    pub max_restarts: u32,
    /// Window for `max_restarts` (default 600000).
    pub restart_window_ms: u32,
    /// Members, started in order and stopped in reverse.
    pub resources: Vec<ResourceSection>,
}

/// `[[group.resource]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceSection {
    /// Name, unique within the group.
    pub name: String,
    /// Agent: `vip`, `systemd`, `exec`.
    pub kind: String,
    /// The agent's own parameters, checked by its schema. Lists are joined with newlines.
    pub params: BTreeMap<String, String>,
    /// Probes beside the agent's own events.
    pub probes: Vec<ProbeSection>,
    /// Time allowed to start (default 20000).
    pub start_timeout_ms: u32,
    /// Time allowed to stop before the ladder's next step (default 10000).
    pub stop_timeout_ms: u32,
}

/// `[[group.resource.probe]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSection {
    /// What is probed.
    pub kind: ProbeKind,
    /// Time between probes (default 1000).
    pub interval_ms: u32,
    /// Time allowed for one probe (default 1000).
    pub timeout_ms: u32,
    /// Failures among the last `of` probes that make the resource failed (default 3).
    pub failures: u32,
    /// Size of the window of probes (default 5).
    pub of: u32,
}

/// Kinds of probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// A TCP connection to `host:port` is accepted, and answered if that is asked for.
    Tcp {
        /// Where.
        target: String,
        /// What is sent first; empty for nothing.
        send: String,
        /// What the answer begins with; empty when a connection is enough.
        expect: String,
    },
    /// An HTTP GET of the URL answers with 200 to 399.
    Http(String),
    /// A command exits 0. First the program, then its arguments; no shell.
    Exec(Vec<String>),
}

impl ResourceSection {
    /// True when it has roles: it runs on every eligible node, and is promoted on one.
    #[must_use]
    pub fn has_roles(&self) -> bool {
        KindSpec::find(&self.kind).is_some_and(|spec| spec.roles.apply(&self.params))
    }
}

impl GroupSection {
    /// True when one of its resources has roles: it is promoted on one node and has members on the others.
    #[must_use]
    pub fn is_promotable(&self) -> bool {
        self.run == RunOn::OneNode && self.resources.iter().any(ResourceSection::has_roles)
    }

    /// True when it runs on every node and is promoted nowhere.
    #[must_use]
    pub fn is_every_node(&self) -> bool {
        self.run == RunOn::EveryNode
    }

    /// True when some of it runs without a permit.
    #[must_use]
    pub fn has_members(&self) -> bool {
        self.is_every_node() || self.is_promotable()
    }
}

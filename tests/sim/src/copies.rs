//! A model of replicated data: what each machine's copy holds, and what the agent beside it knows and wants.
//!
//! Every write has a number of its own and is appended by whoever is promoted, to a log that it continues. So the number at a
//! place says what stands before it, and one log is the beginning of another if it ends with what that one has at that place.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::effect::GroupRoles;
use holdfast_proto::ids::NodeId;
use holdfast_proto::peer::{MemberReport, RunState};
use holdfast_proto::state::InSync;

/// A copy of a group's data, on a machine's disk.
#[derive(Clone, Debug, Default)]
pub struct SimCopy {
    /// The writes that it holds, in order.
    pub log: Vec<u64>,
    /// The disk is new: what it held is gone, which its agent sees.
    pub lost: bool,
}

impl SimCopy {
    /// The disk is replaced by a new one.
    pub fn lose(&mut self) {
        self.log.clear();
        self.lost = true;
    }

    /// True when all of it is in `other`, in the same order.
    #[must_use]
    pub fn begins(&self, other: &SimCopy) -> bool {
        match self.log.last() {
            None => true,
            Some(last) => other.log.get(self.log.len() - 1) == Some(last),
        }
    }

    /// True when it holds the write `id` at place `place`, and so all before it.
    #[must_use]
    pub fn holds(&self, (place, id): (usize, u64)) -> bool {
        self.log.get(place) == Some(&id)
    }
}

/// What runs of a group on a machine without a permit, and its agent.
#[derive(Clone, Debug)]
pub struct SimMember {
    /// What `had` told last.
    pub told: Option<GroupRoles>,
    /// What it does.
    pub run: RunState,
    /// Number of the action under way: the end of an older one is ignored.
    pub action: u64,
    /// It cannot run before.
    pub fails_until_us: u64,
    /// Nothing of the promoted one reaches it before.
    pub lags_until_us: u64,
    /// When it was last level with the promoted one.
    pub level_us: Option<u64>,
    /// The service, where it is promoted, acknowledges nothing that these do not have.
    pub waits: BTreeSet<NodeId>,
    /// For these the wait began when the log was so long.
    pub joining: BTreeMap<NodeId, usize>,
    /// What is to be committed.
    pub wish: Option<InSync>,
    /// The highest generation that this agent wished.
    pub highest: u64,
    /// The agent process was started anew, and does not know what was wished before.
    pub fresh: bool,
    /// What was reported last, and when.
    pub said: Option<(MemberReport, u64)>,
}

impl Default for SimMember {
    fn default() -> Self {
        SimMember {
            told: None,
            run: RunState::Stopped,
            action: 0,
            fails_until_us: 0,
            lags_until_us: 0,
            level_us: None,
            waits: BTreeSet::new(),
            joining: BTreeMap::new(),
            wish: None,
            highest: 0,
            fresh: false,
            said: None,
        }
    }
}

impl SimMember {
    /// The set that is committed, as far as it was told; empty before.
    #[must_use]
    pub fn committed(&self) -> InSync {
        let told = self.told.as_ref();
        told.map(|told| told.in_sync.clone()).unwrap_or_default()
    }

    /// The agent process that knew what was wished is gone; what the service waits for stays.
    pub fn agent_ends(&mut self) {
        self.wish = None;
        self.highest = 0;
        self.joining.clear();
        self.fresh = true;
        self.said = None;
    }

    /// The service begins to be promoted on `own`: it waits for whoever else is in the committed set.
    pub fn promoted(&mut self, own: NodeId) {
        let committed = self.committed();
        self.highest = committed.generation;
        self.waits = committed.nodes;
        self.waits.remove(&own);
        self.joining.clear();
        self.wish = None;
        self.fresh = false;
    }

    /// Wishes `nodes` under a generation of its own, unless it does already.
    pub fn wishes(&mut self, nodes: BTreeSet<NodeId>) {
        if self.wish.as_ref().is_some_and(|wish| wish.nodes == nodes) {
            return;
        }
        self.highest = self.highest.max(self.committed().generation) + 1;
        self.wish = Some(InSync {
            generation: self.highest,
            nodes,
        });
    }

    /// Takes in what is committed. Only when this very wish is committed can no earlier one follow, and only then the service
    /// stops to wait for who left.
    pub fn learns(&mut self, own: NodeId) {
        let committed = self.committed();
        if self.wish.as_ref() == Some(&committed) {
            self.wish = None;
            let joining = &self.joining;
            self.waits
                .retain(|node| committed.nodes.contains(node) || joining.contains_key(node));
        }
        // Another one is committed under a generation that this wish does not exceed: it never will be.
        let dead = |wish: &InSync| wish.generation <= committed.generation;
        if self.wish.as_ref().is_some_and(dead) {
            self.wish = None;
        }
        self.waits.extend(committed.nodes);
        self.waits.remove(&own);
    }
}

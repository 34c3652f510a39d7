//! The model of `had-agentd` on one machine: it enforces permits by itself, and what it runs is the physical fact that
//! S1 is about.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_proto::ids::{Epoch, GroupName, JobName};
use holdfast_proto::job::{JobOutcome, RunNumber};
use holdfast_proto::peer::RunState;
use holdfast_proto::time::Time;

use crate::copies::SimMember;

/// One group on one machine.
#[derive(Clone, Debug)]
pub struct SimGroup {
    /// What it does.
    pub run: RunState,
    /// Epoch it was started or stopped under.
    pub epoch: Epoch,
    /// Highest epoch of any order: older orders are refused.
    pub seen: Epoch,
    /// Permit: epoch and expiry on the machine's clock.
    pub permit: Option<(Epoch, Time)>,
    /// Number of the action under way: the end of an older one is ignored.
    pub action: u64,
    /// Its stops hang until this true time.
    pub stop_hangs_until_us: u64,
    /// Its starts hang until this true time.
    pub start_hangs_until_us: u64,
    /// It is being stopped because it failed here.
    pub fails: bool,
    /// Trouble in words.
    pub detail: String,
}

impl Default for SimGroup {
    fn default() -> Self {
        SimGroup {
            run: RunState::Stopped,
            epoch: 0,
            seen: 0,
            permit: None,
            action: 0,
            stop_hangs_until_us: 0,
            start_hangs_until_us: 0,
            fails: false,
            detail: String::new(),
        }
    }
}

impl SimGroup {
    /// Something of it runs, as far as the world is concerned.
    #[must_use]
    pub fn is_up(&self) -> bool {
        !self.run.is_down()
    }
}

/// The agent process and what it runs. Resources survive the process.
#[derive(Clone, Debug, Default)]
pub struct Agent {
    /// Groups.
    pub groups: BTreeMap<GroupName, SimGroup>,
    /// The latest run of each job that it was told of in this boot, and how that stands.
    pub jobs: BTreeMap<JobName, (RunNumber, JobOutcome)>,
    /// Timeout of the armed watchdog in true microseconds.
    pub watchdog_us: Option<u64>,
    /// When it was last petted.
    pub petted_us: u64,
    /// The watch on shared disks.
    pub disks: DiskWatch,
    /// What runs of groups without a permit.
    pub members: BTreeMap<GroupName, SimMember>,
}

/// What a node knows of its mailboxes on shared disks.
#[derive(Clone, Debug, Default)]
pub struct DiskWatch {
    /// When the latest look at each disk without an order began, on the machine's clock.
    pub good: Vec<Option<Time>>,
    /// Disks on which this boot cleared what was left for an earlier one.
    pub claimed: Vec<bool>,
    /// Disks carry the mark of this boot.
    pub tied: bool,
    /// An order was read.
    pub ordered: bool,
    /// As of when a quorum stood behind the node.
    pub quorum: Option<Time>,
}

impl DiskWatch {
    /// How many disks were read a moment ago.
    #[must_use]
    pub fn fresh(&self, now: Time, patience_us: u64) -> usize {
        let patience = Duration::from_micros(patience_us);
        let counts = |good: &&Option<Time>| good.is_some_and(|good| now.since(good) <= patience);
        self.good.iter().filter(counts).count()
    }
}

impl Agent {
    /// True when the watchdog may be petted: every running group has a live permit, or nothing runs.
    #[must_use]
    pub fn may_pet(&self, local: Time) -> bool {
        self.groups
            .values()
            .filter(|group| group.is_up())
            .all(|group| group.permit.is_some_and(|(_, until)| until > local))
    }
}

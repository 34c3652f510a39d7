//! The agent process of a machine. It enforces permits without a word from `had`; what it runs is the physical fact that
//! S1 is about. It keeps the rules of `had-agentd`: orders of an older epoch are refused, what has lapsed is lapsed, a
//! group that requires fencing is stopped politely after a lapse and any other is halted at that instant, and the
//! watchdog is petted only while everything that runs has a live permit.

use std::time::Duration;

use holdfast_core::event::GroupObservation;
use holdfast_proto::ids::{Epoch, GroupName};
use holdfast_proto::peer::RunState;
use holdfast_proto::time::Time;

use super::shared::DiskWatch;

/// Time that a start takes.
pub const START: Duration = Duration::from_millis(50);
/// Time that a stop takes.
pub const STOP: Duration = Duration::from_millis(50);
/// Timeout of the watchdog of a machine that has one.
pub const WATCHDOG: Duration = Duration::from_secs(2);

/// A right to run: epoch and expiry, in true time.
pub type Right = (Epoch, Time);

/// One group on one machine.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// It needs no proof of power before it moves: it is halted the instant its permit lapses.
    pub halted_at_lapse: bool,
    /// What it does.
    pub run: RunState,
    /// Highest epoch of any order.
    pub epoch: Epoch,
    /// Latest permit heard of.
    pub offered: Option<Right>,
    /// The permit it runs under.
    pub permit: Option<Right>,
    /// That permit ran out.
    pub lapsed: bool,
    /// When the start or stop under way ends.
    pub ends_at: Option<Time>,
    /// A start that waits for the stop to end.
    pub queued: Option<Right>,
    /// Its stop does not end.
    pub stop_hangs: bool,
}

impl Group {
    fn new(name: GroupName, halted_at_lapse: bool) -> Group {
        Group {
            name,
            halted_at_lapse,
            run: RunState::Stopped,
            epoch: 0,
            offered: None,
            permit: None,
            lapsed: false,
            ends_at: None,
            queued: None,
            stop_hangs: false,
        }
    }

    /// Something of it runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        !self.run.is_down()
    }

    fn has_live_permit(&self, now: Time) -> bool {
        !self.lapsed && self.permit.is_some_and(|(_, until)| until > now)
    }

    fn offer(&mut self, right: Right, now: Time) {
        match &mut self.offered {
            Some((epoch, until)) if *epoch == right.0 => *until = (*until).max(right.1),
            Some((epoch, _)) if *epoch > right.0 => return,
            offered => *offered = Some(right),
        }
        if self.is_up() && self.has_live_permit(now) {
            self.refresh();
        }
    }

    fn refresh(&mut self) {
        if let (Some(permit), Some(offered)) = (&mut self.permit, self.offered)
            && permit.0 == offered.0
        {
            permit.1 = permit.1.max(offered.1);
        }
    }

    fn begin(&mut self, right: Right, now: Time) {
        self.run = RunState::Starting;
        self.permit = Some(right);
        self.lapsed = false;
        self.refresh();
        self.ends_at = Some(now + START);
    }

    fn begin_stop(&mut self, now: Time) {
        self.run = RunState::Stopping;
        self.ends_at = Some(now + STOP);
    }

    fn end(&mut self) {
        self.run = RunState::Stopped;
        self.permit = None;
        self.lapsed = false;
        self.ends_at = None;
        self.stop_hangs = false;
    }
}

/// What a start order came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Started {
    /// It begins now.
    Begins,
    /// It was refused, waits its turn, or runs already.
    Otherwise,
}

/// The agent process of a machine, and what it runs.
#[derive(Clone, Debug, Default)]
pub struct Agentd {
    /// The groups of the configuration.
    pub groups: Vec<Group>,
    /// The machine has a watchdog, and it is armed.
    pub watchdog: bool,
    /// Since when the watchdog has not been petted.
    pub starved_since: Option<Time>,
    /// The watch on a shared disk.
    pub disk: DiskWatch,
}

impl Agentd {
    /// An agent process that runs nothing.
    #[must_use]
    pub fn new(groups: impl Iterator<Item = (GroupName, bool)>, watchdog: bool) -> Agentd {
        Agentd {
            groups: groups
                .map(|(name, halted_at_lapse)| Group::new(name, halted_at_lapse))
                .collect(),
            watchdog,
            starved_since: None,
            disk: DiskWatch::default(),
        }
    }

    /// Everything it ran is gone, and all it knew of permits.
    pub fn end(&mut self) {
        for group in &mut self.groups {
            *group = Group::new(GroupName::clone(&group.name), group.halted_at_lapse);
        }
        self.starved_since = None;
        self.disk = DiskWatch::default();
    }

    /// The group `name`, with its number.
    pub fn group_mut(&mut self, name: &str) -> Option<(usize, &mut Group)> {
        self.groups
            .iter_mut()
            .enumerate()
            .find(|(_, group)| &*group.name == name)
    }

    /// Takes a permit.
    pub fn permit(&mut self, name: &str, right: Right, now: Time) {
        if let Some((_, group)) = self.group_mut(name) {
            group.offer(right, now);
        }
    }

    /// Takes an order to start `name` under `right`.
    pub fn start(&mut self, name: &str, right: Right, now: Time) -> Option<(usize, Started)> {
        let (number, group) = self.group_mut(name)?;
        group.offer(right, now);
        if right.0 < group.epoch || right.1 <= now {
            return Some((number, Started::Otherwise));
        }
        group.epoch = right.0;
        match group.run {
            RunState::Stopped | RunState::Failed => {
                group.begin(right, now);
                return Some((number, Started::Begins));
            }
            RunState::Running | RunState::Starting => {
                if group.has_live_permit(now) {
                    group.permit = Some(right);
                }
            }
            RunState::Stopping | RunState::Unknown => group.queued = Some(right),
        }
        Some((number, Started::Otherwise))
    }

    /// Takes an order to stop `name`. The number of the group if there is something to tell at once.
    pub fn stop(&mut self, name: &str, epoch: Epoch, now: Time) -> Option<usize> {
        let (number, group) = self.group_mut(name)?;
        if epoch < group.epoch {
            return Some(number);
        }
        group.epoch = epoch;
        group.queued = None;
        match group.run {
            RunState::Stopped | RunState::Failed => group.run = RunState::Stopped,
            RunState::Starting | RunState::Running => group.begin_stop(now),
            RunState::Stopping | RunState::Unknown => {}
        }
        Some(number)
    }

    /// When it next has something to do by itself.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Time> {
        let ends = self.groups.iter().filter_map(|group| group.ends_at);
        let lapses = self.groups.iter().filter(|group| Agentd::may_lapse(group));
        let lapses = lapses.filter_map(|group| group.permit).map(|(_, until)| until);
        ends.chain(lapses).min()
    }

    fn may_lapse(group: &Group) -> bool {
        !group.lapsed && matches!(group.run, RunState::Running | RunState::Starting)
    }

    /// Does what is due: permits first. The numbers of the groups that changed, and of one that begins to start.
    pub fn wake(&mut self, now: Time) -> (Vec<usize>, Vec<usize>) {
        let (mut changed, mut begun) = (Vec::new(), Vec::new());
        for (number, group) in self.groups.iter_mut().enumerate() {
            let due = group.permit.is_some_and(|(_, until)| until <= now);
            if Agentd::may_lapse(group) && due {
                if group.halted_at_lapse {
                    group.end();
                } else {
                    group.lapsed = true;
                    group.begin_stop(now);
                }
                changed.push(number);
            } else if group.ends_at.is_some_and(|at| at <= now) {
                changed.push(number);
                group.ends_at = None;
                match group.run {
                    RunState::Starting => group.run = RunState::Running,
                    _ if group.stop_hangs => group.run = RunState::Unknown,
                    _ => {
                        group.end();
                        if let Some(right) = group.queued.take()
                            && right.1.max(group.offered.map_or(right.1, |offered| offered.1)) > now
                        {
                            group.begin(right, now);
                            begun.push(number);
                        }
                    }
                }
            }
        }
        (changed, begun)
    }

    /// A stop that hung succeeds at last.
    pub fn stop_ends(&mut self, number: usize, now: Time) {
        let group = &mut self.groups[number];
        group.stop_hangs = false;
        if group.run == RunState::Unknown {
            group.run = RunState::Stopping;
            group.ends_at = Some(now);
        }
    }

    /// Keeps the books of the watchdog.
    pub fn pet(&mut self, now: Time, paused: bool) {
        let may = !paused
            && self.disk.petted_until().is_none_or(|until| now < until)
            && self
                .groups
                .iter()
                .filter(|group| group.is_up())
                .all(|group| group.has_live_permit(now));
        if may || !self.watchdog {
            self.starved_since = None;
        } else if self.starved_since.is_none() {
            self.starved_since = Some(now);
        }
    }

    /// When the watchdog fires unless it is petted before.
    #[must_use]
    pub fn fires_at(&self) -> Option<Time> {
        self.starved_since.map(|since| since + WATCHDOG)
    }

    /// What it says of a group.
    #[must_use]
    pub fn observation(&self, number: usize) -> GroupObservation {
        let group = &self.groups[number];
        let hangs = group.run == RunState::Unknown;
        GroupObservation {
            member: None,
            group: GroupName::clone(&group.name),
            epoch: group.epoch,
            run: group.run,
            restarts: 0,
            detail: if hangs {
                "its stop hangs".into()
            } else {
                String::new()
            },
        }
    }
}

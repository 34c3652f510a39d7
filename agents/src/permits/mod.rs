//! Permits: which groups may run here, and until when. Decides what has lapsed; does no I/O ([`saved`] does).

pub mod saved;

use std::collections::{BTreeMap, BTreeSet};

use holdfast_proto::agent::Permit;
use holdfast_proto::time::Time;
use tokio::sync::{mpsc, watch};

use crate::agent::{Cutter, PermitView};
use crate::group::Order;

/// Groups whose permits are remembered although nothing of them runs. `had` names no more than the cluster has.
const OFFERED_MAX: usize = 4096;

/// A group that is other than stopped, and so needs a permit.
pub struct Armed {
    /// The permit it starts with.
    pub permit: PermitView,
    /// Called first of all when the permit lapses, in this order: what cuts access, then what halts resources.
    pub cutters: Vec<Cutter>,
    /// Where its agents read the permit.
    pub view: watch::Sender<PermitView>,
    /// Told after the cut.
    pub runner: mpsc::UnboundedSender<Order>,
}

struct Entry {
    armed: Armed,
    lapsed: bool,
    recorded: Option<PermitView>,
}

/// All permits of this node.
#[derive(Default)]
pub struct PermitTable {
    entries: BTreeMap<String, Entry>,
    offered: BTreeMap<String, PermitView>,
    maintenance: bool,
    /// Groups whose permit is to be recorded.
    changed: BTreeSet<String>,
}

/// What to do about a permit that lapsed.
pub struct Lapse {
    /// The group.
    pub group: String,
    /// Epoch of the permit.
    pub epoch: u64,
    /// When it ran out.
    pub until: Time,
    /// What to cut, first of all.
    pub cutters: Vec<Cutter>,
    /// Whom to tell then.
    pub runner: mpsc::UnboundedSender<Order>,
}

impl PermitTable {
    /// Takes a permit from `had`. It renews a running group of the same epoch, unless that group's permit has lapsed,
    /// told yet or not: what is being stopped is stopped, and its agents may rely on it.
    pub fn offer(&mut self, permit: &Permit, now: Time) {
        let new = PermitView {
            epoch: permit.epoch,
            until: Time(permit.until_us),
        };
        let known = self.offered.len();
        match self.offered.get_mut(&permit.group) {
            Some(old) if old.epoch == new.epoch => old.until = old.until.max(new.until),
            Some(old) if old.epoch < new.epoch => *old = new,
            Some(_) => return,
            None if known < OFFERED_MAX => {
                self.offered.insert(permit.group.clone(), new);
            }
            None => return,
        }
        if !self.is_over(&permit.group, now) {
            self.refresh(&permit.group);
        }
    }

    /// True for a permit that has run out, whether that was acted on yet or not.
    fn is_over(&self, group: &str, now: Time) -> bool {
        let over = |entry: &Entry| entry.lapsed || (!self.maintenance && entry.armed.permit.until <= now);
        self.entries.get(group).is_some_and(over)
    }

    /// A group is about to start, or was found running: from now on it needs a permit.
    pub fn arm(&mut self, group: &str, armed: Armed) {
        let entry = Entry {
            armed,
            lapsed: false,
            recorded: None,
        };
        self.entries.insert(group.to_owned(), entry);
        self.refresh(group);
    }

    /// A start under a newer decision came in: what runs already goes on under that.
    pub fn raise(&mut self, permit: &Permit, now: Time) {
        if self.is_over(&permit.group, now) {
            return;
        }
        let Some(entry) = self.entries.get_mut(&permit.group) else {
            return;
        };
        if entry.armed.permit.epoch < permit.epoch {
            entry.armed.permit = PermitView {
                epoch: permit.epoch,
                until: Time(permit.until_us),
            };
            self.refresh(&permit.group);
        }
    }

    /// Nothing of the group runs any more.
    pub fn disarm(&mut self, group: &str) {
        self.entries.remove(group);
    }

    /// Maintenance: permits do not lapse while it is on.
    pub fn set_maintenance(&mut self, on: bool) {
        self.maintenance = on;
        let groups: Vec<_> = self.entries.keys().cloned().collect();
        for group in groups {
            self.refresh(&group);
        }
    }

    fn refresh(&mut self, group: &str) {
        let Some(entry) = self.entries.get_mut(group) else {
            return;
        };
        if entry.lapsed {
            return;
        }
        if let Some(offered) = self
            .offered
            .get(group)
            .filter(|offered| offered.epoch == entry.armed.permit.epoch)
        {
            entry.armed.permit.until = entry.armed.permit.until.max(offered.until);
        }
        let until = if self.maintenance {
            Time(u64::MAX)
        } else {
            entry.armed.permit.until
        };
        let view = PermitView {
            until,
            ..entry.armed.permit
        };
        if entry.recorded != Some(entry.armed.permit) {
            entry.recorded = Some(entry.armed.permit);
            self.changed.insert(group.to_owned());
        }
        entry
            .armed
            .view
            .send_if_modified(|old| std::mem::replace(old, view) != view);
    }

    /// Permits that changed since this was last called.
    pub fn take_changed(&mut self) -> Vec<(String, PermitView)> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed
            .filter_map(|group| {
                let permit = self.entries.get(&group)?.armed.permit;
                Some((group, permit))
            })
            .collect()
    }

    /// When the next permit lapses. None if none can.
    #[must_use]
    pub fn next_lapse(&self) -> Option<Time> {
        let live = self
            .entries
            .values()
            .filter(|entry| !entry.lapsed && !self.maintenance);
        live.map(|entry| entry.armed.permit.until).min()
    }

    /// Marks and returns what has lapsed at `now`.
    pub fn lapse(&mut self, now: Time) -> Vec<Lapse> {
        if self.maintenance {
            return Vec::new();
        }
        let lapsed = self
            .entries
            .iter_mut()
            .filter(|(_, entry)| !entry.lapsed && entry.armed.permit.until <= now);
        lapsed
            .map(|(group, entry)| {
                entry.lapsed = true;
                Lapse {
                    group: group.clone(),
                    epoch: entry.armed.permit.epoch,
                    until: entry.armed.permit.until,
                    cutters: entry.armed.cutters.clone(),
                    runner: entry.armed.runner.clone(),
                }
            })
            .collect()
    }

    /// True while the watchdog may be petted: every group that may be running has a live permit.
    #[must_use]
    pub fn may_pet(&self, now: Time) -> bool {
        self.maintenance
            || self
                .entries
                .values()
                .all(|entry| !entry.lapsed && entry.armed.permit.until > now)
    }

    /// True for a group that needs a permit now.
    #[must_use]
    pub fn is_armed(&self, group: &str) -> bool {
        self.entries.contains_key(group)
    }

    /// True when no group may be running.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(epoch: u64, until: u64) -> Permit {
        Permit {
            group: "web".into(),
            epoch,
            until_us: until,
        }
    }

    fn armed(epoch: u64, until: u64) -> (Armed, watch::Receiver<PermitView>) {
        let permit = PermitView {
            epoch,
            until: Time(until),
        };
        let (view, receiver) = watch::channel(permit);
        let (runner, _) = mpsc::unbounded_channel();
        (
            Armed {
                permit,
                cutters: Vec::new(),
                view,
                runner,
            },
            receiver,
        )
    }

    #[test]
    fn renewals_of_the_same_epoch_extend_and_others_do_not() {
        let mut table = PermitTable::default();
        let (entry, view) = armed(4, 100);
        table.arm("web", entry);
        table.offer(&permit(4, 200), Time(1));
        table.offer(&permit(4, 150), Time(1));
        table.offer(&permit(3, 900), Time(1));
        assert_eq!(table.next_lapse(), Some(Time(200)));
        assert_eq!(view.borrow().until, Time(200));
        table.offer(&permit(5, 900), Time(1));
        assert_eq!(table.next_lapse(), Some(Time(200)));
    }

    #[test]
    fn a_lapsed_permit_is_not_revived_and_starves_the_watchdog_until_the_group_is_stopped() {
        let mut table = PermitTable::default();
        assert!(table.may_pet(Time(1)) && table.is_idle());
        table.arm("web", armed(4, 100).0);
        assert!(table.may_pet(Time(99)));
        assert!(table.lapse(Time(99)).is_empty());
        assert_eq!(table.lapse(Time(100)).len(), 1);
        assert!(table.lapse(Time(101)).is_empty());
        table.offer(&permit(4, 1000), Time(101));
        assert!(!table.may_pet(Time(101)));
        table.disarm("web");
        assert!(table.may_pet(Time(102)));
    }

    #[test]
    fn a_renewal_that_comes_too_late_renews_nothing_even_before_the_lapse_was_seen() {
        let mut table = PermitTable::default();
        let (entry, view) = armed(4, 100);
        table.arm("web", entry);
        table.offer(&permit(4, 900), Time(100));
        table.raise(&permit(5, 900), Time(100));
        assert_eq!((view.borrow().epoch, view.borrow().until), (4, Time(100)));
        assert_eq!(table.lapse(Time(100)).len(), 1);
    }

    #[test]
    fn a_permit_that_came_before_the_group_was_armed_counts() {
        let mut table = PermitTable::default();
        table.offer(&permit(4, 300), Time(1));
        table.arm("web", armed(4, 100).0);
        assert_eq!(table.next_lapse(), Some(Time(300)));
    }

    #[test]
    fn each_change_is_to_be_recorded_once() {
        let mut table = PermitTable::default();
        table.arm("web", armed(4, 100).0);
        let view = |epoch, until| PermitView {
            epoch,
            until: Time(until),
        };
        assert_eq!(table.take_changed(), [("web".to_owned(), view(4, 100))]);
        table.offer(&permit(4, 100), Time(1));
        assert!(table.take_changed().is_empty());
        table.offer(&permit(4, 200), Time(1));
        assert_eq!(table.take_changed(), [("web".to_owned(), view(4, 200))]);
        table.set_maintenance(true);
        assert!(table.take_changed().is_empty(), "maintenance is no permit");
        table.raise(&permit(6, 300), Time(1));
        assert_eq!(table.take_changed(), [("web".to_owned(), view(6, 300))]);
    }

    #[test]
    fn nothing_lapses_in_maintenance() {
        let mut table = PermitTable::default();
        let (entry, view) = armed(4, 100);
        table.arm("web", entry);
        table.set_maintenance(true);
        assert_eq!(view.borrow().until, Time(u64::MAX));
        assert!(table.lapse(Time(500)).is_empty() && table.may_pet(Time(500)));
        table.set_maintenance(false);
        assert_eq!(table.lapse(Time(500)).len(), 1);
    }
}

//! Tests of fence devices: when each is due, and what the last one showed. Fencing that was never tried is a hope.
//!
//! Keeps the books only; the shell sends the commands and hands in the outcomes. A node tests the devices of the others,
//! which are those that it may have to use.

use std::time::Duration;

use holdfast_proto::agent::FenceOutcome;
use holdfast_proto::config::{Config, FenceSection};
use holdfast_proto::ids::NodeId;
use holdfast_proto::time::Time;

use crate::journal::Record;

/// From the start of a node, or a change of a device, to its first test.
const FIRST: Duration = Duration::from_secs(10);
/// Nodes test one after the other: a small BMC takes few sessions at a time.
const STAGGER: Duration = Duration::from_secs(5);
/// A device that failed, or that was busy, is looked at again after this.
const AGAIN: Duration = Duration::from_secs(30);
/// Added to two leases before a device that says off of a node that is heard is looked at again.
const DOUBT: Duration = Duration::from_secs(5);

/// What the last test of a device showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing yet.
    Nothing,
    /// It lets this node in and knows the power state.
    Proven,
    /// It would not be of use now.
    Failing,
}

/// One device, as its tests show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceTest {
    /// The device.
    pub section: FenceSection,
    /// What the last test showed.
    pub shown: Shown,
    /// When that was.
    pub tested_at: Option<Time>,
    /// When a test last succeeded.
    pub proven_at: Option<Time>,
    /// How long it took, in milliseconds.
    pub took_ms: u32,
    /// What it said, one sentence.
    pub text: String,
}

struct Entry {
    test: DeviceTest,
    due: Time,
    /// Wire number of the test under way.
    running: Option<u64>,
    /// It said off of a node that was heard, and that is looked at once more.
    doubted: bool,
}

/// All devices of the configuration in force.
pub struct FenceTests {
    entries: Vec<Entry>,
    own: NodeId,
    lease: Duration,
    interval: Duration,
}

impl FenceTests {
    /// The devices of `config`, of which nothing is known yet; `own` is this node.
    #[must_use]
    pub fn new(config: &Config, own: NodeId, now: Time) -> FenceTests {
        let mut tests = FenceTests {
            entries: Vec::new(),
            own,
            lease: Duration::ZERO,
            interval: Duration::ZERO,
        };
        tests.follow(config, now);
        tests
    }

    /// Follows a configuration. What is known of a device that did not change stays known.
    pub fn follow(&mut self, config: &Config, now: Time) {
        let first = now + FIRST + STAGGER * u32::from(self.own.0);
        let mut known = std::mem::take(&mut self.entries);
        self.lease = config.timers().lease;
        self.interval = Duration::from_millis(config.cluster.fence_test_interval_ms.into());
        let entry = |section: &FenceSection| {
            let same = known.iter().position(|entry| entry.test.section == *section);
            same.map_or_else(|| Entry::new(section.clone(), first), |at| known.swap_remove(at))
        };
        // A witness has nothing to run a device with.
        let tested = config.fences.iter().filter(|_| !self.own.is_witness());
        self.entries = tested.map(entry).collect();
    }

    /// The next test that becomes due by itself.
    #[must_use]
    pub fn next_due(&self) -> Option<Time> {
        self.waiting().map(|(_, entry)| entry.due).min()
    }

    /// A device whose test is due.
    #[must_use]
    pub fn due(&self, now: Time) -> Option<usize> {
        self.waiting()
            .find(|(_, entry)| entry.due <= now)
            .map(|(index, _)| index)
    }

    fn waiting(&self) -> impl Iterator<Item = (usize, &Entry)> {
        let own = self.own;
        let all = self.entries.iter().enumerate();
        all.filter(move |(_, entry)| entry.test.section.node != own && entry.running.is_none())
    }

    /// The devices of `node`.
    #[must_use]
    pub fn devices_of(&self, node: NodeId) -> Vec<usize> {
        let all = self.entries.iter().enumerate();
        all.filter(|(_, entry)| entry.test.section.node == node)
            .map(|(index, _)| index)
            .collect()
    }

    /// The section of a device.
    #[must_use]
    pub fn section(&self, device: usize) -> Option<&FenceSection> {
        self.entries.get(device).map(|entry| &entry.test.section)
    }

    /// A test begins under the wire number `id`. One that is under way already keeps its number, which is returned.
    pub fn begin(&mut self, device: usize, id: u64) -> Option<u64> {
        let entry = self.entries.get_mut(device)?;
        Some(*entry.running.get_or_insert(id))
    }

    /// Nobody can test now; what was under way will not be answered.
    pub fn abort(&mut self, now: Time) {
        for entry in &mut self.entries {
            if entry.running.take().is_some() || entry.due <= now {
                entry.due = now + AGAIN;
            }
        }
    }

    /// A test ended; `heard` says whether a node is heard now. Returns what the journal is to be told.
    pub fn end(
        &mut self,
        outcome: &FenceOutcome,
        heard: impl Fn(NodeId) -> bool,
        now: Time,
        name: impl Fn(NodeId) -> String,
    ) -> Option<Record> {
        let (lease, interval) = (self.lease, self.interval);
        let entry = self
            .entries
            .iter_mut()
            .find(|entry| entry.running == Some(outcome.id))?;
        entry.running = None;
        let test = &mut entry.test;
        let doubted_before = std::mem::take(&mut entry.doubted);
        if outcome.skipped {
            entry.due = now + AGAIN;
            return None;
        }
        let node = name(test.section.node);
        test.took_ms = outcome.took_ms;
        test.tested_at = Some(now);
        let before = std::mem::replace(&mut test.shown, Shown::Failing);
        if !outcome.error.is_empty() {
            test.text.clone_from(&outcome.error);
        } else if outcome.off_read_back && heard(test.section.node) {
            test.text = format!(
                "it says that {node} is off although {node} is heard: it controls another machine; correct its address or \
                 its port"
            );
            if !doubted_before {
                // It may just have lost power. Whoever is heard two leases from now was on all the time.
                entry.doubted = true;
                entry.due = now + lease * 2 + DOUBT;
                test.shown = before;
                return None;
            }
        } else {
            test.text.clone_from(&outcome.evidence);
            test.shown = Shown::Proven;
            test.proven_at = Some(now);
        }
        let failing = test.shown == Shown::Failing;
        entry.due = now + if failing { AGAIN.min(interval) } else { interval };
        (before != test.shown).then(|| told(test, &node))
    }

    /// What is known of every device, in the order of the configuration.
    #[must_use]
    pub fn picture(&self) -> Vec<DeviceTest> {
        self.entries.iter().map(|entry| entry.test.clone()).collect()
    }
}

impl Entry {
    fn new(section: FenceSection, due: Time) -> Entry {
        Entry {
            test: DeviceTest {
                section,
                shown: Shown::Nothing,
                tested_at: None,
                proven_at: None,
                took_ms: 0,
                text: String::new(),
            },
            due,
            running: None,
            doubted: false,
        }
    }
}

fn told(test: &DeviceTest, node: &str) -> Record {
    let (agent, text) = (&test.section.agent, &test.text);
    if test.shown == Shown::Proven {
        let text = format!("the fence device {agent} of {node} works: {text}");
        return Record::new("fence-test-passed", "info", text);
    }
    let text = format!("the fence device {agent} of {node} would be of no use now: {text}");
    Record::new("fence-test-failed", "alert", text)
}

#[cfg(test)]
mod tests;

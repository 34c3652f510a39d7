//! One disk that all nodes share, on which they order each other to end: the watch that obeys, and the order that another
//! node gives. It keeps the rules of `had-agentd` (`agents/src/sbd`, `agents/src/fence/sbd.rs`).
//!
//! Looks are not counted one by one. Who reaches the disk has always just begun a look, and the look that finds an order
//! comes as late as it may: so a node lives on for as long as the rules let any node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_core::encoding::Encoder;
use holdfast_core::event::FenceResult;
use holdfast_proto::config::SBD_AGENT;
use holdfast_proto::ids::NodeId;
use holdfast_proto::time::Time;

use super::World;
use super::devices::{Ask, DeviceEnd};

/// A look counts for so long: a round, and the time allowed for the next read.
pub const PATIENCE: Duration = Duration::from_millis(1100);
/// Looks come this often.
const LOOP: Duration = Duration::from_secs(1);

/// The disk.
#[derive(Clone, Debug, Default)]
pub struct SharedDisk {
    /// Who does not reach it.
    pub cut: BTreeSet<NodeId>,
    /// The boot that promised to obey what it reads there, by its number.
    marks: BTreeMap<NodeId, u64>,
    /// Orders that stand, by their number.
    orders: BTreeMap<NodeId, u64>,
    /// Number of the latest order.
    latest: u64,
}

/// What a node knows of its mailbox there.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskWatch {
    /// The disk carries the mark of this boot.
    tied: bool,
    /// When the latest look began that found no order; absent while there is always another.
    looked: Option<Time>,
    /// When it reads the order that stands there.
    pub obeys_at: Option<Time>,
    /// As of when a quorum stood behind the node.
    quorum: Option<Time>,
}

impl DiskWatch {
    /// Until when the watchdog may be petted, as far as the disk is concerned; absent if there is no end.
    #[must_use]
    pub fn petted_until(&self) -> Option<Time> {
        let looked = self.looked.filter(|_| self.tied)?;
        Some(looked.max(self.quorum.unwrap_or(looked)) + PATIENCE)
    }

    /// A quorum stood behind the node as of `since`.
    pub fn backed(&mut self, since: Time) {
        self.quorum = self.quorum.max(Some(since));
    }

    fn lost(&mut self, now: Time) {
        self.looked.get_or_insert(now);
        self.obeys_at = None;
    }

    pub(super) fn encode(&self, now: Time, to: &mut Encoder) {
        to.flag(self.tied);
        to.deadline(now, self.obeys_at);
        for at in [self.looked, self.quorum] {
            to.instant(now, at, PATIENCE);
        }
    }
}

impl World {
    fn reaches_disk(&self, node: NodeId) -> bool {
        self.shared.as_ref().is_some_and(|disk| !disk.cut.contains(&node))
    }

    /// A boot that reaches the disk wipes what stands there for an earlier one, and promises to obey from now on.
    pub(super) fn claim_mailbox(&mut self, number: usize) {
        let (node, boots) = (self.machines[number].id, self.machines[number].boots);
        let is_new = !node.is_witness() && !self.machines[number].agentd.disk.tied;
        if !is_new || !self.reaches_disk(node) {
            return;
        }
        if let Some(disk) = &mut self.shared {
            disk.orders.remove(&node);
            disk.marks.insert(node, boots);
        }
        let watch = &mut self.machine_mut(number).agentd.disk;
        (watch.tied, watch.looked, watch.obeys_at) = (true, None, None);
    }

    /// A node does not reach the disk any more.
    pub(super) fn lose_disk(&mut self, node: NodeId) {
        let (now, number) = (self.now, self.number_of(node));
        if let Some(disk) = &mut self.shared {
            disk.cut.insert(node);
        }
        self.machine_mut(number).agentd.disk.lost(now);
    }

    /// It does again.
    pub(super) fn find_disk(&mut self, node: NodeId) {
        let (now, number) = (self.now, self.number_of(node));
        let Some(disk) = &mut self.shared else { return };
        disk.cut.remove(&node);
        let is_ordered = disk.orders.contains_key(&node);
        if self.machines[number].had.is_some() {
            self.claim_mailbox(number);
        }
        let watch = &mut self.machine_mut(number).agentd.disk;
        if watch.tied && is_ordered && watch.looked.is_some() {
            watch.obeys_at = Some(now + LOOP);
        } else {
            watch.looked = None;
        }
    }

    /// It is told to end, and does: it resets itself.
    pub(super) fn obey(&mut self, number: usize) {
        self.power_off(number, "it obeyed an order on the shared disk");
        self.power_on(number);
    }

    pub(super) fn is_order(&self, device: usize) -> bool {
        self.setup.config.fences[device].agent == SBD_AGENT
    }

    /// What is due for an order: that it is written, or that it is looked at again. A machine that is paused does neither.
    pub(super) fn order_is_due(&mut self, number: usize) {
        if self.asks[number].order.is_some() {
            return self.device_ends(number, DeviceEnd::Acts);
        }
        let order = self.write_order(&self.asks[number].clone());
        let certain = self.setup.config.sbd.as_ref();
        let certain = certain.map_or(Duration::ZERO, |disks| disks.order_is_certain_after());
        if order.is_none() {
            return self.device_ends(number, DeviceEnd::Refuses);
        }
        let ask = &mut self.asks[number];
        (ask.order, ask.acts_at) = (order, Some(self.now + certain));
    }

    /// An order that came late is written now. Nobody waits for it.
    pub(super) fn late_order(&mut self, number: usize) {
        let ask = self.asks.remove(number);
        if ask.order.is_none() {
            self.write_order(&ask);
        }
    }

    /// The number of the order, if that boot watches its mailbox and nobody ordered the sender itself to end.
    fn write_order(&mut self, ask: &Ask) -> Option<u64> {
        let (by, target) = (self.machines[ask.by].id, self.machines[ask.target].id);
        if !self.machines[ask.by].powered || !self.reaches_disk(by) {
            return None;
        }
        let boots = (ask.boot?.0 >> 96) as u64;
        let disk = self.shared.as_mut()?;
        if disk.orders.contains_key(&by) || disk.marks.get(&target) != Some(&boots) {
            return None;
        }
        disk.latest += 1;
        let order = disk.latest;
        disk.orders.insert(target, order);
        self.tell(Some(by), || {
            format!("orders boot {boots} of {target} to end, on the shared disk")
        });
        self.order_stands_for(ask.target, boots);
        Some(order)
    }

    fn order_stands_for(&mut self, number: usize, boots: u64) {
        let (now, reads) = (self.now, self.reaches_disk(self.machines[number].id));
        let machine = self.machine_mut(number);
        if machine.powered && machine.boots == boots && machine.agentd.disk.tied && reads {
            let watch = &mut machine.agentd.disk;
            watch.looked.get_or_insert(now);
            watch.obeys_at.get_or_insert(now + PATIENCE);
        }
    }

    /// The wait is over: it still stands, or a later boot took the slot.
    pub(super) fn order_result(&self, ask: &Ask, end: DeviceEnd) -> FenceResult {
        let stands = end == DeviceEnd::Acts && self.order_stands(ask);
        FenceResult {
            off_read_back: stands,
            evidence: if stands { "the order stood" } else { "" }.into(),
            error: if stands { "" } else { "the order does not stand" }.into(),
            // It says nothing about later boots.
            read_at: Time::ZERO,
        }
    }

    fn order_stands(&self, ask: &Ask) -> bool {
        let (by, target) = (self.machines[ask.by].id, self.machines[ask.target].id);
        let (Some(disk), Some(boot)) = (&self.shared, ask.boot) else {
            return false;
        };
        let mark = disk.marks.get(&target);
        let is_over = mark.is_some_and(|boots| u128::from(*boots) != boot.0 >> 96);
        let stands = ask.order.is_some() && disk.orders.get(&target).copied() == ask.order;
        self.reaches_disk(by) && ask.order.is_some() && (is_over || stands)
    }

    pub(super) fn encode_shared(&self, to: &mut Encoder) {
        let Some(disk) = &self.shared else { return };
        for machine in &self.machines {
            let node = machine.id;
            to.flag(disk.cut.contains(&node));
            let mark = disk.marks.get(&node);
            to.word(mark.map_or(u64::MAX, |boots| machine.boots - boots));
            to.flag(disk.orders.contains_key(&node));
            machine.agentd.disk.encode(self.now, to);
        }
        for ask in &self.asks {
            let target = self.machines[ask.target].id;
            to.boot(target, ask.boot);
            to.flag(ask.order.is_some());
            to.flag(ask.order.is_some() && disk.orders.get(&target).copied() == ask.order);
        }
    }
}

//! Nodes and their shared disks: the watch that obeys, and the order that another node gives.

use std::time::Duration;

use holdfast_core::effect::FenceId;
use holdfast_core::event::{Event, FenceResult};
use holdfast_proto::config::order_is_certain_after;
use holdfast_proto::ids::{BootId, NodeId};
use holdfast_proto::time::Time;

use super::World;
use super::happening::Happening;
use crate::agent::DiskWatch;
use crate::coverage::Situation;
use crate::rng::Purpose;
use crate::schedule::Fault;
use crate::shared::{IO_US, LOOP_US, MSGWAIT_US};

/// A look counts for so long, on the clock of who looked.
const PATIENCE_US: u64 = LOOP_US + IO_US;
/// The watchdog that the marks promise.
const WATCHDOG_US: u64 = 2_000_000;

/// An order that was written, and is looked at again when it is certain.
#[derive(Clone, Debug)]
pub(super) struct Order {
    by: NodeId,
    run: u64,
    id: FenceId,
    target: NodeId,
    boots: u64,
    number: u64,
    disks: Vec<usize>,
}

/// Something that happens on the shared disks.
#[derive(Clone, Debug)]
pub(super) enum DiskStep {
    /// The node looks into its mailboxes.
    Look { node: NodeId, boots: u64 },
    /// Who gave the order waited long enough.
    Certain(Order),
}

impl World {
    pub(super) fn on_shared_disks(&mut self, step: &DiskStep) -> Result<(), String> {
        match step {
            DiskStep::Look { node, boots } => self.look_at_disks(*node, *boots),
            DiskStep::Certain(order) => self.order_is_certain(order),
        }
        Ok(())
    }

    pub(super) fn plan_look(&mut self, at_us: u64, node: NodeId, boots: u64) {
        self.schedule(at_us, Happening::OnSharedDisks(DiskStep::Look { node, boots }));
    }

    /// The node looks into its mailbox on every disk that it reaches, and obeys.
    pub(super) fn look_at_disks(&mut self, node: NodeId, boots: u64) {
        let now_us = self.now_us;
        let late_us = self.dice(Purpose::Disk, node, node).range(0, IO_US / 2);
        let machine = &self.machines[&node];
        if machine.boots != boots || !machine.powered {
            return;
        }
        if machine.agent_free_us() > now_us {
            let at = machine.agent_free_us();
            return self.plan_look(at, node, boots);
        }
        let begun = machine.local(now_us);
        for number in self.shared.reached_by(node) {
            if self.look_at(node, boots, number, begun) {
                return;
            }
        }
        self.tie(node, boots, begun);
        self.plan_look(now_us + LOOP_US + late_us, node, boots);
    }

    /// True if an order was found there, and obeyed.
    fn look_at(&mut self, node: NodeId, boots: u64, number: usize, begun: Time) -> bool {
        let disk = &mut self.shared.disks[number];
        let Some(machine) = self.machines.get_mut(&node) else {
            return false;
        };
        let watch = &mut machine.agent.disks;
        watch.good.resize(watch.good.len().max(number + 1), None);
        watch.claimed.resize(watch.good.len(), false);
        if !std::mem::replace(&mut watch.claimed[number], true) {
            // What stands there is for an earlier boot.
            disk.orders.remove(&node);
        }
        if disk.orders.contains_key(&node) {
            watch.ordered = true;
            self.watch.reach(Situation::OrderObeyed);
            self.power_off(node, "it obeyed an order on a shared disk");
            self.schedule(self.now_us + 1_000_000, Happening::PowerOn { node });
            return true;
        }
        watch.good[number] = Some(begun);
        if watch.tied {
            disk.marks.insert(node, boots);
        }
        false
    }

    /// Once enough disks are read, others may rely on it.
    fn tie(&mut self, node: NodeId, boots: u64, begun: Time) {
        let (enough, reached) = (self.shared.read_quorum(), self.shared.reached_by(node));
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let watch = &mut machine.agent.disks;
        if !watch.tied && watch.fresh(begun, PATIENCE_US) >= enough {
            watch.tied = true;
            for number in reached {
                self.shared.disks[number].marks.insert(node, boots);
            }
        }
    }

    /// A quorum stood behind the node as of `since`, on its own clock.
    pub(super) fn has_quorum(&mut self, node: NodeId, since: Time) {
        if let Some(machine) = self.machines.get_mut(&node).filter(|machine| machine.attached) {
            let quorum = &mut machine.agent.disks.quorum;
            *quorum = (*quorum).max(Some(since));
        }
    }

    /// True when the watchdog of `node` may be petted as far as the disks are concerned.
    pub(super) fn disks_allow_petting(&mut self, node: NodeId) -> bool {
        let (machine, enough) = (&self.machines[&node], self.shared.read_quorum());
        let (watch, now): (&DiskWatch, Time) = (&machine.agent.disks, machine.local(self.now_us));
        if watch.ordered || !watch.tied {
            return !watch.ordered;
        }
        if watch.fresh(now, PATIENCE_US) >= enough {
            return true;
        }
        let counts = |since: Time| now.since(since) <= Duration::from_micros(PATIENCE_US);
        let excused = watch.quorum.is_some_and(counts);
        self.watch.reach(if excused {
            Situation::DisksExcused
        } else {
            Situation::DisksLost
        });
        excused
    }

    /// `by` orders that boot of `target` to end.
    pub(super) fn order_on_disks(&mut self, by: NodeId, id: FenceId, target: NodeId, boot: Option<BootId>) {
        let run = self.machines[&by].run;
        let reached = self.shared.reached_by(by);
        let boots = boot.map(|boot| (boot.0 >> 96) as u64);
        let own = reached
            .iter()
            .any(|number| self.shared.disks[*number].orders.contains_key(&by));
        let watched = |number: &usize| {
            let mark = self.shared.disks[*number].marks.get(&target);
            boots.is_some() && mark.copied() == boots
        };
        let disks: Vec<usize> = reached.into_iter().filter(watched).collect();
        let away = self.machines[&by].agent_free_us() > self.now_us;
        let (false, false, Some(boots), true) = (own, away, boots, disks.len() >= self.shared.write_quorum())
        else {
            return self.answer_order(by, run, id, Err("too few disks are watched by that boot"));
        };
        self.shared.orders += 1;
        let number = self.shared.orders;
        for disk in &disks {
            self.shared.disks[*disk].orders.insert(target, number);
        }
        let promised = Duration::from_micros(PATIENCE_US + WATCHDOG_US);
        let wait = order_is_certain_after(Duration::from_micros(MSGWAIT_US), promised);
        let machine = &self.machines[&by];
        let at = machine.true_us(machine.local(self.now_us) + wait);
        self.devices_busy_until_us = self.devices_busy_until_us.max(at);
        let order = Order {
            by,
            run,
            id,
            target,
            boots,
            number,
            disks,
        };
        self.trace.add(self.now_us, Some(by), || {
            format!("orders boot {boots} of {target} to end, on the shared disks")
        });
        self.schedule(at, Happening::OnSharedDisks(DiskStep::Certain(order)));
    }

    /// The wait is over: the order stood all the time, or a later boot took the slot.
    pub(super) fn order_is_certain(&mut self, order: &Order) {
        let machine = &self.machines[&order.by];
        if !machine.powered || machine.run != order.run {
            return;
        }
        let reached = self.shared.reached_by(order.by);
        let stands = |number: &&usize| {
            let disk = &self.shared.disks[**number];
            let mark = disk.marks.get(&order.target).copied();
            let over = mark.is_some_and(|boots| boots != order.boots);
            reached.contains(*number)
                && (over || mark.is_some() && disk.orders.get(&order.target) == Some(&order.number))
        };
        let count = order.disks.iter().filter(stands).count();
        let result = if machine.agent_free_us() > self.now_us {
            Err("had-agentd went away while it waited")
        } else if count >= self.shared.write_quorum() {
            Ok("the order stood on the shared disks for as long as that boot may live")
        } else {
            Err("too few disks still held the order")
        };
        self.answer_order(order.by, order.run, order.id, result);
    }

    fn answer_order(&mut self, node: NodeId, run: u64, id: FenceId, seen: Result<&str, &str>) {
        let result = FenceResult {
            off_read_back: seen.is_ok(),
            evidence: seen.unwrap_or_default().into(),
            error: seen.err().unwrap_or_default().into(),
            read_at: Time::ZERO,
        };
        let event = Event::Fenced { id, result };
        self.schedule(self.now_us + 10_000, Happening::ToHad { node, run, event });
    }

    pub(super) fn strike_shared_disks(&mut self, fault: &Fault) {
        let count = self.shared.disks.len();
        match *fault {
            Fault::DiskPathLost { node, disk } if usize::from(disk) < count => {
                self.shared.disks[usize::from(disk)].cut.insert(NodeId(node));
            }
            Fault::SharedDiskLost { disk } if usize::from(disk) < count => {
                self.shared.disks[usize::from(disk)].broken = true;
            }
            Fault::SharedDisksReturn => self.shared.mend(),
            _ => {}
        }
    }
}

//! Power, boot, and the watchdog.

use holdfast_proto::ids::NodeId;

use super::World;
use super::happening::Happening;
use crate::coverage::Situation;
use crate::rng::Purpose;
use crate::schedule::Left;

/// A boot takes up to this long.
pub(super) const BOOT_MAX_US: u64 = 3_000_000;

impl World {
    /// Power on, unless it is.
    pub(super) fn power_returns(&mut self, node: NodeId) {
        if !self.machines[&node].powered {
            self.power_on(node);
        }
    }

    /// Power on, boot, start the processes.
    pub fn power_on(&mut self, node: NodeId) {
        let mut dice = self.dice(Purpose::Restart, node, node);
        let offset = dice.range(0, 1_000_000_000);
        let boot_us = dice.range(500_000, BOOT_MAX_US);
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        machine.power_on(now_us, offset);
        if let Some(devices) = self.devices.get_mut(&node) {
            devices.turn_all_on();
        }
        let boots = machine.boots;
        self.trace
            .add(now_us, Some(node), || format!("power on, boot {boots}"));
        self.schedule(now_us + boot_us, Happening::Booted { node, boots });
    }

    /// Power off, at once. A write under way may be done or not.
    pub fn power_off(&mut self, node: NodeId, why: &str) {
        let left = self.left_behind(node);
        self.power_off_leaving(node, why, left);
    }

    /// Power off, at once, with this left of a write under way.
    pub(super) fn power_off_leaving(&mut self, node: NodeId, why: &str, left: Left) {
        let now_us = self.now_us;
        if let Some(machine) = self.machines.get_mut(&node)
            && machine.powered
        {
            machine.disk.abandon_writes(left);
            machine.disk.forget_unwritten_run(now_us);
            machine.power_off();
            self.services_changed = true;
            self.trace.add(now_us, Some(node), || format!("POWER OFF: {why}"));
        }
    }

    /// A rename that was ordered is done or not when the machine stops.
    pub(super) fn left_behind(&mut self, node: NodeId) -> Left {
        if self.dice(Purpose::Disk, node, node).chance(500) {
            Left::New
        } else {
            Left::Old
        }
    }

    pub(super) fn booted(&mut self, node: NodeId, boots: u64) {
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.boots != boots || !machine.powered || self.boot_hangs == Some(node) {
            return;
        }
        machine.booted = true;
        machine.agent.petted_us = self.now_us;
        let watched = machine.agent.watchdog_us.is_some();
        self.schedule(self.now_us, Happening::StartHad { node, boots });
        if watched && !self.shared.disks.is_empty() {
            self.plan_look(self.now_us, node, boots);
        }
        if watched {
            self.schedule(self.now_us + 100_000, Happening::Pet { node, boots });
        }
    }

    pub(super) fn pet(&mut self, node: NodeId, boots: u64) {
        let now_us = self.now_us;
        let disks_allow = self.disks_allow_petting(node);
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.boots != boots || !machine.powered {
            return;
        }
        let Some(timeout_us) = machine.agent.watchdog_us else {
            return;
        };
        if machine.agent_free_us() <= now_us && machine.agent.may_pet(machine.local(now_us)) && disks_allow {
            machine.agent.petted_us = now_us;
        }
        if now_us > machine.agent.petted_us + timeout_us {
            self.watch.reach(Situation::WatchdogFired);
            self.power_off(node, "the watchdog fired");
            self.schedule(now_us + 1_000_000, Happening::PowerOn { node });
        } else {
            self.schedule(now_us + 50_000, Happening::Pet { node, boots });
        }
    }
}

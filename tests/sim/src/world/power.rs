//! Power, boot, and the watchdog.

use holdfast_proto::ids::NodeId;

use super::World;
use super::happening::Happening;

impl World {
    /// Power on, boot, start the processes.
    pub fn power_on(&mut self, node: NodeId) {
        let offset = self.rng.range(0, 1_000_000_000);
        let boot_us = self.rng.range(500_000, 3_000_000);
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        machine.power_on(now_us, offset);
        let boots = machine.boots;
        self.trace
            .add(now_us, Some(node), || format!("power on, boot {boots}"));
        self.schedule(now_us + boot_us, Happening::Booted { node, boots });
    }

    /// Power off, at once.
    pub fn power_off(&mut self, node: NodeId, why: &str) {
        if let Some(machine) = self.machines.get_mut(&node)
            && machine.powered
        {
            machine.power_off();
            self.trace
                .add(self.now_us, Some(node), || format!("POWER OFF: {why}"));
        }
    }

    pub(super) fn booted(&mut self, node: NodeId, boots: u64) {
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.boots != boots || !machine.powered {
            return;
        }
        machine.booted = true;
        machine.agent.petted_us = self.now_us;
        let watched = machine.agent.watchdog_us.is_some();
        self.schedule(self.now_us, Happening::StartHad { node, boots });
        if watched {
            self.schedule(self.now_us + 100_000, Happening::Pet { node, boots });
        }
    }

    pub(super) fn pet(&mut self, node: NodeId, boots: u64) {
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.boots != boots || !machine.powered {
            return;
        }
        let Some(timeout_us) = machine.agent.watchdog_us else {
            return;
        };
        if machine.agent_free_us() <= now_us && machine.agent.may_pet(machine.local(now_us)) {
            machine.agent.petted_us = now_us;
        }
        if now_us > machine.agent.petted_us + timeout_us {
            self.power_off(node, "the watchdog fired");
            self.schedule(now_us + 1_000_000, Happening::PowerOn { node });
        } else {
            self.schedule(now_us + 50_000, Happening::Pet { node, boots });
        }
    }
}

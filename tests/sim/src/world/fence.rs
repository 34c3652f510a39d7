//! Fence devices: they act on the machine, and answer with what a separate status read saw.

use holdfast_core::effect::FenceId;
use holdfast_core::event::{Event, FenceResult};
use holdfast_proto::ids::NodeId;

use super::World;
use super::happening::Happening;

impl World {
    pub(super) fn run_device(&mut self, by: NodeId, run: u64, id: FenceId, target: NodeId, reboot: bool) {
        let device = self.devices.get(&target).copied().unwrap_or_default();
        let takes = self.rng.range(2_000, 300_000) + device.slow_us;
        self.trace.add(self.now_us, Some(by), || {
            format!("fence device of {target} is asked")
        });
        let at = self.now_us + takes;
        self.schedule(
            at,
            Happening::DeviceActs {
                by,
                run,
                id,
                target,
                reboot,
            },
        );
    }

    /// The device acts whether or not who asked still lives; its answer is what a separate read-back saw.
    pub(super) fn device_acts(&mut self, by: NodeId, run: u64, id: FenceId, target: NodeId, reboot: bool) {
        let device = self.devices.get(&target).copied().unwrap_or_default();
        let result = if device.refuses {
            FenceResult {
                off_read_back: false,
                evidence: String::new(),
                error: "connection refused".into(),
            }
        } else {
            if !device.pretends {
                self.power_off(target, &format!("fenced by {by}"));
                if reboot {
                    let on = self.now_us + self.rng.range(100_000, 2_000_000);
                    self.schedule(on, Happening::PowerOn { node: target });
                }
            }
            // `pretends`: the agent exited 0, but a separate status still says on.
            let off = !self.machines[&target].powered;
            let evidence = if off {
                "status says off"
            } else {
                "exit 0, but status says on"
            };
            FenceResult {
                off_read_back: off,
                evidence: evidence.into(),
                error: String::new(),
            }
        };
        let at = self.now_us + 500;
        self.schedule(
            at,
            Happening::ToHad {
                node: by,
                run,
                event: Event::Fenced { id, result },
            },
        );
    }
}

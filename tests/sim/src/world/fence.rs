//! Fence devices at work: they act on outlets, and answer with what a separate status read saw.

use holdfast_core::effect::{FenceId, FenceStep};
use holdfast_core::event::{Event, FenceResult};
use holdfast_proto::config::{Config, FenceAction};
use holdfast_proto::ids::NodeId;
use holdfast_proto::time::Time;

use super::World;
use super::happening::Happening;
use crate::coverage::Situation;
use crate::rng::Purpose;
use crate::schedule::DeviceMode;

/// A command to a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    /// Who asked, in which run.
    by: NodeId,
    run: u64,
    id: FenceId,
    /// Which machine, and which of its devices.
    target: NodeId,
    device: u8,
    step: FenceStep,
    /// After `Act`, power is to come back by itself.
    reboot: bool,
}

impl World {
    /// `by` asks the device that is `config.fences[index]`.
    pub(super) fn run_device(
        &mut self,
        by: NodeId,
        id: FenceId,
        config: &Config,
        index: usize,
        step: FenceStep,
    ) {
        let section = &config.fences[index];
        let before = &config.fences[..index];
        let device = before.iter().filter(|other| other.node == section.node).count() as u8;
        let command = Command {
            by,
            run: self.machines[&by].run,
            id,
            target: section.node,
            device,
            step,
            reboot: step == FenceStep::Act && section.action == FenceAction::Reboot,
        };
        let target = command.target;
        self.trace.add(self.now_us, Some(by), || {
            format!("fence device {device} of {target} is asked: {step:?}")
        });
        let takes = self.dice(Purpose::Device, by, target).range(2_000, 300_000);
        let mode = self.mode(command);
        let takes = takes
            + if let Some(DeviceMode::Slow { us }) = mode {
                us
            } else {
                0
            };
        let at = self.now_us + takes;
        self.devices_busy_until_us = self.devices_busy_until_us.max(at);
        self.schedule(at, Happening::DeviceActs(command));
    }

    fn mode(&self, command: Command) -> Option<DeviceMode> {
        self.devices.get(&command.target)?.mode(command.device)
    }

    /// The device acts whether or not who asked still lives; its answer is what a separate read-back saw.
    pub(super) fn device_acts(&mut self, command: Command) {
        let failed = |error: &str| FenceResult {
            off_read_back: false,
            evidence: String::new(),
            error: error.into(),
            read_at: Time::ZERO,
        };
        let result = match self.mode(command) {
            Some(DeviceMode::Dead) => failed("connection refused"),
            Some(DeviceMode::OffOnly) if command.step == FenceStep::On => failed("it does not turn on"),
            _ if command.step == FenceStep::ReadBack => self.read_back(command),
            Some(DeviceMode::Pretends) if command.step == FenceStep::On => self.read_back(command),
            _ if command.step == FenceStep::On => {
                self.outlet_goes_on(command.target, command.device);
                self.read_back(command)
            }
            Some(DeviceMode::ActsLate { us }) => {
                let at = self.now_us + us;
                self.devices_busy_until_us = self.devices_busy_until_us.max(at);
                self.schedule(at, Happening::OutletGoesOff(command));
                failed("timed out")
            }
            Some(DeviceMode::Pretends) => self.read_back(command),
            _ => {
                self.outlet_goes_off(command);
                self.read_back(command)
            }
        };
        let (node, run, id) = (command.by, command.run, command.id);
        let event = Event::Fenced { id, result };
        self.schedule(self.now_us + 500, Happening::ToHad { node, run, event });
    }

    /// The machine loses power when this was the last outlet that fed it.
    pub(super) fn outlet_goes_off(&mut self, command: Command) {
        let Command {
            by, target, device, ..
        } = command;
        let outlets = self.outlets_of(target);
        let devices = self.devices.entry(target).or_default();
        devices.turn_off(device);
        // A device that races with the outlets, and one of the second level, cuts all of them.
        if device >= outlets || devices.off_among(outlets) == outlets {
            if self.machines[&by].run != command.run && self.machines[&target].powered {
                self.watch.reach(Situation::FencedByTheDead);
            }
            if self.machines[&target].powered {
                *self.ended_by_devices.entry(target).or_default() += 1;
            }
            self.power_off(target, &format!("fenced by {by}"));
        }
        let stays_off = self.mode(command) == Some(DeviceMode::OffOnly);
        if command.reboot && !stays_off {
            let takes = self.dice(Purpose::Device, target, by).range(100_000, 2_000_000);
            self.schedule(
                self.now_us + takes,
                Happening::OutletGoesOn { node: target, device },
            );
        }
    }

    /// What a separate status read says of the outlet.
    fn read_back(&mut self, command: Command) -> FenceResult {
        let Command {
            by, target, device, ..
        } = command;
        let outlets = self.outlets_of(target);
        let is_off = self
            .devices
            .get(&target)
            .is_some_and(|devices| devices.is_off(device));
        // The status of a device that controls the whole machine is that of the machine.
        let is_off = is_off || !self.machines[&target].powered && (device >= outlets || outlets == 1);
        let flaps = self.mode(command) == Some(DeviceMode::Flaps);
        let fault = if flaps {
            self.dice(Purpose::Device, by, target).range(0, 4)
        } else {
            3
        };
        let (off_read_back, evidence, error) = match (fault, is_off) {
            (0, _) => (false, "", "status: connection reset"),
            (1, _) | (_, false) => (false, "exit 0, but status says on", ""),
            (_, true) => (true, "status says off", ""),
        };
        FenceResult {
            off_read_back,
            evidence: evidence.into(),
            error: error.into(),
            read_at: self.machines[&by].local(self.now_us),
        }
    }

    pub(super) fn outlet_goes_on(&mut self, node: NodeId, device: u8) {
        if let Some(devices) = self.devices.get_mut(&node) {
            devices.turn_on(device);
        }
        if !self.machines[&node].powered {
            self.power_on(node);
        }
    }

    fn outlets_of(&self, node: NodeId) -> u8 {
        self.cluster.node(node).map_or(1, |plan| plan.outlets.max(1))
    }
}

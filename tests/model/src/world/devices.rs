//! Fence devices: they act on a machine, and answer with what a separate status read saw.
//!
//! Each device has a switch of its own. A machine has power as long as no method has turned off all of its devices: so two
//! outlets of one method are needed together, and each method of a race cuts the machine off by itself. A storage device
//! cuts the disks off that a group writes to, until the machine boots anew or starts a group.

use std::time::Duration;

use holdfast_core::effect::{FenceId, FenceStep};
use holdfast_core::event::{Event, FenceResult};
use holdfast_proto::config::{FenceKind, FenceSection};
use holdfast_proto::ids::{BootId, NodeId};
use holdfast_proto::time::Time;

use super::{Item, World};

/// Time that a device takes.
pub const DEVICE: Duration = Duration::from_millis(100);
/// Each further device of a machine takes so much longer.
const LONGER: Duration = Duration::from_millis(50);
/// An answer that is late comes after so long: longer than a boot, and than an election.
const LATE: Duration = Duration::from_millis(2500);

/// A device at work.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The machine that asked.
    pub by: usize,
    /// The run of `had` that gets the answer.
    pub run: u64,
    /// The number of the command.
    pub id: FenceId,
    /// The machine it acts on.
    pub target: usize,
    /// Its number in the configuration.
    pub device: usize,
    /// What it is asked for.
    pub step: FenceStep,
    /// The boot that is to end, if one was heard.
    pub boot: Option<BootId>,
    /// It is an order on a shared disk, and was written as this one.
    pub order: Option<u64>,
    /// When it acts; late if absent.
    pub acts_at: Option<Time>,
    /// Whoever asked was told already that it failed.
    pub given_up: bool,
    /// It has acted, and this is the answer, which is late.
    pub answer: Option<FenceResult>,
}

/// How a device ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceEnd {
    /// It does what it was asked for, and reads back what came of it.
    Acts,
    /// It cannot be reached.
    Refuses,
    /// It exits 0 without acting; the read-back says on, unless the machine is off anyway.
    Pretends,
}

impl World {
    fn section(&self, device: usize) -> &FenceSection {
        &self.setup.config.fences[device]
    }

    pub(super) fn ask_device(
        &mut self,
        by: usize,
        id: FenceId,
        (node, boot): (NodeId, Option<BootId>),
        device: usize,
        step: FenceStep,
    ) {
        let before = &self.setup.config.fences[..device];
        let before = before.iter().filter(|other| other.node == node).count() as u32;
        let ask = Ask {
            by,
            run: self.machines[by].runs,
            id,
            target: self.number_of(node),
            device,
            step,
            boot,
            order: None,
            acts_at: Some(self.now + DEVICE + LONGER * before),
            given_up: false,
            answer: None,
        };
        let asker = self.machines[by].id;
        self.tell(Some(asker), || {
            format!("asks fence device {before} of {node}: {step:?}")
        });
        self.asks.push(ask);
    }

    /// A device ends, and its answer goes to whoever asked, if that still waits.
    pub(super) fn device_ends(&mut self, number: usize, end: DeviceEnd) {
        let ask = self.asks.remove(number);
        let result = self.device_works(&ask, end);
        self.answer_fence(&ask, result);
    }

    /// A device acts, and its answer is under way for long. (For an order: who gave it is slow.)
    pub(super) fn device_answers_late(&mut self, number: usize) {
        if self.is_order(self.asks[number].device) {
            // It has to stand until then anyway; it is only looked at later.
            let ask = &mut self.asks[number];
            ask.acts_at = ask.acts_at.map(|at| at + LATE);
            return;
        }
        let ask = self.asks[number].clone();
        let result = self.device_works(&ask, DeviceEnd::Acts);
        let ask = &mut self.asks[number];
        (ask.acts_at, ask.answer) = (Some(self.now + LATE), Some(result));
    }

    /// What is due at a device: that it acts, or that its late answer arrives.
    pub(super) fn device_is_due(&mut self, number: usize) {
        if self.asks[number].answer.is_none() {
            if self.is_order(self.asks[number].device) {
                return self.order_is_due(number);
            }
            return self.device_ends(number, DeviceEnd::Acts);
        }
        let mut ask = self.asks.remove(number);
        if let Some(result) = ask.answer.take() {
            self.answer_fence(&ask, result);
        }
    }

    fn device_works(&mut self, ask: &Ask, end: DeviceEnd) -> FenceResult {
        if self.is_order(ask.device) {
            return self.order_result(ask, end);
        }
        if end == DeviceEnd::Acts {
            self.act(ask);
        }
        let about = self.machines[ask.target].id;
        let off = end != DeviceEnd::Refuses && self.reads_off(ask);
        let (device, step) = (ask.device, ask.step);
        self.tell(Some(about), || {
            format!("fence device {device}, {step:?}: {end:?}, read back off: {off}")
        });
        let (evidence, error) = match end {
            DeviceEnd::Refuses => ("", "connection refused"),
            _ if off => ("status says off", ""),
            _ => ("exit 0, but status says on", ""),
        };
        self.result(ask, off, evidence, error)
    }

    fn act(&mut self, ask: &Ask) {
        let storage = self.section(ask.device).kind == FenceKind::Storage;
        let switch = 1 << ask.device;
        let machine = self.machine_mut(ask.target);
        match ask.step {
            FenceStep::ReadBack => {}
            _ if storage => machine.cut_from_storage |= machine.powered,
            // An operator, or the device itself, switches it on again later.
            FenceStep::Act => self.power_off(ask.target, "its fence device acted"),
            FenceStep::Off => {
                machine.switched_off |= switch;
                if machine.powered && !self.is_fed(ask.target) {
                    self.power_off(ask.target, "its fence devices acted");
                }
            }
            FenceStep::On => {
                machine.switched_off &= !switch;
                if !machine.powered && self.is_fed(ask.target) {
                    self.power_on(ask.target);
                }
            }
        }
    }

    /// Before a group starts, a node that was shut out of its storage is let in again, if nothing else runs there.
    pub(super) fn let_in_at_storage(&mut self, number: usize) {
        let groups = &self.machines[number].agentd.groups;
        if self.machines[number].cut_from_storage && groups.iter().filter(|group| group.is_up()).count() < 2 {
            self.machine_mut(number).cut_from_storage = false;
        }
    }

    /// No method has turned off all of its devices.
    fn is_fed(&self, number: usize) -> bool {
        let (node, off) = (self.machines[number].id, self.machines[number].switched_off);
        let devices = self.setup.config.fences.iter().enumerate();
        let devices = devices.filter(|(_, section)| section.node == node && section.kind == FenceKind::Power);
        devices.clone().all(|(_, section)| {
            let mut of_method = devices
                .clone()
                .filter(|(_, other)| other.method == section.method);
            of_method.any(|(device, _)| off & 1 << device == 0)
        })
    }

    /// What a status read says. An outlet that is needed with others knows of itself only.
    fn reads_off(&self, ask: &Ask) -> bool {
        let (machine, section) = (&self.machines[ask.target], self.section(ask.device));
        if section.kind == FenceKind::Storage {
            return machine.cut_from_storage || !machine.powered;
        }
        let same = |other: &&FenceSection| other.node == section.node && other.method == section.method;
        let outlets = self.setup.config.fences.iter().filter(same).count();
        machine.switched_off & 1 << ask.device != 0 || outlets == 1 && !machine.powered
    }

    /// Whoever asked is told that the device did not answer in time; the device may act all the same, later.
    pub(super) fn device_times_out(&mut self, number: usize) {
        let ask = self.asks[number].clone();
        self.asks[number].given_up = true;
        self.asks[number].acts_at = None;
        let result = self.result(&ask, false, "", "the device did not answer in time");
        self.answer_fence(&ask, result);
    }

    fn result(&self, ask: &Ask, off: bool, evidence: &str, error: &str) -> FenceResult {
        FenceResult {
            off_read_back: off,
            evidence: evidence.into(),
            error: error.into(),
            read_at: self.machines[ask.by].local(self.now),
        }
    }

    fn answer_fence(&mut self, ask: &Ask, result: FenceResult) {
        if ask.given_up {
            return;
        }
        let event = Event::Fenced { id: ask.id, result };
        self.inbox.push_back(Item::Own {
            machine: ask.by,
            run: ask.run,
            event,
        });
    }
}

//! Fence devices: they act on a machine, and answer with what a separate status read saw.

use std::time::Duration;

use holdfast_core::effect::FenceId;
use holdfast_core::event::{Event, FenceResult};
use holdfast_proto::time::Time;

use super::{Item, World};

/// Time that a device takes.
pub const DEVICE: Duration = Duration::from_millis(100);

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
    /// When it acts; late if absent.
    pub acts_at: Option<Time>,
    /// Whoever asked was told already that it failed.
    pub given_up: bool,
}

/// How a device ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceEnd {
    /// It switches the machine off and reads that back.
    Acts,
    /// It cannot be reached.
    Refuses,
    /// It exits 0 without acting; the read-back says on, unless the machine is off anyway.
    Pretends,
}

impl World {
    pub(super) fn ask_device(&mut self, by: usize, id: FenceId, target: usize) {
        let ask = Ask {
            by,
            run: self.machines[by].runs,
            id,
            target,
            acts_at: Some(self.now + DEVICE),
            given_up: false,
        };
        let (node, about) = (self.machines[by].id, self.machines[target].id);
        self.tell(Some(node), || format!("asks the fence device of {about}"));
        self.asks.push(ask);
    }

    /// A device ends, and its answer goes to whoever asked, if that still waits.
    pub(super) fn device_ends(&mut self, number: usize, end: DeviceEnd) {
        let ask = self.asks.remove(number);
        let about = self.machines[ask.target].id;
        if end == DeviceEnd::Acts {
            self.power_off(ask.target, "its fence device acted");
        }
        let off = end != DeviceEnd::Refuses && !self.machines[ask.target].powered;
        self.tell(Some(about), || {
            format!("fence device: {end:?}, read back off: {off}")
        });
        if ask.given_up {
            return;
        }
        let (evidence, error) = match end {
            DeviceEnd::Refuses => ("", "connection refused"),
            _ if off => ("status says off", ""),
            _ => ("exit 0, but status says on", ""),
        };
        self.answer_fence(&ask, off, evidence, error);
    }

    /// Whoever asked is told that the device did not answer in time; the device may act all the same, later.
    pub(super) fn device_times_out(&mut self, number: usize) {
        let ask = self.asks[number].clone();
        self.asks[number].given_up = true;
        self.asks[number].acts_at = None;
        self.answer_fence(&ask, false, "", "the device did not answer in time");
    }

    fn answer_fence(&mut self, ask: &Ask, off: bool, evidence: &str, error: &str) {
        let result = FenceResult {
            off_read_back: off,
            evidence: evidence.into(),
            error: error.into(),
            read_at: self.machines[ask.by].local(self.now),
        };
        let event = Event::Fenced { id: ask.id, result };
        self.inbox.push_back(Item::Own {
            machine: ask.by,
            run: ask.run,
            event,
        });
    }
}

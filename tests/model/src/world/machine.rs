//! One machine: power, boots, disk, `had`, and the agent process with what it runs.

use std::collections::VecDeque;
use std::sync::Arc;

use holdfast_core::durable::Durable;
use holdfast_core::effect::PersistId;
use holdfast_core::event::Event;
use holdfast_core::node::Node;
use holdfast_core::witness::{Input, Proxy};
use holdfast_proto::ids::{BootId, Incarnation, NodeId};
use holdfast_proto::peer::Sender;
use holdfast_proto::time::Time;

use super::agentd::Agentd;

/// Something for `had`.
#[derive(Clone, Debug)]
pub enum Word {
    /// For its core.
    Core(Event),
    /// For its proxy of the witness.
    Proxy(Input),
}

/// One machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Which member it is.
    pub id: NodeId,
    /// It has power.
    pub powered: bool,
    /// Fence devices whose switches are off, a bit for each.
    pub switched_off: u8,
    /// A storage device cut its disks off in this boot.
    pub cut_from_storage: bool,
    /// Number of the present or latest boot.
    pub boots: u64,
    /// When that boot began.
    pub booted_at: Time,
    /// Number of the present or latest run of `had`, over all boots.
    pub runs: u64,
    /// When `had` starts: the machine is booting, or systemd waits before it starts it again.
    pub had_starts_at: Option<Time>,
    /// The daemon.
    pub had: Option<Box<Node>>,
    /// Nothing on it is scheduled before then.
    pub paused_until: Option<Time>,
    /// `had` is not scheduled before then; the agent process is.
    pub hung_until: Option<Time>,
    /// What answers `had` as the witness, if that is kept in a register.
    pub proxy: Option<Box<Proxy>>,
    /// What arrived while `had` could not run.
    pub backlog: VecDeque<Word>,
    /// The record on disk.
    pub disk: Option<Arc<Durable>>,
    /// The marker in /run.
    pub synced_marker: bool,
    /// Writes come to no end before then.
    pub disk_stalls_until: Option<Time>,
    /// Writes that a stalled disk has taken.
    pub writes: Vec<(PersistId, Arc<Durable>)>,
    /// The agent process and its groups.
    pub agentd: Agentd,
}

impl Machine {
    /// A machine without power, with `disk` in it.
    #[must_use]
    pub fn new(id: NodeId, disk: Option<Arc<Durable>>, agentd: Agentd) -> Machine {
        Machine {
            id,
            powered: false,
            switched_off: 0,
            cut_from_storage: false,
            boots: 0,
            booted_at: Time::ZERO,
            runs: 0,
            had_starts_at: None,
            had: None,
            proxy: None,
            paused_until: None,
            hung_until: None,
            backlog: VecDeque::new(),
            disk,
            synced_marker: false,
            disk_stalls_until: None,
            writes: Vec::new(),
            agentd,
        }
    }

    /// Identity of the present boot: boots of one machine are numbered upwards, those of two machines differ.
    #[must_use]
    pub fn boot(&self) -> BootId {
        BootId((u128::from(self.boots) << 96) + (u128::from(self.boots) << 16) + u128::from(self.id.0) + 1)
    }

    /// As it signs what it sends now.
    #[must_use]
    pub fn sender(&self) -> Sender {
        Sender {
            node: self.id,
            boot: self.boot(),
            incarnation: Incarnation(self.runs),
        }
    }

    /// What its clock shows: each machine counts from an instant of its own, so a time that passes from one machine to
    /// another without conversion is wrong by hours.
    #[must_use]
    pub fn local(&self, now: Time) -> Time {
        Time(now.0 + self.clock_offset_us())
    }

    /// The true time at which its clock shows `local`.
    #[must_use]
    pub fn true_time(&self, local: Time) -> Time {
        Time(local.0.saturating_sub(self.clock_offset_us()))
    }

    fn clock_offset_us(&self) -> u64 {
        (u64::from(self.id.0) + 1) * 10_000_000_000
    }

    /// `had` runs, and is scheduled at `now`.
    #[must_use]
    pub fn can_decide(&self, now: Time) -> bool {
        self.had.is_some() && self.decides_again_at(now).is_none()
    }

    /// Until when `had` is not scheduled.
    #[must_use]
    pub fn decides_again_at(&self, now: Time) -> Option<Time> {
        self.paused_until
            .max(self.hung_until)
            .filter(|until| *until > now)
    }

    /// The machine as a whole is not scheduled.
    #[must_use]
    pub fn is_paused(&self, now: Time) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    /// The true time at which `had` wants to be woken.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Time> {
        let (deadline, _) = self.had.as_ref()?.poll_timeout()?;
        Some(self.true_time(deadline))
    }

    /// `had` is gone, with what it had not read and what it had not written.
    pub fn end_had(&mut self) {
        self.had = None;
        self.proxy = None;
        self.backlog.clear();
        self.hung_until = None;
        self.writes.clear();
        self.had_starts_at = None;
    }

    /// Power is gone: only the disk is left.
    pub fn power_off(&mut self) {
        self.end_had();
        self.powered = false;
        self.cut_from_storage = false;
        self.paused_until = None;
        self.disk_stalls_until = None;
        self.synced_marker = false;
        self.agentd.end();
    }
}

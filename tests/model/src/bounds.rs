//! How many deviations an exploration takes: delay bounding (Emmi, Qadeer, Rakamarić, "Delay-bounded scheduling", POPL
//! 2011), with a bound on all of them together and one on each kind.

use serde::Serialize;

use crate::action::Action;

/// Deviations that are left, or that a configuration begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Budget {
    /// All kinds together.
    pub total: u8,
    /// Packets, calls of a register and their answers lost or late.
    pub packets: u8,
    /// Links cut, one way or both, or slow.
    pub links: u8,
    /// Power losses.
    pub power: u8,
    /// Returns with an empty disk, and registers replaced by an empty one.
    pub wiped: u8,
    /// Deaths of `had`.
    pub kills: u8,
    /// Machines paused, `had` hung.
    pub stalls: u8,
    /// Disks that stall, and shared ones that a node does not reach.
    pub disks: u8,
    /// Fence devices that refuse, pretend or are late, and answers of them that are.
    pub fences: u8,
    /// Stops that hang.
    pub stops: u8,
    /// Words of an operator.
    pub operator: u8,
}

impl Budget {
    /// Names of the kinds, as on the command line.
    pub const KINDS: [&str; 10] = [
        "packets", "links", "power", "wiped", "kills", "stalls", "disks", "fences", "stops", "operator",
    ];

    /// `total` deviations of any kind; of those that the cluster may be unable to mend alone, one.
    #[must_use]
    pub fn any(total: u8) -> Budget {
        let one = total.min(1);
        Budget {
            total,
            packets: total,
            links: total,
            power: total,
            wiped: one,
            kills: total,
            stalls: total,
            disks: one,
            fences: total,
            stops: one,
            operator: one,
        }
    }

    /// Only the kinds named.
    #[must_use]
    pub fn only(mut self, names: &[&str]) -> Budget {
        for name in Budget::KINDS {
            if !names.contains(&name)
                && let Some(kind) = self.kind_mut(name)
            {
                *kind = 0;
            }
        }
        self
    }

    fn kind_mut(&mut self, name: &str) -> Option<&mut u8> {
        Some(match name {
            "packets" => &mut self.packets,
            "links" => &mut self.links,
            "power" => &mut self.power,
            "wiped" => &mut self.wiped,
            "kills" => &mut self.kills,
            "stalls" => &mut self.stalls,
            "disks" => &mut self.disks,
            "fences" => &mut self.fences,
            "stops" => &mut self.stops,
            "operator" => &mut self.operator,
            _ => return None,
        })
    }

    /// Packets are worth a choice each.
    #[must_use]
    pub fn for_packets(&self) -> bool {
        self.total > 0 && self.packets > 0
    }

    /// Writes are worth a choice each.
    #[must_use]
    pub fn for_writes(&self) -> bool {
        self.total > 0 && (self.power > 0 || self.kills > 0 || self.disks > 0)
    }

    /// What `action` costs; `None` if it is free.
    fn of_kind(&mut self, action: Action) -> Option<&mut u8> {
        match action {
            Action::Go
            | Action::Release(_)
            | Action::ReleaseErrand(_)
            | Action::RegisterBack
            | Action::Heal(..)
            | Action::PowerOn(_)
            | Action::DiskRecovers(_)
            | Action::FindSharedDisk(_)
            | Action::FenceActs(_)
            | Action::FenceAnswers(_)
            | Action::StopEnds(..) => None,
            Action::Lose | Action::Hold => Some(&mut self.packets),
            Action::Cut(..) | Action::CutOneWay(..) | Action::Slow(..) => Some(&mut self.links),
            Action::PowerOff(_) => Some(&mut self.power),
            Action::PowerOnWiped(_) | Action::RegisterReplaced => Some(&mut self.wiped),
            Action::Kill(_) => Some(&mut self.kills),
            Action::Pause(..) | Action::Hang(..) => Some(&mut self.stalls),
            Action::StallDisk(_) | Action::LoseSharedDisk(_) => Some(&mut self.disks),
            Action::FenceRefuses(_)
            | Action::FencePretends(_)
            | Action::FenceIsLate(_)
            | Action::FenceAnswerIsLate(_) => Some(&mut self.fences),
            Action::StopHangs(..) => Some(&mut self.stops),
            Action::Confirm(..) | Action::Fence(..) | Action::Force(_) | Action::Move(..) => {
                Some(&mut self.operator)
            }
        }
    }

    /// True when there is enough left for `action`.
    #[must_use]
    pub fn allows(&self, action: Action) -> bool {
        let mut left = *self;
        left.of_kind(action).is_none_or(|kind| *kind > 0) && (self.total > 0 || Budget::is_free(action))
    }

    /// Takes off what `action` costs.
    pub fn spend(&mut self, action: Action) {
        if let Some(kind) = self.of_kind(action) {
            *kind = kind.saturating_sub(1);
            self.total = self.total.saturating_sub(1);
        }
    }

    fn is_free(action: Action) -> bool {
        Budget::default().of_kind(action).is_none()
    }

    /// As numbers, for a fingerprint. What a bound on the total makes unreachable does not count.
    #[must_use]
    pub fn words(&self) -> [u64; 2] {
        let kinds = [
            self.packets,
            self.links,
            self.power,
            self.wiped,
            self.kills,
            self.stalls,
            self.disks,
            self.fences,
            self.stops,
            self.operator,
        ];
        let packed = kinds
            .iter()
            .fold(0, |words, kind| words << 6 | u64::from((*kind).min(self.total)));
        [u64::from(self.total), packed]
    }
}

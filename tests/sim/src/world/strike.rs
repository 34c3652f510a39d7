//! Faults strike: each of the schedule becomes a change of the world. Those of services, devices and operators are in
//! [`super::services`].

use holdfast_proto::ids::NodeId;

use super::World;
use super::happening::Happening;
use crate::copies::SimCopy;
use crate::disk::Disk;
use crate::schedule::{Fault, Left};

impl World {
    /// The strike of this number in the schedule.
    pub(super) fn strike(&mut self, number: usize) {
        if self.healed {
            return;
        }
        let fault = self.strikes[number].fault.clone();
        self.trace.add(self.now_us, None, || format!("fault {fault:?}"));
        match fault {
            Fault::Cut { .. }
            | Fault::CutOneWay { .. }
            | Fault::Isolate { .. }
            | Fault::CarrierLost { .. }
            | Fault::HealNetwork
            | Fault::Lossy { .. }
            | Fault::Delay { .. }
            | Fault::Replay { .. } => self.strike_network(&fault),
            Fault::KillHad { .. }
            | Fault::PowerLoss { .. }
            | Fault::SitePowerLoss
            | Fault::PowerReturns
            | Fault::PowerReturnsTo { .. }
            | Fault::PauseMachine { .. }
            | Fault::HangHad { .. }
            | Fault::Drift { .. }
            | Fault::Upgrade { .. }
            | Fault::WallJump { .. } => self.strike_machine(&fault),
            Fault::SlowDisk { .. }
            | Fault::StallDisk { .. }
            | Fault::FullDisk { .. }
            | Fault::CrashInWrite { .. }
            | Fault::CorruptDisk { .. }
            | Fault::ReplaceDisk { .. } => self.strike_disk(&fault),
            Fault::DiskPathLost { .. } | Fault::SharedDiskLost { .. } | Fault::SharedDisksReturn => {
                self.strike_shared_disks(&fault);
            }
            _ => self.strike_services(&fault),
        }
    }

    fn strike_network(&mut self, fault: &Fault) {
        match *fault {
            Fault::Cut { a, b } if a != b => {
                let (a, b) = (NodeId(a), NodeId(b));
                self.network.cut.extend([(a, b), (b, a)]);
            }
            Fault::CutOneWay { from, to } => {
                self.network.cut.insert((NodeId(from), NodeId(to)));
            }
            Fault::Isolate { node } => {
                let node = NodeId(node);
                for peer in self.others(node) {
                    self.network.cut.extend([(node, peer), (peer, node)]);
                }
            }
            Fault::CarrierLost { node } => {
                let node = NodeId(node);
                for peer in self.others(node) {
                    self.network.cut.extend([(node, peer), (peer, node)]);
                }
                self.network.no_carrier.insert(node);
                self.tell_carrier(node);
            }
            Fault::HealNetwork => self.heal_network(),
            Fault::Lossy {
                loss,
                duplicate,
                jitter_us,
            } => {
                self.network.loss_permille = loss;
                self.network.duplicate_permille = duplicate;
                self.network.jitter_us = jitter_us;
            }
            Fault::Delay { from, to, us } => {
                self.network.delay_us.insert((NodeId(from), NodeId(to)), us);
            }
            Fault::Replay { to, count } => self.replay(NodeId(to), count),
            _ => {}
        }
    }

    fn strike_machine(&mut self, fault: &Fault) {
        let now_us = self.now_us;
        match *fault {
            Fault::KillHad { node } => self.kill_had(NodeId(node)),
            Fault::Upgrade { node, version } => {
                let node = NodeId(node);
                if self.machines.contains_key(&node) {
                    self.install(node, version);
                }
            }
            Fault::PowerLoss { node } => self.power_off(NodeId(node), "it lost power"),
            Fault::SitePowerLoss => {
                for node in self.all() {
                    self.power_off(node, "the whole site lost power");
                }
            }
            Fault::PowerReturns => self.power_all_on(),
            Fault::PowerReturnsTo { node } => {
                let node = NodeId(node);
                if self.machines.get(&node).is_some_and(|machine| !machine.powered) {
                    self.power_on(node);
                }
            }
            Fault::PauseMachine { node, us } => {
                if let Some(machine) = self.machines.get_mut(&NodeId(node)) {
                    machine.paused_until_us = machine.paused_until_us.max(now_us + us);
                    machine.unscheduled_us = machine.unscheduled_us.max(now_us + us);
                }
            }
            Fault::HangHad { node, us } => {
                if let Some(machine) = self.machines.get_mut(&NodeId(node)) {
                    machine.had_hung_until_us = machine.had_hung_until_us.max(now_us + us);
                }
            }
            Fault::Drift { node, ppm } => self.set_drift(NodeId(node), ppm),
            Fault::WallJump { node, us } => {
                if let Some(machine) = self.machines.get_mut(&NodeId(node)) {
                    machine.wall_error_us = us;
                }
            }
            _ => {}
        }
    }

    /// Deadlines come sooner or later in true time from here on, so they are looked at again.
    fn set_drift(&mut self, node: NodeId, ppm: i64) {
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        machine.set_drift(now_us, ppm);
        let (run, boots) = (machine.run, machine.boots);
        let deadline = machine.had.as_ref().and_then(|had| had.poll_timeout());
        let wake = deadline.map(|(at, _)| machine.true_us(at).max(machine.had_free_us()));
        let lapses: Vec<_> = machine
            .agent
            .groups
            .iter()
            .filter_map(|(group, entry)| Some((group.clone(), machine.true_us(entry.permit?.1))))
            .collect();
        if let Some(at) = wake {
            self.schedule(at.max(now_us + 1), Happening::Wake { node, run });
        }
        for (group, at) in lapses {
            self.schedule(at.max(now_us), Happening::LapseCheck { node, boots, group });
        }
    }

    fn strike_disk(&mut self, fault: &Fault) {
        let now_us = self.now_us;
        let disk = |world: &mut World, node: u8, change: &dyn Fn(&mut Disk)| {
            if let Some(machine) = world.machines.get_mut(&NodeId(node)) {
                change(&mut machine.disk);
            }
        };
        match *fault {
            Fault::SlowDisk { node, us, for_us } => disk(self, node, &|disk| {
                disk.slow_us = us;
                disk.slow_until_us = now_us + for_us;
            }),
            Fault::StallDisk { node, us } => disk(self, node, &|disk| {
                disk.busy_until_us = disk.busy_until_us.max(now_us + us);
            }),
            Fault::FullDisk { node, full } => disk(self, node, &|disk| disk.full = full),
            Fault::CrashInWrite { node, power, left } => {
                disk(self, node, &|disk| disk.crash = Some((power, left)));
            }
            Fault::CorruptDisk { node } if self.may_lose_its_disk(NodeId(node)) => {
                disk(self, node, &Disk::damage);
                self.kill_had(NodeId(node));
            }
            Fault::ReplaceDisk { node, us } if self.may_lose_its_disk(NodeId(node)) => {
                let node = NodeId(node);
                self.power_off(node, "its disk is replaced");
                if let Some(machine) = self.machines.get_mut(&node) {
                    machine.disk = Disk::default();
                    machine.copies.values_mut().for_each(SimCopy::lose);
                }
                self.schedule(now_us + us, Happening::PowerOn { node });
            }
            _ => {}
        }
    }

    /// Losing more disks than a majority can spare is outside of what any register survives. In a pair one may be lost, if
    /// the other has everything that was committed.
    ///
    /// Nor is a disk lost while a change of voters is under way: whoever does not know yet that it votes does not campaign,
    /// and a change that only the lost node could complete is not withdrawn. Then an operator has to force the quorum, with
    /// the loss of what was committed last. That is a limit of the core which the simulator found; docs/correctness.md is
    /// the place that names such limits.
    fn may_lose_its_disk(&self, node: NodeId) -> bool {
        let Some(newest) = self.checker.newest() else {
            return false;
        };
        let others = newest.voters.without(node);
        let sound: Vec<_> = others
            .iter()
            .filter_map(|voter| self.machines[&voter].disk.sound())
            .collect();
        let at_rest = sound.iter().all(|durable| {
            durable.accepted.voters == newest.voters && durable.committed.voters == newest.voters
        });
        let enough = if newest.voters.is_data_pair() {
            // One that fenced the other may have gone on without it.
            sound
                .iter()
                .any(|durable| durable.accepted.version >= newest.version)
        } else {
            sound.len() * 2 > newest.voters.len()
        };
        at_rest && enough
    }

    /// A torn write that would lose one disk too many becomes a lost write.
    pub(super) fn at_most_one_loses_its_disk(&self, node: NodeId, left: Left) -> Left {
        if left == Left::Torn && !self.may_lose_its_disk(node) {
            Left::Old
        } else {
            left
        }
    }

    fn all(&self) -> Vec<NodeId> {
        self.machines.keys().copied().collect()
    }

    pub(super) fn others(&self, node: NodeId) -> Vec<NodeId> {
        self.machines
            .keys()
            .copied()
            .filter(|other| *other != node)
            .collect()
    }
}

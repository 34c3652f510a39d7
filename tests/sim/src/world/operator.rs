//! The operator of the world: asks like one, cleans up once all is healed, and repairs what waits for a human's word.

use holdfast_core::event::Event;
use holdfast_proto::ids::{GroupName, Incarnation, NodeId, VoterSet};
use holdfast_proto::operator::{OperatorCall, OperatorRequest};

use super::World;
use super::happening::Happening;
use crate::machine::Machine;

/// An operator who is needed comes after this time.
pub(super) const NOTICED_US: u64 = 3_000_000;

impl World {
    /// What an operator does once all is healed: forget failures, end standby and maintenance, enable what was disabled.
    /// True when there was nothing left to do.
    pub(super) fn clean_up(&mut self) -> bool {
        let (Some(leader), Some(newest)) = (self.leader(), self.checker.newest()) else {
            return false;
        };
        let mut requests = Vec::new();
        if newest
            .groups
            .values()
            .any(|group| !group.failures.is_empty() || group.automatic_moves > 0)
        {
            requests.push(OperatorRequest::Cleanup { group: None });
        }
        if newest.maintenance {
            requests.push(OperatorRequest::Maintenance { on: false });
        }
        let resting = newest.nodes.iter().filter(|(_, state)| state.standby);
        requests.extend(resting.map(|(node, _)| OperatorRequest::Standby {
            node: *node,
            on: false,
        }));
        let disabled = newest.groups.iter().filter(|(_, group)| group.disabled);
        requests.extend(disabled.map(|(group, _)| OperatorRequest::Enable {
            group: group.clone(),
            enabled: true,
        }));
        let groups: Vec<GroupName> = newest.groups.keys().cloned().collect();
        let lost = groups.iter().filter_map(|group| self.word_about_copies(group));
        requests.extend(lost.collect::<Vec<_>>());
        self.restore_backups(&groups);
        for request in &requests {
            if let OperatorRequest::MoveAcceptingLoss { group, to } = request {
                self.accepted.insert((group.clone(), *to));
            }
        }
        let nothing = requests.is_empty();
        for request in requests {
            self.ask(leader, request);
        }
        nothing
    }

    /// All whole copies of a group's data are lost with their disks: the operator takes one that lacks something.
    fn word_about_copies(&self, group: &GroupName) -> Option<OperatorRequest> {
        let entry = self.checker.newest()?.groups.get(group)?;
        let copy = |node: &NodeId| self.machines.get(node)?.copies.get(group);
        let lost = |node: &NodeId| copy(node).is_some_and(|copy| copy.lost);
        if entry.assignment.owner().is_some()
            || entry.in_sync.generation == 0
            || !entry.in_sync.nodes.iter().all(lost)
        {
            return None;
        }
        let mut data = self.machines.keys().filter(|node| !node.is_witness());
        let to = *data.find(|node| copy(node).is_some_and(|copy| !copy.lost))?;
        let group = group.clone();
        Some(OperatorRequest::MoveAcceptingLoss { group, to })
    }

    /// Every copy of a group's data is lost: the operator brings a backup back, which is what there is from then on.
    fn restore_backups(&mut self, groups: &[GroupName]) {
        for group in groups {
            let copies = self
                .machines
                .values()
                .filter_map(|machine| machine.copies.get(group));
            let any = copies.clone().next().is_some();
            if !any || copies.clone().any(|copy| !copy.lost) {
                continue;
            }
            self.acked.remove(group);
            for machine in self.machines.values_mut() {
                if let Some(copy) = machine.copies.get_mut(group) {
                    copy.lost = false;
                }
            }
        }
    }

    /// Repairs what waits for a human's word: no majority is left of those who still know the state, or a pair in which one
    /// lost it while the other was down. Who knows the newest state goes on alone, with all others off, and then they join.
    pub(super) fn rescue(&mut self) {
        self.set_clocks();
        // A device that acted late, after its answer was given up, left a machine off for which nobody waits any more.
        if self.healed && self.repair_from.is_none() && self.devices_busy_until_us + NOTICED_US < self.now_us
        {
            self.power_all_on();
        }
        if self.leader().is_some() {
            self.unled_since_us = self.now_us;
            if self.repair_from.take().is_some() {
                self.power_all_on();
            }
            return;
        }
        if let Some(node) = self.repair_from {
            return self.go_on_with_the_repair(node);
        }
        let patience = self.config_in_force().timers().startup_grace.as_micros() as u64;
        if self.rest_at_us() > self.now_us {
            self.unled_since_us = self.now_us;
        }
        if self.now_us < self.unled_since_us + patience + NOTICED_US || !self.needs_a_word() {
            return;
        }
        let mut data = self.machines.keys().copied().filter(|node| !node.is_witness());
        let Some(node) = data.find(|node| self.knows_the_newest(*node)) else {
            return;
        };
        self.trace.add(self.now_us, Some(node), || {
            "the operator turns all others off and forces the quorum here".into()
        });
        self.turn_others_off(node);
        self.repair_from = Some(node);
    }

    /// Asks again until quorum is forced, with the others kept off. A device that acted late may have turned that node off as
    /// well; if its disk went meanwhile, the operator has to look anew who could go on.
    fn go_on_with_the_repair(&mut self, node: NodeId) {
        if !self.machines[&node].powered {
            self.power_on(node);
        } else if self.knows_the_newest(node) {
            self.turn_others_off(node);
            self.ask(node, OperatorRequest::QuorumForce);
        } else {
            self.repair_from = None;
            self.unled_since_us = self.now_us;
        }
    }

    fn turn_others_off(&mut self, node: NodeId) {
        for other in self.others(node) {
            self.power_off(other, "the operator turned it off");
        }
    }

    fn knows_the_newest(&self, node: NodeId) -> bool {
        let newest = self.checker.newest().map_or(0, |state| state.version);
        let durable = self.machines[&node].disk.sound();
        durable.is_some_and(|durable| durable.accepted.version >= newest)
    }

    /// A run that is numbered below what its peers heard is refused by them in words: the number was lost with the disk, and
    /// the clock is behind. The operator does what they say, sets the clock and restarts `had`; if the clock had been ahead
    /// before, only a restart of the others makes them forget it.
    fn set_clocks(&mut self) {
        let now_us = self.now_us;
        let refused = |machine: &&mut Machine| machine.had.is_some() && machine.is_outnumbered();
        let Some(machine) = self.machines.values_mut().find(refused) else {
            return;
        };
        let node = machine.id;
        machine.wall_error_us = 0;
        let outbids = machine.wall_us(now_us) > machine.heard_of.0;
        if !outbids {
            machine.heard_of = Incarnation(0);
        }
        self.trace.add(now_us, Some(node), || {
            format!(
                "the operator sets the clock, and restarts had {}",
                if outbids { "here" } else { "elsewhere" }
            )
        });
        if outbids {
            self.kill_had(node);
        } else {
            self.others(node)
                .into_iter()
                .for_each(|other| self.kill_had(other));
        }
    }

    /// A voter lost its state, so that the others cannot go on by themselves: no majority of them is left, or a change of
    /// voters was under way that only the lost one could complete.
    fn needs_a_word(&self) -> bool {
        let Some(newest) = self.checker.newest() else {
            return false;
        };
        let lost = |voter: NodeId| {
            self.machines
                .get(&voter)
                .is_some_and(|machine| !machine.disk.is_sound())
        };
        let sound = newest.voters.iter().filter(|voter| !lost(*voter)).count();
        let accepted = self.machines.values().filter_map(|machine| machine.disk.sound());
        let blocked = |voters: VoterSet| voters != newest.voters && voters.iter().any(lost);
        let mut under_way = accepted.map(|durable| durable.accepted.voters);
        sound * 2 <= newest.voters.len() || under_way.any(blocked)
    }

    /// A node that leads, by its own word.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |machine: &&Machine| {
            machine
                .had
                .as_ref()
                .is_some_and(|had| had.holds_lease(machine.local(self.now_us)))
        };
        self.machines.values().find(leads).map(|machine| machine.id)
    }

    /// An operator's request at `node`.
    pub fn ask(&mut self, node: NodeId, request: OperatorRequest) {
        self.request += 1;
        let call = OperatorCall {
            request,
            who: "operator".into(),
            at: "now".into(),
        };
        let event = Event::Operator {
            request: self.request,
            call,
        };
        let run = self.machines[&node].run;
        let at = self.now_us;
        self.schedule(at, Happening::ToHad { node, run, event });
    }
}

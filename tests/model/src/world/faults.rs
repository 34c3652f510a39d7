//! Deviations: which are possible now, and what each does to the world.

use holdfast_core::event::Event;
use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::operator::{OperatorCall, OperatorRequest};
use holdfast_proto::peer::RunState;
use std::sync::Arc;
use std::time::Duration;

use super::devices::DeviceEnd;
use super::{BOOT, Item, RESTART, World};
use crate::action::Action;

impl World {
    /// Everything that may happen now; `Go` first.
    #[must_use]
    pub fn choices(&self) -> Vec<Action> {
        let mut choices = vec![Action::Go];
        match self.inbox.front() {
            Some(Item::Packet(_)) => choices.extend([Action::Lose, Action::Hold]),
            Some(Item::Written { machine, .. }) => {
                let node = self.machines[*machine].id;
                choices.extend([
                    Action::PowerOff(node),
                    Action::Kill(node),
                    Action::StallDisk(node),
                ]);
            }
            Some(Item::Errand(errand)) => {
                choices.extend([Action::Lose, Action::Hold]);
                // The write is carried out although whoever asked is gone.
                let node = self.machines[errand.node].id;
                if self.machines[errand.node].had.is_some() {
                    choices.extend([Action::PowerOff(node), Action::Kill(node)]);
                }
            }
            Some(Item::Own { .. }) => {}
            None => self.faults(&mut choices),
        }
        choices.retain(|action| self.budget.allows(*action) && self.setup.takes(*action));
        choices
    }

    fn faults(&self, choices: &mut Vec<Action>) {
        if self.calm || self.setup.fine_ends {
            self.ends(choices);
        }
        self.link_faults(choices);
        if self.register.is_some() && self.spare.is_none() {
            choices.push(Action::RegisterReplaced);
        }
        for machine in &self.machines {
            let node = machine.id;
            if machine.powered {
                choices.push(Action::PowerOff(node));
            }
            if !machine.powered || machine.had.is_none() {
                continue;
            }
            choices.push(Action::Kill(node));
            if machine.can_decide(self.now) && !node.is_witness() {
                choices.extend(self.stalls_ms().map(|ms| Action::Pause(node, ms)));
                choices.push(Action::Hang(node, self.stalls_ms()[0]));
            }
            for (number, group) in machine.agentd.groups.iter().enumerate() {
                if group.run == RunState::Stopping && !group.stop_hangs {
                    choices.push(Action::StopHangs(node, number));
                }
            }
        }
        for (number, ask) in self.asks.iter().enumerate() {
            if ask.acts_at.is_none() || ask.answer.is_some() {
                continue;
            }
            if self.is_order(ask.device) {
                choices.push(Action::FenceRefuses(number));
                choices.push(match ask.order {
                    None => Action::FenceIsLate(number),
                    Some(_) => Action::FenceAnswerIsLate(number),
                });
            } else {
                choices.extend([
                    Action::FenceRefuses(number),
                    Action::FencePretends(number),
                    Action::FenceIsLate(number),
                    Action::FenceAnswerIsLate(number),
                ]);
            }
        }
        if let Some(disk) = &self.shared {
            let nodes = self.setup.config.nodes.iter().map(|section| section.id);
            let reach = nodes.filter(|node| !disk.cut.contains(node));
            choices.extend(reach.map(Action::LoseSharedDisk));
        }
        self.operator_words(choices);
    }

    /// Ends of deviations: free.
    fn ends(&self, choices: &mut Vec<Action>) {
        for (number, packet) in self.held.iter().enumerate() {
            if !self.slow.contains_key(&(packet.from.node, packet.to)) {
                choices.push(Action::Release(number));
            }
        }
        for (number, errand) in self.late_errands.iter().enumerate() {
            if !self.slow.contains_key(&self.direction_of(errand)) {
                choices.push(Action::ReleaseErrand(number));
            }
        }
        if self.spare.is_some() {
            choices.push(Action::RegisterBack);
        }
        if let Some(disk) = &self.shared {
            choices.extend(disk.cut.iter().copied().map(Action::FindSharedDisk));
        }
        for (a, b) in self.pairs() {
            if self.cut.contains(&(a, b)) || self.cut.contains(&(b, a)) {
                choices.push(Action::Heal(a, b));
            }
        }
        for machine in &self.machines {
            if !machine.powered {
                choices.push(Action::PowerOn(machine.id));
                if !(machine.id.is_witness() && self.has_register()) {
                    choices.push(Action::PowerOnWiped(machine.id));
                }
            }
            if machine.disk_stalls_until.is_some() {
                choices.push(Action::DiskRecovers(machine.id));
            }
            let hung = machine.agentd.groups.iter().enumerate();
            let hung = hung.filter(|(_, group)| group.stop_hangs);
            choices.extend(hung.map(|(number, _)| Action::StopEnds(machine.id, number)));
        }
        let late = self
            .asks
            .iter()
            .enumerate()
            .filter(|(_, ask)| ask.acts_at.is_none());
        choices.extend(late.map(|(number, _)| Action::FenceActs(number)));
        let answers = self.asks.iter().enumerate();
        let answers = answers.filter(|(_, ask)| ask.answer.is_some());
        choices.extend(answers.map(|(number, _)| Action::FenceAnswers(number)));
    }

    /// A little more than a lease, and more than everything that is counted from an answer.
    fn stalls_ms(&self) -> [u64; 2] {
        let lease_ms = self.setup.config.timers().lease.as_millis() as u64;
        [lease_ms * 5 / 4, lease_ms * 5 / 2]
    }

    fn pairs(&self) -> Vec<(NodeId, NodeId)> {
        let members: Vec<NodeId> = self.machines.iter().map(|machine| machine.id).collect();
        let pairs = members.iter().flat_map(|a| members.iter().map(|b| (*a, *b)));
        pairs.filter(|(a, b)| a < b).collect()
    }

    fn link_faults(&self, choices: &mut Vec<Action>) {
        for (a, b) in self.pairs() {
            let hurt = |direction| self.cut.contains(&direction) || self.slow.contains_key(&direction);
            if hurt((a, b)) || hurt((b, a)) {
                continue;
            }
            choices.push(Action::Cut(a, b));
            choices.extend([Action::CutOneWay(a, b), Action::CutOneWay(b, a)]);
            for ms in self.stalls_ms() {
                choices.extend([Action::Slow(a, b, ms), Action::Slow(b, a, ms)]);
            }
        }
    }

    /// What an operator may say truly: that a machine is off which is off; and, if every other machine is off and this one
    /// knows the newest state, that it may decide alone.
    fn operator_words(&self, choices: &mut Vec<Action>) {
        let off: Vec<NodeId> = self
            .machines
            .iter()
            .filter(|machine| !machine.powered)
            .map(|machine| machine.id)
            .collect();
        for (machine, had) in self.nodes() {
            if machine.id.is_witness() {
                continue;
            }
            if self.shared.is_some() {
                let others = self.setup.config.nodes.iter().map(|section| section.id);
                let others = others.filter(|node| *node != machine.id && !off.contains(node));
                choices.extend(others.map(|node| Action::Fence(machine.id, node)));
            }
            let others_off = off.len() + 1 == self.machines.len();
            let version = had.durable().map(|durable| durable.committed.version);
            let leads = had.holds_lease(machine.local(self.now));
            if others_off && !leads && version == self.ghost.newest().map(|state| state.version) {
                choices.push(Action::Force(machine.id));
            }
            if leads {
                let confirmed = off.iter().filter(|node| !node.is_witness());
                choices.extend(confirmed.map(|node| Action::Confirm(machine.id, *node)));
                for (number, group) in self.setup.config.groups.iter().enumerate() {
                    let newest = self
                        .ghost
                        .newest()
                        .and_then(|state| state.groups.get(&group.name));
                    let owner = newest.and_then(|entry| entry.assignment.owner());
                    let targets = self.setup.config.nodes.iter().map(|section| section.id);
                    let targets = targets.filter(|node| owner.is_some_and(|owner| owner != *node));
                    choices.extend(targets.map(|node| Action::Move(number, node)));
                }
            }
        }
    }

    /// Lets `action` happen, without what follows from it.
    pub fn strike(&mut self, action: Action) {
        self.budget.spend(action);
        self.tell(None, || format!("*** {action}"));
        match action {
            Action::Go => {}
            Action::Lose => drop(self.inbox.pop_front()),
            Action::Hold => match self.inbox.pop_front() {
                Some(Item::Packet(packet)) => self.held.push(packet),
                Some(Item::Errand(errand)) => self.late_errands.push(errand),
                _ => {}
            },
            Action::ReleaseErrand(number) => {
                let errand = self.late_errands.remove(number);
                self.inbox.push_back(Item::Errand(errand));
            }
            Action::RegisterReplaced => self.spare = self.register.take(),
            Action::LoseSharedDisk(node) => self.lose_disk(node),
            Action::FindSharedDisk(node) => self.find_disk(node),
            Action::RegisterBack => self.register = self.spare.take(),
            Action::Release(number) => {
                let packet = self.held.remove(number);
                self.inbox.push_back(Item::Packet(packet));
            }
            Action::Cut(a, b) => self.cut.extend([(a, b), (b, a)]),
            Action::CutOneWay(a, b) => drop(self.cut.insert((a, b))),
            Action::Slow(a, b, ms) => {
                self.slow.insert((a, b), self.now + Duration::from_millis(ms));
            }
            Action::Heal(a, b) => self.heal_link(a, b),
            Action::FenceRefuses(number) => self.device_ends(number, DeviceEnd::Refuses),
            Action::FencePretends(number) => self.device_ends(number, DeviceEnd::Pretends),
            Action::FenceIsLate(number) => self.device_times_out(number),
            Action::FenceActs(number) if self.is_order(self.asks[number].device) => {
                self.late_order(number);
            }
            Action::FenceActs(number) => self.device_ends(number, DeviceEnd::Acts),
            Action::FenceAnswerIsLate(number) => self.device_answers_late(number),
            Action::FenceAnswers(number) => self.device_is_due(number),
            Action::Confirm(at, node) => self.ask(
                at,
                OperatorRequest::FenceConfirm {
                    node,
                    reason: String::new(),
                },
            ),
            Action::Fence(at, node) => self.ask(at, OperatorRequest::Fence { node }),
            Action::Force(at) => self.ask(at, OperatorRequest::QuorumForce),
            Action::Move(number, to) => self.ask_to_move(number, to),
            _ => self.strike_machine(action),
        }
        self.pet_watchdogs();
    }

    fn strike_machine(&mut self, action: Action) {
        let now = self.now;
        match action {
            Action::PowerOff(node) => self.power_off(self.number_of(node), "it lost power"),
            Action::PowerOn(node) => {
                let number = self.number_of(node);
                self.machine_mut(number).switched_off = 0;
                self.power_on(number);
            }
            Action::PowerOnWiped(node) => {
                let number = self.number_of(node);
                let machine = self.machine_mut(number);
                (machine.disk, machine.switched_off) = (None, 0);
                self.power_on(number);
            }
            Action::Kill(node) => {
                let machine = self.machine_mut(self.number_of(node));
                machine.end_had();
                machine.had_starts_at = Some(now + RESTART);
            }
            Action::Pause(node, ms) => {
                let number = self.number_of(node);
                self.machine_mut(number).paused_until = Some(now + Duration::from_millis(ms));
            }
            Action::Hang(node, ms) => {
                let number = self.number_of(node);
                self.machine_mut(number).hung_until = Some(now + Duration::from_millis(ms));
            }
            Action::StallDisk(node) => self.stall_disk(self.number_of(node)),
            Action::DiskRecovers(node) => self.disk_recovers(self.number_of(node)),
            Action::StopHangs(node, group) => {
                let number = self.number_of(node);
                self.machine_mut(number).agentd.groups[group].stop_hangs = true;
            }
            Action::StopEnds(node, group) => {
                let number = self.number_of(node);
                self.machine_mut(number).agentd.stop_ends(group, now);
            }
            _ => {}
        }
    }

    pub(super) fn power_off(&mut self, number: usize, why: &str) {
        let node = self.machines[number].id;
        self.tell(Some(node), || format!("POWER OFF: {why}"));
        self.machine_mut(number).power_off();
    }

    pub(super) fn power_on(&mut self, number: usize) {
        let now = self.now;
        let machine = self.machine_mut(number);
        machine.powered = true;
        machine.boots += 1;
        machine.booted_at = now;
        machine.had_starts_at = Some(now + BOOT);
        let (node, boots) = (machine.id, machine.boots);
        self.tell(Some(node), || format!("power on, boot {boots}"));
    }

    /// Two members reach each other again.
    pub fn heal_link(&mut self, a: NodeId, b: NodeId) {
        for direction in [(a, b), (b, a)] {
            self.cut.remove(&direction);
            self.release_direction(direction);
        }
    }

    /// The write that would end now does not, nor any after it.
    fn stall_disk(&mut self, number: usize) {
        let ends_at = self.now + Duration::from_millis(self.stalls_ms()[1]);
        let mut stalled = Vec::new();
        self.inbox.retain(|item| match item {
            Item::Written {
                machine, id, record, ..
            } if *machine == number => {
                stalled.push((*id, Arc::clone(record)));
                false
            }
            _ => true,
        });
        let machine = self.machine_mut(number);
        machine.disk_stalls_until = Some(ends_at);
        machine.writes.extend(stalled);
    }

    pub(super) fn disk_recovers(&mut self, number: usize) {
        let machine = self.machine_mut(number);
        machine.disk_stalls_until = None;
        let run = machine.runs;
        for (id, record) in std::mem::take(&mut machine.writes) {
            self.inbox.push_back(Item::Written {
                machine: number,
                run,
                id,
                record,
            });
        }
    }

    fn ask_to_move(&mut self, number: usize, to: NodeId) {
        let group = GroupName::clone(&self.setup.config.groups[number].name);
        let leader = self
            .nodes()
            .find(|(machine, had)| had.holds_lease(machine.local(self.now)));
        if let Some(leader) = leader.map(|(machine, _)| machine.id) {
            self.ask(leader, OperatorRequest::Move { group, to: Some(to) });
        }
    }

    fn ask(&mut self, at: NodeId, request: OperatorRequest) {
        let call = OperatorCall {
            request,
            who: "operator".into(),
            at: "now".into(),
        };
        let machine = self.number_of(at);
        self.inbox.push_back(Item::Own {
            machine,
            run: self.machines[machine].runs,
            event: Event::Operator { request: 1, call },
        });
    }
}

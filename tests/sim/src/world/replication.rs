//! Replicated data: the promoted one takes a write with each tick, gives its log to those that follow it, and acknowledges
//! what everybody that it waits for has. Its agent asks for the set to be changed as the contract between agents and runner says
//! (`agents/src/roles.rs`).

use std::collections::BTreeSet;

use holdfast_proto::config::OnPossibleLoss;
use holdfast_proto::ids::{Epoch, GroupName, NodeId};
use holdfast_proto::peer::RunState;

use super::World;
use crate::rng::Purpose;

/// Who is not level for this long is given up.
const PATIENCE_US: u64 = 600_000;
/// Of a thousand ticks, those in which one that follows gets nothing.
const DELAYED_PERMILLE: u64 = 150;
/// Of a thousand ticks, those in which a copy that cannot follow is made anew from the promoted one.
const CLONED_PERMILLE: u64 = 100;

impl World {
    /// S5, when a group with roles begins to be promoted: everything that was acknowledged is there, or was given up by somebody
    /// who may. Also that the agent was told of the set that this promotion rests on.
    pub(super) fn check_promotion(
        &mut self,
        node: NodeId,
        group: &GroupName,
        epoch: Epoch,
    ) -> Result<(), String> {
        if !self.is_promotable(group) {
            return Ok(());
        }
        let machine = &self.machines[&node];
        let member = machine.agent.members.get(group);
        let told = member.and_then(|member| member.told.as_ref());
        if told.is_none_or(|told| told.epoch != epoch) {
            return Err(format!(
                "S5: {group} is to be promoted on {node} (epoch {epoch}), whose agent was not told whose copies are whole"
            ));
        }
        let copy = machine.copies.get(group).cloned().unwrap_or_default();
        let acked = self.acked.get(group).copied();
        let whole = !copy.lost && acked.is_none_or(|acked| copy.holds(acked));
        if whole {
            self.promoted.insert(group.clone(), epoch);
            return Ok(());
        }
        let before = self.promoted.get(group).copied().unwrap_or(0);
        let given_up = self.checker.loss_since(group, before, epoch);
        let config = self.config_in_force();
        let by_policy = config
            .group(group)
            .is_some_and(|section| section.on_possible_loss == OnPossibleLoss::Promote);
        let by_word = given_up.is_some_and(|node| self.accepted.contains(&(group.clone(), node)));
        match given_up {
            Some(_) if by_policy || by_word => {
                self.trace.add(self.now_us, Some(node), || {
                    format!("{group} is promoted without what was acknowledged last, as was accepted")
                });
                self.acked.remove(group);
                self.promoted.insert(group.clone(), epoch);
                Ok(())
            }
            _ => Err(format!(
                "S5: {group} is promoted on {node} (epoch {epoch}), whose copy of {} writes lacks the acknowledged write {acked:?}",
                copy.log.len()
            )),
        }
    }

    /// A moment in the life of a member: data passes, then its agent looks at it.
    pub(super) fn tick(&mut self, node: NodeId, boots: u64, group: &GroupName) {
        let machine = &self.machines[&node];
        if machine.boots != boots || !machine.powered {
            return;
        }
        let member = machine.agent.members.get(group);
        if member.is_none_or(|member| member.run != RunState::Running) {
            return;
        }
        self.tick_later(node, boots, group);
        let machine = &self.machines[&node];
        if machine.paused_until_us > self.now_us {
            return;
        }
        let promoted = machine
            .agent
            .groups
            .get(group)
            .is_some_and(|group| group.run == RunState::Running);
        let free = machine.agent_free_us() <= self.now_us;
        if promoted && self.is_promotable(group) {
            self.serve(node, group);
            if free {
                self.look_at_followers(node, group);
            }
        }
        if free {
            self.tell_member(node, group);
        }
    }

    /// One more write; what there is goes to those that follow; what all have that are waited for is acknowledged.
    fn serve(&mut self, node: NodeId, group: &GroupName) {
        self.next_write += 1;
        let write = self.next_write;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let copy = machine.copies.entry(group.clone()).or_default();
        copy.log.push(write);
        let source = copy.clone();
        for other in self.data_nodes() {
            if other != node && self.follows(other, node, group) {
                self.give(other, node, group, &source);
            }
        }
        let Some(member) = self.machines[&node].agent.members.get(group) else {
            return;
        };
        let has = |other: &NodeId| {
            let copy = self.machines.get(other).and_then(|other| other.copies.get(group));
            copy.filter(|copy| !copy.lost && copy.begins(&source))
                .map_or(0, |copy| copy.log.len())
        };
        let everywhere = member.waits.iter().map(has).min().unwrap_or(source.log.len());
        let before = self.acked.get(group).map_or(0, |(place, _)| place + 1);
        if everywhere > before {
            let place = everywhere - 1;
            self.acked.insert(group.clone(), (place, source.log[place]));
        }
    }

    fn data_nodes(&self) -> Vec<NodeId> {
        let nodes = self.machines.keys().copied();
        nodes.filter(|node| !node.is_witness()).collect()
    }

    /// True when what `source` writes reaches the member on `node` now.
    fn follows(&mut self, node: NodeId, source: NodeId, group: &GroupName) -> bool {
        let delayed = self.dice(Purpose::Service, node, source).chance(DELAYED_PERMILLE);
        let machine = &self.machines[&node];
        let cut = &self.network.cut;
        let apart = cut.contains(&(node, source)) || cut.contains(&(source, node));
        let carrier = &self.network.no_carrier;
        let unplugged = carrier.contains(&node) || carrier.contains(&source);
        let Some(member) = machine.agent.members.get(group) else {
            return false;
        };
        let promoted = machine.agent.groups.get(group).is_some_and(|group| group.is_up());
        let follows = member
            .told
            .as_ref()
            .is_some_and(|told| told.primary == Some(source));
        machine.powered
            && machine.paused_until_us <= self.now_us
            && member.lags_until_us <= self.now_us
            && member.run == RunState::Running
            && follows
            && !(promoted || apart || unplugged || delayed)
    }

    fn give(&mut self, node: NodeId, source: NodeId, group: &GroupName, log: &crate::copies::SimCopy) {
        let cloned = self.dice(Purpose::Service, node, source).chance(CLONED_PERMILLE);
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let copy = machine.copies.entry(group.clone()).or_default();
        if copy.lost || !copy.begins(log) {
            if !cloned {
                return;
            }
            self.trace.add(now_us, Some(node), || {
                format!("the copy of {group} is made anew from {source}")
            });
        }
        *copy = log.clone();
        if let Some(member) = machine.agent.members.get_mut(group) {
            member.level_us = Some(now_us);
        }
    }

    /// The agent's half: who is not level is given up, who is level is waited for and then asked in.
    fn look_at_followers(&mut self, node: NodeId, group: &GroupName) {
        let now_us = self.now_us;
        let level: BTreeSet<NodeId> = self
            .data_nodes()
            .into_iter()
            .filter(|other| {
                let machine = &self.machines[other];
                let member = machine.agent.members.get(group);
                let at = member
                    .filter(|member| member.run == RunState::Running)
                    .and_then(|member| member.level_us);
                machine.powered && at.is_some_and(|at| at + PATIENCE_US > now_us)
            })
            .collect();
        let lengths: Vec<(NodeId, usize)> = level
            .iter()
            .filter_map(|other| Some((*other, self.machines[other].copies.get(group)?.log.len())))
            .collect();
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let epoch = machine.agent.groups.get(group).map_or(0, |group| group.epoch);
        let own_length = machine.copies.get(group).map_or(0, |copy| copy.log.len());
        let Some(member) = machine.agent.members.get_mut(group) else {
            return;
        };
        // What it was told is about another assignment.
        if member.told.as_ref().is_none_or(|told| told.epoch != epoch) {
            return;
        }
        let committed = member.committed().nodes;
        if std::mem::take(&mut member.fresh) {
            let mut nodes: BTreeSet<NodeId> = committed.union(&member.waits).copied().collect();
            nodes.retain(|other| *other == node || committed.contains(other));
            return member.wishes(nodes);
        }
        let mut wanted = member
            .wish
            .as_ref()
            .map_or(committed.clone(), |wish| wish.nodes.clone());
        wanted.retain(|other| *other == node || level.contains(other));
        member.joining.retain(|other, _| level.contains(other));
        for (other, length) in lengths.into_iter().filter(|(other, _)| *other != node) {
            if committed.contains(&other) || wanted.contains(&other) {
                continue;
            }
            member.waits.insert(other);
            let began = *member.joining.entry(other).or_insert(own_length);
            if length >= began {
                wanted.insert(other);
            }
        }
        if wanted == committed {
            // Nobody is to come or go. A wish of before has to be taken back; without one, nobody else can be let in any more.
            if member.wish.is_some() {
                member.wishes(wanted);
            } else {
                let joining = &member.joining;
                member
                    .waits
                    .retain(|other| committed.contains(other) || joining.contains_key(other));
            }
            return;
        }
        self.trace.add(now_us, Some(node), || {
            format!("the agent of {group} asks for whole copies on {wanted:?}")
        });
        member.wishes(wanted);
    }
}

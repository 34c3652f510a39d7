//! Faults of services and fence devices, and what operators ask for at the worst moment.

use std::sync::Arc;

use holdfast_proto::config::{Config, Requires};
use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::operator::OperatorRequest;

use super::World;
use crate::cluster::{GroupPlan, Kind};
use crate::schedule::{Fault, Request};

impl World {
    pub(super) fn strike_services(&mut self, fault: &Fault) {
        let now_us = self.now_us;
        match *fault {
            Fault::Watchdog { node, us } => {
                if let Some(machine) = self.machines.get_mut(&NodeId(node)) {
                    machine.next_watchdog_us = (us != 0).then_some(us);
                }
            }
            Fault::AgentAway { node, us } => self.agent_away(NodeId(node), us),
            Fault::StopHangs { node, us } => {
                self.each_group_of(
                    NodeId(node),
                    |entry| entry.stop_hangs_until_us = now_us + us,
                    true,
                );
            }
            Fault::StartHangs { node, us } => {
                self.each_group_of(
                    NodeId(node),
                    |entry| entry.start_hangs_until_us = now_us + us,
                    false,
                );
            }
            Fault::StartFailures { permille } => self.start_failures_permille = permille,
            Fault::ResourceFails { group } => self.fail_where_it_runs(group, false),
            Fault::MonitorLies { group } => self.fail_where_it_runs(group, true),
            Fault::Device { node, device, mode } => {
                if let Some(devices) = self.devices.get_mut(&NodeId(node)) {
                    devices.set_mode(device, mode);
                }
            }
            Fault::MendDevices { node } => {
                if let Some(devices) = self.devices.get_mut(&NodeId(node)) {
                    devices.mend();
                }
            }
            Fault::ReplicaLags { node, us } => {
                if let Some(machine) = self.machines.get_mut(&NodeId(node)) {
                    let members = machine.agent.members.values_mut();
                    members.for_each(|member| member.lags_until_us = now_us + us);
                }
            }
            Fault::MemberFails { node, us } => self.members_fail(NodeId(node), us),
            Fault::Ask { at, request } => self.ask_for(NodeId(at), request),
            _ => {}
        }
    }

    fn each_group_of(&mut self, node: NodeId, change: impl Fn(&mut crate::agent::SimGroup), fencing: bool) {
        let groups = self.config.groups.iter();
        let chosen: Vec<GroupName> = groups
            .filter(|group| !fencing || group.requires == Requires::Fencing)
            .map(|group| group.name.clone())
            .collect();
        if let Some(machine) = self.machines.get_mut(&node) {
            for group in chosen {
                change(machine.agent.groups.entry(group).or_default());
            }
        }
    }

    fn fail_where_it_runs(&mut self, group: u16, lie: bool) {
        let group = self.group(group);
        for node in self.config.nodes.iter().map(|node| node.id).collect::<Vec<_>>() {
            self.group_fails(node, &group, lie);
        }
    }

    /// Numbers count around, because a schedule may outlive the groups that it was drawn for.
    fn group(&self, number: u16) -> GroupName {
        let groups = &self.config.groups;
        groups[usize::from(number) % groups.len()].name.clone()
    }

    fn ask_for(&mut self, at: NodeId, request: Request) {
        let to = |node: Option<u8>| node.map(NodeId);
        let request = match request {
            Request::Move { group, to: target } => OperatorRequest::Move {
                group: self.group(group),
                to: to(target),
            },
            Request::MoveAcceptingLoss { group, to } => {
                let (group, to) = (self.group(group), NodeId(to));
                self.accepted.insert((group.clone(), to));
                OperatorRequest::MoveAcceptingLoss { group, to }
            }
            Request::Standby { node, on } => OperatorRequest::Standby {
                node: NodeId(node),
                on,
            },
            Request::StandbyAll => {
                for node in self.config.nodes.iter().map(|node| node.id).collect::<Vec<_>>() {
                    self.ask(at, OperatorRequest::Standby { node, on: true });
                }
                return;
            }
            Request::Fence { node } => OperatorRequest::Fence { node: NodeId(node) },
            Request::FenceConfirm { node } => {
                if self
                    .machines
                    .get(&NodeId(node))
                    .is_none_or(|machine| machine.powered)
                {
                    return;
                }
                OperatorRequest::FenceConfirm {
                    node: NodeId(node),
                    reason: String::new(),
                }
            }
            Request::QuorumForce => {
                if self.is_alone_with_the_newest(at) {
                    self.repair_from = Some(at);
                }
                return;
            }
            Request::Maintenance { on } => OperatorRequest::Maintenance { on },
            Request::Enable { group, on } => OperatorRequest::Enable {
                group: self.group(group),
                enabled: on,
            },
            Request::Restart { group } => OperatorRequest::Restart {
                group: self.group(group),
                resource: None,
            },
            Request::ApplyDetection { ms } => {
                self.cluster.detection_ms = ms;
                self.apply_config()
            }
            Request::ApplyMoreGroups => {
                self.cluster.groups.push(GroupPlan {
                    fencing: true,
                    prefer: None,
                    apart: false,
                    after: false,
                    kind: Kind::Plain,
                });
                self.apply_config()
            }
            Request::ApplyFewerGroups => {
                if self.cluster.groups.len() > 1 {
                    self.cluster.groups.pop();
                }
                self.apply_config()
            }
        };
        self.ask(at, request);
    }

    /// The configuration of the cluster as it is wanted now. From here on its groups are watched as well.
    fn apply_config(&mut self) -> OperatorRequest {
        let config = self.cluster.config();
        self.watch(&config);
        OperatorRequest::ApplyConfig { config }
    }

    /// Keeps an eye on the groups of `config`, too. A name that comes back is held to the looser of its requirements.
    pub(super) fn watch(&mut self, config: &Arc<Config>) {
        for group in &config.groups {
            let requires = self.watched.entry(group.name.clone()).or_insert(group.requires);
            *requires = group.requires.min(*requires);
        }
    }

    /// What an operator checks before forcing a quorum: the others are off, and nobody knows a newer state.
    pub(super) fn is_alone_with_the_newest(&self, node: NodeId) -> bool {
        let others_are_off = self
            .others(node)
            .iter()
            .all(|other| !self.machines[other].powered);
        let newest = self.checker.newest().map(|state| state.version);
        let machine = &self.machines[&node];
        let known = machine.disk.sound().map(|durable| durable.accepted.version);
        !node.is_witness() && others_are_off && machine.had.is_some() && known.is_some() && known >= newest
    }
}

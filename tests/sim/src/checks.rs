//! The promises, asserted after every step.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_proto::config::{Config, Requires};
use holdfast_proto::ids::{GroupName, NodeId, Version};
use holdfast_proto::peer::RunState;
use holdfast_proto::state::{ClusterState, ProofKind};

use crate::machine::Machine;

/// Keeps what the promises are about, across the run.
#[derive(Debug, Default)]
pub struct Checker {
    history: BTreeMap<Version, Arc<ClusterState>>,
    seen: BTreeMap<NodeId, Version>,
}

/// How long after a stall a machine is not held to `requires = "lease"`.
const UNSCHEDULED_US: u64 = 1_000_000;

impl Checker {
    /// The newest committed state that any node knows.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<ClusterState>> {
        self.history.last_key_value().map(|(_, state)| state)
    }

    /// S2, S3 and S6 after a step of `node`.
    pub fn after_step(
        &mut self,
        node: NodeId,
        machines: &BTreeMap<NodeId, Machine>,
        now_us: u64,
    ) -> Result<(), String> {
        self.one_lease(machines, now_us)?;
        self.linear_history(node, machines)?;
        proofs_are_facts(node, machines)
    }

    fn one_lease(&self, machines: &BTreeMap<NodeId, Machine>, now_us: u64) -> Result<(), String> {
        let holders: Vec<NodeId> = machines
            .values()
            .filter(|machine| {
                machine
                    .had
                    .as_ref()
                    .is_some_and(|had| had.holds_lease(machine.local(now_us)))
            })
            .map(|machine| machine.id)
            .collect();
        if holders.len() > 1 {
            Err(format!("S2: {holders:?} hold a valid lease at the same time"))
        } else {
            Ok(())
        }
    }

    fn linear_history(&mut self, node: NodeId, machines: &BTreeMap<NodeId, Machine>) -> Result<(), String> {
        let Some(durable) = machines[&node].had.as_ref().and_then(|had| had.durable()) else {
            return Ok(());
        };
        let state = &durable.committed;
        if self.seen.insert(node, state.version) == Some(state.version) {
            return Ok(());
        }
        match self.history.get(&state.version) {
            Some(known) if **known != **state => Err(format!(
                "S3: version {} is two states: {node} has «{}», earlier it was «{}»",
                state.version, state.reason, known.reason
            )),
            Some(_) => Ok(()),
            None => {
                self.history.insert(state.version, Arc::clone(state));
                Ok(())
            }
        }
    }

    /// S4, when `node` starts `group`: the newest committed state gives it to that node.
    pub fn on_start(&self, node: NodeId, group: &GroupName, epoch: u64) -> Result<(), String> {
        let Some(newest) = self.newest() else {
            return Err(format!("S4: {node} starts {group} before any commit"));
        };
        let owner = newest
            .groups
            .get(group)
            .and_then(|entry| entry.assignment.owner());
        if owner == Some(node) {
            return Ok(());
        }
        Err(format!(
            "S4: {node} starts {group} (epoch {epoch}) although version {} gives it to {owner:?}",
            newest.version
        ))
    }
}

/// S1: nothing that requires a proof runs on two machines.
pub fn one_owner(config: &Config, machines: &BTreeMap<NodeId, Machine>, now_us: u64) -> Result<(), String> {
    for group in &config.groups {
        let up: Vec<&Machine> = machines
            .values()
            .filter(|machine| machine.powered)
            .filter(|machine| {
                machine
                    .agent
                    .groups
                    .get(&group.name)
                    .is_some_and(|running| running.is_up())
            })
            .collect();
        if up.len() < 2 || group.requires == Requires::Nothing {
            continue;
        }
        let unscheduled = |machine: &&Machine| {
            machine.agent_free_us() > now_us || machine.unscheduled_us + UNSCHEDULED_US > now_us
        };
        if group.requires == Requires::Lease && up.iter().any(unscheduled) {
            continue;
        }
        let nodes: Vec<NodeId> = up.iter().map(|machine| machine.id).collect();
        return Err(format!("S1: {} runs on {nodes:?}", group.name));
    }
    Ok(())
}

/// S6: a power proof names a boot that has really ended.
fn proofs_are_facts(node: NodeId, machines: &BTreeMap<NodeId, Machine>) -> Result<(), String> {
    let Some(had) = machines[&node].had.as_ref() else {
        return Ok(());
    };
    for (about, proof) in had.fence_proofs() {
        let machine = &machines[&about];
        let alive = machine.powered && proof.ended_boot().is_none_or(|boot| boot == machine.boot());
        let named = proof.ended_boot().is_some();
        if alive && named && matches!(proof.kind(), ProofKind::Power | ProofKind::Reset) {
            return Err(format!(
                "S6: {node} holds a {} proof that {about} is off ({}), but that boot is alive",
                proof.kind().as_str(),
                proof.evidence()
            ));
        }
    }
    Ok(())
}

/// L1: why the cluster is not whole; `Ok` when every group runs.
pub fn is_whole(config: &Config, machines: &BTreeMap<NodeId, Machine>) -> Result<(), String> {
    config
        .groups
        .iter()
        .try_for_each(|group| runs(&group.name, machines))
}

/// One group of L1.
pub fn runs(group: &GroupName, machines: &BTreeMap<NodeId, Machine>) -> Result<(), String> {
    let running = machines.values().any(|machine| {
        let seen = machine.agent.groups.get(group);
        machine.powered && seen.is_some_and(|seen| seen.run == RunState::Running)
    });
    if running {
        Ok(())
    } else {
        Err(format!("L1: {group} does not run anywhere"))
    }
}

//! The promises, asserted after every step.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_core::view::View;
use holdfast_proto::config::{Config, GroupSection, Requires};
use holdfast_proto::ids::{Epoch, GroupName, NodeId, Version};
use holdfast_proto::peer::RunState;
use holdfast_proto::state::{Assignment, ClusterState, InSync, ProofKind};

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
        one_lease(node, machines, now_us)?;
        self.linear_history(node, machines, now_us)?;
        proofs_are_facts(node, machines)
    }

    fn linear_history(
        &mut self,
        node: NodeId,
        machines: &BTreeMap<NodeId, Machine>,
        now_us: u64,
    ) -> Result<(), String> {
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
                if let Some(before) = self.history.get(&(state.version.saturating_sub(1))) {
                    takeovers_say_why(before, state)?;
                    sets_follow_the_rules(before, state)?;
                }
                let newest = self
                    .history
                    .last_key_value()
                    .is_none_or(|(version, _)| *version < state.version);
                let state = Arc::clone(state);
                if newest {
                    self.holds_what_runs(&state, machines, now_us)?;
                }
                self.history.insert(state.version, state);
                Ok(())
            }
        }
    }

    /// S1, when a state is committed: it holds a superset of what may be running.
    fn holds_what_runs(
        &self,
        state: &ClusterState,
        machines: &BTreeMap<NodeId, Machine>,
        now_us: u64,
    ) -> Result<(), String> {
        for machine in machines.values().filter(|machine| machine.powered) {
            for (group, running) in machine.agent.groups.iter().filter(|(_, running)| running.is_up()) {
                let Some(entry) = state.groups.get(group) else {
                    // It had moved on a lapse, and then left the configuration, before this machine could act.
                    if is_unscheduled(machine, now_us) && self.last_required(group) == Some(Requires::Lease) {
                        continue;
                    }
                    return Err(format!(
                        "S1: {group} runs on {} and version {} forgot it",
                        machine.id, state.version
                    ));
                };
                let fencing = state
                    .config
                    .group(group)
                    .is_some_and(|group| group.requires == Requires::Fencing);
                if fencing && entry.assignment.owner() != Some(machine.id) {
                    return Err(format!(
                        "S1: version {} («{}») takes {group} from {}, where it is {}",
                        state.version,
                        entry.reason,
                        machine.id,
                        running.run.as_str()
                    ));
                }
            }
        }
        Ok(())
    }

    /// To which node `group` was assigned, under an epoch after `after` and up to `epoch`, although its copy was not agreed to be
    /// whole. What only others had is given up from that decision on, also if that node never came to be promoted under it.
    pub fn loss_since(&self, group: &GroupName, after: Epoch, epoch: Epoch) -> Option<NodeId> {
        let mut before: Option<&InSync> = None;
        for state in self.history.values() {
            let Some(entry) = state.groups.get(group) else {
                continue;
            };
            let assigned = entry.assignment.epoch();
            if let Assignment::Owned { owner, .. } = entry.assignment
                && (after + 1..=epoch).contains(&assigned)
                && before.is_some_and(|set| set.generation > 0 && !set.nodes.contains(&owner))
            {
                return Some(owner);
            }
            before = Some(&entry.in_sync);
        }
        None
    }

    /// What `group` needed when it was last in the configuration.
    fn last_required(&self, group: &GroupName) -> Option<Requires> {
        let states = self.history.values().rev();
        states
            .filter_map(|state| state.config.group(group))
            .map(|group| group.requires)
            .next()
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

/// S2 after a step of `node`: leases only end by themselves, so only its own can be one too many.
fn one_lease(node: NodeId, machines: &BTreeMap<NodeId, Machine>, now_us: u64) -> Result<(), String> {
    let holds = |machine: &Machine| {
        let had = machine.had.as_ref();
        had.is_some_and(|had| had.holds_lease(machine.local(now_us)))
    };
    if !holds(&machines[&node]) {
        return Ok(());
    }
    match machines
        .values()
        .find(|machine| machine.id != node && holds(machine))
    {
        Some(other) => Err(format!(
            "S2: {node} and {} hold a valid lease at the same time",
            other.id
        )),
        None => Ok(()),
    }
}

/// A machine that could not run is not held to `requires = "lease"` (A6).
fn is_unscheduled(machine: &Machine, now_us: u64) -> bool {
    machine.agent_free_us() > now_us || machine.unscheduled_us + UNSCHEDULED_US > now_us
}

/// S1: nothing that requires a proof runs on two machines. True when that has to be looked at again although nothing
/// changes, because a machine is not held to it just now.
pub fn one_owner(
    watched: &BTreeMap<GroupName, Requires>,
    machines: &BTreeMap<NodeId, Machine>,
    now_us: u64,
) -> Result<bool, String> {
    let mut again = false;
    let mut owners: BTreeMap<&GroupName, &Machine> = BTreeMap::new();
    for machine in machines.values().filter(|machine| machine.powered) {
        let up = machine.agent.groups.iter().filter(|(_, running)| running.is_up());
        for (group, _) in up {
            let Some(other) = owners.insert(group, machine) else {
                continue;
            };
            match watched.get(group).copied().unwrap_or(Requires::Fencing) {
                Requires::Nothing => {}
                Requires::Lease if is_unscheduled(machine, now_us) || is_unscheduled(other, now_us) => {
                    again = true
                }
                _ => return Err(format!("S1: {group} runs on {:?}", [other.id, machine.id])),
            }
        }
    }
    Ok(again)
}

/// L2, when a state is committed: whatever left a node says why, and by what proof.
fn takeovers_say_why(old: &ClusterState, new: &ClusterState) -> Result<(), String> {
    for (group, entry) in &new.groups {
        let before = old.groups.get(group);
        let moved = before.is_some_and(|before| before.assignment != entry.assignment);
        if moved && !is_a_sentence(&entry.reason) {
            return Err(format!(
                "L2: version {} moves {group} and does not say why («{}»)",
                new.version, entry.reason
            ));
        }
    }
    if is_a_sentence(&new.reason) {
        Ok(())
    } else {
        Err(format!(
            "L2: version {} does not say what it changed",
            new.version
        ))
    }
}

/// L2: whoever is asked says why a group does not run, in one sentence.
pub fn says_why(node: NodeId, view: &View) -> Result<(), String> {
    for group in view.groups.iter().filter(|group| group.state != "running") {
        if !is_a_sentence(&group.reason) {
            return Err(format!(
                "L2: {node} says that {} is {} and not why («{}»)",
                group.name, group.state, group.reason
            ));
        }
    }
    if is_a_sentence(&view.quorum) {
        Ok(())
    } else {
        Err(format!(
            "L2: {node} does not say whether it has a quorum («{}»)",
            view.quorum
        ))
    }
}

/// Something to read: words on one line, with nothing left open at its end.
fn is_a_sentence(text: &str) -> bool {
    let text = text.trim();
    text.contains(' ') && !text.contains('\n') && !text.ends_with([':', ',', ';'])
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

/// Rules 12 to 14, when a state is committed: what becomes of the set of whole copies with each change.
fn sets_follow_the_rules(old: &ClusterState, new: &ClusterState) -> Result<(), String> {
    for (group, entry) in &new.groups {
        let promotable = new
            .config
            .group(group)
            .is_some_and(|section| section.is_promotable());
        let Some(before) = old.groups.get(group).filter(|_| promotable) else {
            continue;
        };
        let (was, is) = (&before.in_sync, &entry.in_sync);
        let broken = |why: &str| {
            let reason = &entry.reason;
            Err(format!(
                "S5: version {} («{reason}») makes {is:?} of the whole copies {was:?} of {group}: {why}",
                new.version
            ))
        };
        if is == was && entry.assignment == before.assignment {
            continue;
        }
        if is != was && is.generation <= was.generation {
            return broken("the generation did not grow");
        }
        let Assignment::Owned { owner, epoch, .. } = entry.assignment else {
            continue;
        };
        if !is.nodes.contains(&owner) {
            return broken("the promoted one is not in it");
        }
        if epoch == before.assignment.epoch() {
            continue;
        }
        if is.generation == was.generation {
            return broken("a promotion without a generation of its own");
        }
        if !was.nodes.contains(&owner) && is.nodes.len() > 1 {
            return broken("others are whole beside a copy that was not");
        }
        let gone = before.assignment.owner().filter(|former| {
            let proof = new.nodes.get(former).and_then(|node| node.proof.as_ref());
            *former != owner && proof.is_some_and(|proof| proof.version == new.version)
        });
        if gone.is_some_and(|former| is.nodes.contains(&former)) {
            return broken("who lost it by a proof stayed in");
        }
    }
    Ok(())
}

/// L1: why the cluster is not whole; `Ok` when every group runs, every member too, and every copy is in sync again.
pub fn is_whole(
    config: &Config,
    machines: &BTreeMap<NodeId, Machine>,
    newest: Option<&Arc<ClusterState>>,
) -> Result<(), String> {
    for group in &config.groups {
        runs(group, machines)?;
        let without = |machine: &&Machine| {
            let member = machine.agent.members.get(&group.name);
            !machine.id.is_witness() && member.is_none_or(|member| member.run != RunState::Running)
        };
        if group.has_members()
            && let Some(machine) = machines.values().find(without)
        {
            return Err(format!("L1: {} has no member on {}", group.name, machine.id));
        }
        let set = newest.and_then(|state| Some(&state.groups.get(&group.name)?.in_sync.nodes));
        let whole = set.is_some_and(|set| config.nodes.iter().all(|node| set.contains(&node.id)));
        if group.is_promotable() && !whole {
            return Err(format!("L1: of {} only {set:?} are in sync", group.name));
        }
    }
    Ok(())
}

/// One group of L1.
pub fn runs(group: &GroupSection, machines: &BTreeMap<NodeId, Machine>) -> Result<(), String> {
    let running = machines.values().any(|machine| {
        let agent = &machine.agent;
        let run = if group.is_every_node() {
            agent.members.get(&group.name).map(|member| member.run)
        } else {
            agent.groups.get(&group.name).map(|seen| seen.run)
        };
        machine.powered && run == Some(RunState::Running)
    });
    if running {
        Ok(())
    } else {
        Err(format!("L1: {} does not run anywhere", group.name))
    }
}

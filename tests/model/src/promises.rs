//! The promises, looked at after everything that happens. They are the same as in the simulator
//! (`tests/sim/src/checks.rs`); here what they remember is part of the state.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_proto::config::Requires;
use holdfast_proto::ids::{BootId, Epoch, GroupName, NodeId, Version};
use holdfast_proto::state::{Assignment, ClusterState, ProofKind};

use crate::world::World;
use crate::world::machine::Machine;

/// A promise of DESIGN.md, or the core's own assertions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Promise {
    /// No group that requires a proof runs on two machines.
    S1,
    /// At most one valid lease.
    S2,
    /// Committed states form one sequence.
    S3,
    /// Nothing starts from an old state.
    S4,
    /// What counts as a proof is true.
    S6,
    /// After healing, every group runs and every member votes.
    L1,
    /// What the core asserts about itself.
    Assertions,
}

impl Promise {
    /// Its name as a property of the model.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Promise::S1 => "S1 one owner",
            Promise::S2 => "S2 one lease",
            Promise::S3 => "S3 linear history",
            Promise::S4 => "S4 no stale start",
            Promise::S6 => "S6 a proof is a fact",
            Promise::L1 => "L1 some owner stays possible",
            Promise::Assertions => "the core's assertions hold",
        }
    }
}

/// A promise that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub promise: Promise,
    /// How.
    pub text: String,
}

impl Broken {
    /// `promise` was broken as `text` says.
    #[must_use]
    pub fn of(promise: Promise, text: String) -> Broken {
        Broken { promise, text }
    }
}

/// What the promises are about, besides the machines: every committed state that any node knew.
#[derive(Clone, Debug, Default)]
pub struct Ghost {
    history: BTreeMap<Version, Arc<ClusterState>>,
}

impl Ghost {
    /// The newest committed state that any node knew.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<ClusterState>> {
        self.history.last_key_value().map(|(_, state)| state)
    }

    /// Committed states newer than `version`.
    pub fn since(&self, version: Version) -> impl Iterator<Item = &Arc<ClusterState>> {
        self.history.range(version + 1..).map(|(_, state)| state)
    }

    /// S4, when `node` in `boot` starts `group` under `epoch`: that is what the newest committed state says.
    pub fn on_start(
        &self,
        node: NodeId,
        boot: BootId,
        group: &GroupName,
        epoch: Epoch,
    ) -> Result<(), Broken> {
        let newest = self.newest().and_then(|state| state.groups.get(group));
        let wanted = newest.map(|entry| &entry.assignment);
        let current = Assignment::Owned {
            owner: node,
            boot: Some(boot),
            epoch,
        };
        if wanted == Some(&current) {
            return Ok(());
        }
        let version = self.newest().map_or(0, |state| state.version);
        let text =
            format!("{node} starts {group} (epoch {epoch}) although version {version} says {wanted:?}");
        Err(Broken::of(Promise::S4, text))
    }
}

impl World {
    /// S2, S3 and S6 after `had` on machine `number` did something.
    pub(crate) fn check_promises(&mut self, number: usize) {
        let outcome = one_lease(self);
        self.check(outcome);
        let outcome = self.note_commit(number);
        self.check(outcome);
        let outcome = proofs_are_facts(self, number);
        self.check(outcome);
    }

    /// S3, and what S6 says of the proofs that a commit rests on.
    fn note_commit(&mut self, number: usize) -> Result<(), Broken> {
        let durable = self.machines[number].had.as_ref().and_then(|had| had.durable());
        let Some(state) = durable.map(|durable| Arc::clone(&durable.committed)) else {
            return Ok(());
        };
        let node = self.machines[number].id;
        if let Some(known) = self.ghost.history.get(&state.version) {
            if Arc::ptr_eq(known, &state) || **known == *state {
                return Ok(());
            }
            let (version, now, then) = (state.version, &state.reason, &known.reason);
            let text =
                format!("version {version} is two states: {node} has «{now}», earlier it was «{then}»");
            return Err(Broken::of(Promise::S3, text));
        }
        let newest = self.ghost.newest().cloned();
        if newest
            .as_ref()
            .is_some_and(|newest| newest.version > state.version)
        {
            // Committed earlier without anybody of now having known it; only its place in the history is at stake.
            Arc::make_mut(&mut self.ghost)
                .history
                .insert(state.version, state);
            return Ok(());
        }
        let outcome = newest.map_or(Ok(()), |newest| taken_with_right(self, &newest, &state));
        Arc::make_mut(&mut self.ghost)
            .history
            .insert(state.version, state);
        outcome
    }
}

fn one_lease(world: &World) -> Result<(), Broken> {
    let holders = world
        .nodes()
        .filter(|(machine, had)| had.holds_lease(machine.local(world.now)));
    let holders: Vec<NodeId> = holders.map(|(machine, _)| machine.id).collect();
    if holders.len() < 2 {
        return Ok(());
    }
    Err(Broken::of(
        Promise::S2,
        format!("{holders:?} hold a valid lease at the same time"),
    ))
}

/// S6 for proofs that a node holds: a power proof names a boot that has ended, a storage proof one that ended or has no
/// disks any more.
fn proofs_are_facts(world: &World, number: usize) -> Result<(), Broken> {
    let Some(had) = &world.machines[number].had else {
        return Ok(());
    };
    for (about, proof) in had.fence_proofs() {
        let machine = &world.machines[world.number_of(about)];
        // One that names no boot is held against every boot that was heard.
        let meant = proof.ended_boot().or_else(|| had.boot_of(about));
        let alive = machine.powered && meant == Some(machine.boot());
        let writes = !machine.cut_from_storage && proof.kind() == ProofKind::Storage;
        if alive && (writes || matches!(proof.kind(), ProofKind::Power | ProofKind::Reset)) {
            let node = world.machines[number].id;
            let (kind, evidence) = (proof.kind().as_str(), proof.evidence());
            let text =
                format!("{node} holds a {kind} proof about {about} ({evidence}), but that boot is alive");
            return Err(Broken::of(Promise::S6, text));
        }
    }
    Ok(())
}

/// S6 for proofs that a commit rests on, whatever their kind: a group is taken from a node when it no longer runs there.
fn taken_with_right(world: &World, before: &ClusterState, after: &ClusterState) -> Result<(), Broken> {
    for (name, entry) in &before.groups {
        let Some(owner) = entry.assignment.owner() else {
            continue;
        };
        let next = after.groups.get(name).map(|entry| &entry.assignment);
        let kept =
            next.is_some_and(|next| next.owner() == Some(owner) && next.boot() == entry.assignment.boot());
        let machine = &world.machines[world.number_of(owner)];
        let that_boot = entry.assignment.boot().is_none_or(|boot| boot == machine.boot());
        if !kept && that_boot && runs_unexcused(world, machine, name) {
            let text = format!(
                "version {} takes {name} from {owner}, where it runs: {}",
                after.version, after.reason
            );
            return Err(Broken::of(Promise::S6, text));
        }
    }
    Ok(())
}

/// S1, for every group.
pub fn one_owner(world: &World) -> Result<(), Broken> {
    for section in &world.setup.config.groups {
        let runs = |machine: &&Arc<Machine>| runs_unexcused(world, machine, &section.name);
        let up: Vec<NodeId> = world
            .machines
            .iter()
            .filter(runs)
            .map(|machine| machine.id)
            .collect();
        if up.len() > 1 {
            return Err(Broken::of(
                Promise::S1,
                format!("{} runs on {up:?}", section.name),
            ));
        }
    }
    Ok(())
}

/// A group runs on a machine, and that counts: what requires only a lease is promised while processes are scheduled.
fn runs_unexcused(world: &World, machine: &Machine, name: &GroupName) -> bool {
    let mut groups = machine.agentd.groups.iter();
    let up = machine.powered && groups.any(|group| group.name == *name && group.is_up());
    let requires = world
        .setup
        .config
        .group(name)
        .map_or(Requires::Fencing, |section| section.requires);
    let excused = match requires {
        Requires::Fencing => false,
        // Until the agent process has looked at its permits, which it does at the instant it is scheduled again.
        Requires::Lease => machine.paused_until.is_some_and(|until| until >= world.now),
        Requires::Nothing => true,
    };
    // Without its disks nothing of it is left that another owner could be at odds with.
    up && !excused && !machine.cut_from_storage
}

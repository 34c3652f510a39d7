//! What a node does itself has to follow from what is committed, whatever others say: these are the simulator's promises
//! (tests/sim/src/checks.rs) as far as one node among liars can be held to them.

use std::sync::Arc;

use holdfast_core::durable::Durable;
use holdfast_core::effect::{GroupRoles, Permit};
use holdfast_core::event::Identity;
use holdfast_core::node::Node;
use holdfast_proto::ids::{GroupName, JobName, NodeId};
use holdfast_proto::job::{JobPhase, JobState, RunNumber};
use holdfast_proto::state::{Assignment, ClusterState, GroupState, InSync};

use super::inputs::Given;

/// Times that one occurrence is begun.
const ATTEMPTS_MAX: u32 = 3;

/// A record that is to be written. What this node planned itself, as a leader, keeps the rules.
///
/// # Panics
/// When it does not.
pub fn planned(record: &Durable, me: NodeId, given: &Given) {
    let (before, next) = (&record.committed, &record.accepted);
    let own = record.accepted_ballot.node == me.0 && next.version == before.version + 1;
    let is_given = |state: &Arc<ClusterState>| state.version == next.version && **state == **next;
    if !own || given.states.iter().any(is_given) {
        return;
    }
    sentence(&next.reason);
    for (name, entry) in &next.groups {
        let Some(old) = before.groups.get(name) else {
            continue;
        };
        if old.assignment != entry.assignment {
            sentence(&entry.reason);
        }
        let promotable = next
            .config
            .group(name)
            .is_some_and(|section| section.is_promotable());
        if promotable && is_sound(old) {
            whole(before, next, name, (old, entry), given);
        }
    }
    for (name, job) in &next.jobs {
        if let Some(old) = before.jobs.get(name).filter(|old| old.run != job.run) {
            let fresh = (before.next_epoch..next.next_epoch).contains(&job.run);
            assert!(fresh, "J1: run {} of {name} has a number of before", job.run);
            again(name, old, job);
        }
    }
}

/// L2: words on one line.
fn sentence(text: &str) {
    crate::text::one_line(text);
    assert!(text.contains(' '), "L2: «{text}» does not say why");
}

/// A liar may have committed that a group is promoted outside of its set.
fn is_sound(entry: &GroupState) -> bool {
    let owner = entry.assignment.owner();
    entry.in_sync.generation == 0 || owner.is_none_or(|owner| entry.in_sync.nodes.contains(&owner))
}

/// S5, rules 12 to 14: what becomes of the set of whole copies.
fn whole(
    before: &ClusterState,
    next: &ClusterState,
    name: &GroupName,
    (old, entry): (&GroupState, &GroupState),
    given: &Given,
) {
    let (was, is) = (&old.in_sync, &entry.in_sync);
    let told = format!("S5: {name}: {was:?} becomes {is:?} («{}»)", entry.reason);
    if is == was && entry.assignment == old.assignment {
        return;
    }
    assert!(
        is == was || is.generation > was.generation,
        "{told}: the generation did not grow"
    );
    let Assignment::Owned { owner, epoch, .. } = entry.assignment else {
        return;
    };
    assert!(is.nodes.contains(&owner), "{told}: the promoted one is not in it");
    if epoch == old.assignment.epoch() {
        let wished = |(node, group, under, wish): &(NodeId, GroupName, u64, InSync)| {
            (*node, group, *under, wish) == (owner, name, epoch, is)
        };
        let grew = !is.nodes.is_subset(&was.nodes);
        assert!(
            !grew || given.wishes.iter().any(wished),
            "{told}: nobody wished that"
        );
        return;
    }
    assert!(
        is.generation > was.generation,
        "{told}: a promotion without a generation of its own"
    );
    assert!(
        was.nodes.contains(&owner) || is.nodes.len() == 1,
        "{told}: others are whole beside a copy that was not"
    );
    let proof =
        |state: &ClusterState, node: NodeId| state.nodes.get(&node).and_then(|node| node.proof.clone());
    let gone = old.assignment.owner().filter(|former| {
        let proven = proof(next, *former).filter(|proven| proof(before, *former).as_ref() != Some(proven));
        *former != owner && proven.is_some_and(|proven| proven.version == next.version)
    });
    assert!(
        gone.is_none_or(|former| !is.nodes.contains(&former)),
        "{told}: who lost it by a proof stayed in"
    );
}

/// J1: a new run is a later occurrence, the next try of one that was interrupted, or what an operator asked for.
fn again(name: &JobName, old: &JobState, job: &JobState) {
    assert!(
        job.phase == JobPhase::Started && job.place.is_some(),
        "J1: {name} begins nowhere: {job:?}"
    );
    let open = matches!(old.phase, JobPhase::Started | JobPhase::Interrupted);
    if job.attempt > 1 {
        let next = job.attempt == old.attempt.saturating_add(1) && job.attempt <= ATTEMPTS_MAX;
        let same = job.occurrence == old.occurrence && job.due == old.due;
        assert!(open && next && same, "J1: {name}: {job:?} after {old:?}");
    } else if job.who.is_empty() {
        // One that was called off before it began never begins: then its occurrence is given out again.
        let given_back = open && job.occurrence >= old.occurrence;
        assert!(
            job.occurrence > old.due || given_back,
            "J1: {name}: {job:?} after {old:?}"
        );
    }
}

/// S4: a group is started under the committed assignment to this node.
///
/// # Panics
/// When it is not.
pub fn started(node: &Node, me: Identity, permit: &Permit) {
    let assigned = committed(node)
        .groups
        .get(&permit.group)
        .map(|entry| &entry.assignment);
    let is_ours = assigned.is_some_and(|given| given.runs_on(me.node) && given.epoch() == permit.epoch);
    assert!(is_ours, "S4: {permit:?} under {assigned:?}");
}

/// What the agent process is told of whole copies is what is committed.
///
/// # Panics
/// When it is not.
pub fn told(node: &Node, roles: &GroupRoles) {
    let state = committed(node);
    let entry = state.groups.get(&roles.group);
    assert_eq!(roles.version, state.version);
    assert_eq!(
        roles.in_sync,
        entry.map(|entry| entry.in_sync.clone()).unwrap_or_default()
    );
    assert_eq!(roles.primary, entry.and_then(|entry| entry.assignment.owner()));
}

/// J1: only the run that is committed begins, on the node and in the boot that are.
///
/// # Panics
/// When another one does.
pub fn begun(node: &Node, me: Identity, name: &JobName, run: RunNumber) {
    let job = committed(node).jobs.get(name);
    let is_ours = job.is_some_and(|job| job.run == run && job.runs_on(me.node, me.boot));
    assert!(is_ours, "J1: run {run} of {name} begins here under {job:?}");
}

fn committed(node: &Node) -> &ClusterState {
    &node
        .durable()
        .expect("a node without a register decides nothing")
        .committed
}

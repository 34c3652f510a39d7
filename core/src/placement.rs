//! Where each group belongs, and why: a fixed order of reasons in which the first difference wins. No scores.

mod copies;
mod last_copy;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::config::{GroupSection, Requires};
use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::peer::{MemberReport, RunState};
use holdfast_proto::state::{Assignment, ClusterState, GroupState};

pub use copies::{better_place, possible_loss};
pub use last_copy::last_copy_wait;

/// What the leader observes of a data node, as far as placement cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// Heard within the detection time.
    pub online: bool,
    /// Has acknowledged a committed state since its boot.
    pub synced: bool,
    /// Its agent process is attached.
    pub agent_ready: bool,
    /// Timeout of its armed watchdog.
    pub watchdog: Option<Duration>,
    /// Being fenced, or fenced and not heard since.
    pub fencing: bool,
    /// Groups running there, by its own report.
    pub running: Vec<GroupName>,
    /// Given up for now: silent for too long, or never heard although there was time.
    pub lost: bool,
    /// What runs there without a permit, by its own report; of a lost node the last one.
    pub members: BTreeMap<GroupName, Arc<MemberReport>>,
    /// Groups that failed there long enough ago for the last whole copy to be tried again ([`last_copy_wait`]).
    pub rested: BTreeSet<GroupName>,
}

/// Observations of all data nodes.
pub type Observations = BTreeMap<NodeId, Observed>;

/// Why a node can or cannot take a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// True when it can.
    pub eligible: bool,
    /// The reason in words.
    pub reason: String,
}

/// How many groups each node owns.
pub type Loads = BTreeMap<NodeId, usize>;

/// How many groups each node owns in `state`.
#[must_use]
pub fn loads(state: &ClusterState) -> Loads {
    let mut loads = Loads::new();
    for owner in state.groups.values().filter_map(|entry| entry.assignment.owner()) {
        *loads.entry(owner).or_default() += 1;
    }
    loads
}

/// Judges every data node for `group`, best first; ineligible ones last.
#[must_use]
pub fn candidates(state: &ClusterState, group: &GroupSection, seen: &Observations) -> Vec<Candidate> {
    candidates_with(state, group, seen, &loads(state))
}

/// The same with `loads` of `state`, for a caller that judges many groups.
#[must_use]
pub fn candidates_with(
    state: &ClusterState,
    group: &GroupSection,
    seen: &Observations,
    loads: &Loads,
) -> Vec<Candidate> {
    let entry = state.groups.get(&group.name);
    let mut obstacles: Vec<(NodeId, Option<String>)> = state
        .config
        .nodes
        .iter()
        .map(|node| (node.id, obstacle(state, group, node.id, seen)))
        .collect();
    let again = last_copy::try_again(state, group, seen, &mut obstacles);
    let able: Vec<NodeId> = obstacles
        .iter()
        .filter(|(_, obstacle)| obstacle.is_none())
        .map(|(node, _)| *node)
        .collect();
    let mut judged: Vec<(Rank, Candidate)> = obstacles
        .into_iter()
        .map(|(node, obstacle)| {
            let load = loads.get(&node).copied().unwrap_or(0);
            let mut rank = rank(state, group, entry, (node, load), obstacle.is_some());
            rank.behind = copies::behind(group, node, &able, seen);
            let reason = obstacle.clone().unwrap_or_else(|| merit(&rank, again));
            (
                rank,
                Candidate {
                    node,
                    eligible: obstacle.is_none(),
                    reason,
                },
            )
        })
        .collect();
    judged.sort_by(|left, right| left.0.cmp(&right.0));
    judged.into_iter().map(|(_, candidate)| candidate).collect()
}

/// The best node for a group that runs nowhere, or why there is none.
pub fn choose(
    state: &ClusterState,
    group: &GroupSection,
    seen: &Observations,
) -> Result<(NodeId, String), String> {
    choose_with(state, group, seen, &loads(state))
}

/// The same with `loads` of `state`, for a caller that places many groups.
pub fn choose_with(
    state: &ClusterState,
    group: &GroupSection,
    seen: &Observations,
    loads: &Loads,
) -> Result<(NodeId, String), String> {
    if let Some(waits) = waits_for(state, group, seen) {
        return Err(waits);
    }
    let judged = candidates_with(state, group, seen, loads);
    match judged.first() {
        Some(best) if best.eligible => Ok((best.node, best.reason.clone())),
        _ => {
            let reasons: Vec<String> = judged
                .iter()
                .map(|candidate| format!("{} {}", state.config.name_of(candidate.node), candidate.reason))
                .collect();
            Err(format!("no node can run it: {}", reasons.join("; ")))
        }
    }
}

/// Position in the fixed order; smaller is better.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    ineligible: bool,
    not_asked_for: bool,
    not_with: bool,
    /// How far its copy of the data is behind the furthest one.
    behind: u64,
    preference: usize,
    load: usize,
    node: NodeId,
}

fn rank(
    state: &ClusterState,
    group: &GroupSection,
    entry: Option<&GroupState>,
    (node, load): (NodeId, usize),
    ineligible: bool,
) -> Rank {
    let asked_for = entry
        .and_then(|entry| entry.intent.as_ref())
        .is_some_and(|intent| intent.to == node);
    let toward = entry.is_some_and(
        |entry| matches!(&entry.assignment, Assignment::Releasing { toward, .. } if *toward == Some(node)),
    );
    let with = group
        .with
        .iter()
        .all(|other| owner_of(state, other).is_none_or(|owner| owner == node));
    Rank {
        ineligible,
        not_asked_for: !(asked_for || toward),
        not_with: !with,
        behind: 0,
        preference: group
            .prefer
            .iter()
            .position(|prefer| *prefer == node)
            .unwrap_or(group.prefer.len()),
        load,
        node,
    }
}

fn merit(rank: &Rank, again: bool) -> String {
    if again {
        return "no other whole copy can be promoted, so it is tried again".into();
    }
    if !rank.not_asked_for {
        return "an operator asked for it".into();
    }
    if rank.preference == 0 {
        "it is preferred or the first able node".into()
    } else {
        "it is able to run it".into()
    }
}

fn owner_of(state: &ClusterState, group: &GroupName) -> Option<NodeId> {
    state.groups.get(group).and_then(|entry| entry.assignment.owner())
}

/// The first thing that keeps `group` off `node`, in the published order.
fn obstacle(state: &ClusterState, group: &GroupSection, node: NodeId, seen: &Observations) -> Option<String> {
    obstacle_without_members(state, group, node, seen)
        .or_else(|| obstacle_of_members(state, group, node, seen))
}

/// The same, as far as it does not depend on what members of groups do.
fn obstacle_without_members(
    state: &ClusterState,
    group: &GroupSection,
    node: NodeId,
    seen: &Observations,
) -> Option<String> {
    obstacle_of_node(state, group, node, seen)
        .or_else(|| obstacle_of_failure(state, group, node))
        .or_else(|| obstacle_of_neighbours(state, group, node))
}

/// What else there is when only a failure kept it off.
fn obstacle_beside_failure(
    state: &ClusterState,
    group: &GroupSection,
    node: NodeId,
    seen: &Observations,
) -> Option<String> {
    obstacle_of_node(state, group, node, seen)
        .or_else(|| obstacle_of_neighbours(state, group, node))
        .or_else(|| obstacle_of_members(state, group, node, seen))
}

fn obstacle_of_members(
    state: &ClusterState,
    group: &GroupSection,
    node: NodeId,
    seen: &Observations,
) -> Option<String> {
    let entry = state.groups.get(&group.name).filter(|_| group.is_promotable());
    match entry {
        Some(entry) => copies::copy_obstacle(state, group, entry, node, seen),
        None => copies::follow_obstacle(state, group, node, seen),
    }
}

fn obstacle_of_node(
    state: &ClusterState,
    group: &GroupSection,
    node: NodeId,
    seen: &Observations,
) -> Option<String> {
    let unknown = Observed::default();
    let observed = seen.get(&node).unwrap_or(&unknown);
    if observed.fencing {
        return Some("is being fenced or was fenced and has not come back".into());
    }
    if !observed.online {
        return Some("is not heard".into());
    }
    if !observed.synced {
        return Some("has not caught up since its boot".into());
    }
    if !observed.agent_ready {
        return Some("has no agent process (had-agentd)".into());
    }
    if let Some(fault) = watchdog_fault(state, group, node, observed) {
        return Some(fault);
    }
    let standby = state.nodes.get(&node).is_some_and(|flags| flags.standby);
    standby.then(|| "is in standby".into())
}

fn obstacle_of_failure(state: &ClusterState, group: &GroupSection, node: NodeId) -> Option<String> {
    let failure = state.groups.get(&group.name)?.failures.get(&node)?;
    Some(format!(
        "failed it ({}), which counts for {} s; hactl resource cleanup {} clears that",
        failure.reason,
        state.config.cluster.flap_window_ms / 1000,
        group.name
    ))
}

fn obstacle_of_neighbours(state: &ClusterState, group: &GroupSection, node: NodeId) -> Option<String> {
    if let Some(other) = group
        .apart_from
        .iter()
        .find(|other| owner_of(state, other) == Some(node))
    {
        return Some(format!("runs {other}, from which it is kept apart"));
    }
    let bound_elsewhere = |other: &&GroupName| owner_of(state, other).is_some_and(|owner| owner != node);
    group
        .with
        .iter()
        .find(bound_elsewhere)
        .map(|other| format!("does not run {other}, with which it belongs"))
}

/// What is wrong with the watchdog of `node`, if `group` needs one there.
pub(crate) fn watchdog_fault(
    state: &ClusterState,
    group: &GroupSection,
    node: NodeId,
    observed: &Observed,
) -> Option<String> {
    let needed = group.requires == Requires::Fencing && observed.agent_ready;
    state
        .config
        .watchdog_fault(node, observed.watchdog)
        .filter(|_| needed)
}

/// What must run first, or must have ended.
fn waits_for(state: &ClusterState, group: &GroupSection, seen: &Observations) -> Option<String> {
    if group.is_every_node() {
        return Some("it runs on every node".into());
    }
    let member_on = |observed: &Observed, name: &GroupName| {
        let member = observed.members.get(name);
        member.is_some_and(|member| member.run == RunState::Running)
    };
    let everywhere = |name: &GroupName| {
        let section = state.config.group(name);
        section.is_some_and(GroupSection::is_every_node)
            && seen
                .values()
                .any(|observed| observed.online && member_on(observed, name))
    };
    let runs = |name: &GroupName| {
        owner_of(state, name)
            .and_then(|owner| seen.get(&owner))
            .is_some_and(|observed| observed.running.contains(name))
            || everywhere(name)
    };
    // It ran on every node, or had roles, by the configuration before: what is left of that has to end first.
    let left_over = |(_, observed): &(&NodeId, &Observed)| {
        let member = observed.members.get(&group.name);
        observed.online && member.is_some_and(|member| !member.run.is_down())
    };
    if !group.has_members()
        && let Some((node, _)) = seen.iter().find(left_over)
    {
        let node = state.config.name_of(*node);
        return Some(format!(
            "it waits until {node} has stopped what ran of it without an assignment"
        ));
    }
    let first = group.after.iter().chain(&group.with).find(|name| !runs(name))?;
    Some(format!("it waits for {first} to run"))
}

#[cfg(test)]
mod tests;

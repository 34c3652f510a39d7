//! Which copies of a group's data may be promoted, and which members of a group another one may follow.
//!
//! The order of judgement for a group with roles: a copy that its own agent says cannot be promoted never is; the committed set
//! decides; outside of it only what an operator named, or what the group's policy allows when no whole copy can come back by
//! itself.

use std::collections::BTreeSet;

use holdfast_proto::config::{FollowedRole, Follows, GroupSection, OnPossibleLoss};
use holdfast_proto::ids::NodeId;
use holdfast_proto::peer::{CopyReport, MemberReport, RunState};
use holdfast_proto::state::{Assignment, ClusterState, GroupState};

use super::{Observations, candidates, obstacle_without_members, owner_of};

/// The member of `group` on `node`, as it was reported.
fn member<'a>(seen: &'a Observations, node: NodeId, group: &str) -> Option<&'a MemberReport> {
    seen.get(&node)?.members.get(group).map(|member| &**member)
}

fn copy<'a>(seen: &'a Observations, node: NodeId, group: &str) -> Option<&'a CopyReport> {
    member(seen, node, group)?.copy.as_ref()
}

fn named(state: &ClusterState, nodes: &BTreeSet<NodeId>) -> String {
    let names: Vec<String> = nodes.iter().map(|node| state.config.name_of(*node)).collect();
    names.join(" and ")
}

fn with_detail(text: &str, detail: &str) -> String {
    if detail.is_empty() {
        text.into()
    } else {
        format!("{text}: {detail}")
    }
}

/// What keeps a group with roles from being promoted on `node`, as far as copies of its data are concerned.
pub(super) fn copy_obstacle(
    state: &ClusterState,
    group: &GroupSection,
    entry: &GroupState,
    node: NodeId,
    seen: &Observations,
) -> Option<String> {
    if let Some(copy) = copy(seen, node, &group.name)
        && !copy.obstacle.is_empty()
    {
        return Some(format!("has a copy that cannot be promoted: {}", copy.obstacle));
    }
    let set = &entry.in_sync;
    let intent = entry.intent.as_ref().filter(|intent| intent.to == node);
    if set.generation == 0 {
        let asked = intent.is_some();
        return first_obstacle(state, group, node, seen).filter(|_| !asked);
    }
    match member(seen, node, &group.name) {
        None => return Some("has not said yet what its copy of the data is like".into()),
        Some(member) if member.run != RunState::Running => {
            let text = format!("has a copy of the data that is {}", member.run.as_str());
            return Some(with_detail(&text, &member.detail));
        }
        Some(_) => {}
    }
    let allowed = set.nodes.contains(&node)
        || intent.is_some_and(|intent| intent.accepts_loss.is_some())
        || (group.on_possible_loss == OnPossibleLoss::Promote && !has_hope(state, group, entry, seen));
    if allowed {
        return None;
    }
    let whole = named(state, &set.nodes);
    let have = if set.nodes.len() == 1 { "has" } else { "have" };
    let name = state.config.name_of(node);
    let loss = copy(seen, node, &group.name).map_or("", |copy| &copy.possible_loss);
    let loss = if loss.is_empty() {
        String::new()
    } else {
        format!(" (loses {loss})")
    };
    Some(format!(
        "has a copy that may lack what was acknowledged; {whole} {have} it: bring {whole} back, or hactl move {} {name} \
         --accept-loss{loss}",
        group.name
    ))
}

/// Before anybody was promoted all copies count alike, so none is taken before all that can be seen were looked at, and none of
/// different histories: whichever was taken, the others would be thrown away.
fn first_obstacle(
    state: &ClusterState,
    group: &GroupSection,
    node: NodeId,
    seen: &Observations,
) -> Option<String> {
    let data = || state.config.nodes.iter().map(|section| section.id);
    let unseen = data().find(|other| {
        let standby = state.nodes.get(other).is_some_and(|flags| flags.standby);
        let expected = seen
            .get(other)
            .is_some_and(|observed| observed.online && observed.agent_ready && !standby);
        // Stopped is how it stands before it is begun: nothing is known of its data, and it may be of another history.
        let looked_at = member(seen, *other, &group.name)
            .is_some_and(|member| matches!(member.run, RunState::Running | RunState::Failed));
        expected && !looked_at
    });
    if let Some(unseen) = unseen {
        let name = state.config.name_of(unseen);
        return Some(format!("waits until the copy on {name} was looked at"));
    }
    let own = copy(seen, node, &group.name).filter(|copy| !copy.history.is_empty())?;
    let (other, theirs) = data().find_map(|other| {
        let theirs = copy(seen, other, &group.name)?;
        let differs = !theirs.history.is_empty() && theirs.history != own.history;
        differs.then_some((other, theirs))
    })?;
    let (here, there) = (state.config.name_of(node), state.config.name_of(other));
    Some(format!(
        "has other data ({}) than {there} ({}): say which to keep, hactl move {} {here} or {there}; what only the other has is lost",
        shown_position(own),
        shown_position(theirs),
        group.name
    ))
}

fn shown_position(copy: &CopyReport) -> String {
    let position = if copy.position_text.is_empty() {
        copy.position.to_string()
    } else {
        copy.position_text.clone()
    };
    if copy.history.is_empty() {
        position
    } else {
        format!("{position} of {}", copy.history)
    }
}

/// True while a whole copy may come back by itself: its node is not given up, has not failed the group, and its agent sees
/// nothing wrong with it.
fn has_hope(state: &ClusterState, group: &GroupSection, entry: &GroupState, seen: &Observations) -> bool {
    entry.in_sync.nodes.iter().any(|node| {
        let member_of_cluster = state.config.node(*node).is_some();
        let gone = seen.get(node).is_none_or(|observed| observed.lost);
        let broken = copy(seen, *node, &group.name).is_some_and(|copy| !copy.obstacle.is_empty());
        member_of_cluster && !gone && !broken && !entry.failures.contains_key(node)
    })
}

/// How far the copy on `node` is behind the furthest one of its history among `able`; 0 where that is not known.
pub(super) fn behind(group: &GroupSection, node: NodeId, able: &[NodeId], seen: &Observations) -> u64 {
    let Some(own) = copy(seen, node, &group.name).filter(|copy| !copy.history.is_empty()) else {
        return 0;
    };
    let others = able
        .iter()
        .filter_map(|other| copy(seen, *other, &group.name))
        .filter(|other| other.history == own.history);
    let furthest = others.map(|other| other.position).max().unwrap_or(0);
    furthest.saturating_sub(own.position)
}

/// What may be lost by promoting `node` now, and on whose word; `None` when nothing can be.
#[must_use]
pub fn possible_loss(
    state: &ClusterState,
    group: &GroupSection,
    node: NodeId,
    seen: &Observations,
) -> Option<String> {
    let entry = state.groups.get(&group.name).filter(|_| group.is_promotable())?;
    let set = &entry.in_sync;
    if set.generation == 0 || set.nodes.contains(&node) {
        return None;
    }
    let own = copy(seen, node, &group.name);
    let known = own
        .map(|copy| copy.possible_loss.as_str())
        .filter(|loss| !loss.is_empty());
    let lost = known.map_or("what may be lost is not known".into(), |loss| {
        format!("what may be lost: {loss}")
    });
    let whole = set.nodes.iter().find_map(|whole| {
        copy(seen, *whole, &group.name).map(|copy| {
            let name = state.config.name_of(*whole);
            format!("{name} was last seen at {}", shown_position(copy))
        })
    });
    let positions: Vec<String> = own
        .map(|copy| format!("its copy is at {}", shown_position(copy)))
        .into_iter()
        .chain(whole)
        .collect();
    let word = entry
        .intent
        .as_ref()
        .filter(|intent| intent.to == node)
        .and_then(|intent| Some((intent, intent.accepts_loss.as_ref()?)))
        .map_or("by on_possible_loss = \"promote\"".into(), |(intent, at)| {
            format!("{} accepted it at {at}", intent.who)
        });
    let positions = if positions.is_empty() {
        String::new()
    } else {
        format!(" ({})", positions.join(", "))
    };
    Some(format!("{lost}{positions}, {word}"))
}

/// What keeps a group that follows the members of another one off `node`.
pub(super) fn follow_obstacle(
    state: &ClusterState,
    group: &GroupSection,
    node: NodeId,
    seen: &Observations,
) -> Option<String> {
    let follows = group.follows.as_ref()?;
    match follows.role {
        // Such a group belongs with the other one; that is judged there.
        FollowedRole::Primary => None,
        FollowedRole::Any => not_well(follows, node, seen),
        FollowedRole::Replica => {
            let primary = owner_of(state, &follows.group) == Some(node);
            if !primary {
                return replica_obstacle(state, group, follows, node, seen);
            }
            let replica = state.config.nodes.iter().map(|section| section.id).find(|other| {
                *other != node
                    && replica_obstacle(state, group, follows, *other, seen).is_none()
                    && obstacle_without_members(state, group, *other, seen).is_none()
            });
            if let Some(replica) = replica {
                let replica = state.config.name_of(replica);
                return Some(format!(
                    "has the primary of {}, and {replica} has a replica that can be read from",
                    follows.group
                ));
            }
            let serves = seen
                .get(&node)
                .is_some_and(|observed| observed.running.contains(&follows.group));
            (!serves).then(|| format!("does not serve {} yet", follows.group))
        }
    }
}

fn not_well(follows: &Follows, node: NodeId, seen: &Observations) -> Option<String> {
    match member(seen, node, &follows.group) {
        Some(member) if member.run == RunState::Running => None,
        Some(member) => {
            let text = format!("has {} {}", follows.group, member.run.as_str());
            Some(with_detail(&text, &member.detail))
        }
        None => Some(format!("has not said how {} is", follows.group)),
    }
}

/// Why the copy on `node` is not one to read from. A group that is there already stays until its data is older than `max_lag`;
/// it comes back only when it is at most half as old, so that a lag about the limit does not move it to and fro.
fn replica_obstacle(
    state: &ClusterState,
    group: &GroupSection,
    follows: &Follows,
    node: NodeId,
    seen: &Observations,
) -> Option<String> {
    if owner_of(state, &follows.group) == Some(node) {
        return Some(format!("has the primary of {}", follows.group));
    }
    if let Some(ill) = not_well(follows, node, seen) {
        return Some(ill);
    }
    let there = state
        .groups
        .get(&group.name)
        .is_some_and(|entry| matches!(entry.assignment, Assignment::Owned { owner, .. } if owner == node));
    let allowed_ms = if there {
        follows.max_lag_ms
    } else {
        follows.max_lag_ms / 2
    };
    let copy = copy(seen, node, &follows.group);
    match copy.map(|copy| (copy.readable, copy.lag_ms)) {
        Some((true, Some(lag_ms))) if lag_ms <= u64::from(allowed_ms) => None,
        Some((true, Some(lag_ms))) => Some(format!(
            "has a replica of {} that is {lag_ms} ms behind, and {allowed_ms} ms are allowed",
            follows.group
        )),
        _ => Some(format!(
            "has a replica of {} that cannot be read from",
            follows.group
        )),
    }
}

/// Where a group that follows others belongs rather than on `owner`, and what is wrong with `owner`. It goes only where it can
/// run: an old answer is better than none. Nothing is said of an owner that has not reported.
#[must_use]
pub fn better_place(
    state: &ClusterState,
    group: &GroupSection,
    owner: NodeId,
    seen: &Observations,
) -> Option<(NodeId, String)> {
    let follows = group.follows.as_ref()?;
    member(seen, owner, &follows.group)?;
    let wrong = follow_obstacle(state, group, owner, seen)?;
    let better = candidates(state, group, seen)
        .into_iter()
        .find(|candidate| candidate.eligible && candidate.node != owner)?;
    Some((better.node, wrong))
}

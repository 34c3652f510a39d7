//! One sentence and one word about the whole cluster.

use holdfast_proto::control::{GroupView, NodeView};

use crate::shell::api::Snapshot;

/// Longest list of groups named one by one.
const NAMED_MAX: usize = 4;

/// The health word and the sentence.
pub fn summarise(
    snapshot: &Snapshot,
    nodes: &[NodeView],
    groups: &[GroupView],
    warnings: &[String],
) -> (&'static str, String) {
    let Some(state) = &snapshot.view.state else {
        return (
            "down",
            "this node has no cluster state yet: it waits for the leader to bring it in; for a new cluster, run \
             `hactl cluster init` on one node"
                .into(),
        );
    };
    let wanted: Vec<&GroupView> = groups.iter().filter(|group| !group.disabled).collect();
    let stuck = wanted
        .iter()
        .any(|group| matches!(group.state.as_str(), "failed" | "waiting" | "stopped" | "unknown"));
    let between = wanted.iter().any(|group| {
        matches!(
            group.state.as_str(),
            "starting" | "stopping" | "moving" | "degraded"
        )
    });
    let away: Vec<&NodeView> = nodes.iter().filter(|node| node.state != "online").collect();
    let health = match () {
        () if stuck || !snapshot.view.has_quorum => "down",
        () if between || !away.is_empty() || !warnings.is_empty() || state.maintenance => "degraded",
        () => "ok",
    };
    let mut parts = Vec::new();
    if !snapshot.view.has_quorum {
        parts.push(format!("no quorum: {}", snapshot.view.quorum));
    }
    parts.push(groups_in_words(groups));
    parts.extend(away.iter().map(|node| node_in_words(node)));
    if state.maintenance {
        parts.push("maintenance mode: resources are left alone".into());
    }
    let single = parts.len() == 1;
    match warnings {
        [] => {}
        [only] if single => parts.push(only.clone()),
        [_] => parts.push("1 warning".into()),
        more => parts.push(format!("{} warnings", more.len())),
    }
    let sentence = parts.join("; ");
    (
        health,
        if health == "ok" {
            format!("healthy: {sentence}")
        } else {
            sentence
        },
    )
}

fn groups_in_words(groups: &[GroupView]) -> String {
    if groups.is_empty() {
        return "no groups are configured".into();
    }
    let running = groups.iter().filter(|group| group.state == "running").count();
    if groups.len() <= NAMED_MAX {
        return groups.iter().map(group_in_words).collect::<Vec<_>>().join(", ");
    }
    let mut words = format!("{running} of {} groups run", groups.len());
    for group in groups
        .iter()
        .filter(|group| group.state != "running" && !group.disabled)
        .take(NAMED_MAX)
    {
        words += ", ";
        words += &group_in_words(group);
    }
    words
}

fn group_in_words(group: &GroupView) -> String {
    let GroupView {
        name,
        state,
        node,
        reason,
        ..
    } = group;
    match state.as_str() {
        "running" if node.is_empty() => format!("{name} runs on every node"),
        "running" => format!("{name} runs on {node}"),
        "starting" if node.is_empty() => format!("{name} is starting"),
        "starting" => format!("{name} is starting on {node}"),
        "stopping" => format!("{name} is stopping on {node}"),
        "stopped" if group.disabled => format!("{name} is kept stopped by the operator"),
        _ if reason.is_empty() => format!("{name} is {state}"),
        _ => format!("{name} is {state} ({reason})"),
    }
}

fn node_in_words(node: &NodeView) -> String {
    let state = match node.state.as_str() {
        "fencing" => "being fenced",
        "standby" => "in standby",
        "never seen" => "not seen since this node started",
        other => other,
    };
    if node.detail.is_empty() {
        format!("{} is {state}", node.name)
    } else {
        format!("{} is {state} ({})", node.name, node.detail)
    }
}

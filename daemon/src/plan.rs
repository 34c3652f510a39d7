//! What applying a configuration would change, in words.

use std::collections::BTreeSet;

use holdfast_proto::config::{Config, GroupSection};
use holdfast_proto::ids::NodeId;

/// One line per change; empty when the two mean the same.
#[must_use]
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    cluster(old, new, &mut lines);
    members(old, new, &mut lines);
    fences(old, new, &mut lines);
    groups(old, new, &mut lines);
    lines
}

/// The whole plan as text, for `hactl config apply`.
#[must_use]
pub fn text(old: &Config, new: &Config) -> String {
    let lines = changes(old, new);
    match (lines.is_empty(), old.source == new.source) {
        (true, true) => "nothing changes: this is the configuration in force".into(),
        (true, false) => "only comments or formatting change".into(),
        _ => lines
            .iter()
            .map(|line| format!("- {line}"))
            .collect::<Vec<_>>()
            .join("\n"),
    }
}

/// Changes that are refused because they cannot be made to a living cluster.
///
/// # Errors
/// Names the change and what to do instead.
pub fn check(old: &Config, new: &Config) -> Result<(), String> {
    if old.cluster.id != new.cluster.id {
        return Err(format!(
            "the cluster id cannot change (it is {}, the new text has {}): keep `id` as `hactl config show` prints it",
            old.cluster.id, new.cluster.id
        ));
    }
    for node in &old.nodes {
        if let Some(other) = new
            .nodes
            .iter()
            .find(|other| other.name == node.name && other.id != node.id)
        {
            return Err(format!(
                "{} would change its number from {} to {}, which would make it another member: add `id = {}` to its \
                 section",
                node.name, node.id.0, other.id.0, node.id.0
            ));
        }
        if let Some(other) = new.node(node.id)
            && other.name != node.name
            && new.nodes.iter().all(|known| known.name != node.name)
            && other.keys.iter().all(|key| !node.keys.contains(key))
        {
            return Err(format!(
                "number {} would pass from {} to {}: remove {} first, and give {} a number that was never used",
                node.id.0, node.name, other.name, node.name, other.name
            ));
        }
    }
    Ok(())
}

fn cluster(old: &Config, new: &Config, lines: &mut Vec<String>) {
    let mut setting = |name: &str, before: String, after: String| {
        if before != after {
            lines.push(format!("cluster: {name} changes from {before} to {after}"));
        }
    };
    setting("name", old.cluster.name.clone(), new.cluster.name.clone());
    setting("port", old.cluster.port.to_string(), new.cluster.port.to_string());
    setting(
        "ping targets",
        addresses(&old.cluster.ping),
        addresses(&new.cluster.ping),
    );
    setting(
        "flap_budget",
        old.cluster.flap_budget.to_string(),
        new.cluster.flap_budget.to_string(),
    );
    setting(
        "flap_window",
        ms(old.cluster.flap_window_ms),
        ms(new.cluster.flap_window_ms),
    );
    for (before, after) in old.timers().rows().into_iter().zip(new.timers().rows()) {
        if before.1 != after.1 {
            let (name, was, now) = (before.0, before.1.as_millis(), after.1.as_millis());
            lines.push(format!("timer {name} changes from {was} ms to {now} ms"));
        }
    }
}

fn members(old: &Config, new: &Config, lines: &mut Vec<String>) {
    for node in &new.nodes {
        match old.node(node.id) {
            None => lines.push(format!("node {} joins as {}", node.name, node.id)),
            Some(before) => {
                if before.name != node.name {
                    lines.push(format!("node {} is renamed to {}", before.name, node.name));
                }
                if before.links != node.links {
                    let (was, now) = (addresses(&before.links), addresses(&node.links));
                    lines.push(format!("node {}: links change from {was} to {now}", node.name));
                }
                if before.keys != node.keys {
                    lines.push(format!("node {}: its key pins change", node.name));
                }
            }
        }
    }
    for node in old.nodes.iter().filter(|node| new.node(node.id).is_none()) {
        lines.push(format!("node {} leaves; its groups move away first", node.name));
    }
    match (&old.witness, &new.witness) {
        (None, Some(witness)) => lines.push(format!(
            "witness {} at {} is added",
            witness.name, witness.address
        )),
        (Some(witness), None) => lines.push(format!("witness {} is removed", witness.name)),
        (Some(before), Some(after)) if before != after => {
            lines.push(format!("witness {} changes", after.name))
        }
        _ => {}
    }
    match (&old.register, &new.register) {
        (None, Some(register)) => {
            lines.push(format!("a witness {} {} is added", register.name, register.place))
        }
        (Some(register), None) => {
            lines.push(format!("witness {} {} is removed", register.name, register.place))
        }
        (Some(before), Some(after)) if before != after => {
            lines.push(format!("witness {} changes (now {})", after.name, after.place))
        }
        _ => {}
    }
}

fn fences(old: &Config, new: &Config, lines: &mut Vec<String>) {
    let nodes: BTreeSet<NodeId> = old
        .fences
        .iter()
        .chain(&new.fences)
        .map(|fence| fence.node)
        .collect();
    for node in nodes {
        let (before, after) = (old.fences_of(node), new.fences_of(node));
        if before != after {
            // Parameters may be secrets of careless operators: only agents are named.
            let agents = after
                .iter()
                .map(|fence| fence.agent.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            let agents = if agents.is_empty() { "none".into() } else { agents };
            lines.push(format!(
                "fence devices of {} change (now: {agents})",
                new.name_of(node)
            ));
        }
    }
}

fn groups(old: &Config, new: &Config, lines: &mut Vec<String>) {
    for group in &new.groups {
        match old.group(&group.name) {
            None => lines.push(format!("group {} is added and started", group.name)),
            Some(before) if before != group => {
                lines.push(format!(
                    "group {} changes: {}",
                    group.name,
                    group_changes(before, group)
                ));
            }
            Some(_) => {}
        }
    }
    for group in old.groups.iter().filter(|group| new.group(&group.name).is_none()) {
        lines.push(format!("group {} is stopped and removed", group.name));
    }
}

fn group_changes(old: &GroupSection, new: &GroupSection) -> String {
    let mut parts = Vec::new();
    for resource in &new.resources {
        match old.resources.iter().find(|before| before.name == resource.name) {
            None => parts.push(format!("resource {} is added", resource.name)),
            Some(before) if before != resource => parts.push(format!("resource {} changes", resource.name)),
            Some(_) => {}
        }
    }
    let gone = old
        .resources
        .iter()
        .filter(|before| new.resources.iter().all(|now| now.name != before.name));
    parts.extend(gone.map(|resource| format!("resource {} is removed", resource.name)));
    if old.requires != new.requires {
        parts.push(format!("requires {:?} instead of {:?}", new.requires, old.requires).to_lowercase());
    }
    if old.prefer != new.prefer {
        parts.push("preferred nodes change".into());
    }
    if (&old.with, &old.apart_from, &old.after) != (&new.with, &new.apart_from, &new.after) {
        parts.push("its relations to other groups change".into());
    }
    if (old.max_restarts, old.restart_window_ms) != (new.max_restarts, new.restart_window_ms) {
        parts.push("its restart budget changes".into());
    }
    if parts.is_empty() {
        "the order of its resources".into()
    } else {
        parts.join(", ")
    }
}

fn addresses(list: &[std::net::IpAddr]) -> String {
    if list.is_empty() {
        return "none".into();
    }
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn ms(value: u32) -> String {
    format!("{value} ms")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::fixture::config;

    #[test]
    fn the_same_configuration_changes_nothing() {
        let old = config();
        assert_eq!(
            text(&old, &old),
            "nothing changes: this is the configuration in force"
        );
        let mut reformatted = old.clone();
        reformatted.source = format!("# a comment\n{}", old.source);
        assert_eq!(text(&old, &reformatted), "only comments or formatting change");
    }

    #[test]
    fn nodes_groups_and_timers_are_named() {
        let old = config();
        let mut new = config();
        new.cluster.detection_ms = 2000;
        new.nodes.pop();
        new.witness = None;
        new.groups[0].requires = holdfast_proto::config::Requires::Lease;
        new.groups.push(GroupSection {
            name: "web".into(),
            ..new.groups[0].clone()
        });
        let lines = changes(&old, &new);
        for wanted in [
            "timer lease changes from 1000 ms to 2000 ms",
            "node db2 leaves; its groups move away first",
            "witness witness is removed",
            "group mysql changes: requires lease instead of fencing",
            "group web is added and started",
        ] {
            assert!(lines.iter().any(|line| line == wanted), "{wanted} in {lines:?}");
        }
        assert!(
            changes(&new, &old)
                .iter()
                .any(|line| line == "group web is stopped and removed")
        );
    }

    #[test]
    fn changes_of_identity_are_refused() {
        let old = config();
        let mut other = config();
        other.cluster.id = holdfast_proto::ids::ClusterId(8);
        assert!(check(&old, &other).is_err_and(|error| error.contains("cluster id")));
        let mut swapped = config();
        swapped.nodes[0].id = NodeId(2);
        swapped.nodes[1].id = NodeId(1);
        assert!(check(&old, &swapped).is_err_and(|error| error.contains("id = 1")));
        let mut replaced = config();
        replaced.nodes[1].name = "db3".into();
        replaced.nodes[1].keys.clear();
        assert!(check(&old, &replaced).is_err_and(|error| error.contains("remove db2 first")));
        assert!(check(&old, &old).is_ok());
    }
}

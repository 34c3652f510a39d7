//! What changed between two pictures, as lines for a log.

use holdfast_proto::control::{GroupView, NodeView, StatusView};
use jiff::Zoned;

use crate::ui::text::one_line;

/// One line per change, with the time it was seen.
#[must_use]
pub fn between(old: &StatusView, new: &StatusView) -> Vec<String> {
    let now = Zoned::now().strftime("%H:%M:%S%.3f").to_string();
    differences(old, new)
        .into_iter()
        .map(|line| format!("{now}  {}", one_line(&line)))
        .collect()
}

/// One line per change.
fn differences(old: &StatusView, new: &StatusView) -> Vec<String> {
    let mut lines = Vec::new();
    if old.health != new.health || without_counts(&old.summary) != without_counts(&new.summary) {
        lines.push(format!("{}: {}", new.health, new.summary));
    }
    if old.leader != new.leader {
        lines.push(if new.leader.is_empty() {
            "no leader".into()
        } else {
            format!("leader: {}", new.leader)
        });
    }
    if old.maintenance != new.maintenance {
        lines.push(format!(
            "maintenance: {}",
            if new.maintenance { "on" } else { "off" }
        ));
    }
    if old.voters != new.voters {
        lines.push(format!("voters: {}", new.voters.join(", ")));
    }
    for node in &new.nodes {
        node_changes(
            old.nodes.iter().find(|known| known.name == node.name),
            node,
            &mut lines,
        );
    }
    for group in &new.groups {
        group_changes(
            old.groups.iter().find(|known| known.name == group.name),
            group,
            &mut lines,
        );
    }
    for gone in old
        .groups
        .iter()
        .filter(|known| !new.groups.iter().any(|group| group.name == known.name))
    {
        lines.push(format!("{}: removed", gone.name));
    }
    for warning in new
        .warnings
        .iter()
        .filter(|warning| !old.warnings.contains(warning))
    {
        lines.push(format!("warning: {warning}"));
    }
    for warning in old
        .warnings
        .iter()
        .filter(|warning| !new.warnings.contains(warning))
    {
        lines.push(format!("over: {warning}"));
    }
    lines
}

/// A sentence without its numbers: `not heard for 3 s` is no news after `not heard for 2 s`.
fn without_counts(sentence: &str) -> String {
    sentence.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// State and links of a node.
fn node_changes(old: Option<&NodeView>, new: &NodeView, lines: &mut Vec<String>) {
    let was = old.map_or("unknown", |old| old.state.as_str());
    if was != new.state {
        lines.push(sentence(&new.name, was, &new.state, &new.detail));
    }
    for link in &new.links {
        let known = old.and_then(|old| old.links.iter().find(|known| known.address == link.address));
        let was = known.map_or("unknown", |known| known.state.as_str());
        if was != link.state {
            lines.push(format!(
                "{} link {}: {was} -> {}",
                new.name, link.address, link.state
            ));
        }
    }
}

/// State and place of a group.
fn group_changes(old: Option<&GroupView>, new: &GroupView, lines: &mut Vec<String>) {
    let place = |group: &GroupView| match group.node.as_str() {
        "" => group.state.clone(),
        node => format!("{} on {node}", group.state),
    };
    let was = old.map_or_else(|| "unknown".into(), place);
    let is = place(new);
    if was != is {
        lines.push(sentence(&new.name, &was, &is, &new.reason));
    }
}

fn sentence(name: &str, was: &str, is: &str, why: &str) -> String {
    if why.is_empty() {
        format!("{name}: {was} -> {is}")
    } else {
        format!("{name}: {was} -> {is} ({why})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(state: &str, group: &str, on: &str) -> StatusView {
        StatusView {
            nodes: vec![NodeView {
                name: "db2".into(),
                state: state.into(),
                ..NodeView::default()
            }],
            groups: vec![GroupView {
                name: "mysql".into(),
                state: group.into(),
                node: on.into(),
                ..GroupView::default()
            }],
            ..StatusView::default()
        }
    }

    #[test]
    fn a_clock_that_runs_is_no_change() {
        let mut before = view("lost", "running", "db1");
        before.summary = "db2 is lost (not heard for 9 s)".into();
        let mut after = before.clone();
        after.summary = "db2 is lost (not heard for 10 s)".into();
        assert!(differences(&before, &after).is_empty());
        after.summary = "healthy".into();
        assert_eq!(differences(&before, &after).len(), 1);
    }

    #[test]
    fn only_what_changed_is_told() {
        let before = view("online", "running", "db2");
        assert!(differences(&before, &before).is_empty());
        let mut after = view("lost", "starting", "db1");
        after.nodes[0].detail = "silent for 1 s".into();
        assert_eq!(
            differences(&before, &after),
            [
                "db2: online -> lost (silent for 1 s)",
                "mysql: running on db2 -> starting on db1"
            ]
        );
    }
}

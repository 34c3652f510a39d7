//! The status as one screen that fits a phone.

use holdfast_proto::control::{GroupView, LinkView, NodeView, StatusView};

use super::members;
use crate::ui::paint::tone_of_state;
use crate::ui::text::{one_line, pad, span_ms, widest, wrap};
use crate::ui::{Paint, Tone};

/// Groups listed one by one; more are counted, those that need attention first.
const GROUPS_SHOWN: usize = 30;

/// The screen as lines.
#[must_use]
pub fn render(view: &StatusView, paint: Paint, columns: usize) -> Vec<String> {
    let mut lines = headline(view, paint, columns);
    lines.push(String::new());
    let name_columns = widest(view.nodes.iter().map(|node| node.name.as_str()), 6);
    let (witness, data): (Vec<_>, Vec<_>) = view.nodes.iter().partition(|node| node.role == "witness");
    for node in data.into_iter().chain(witness) {
        lines.extend(node_lines(node, name_columns, paint, columns));
        if node.name != view.node {
            let shown = node.fences.iter();
            lines.extend(shown.flat_map(|fence| wrap(&one_line(fence), name_columns + 4, columns)));
        }
    }
    if !view.groups.is_empty() {
        lines.push(String::new());
        lines.extend(group_section(view, paint, columns));
    }
    if !view.warnings.is_empty() {
        lines.push(String::new());
        for warning in &view.warnings {
            lines.extend(marked(paint.tone(Tone::Warn, "!"), &one_line(warning), columns));
        }
    }
    lines.push(String::new());
    for line in wrap(&footer(view), 0, columns) {
        lines.push(paint.tone(Tone::Faint, &line));
    }
    lines
}

/// The mark and the summary.
fn headline(view: &StatusView, paint: Paint, columns: usize) -> Vec<String> {
    let (mark, tone) = match view.health.as_str() {
        "ok" => ("OK", Tone::Good),
        "degraded" => ("DEGRADED", Tone::Warn),
        _ => ("DOWN", Tone::Bad),
    };
    let cluster = if view.cluster.is_empty() {
        "no cluster yet".into()
    } else {
        one_line(&view.cluster)
    };
    let plain = format!("{mark} {cluster}: {}", one_line(&view.summary));
    let mut lines = wrap(&plain, 0, columns);
    if let Some(first) = lines.first_mut() {
        let rest = first.strip_prefix(mark).unwrap_or("").to_string();
        *first = format!("{}{rest}", paint.tone(tone, mark));
    }
    if view.maintenance {
        lines.push(paint.tone(Tone::Warn, "MAINTENANCE: resources are left alone"));
    }
    lines
}

/// A mark, then text that hangs under itself.
fn marked(mark: String, text: &str, columns: usize) -> Vec<String> {
    let mut lines = wrap(text, 2, columns);
    if let Some(first) = lines.first_mut() {
        *first = format!("{mark} {}", first.trim_start());
    }
    lines
}

/// A node: name, state, role, links; then what there is to say.
fn node_lines(node: &NodeView, name_columns: usize, paint: Paint, columns: usize) -> Vec<String> {
    let mut roles = Vec::new();
    if node.leader {
        roles.push("leader");
    }
    if node.role == "witness" && node.name != "witness" {
        roles.push("witness");
    }
    if !node.voter {
        roles.push("no vote");
    }
    if !node.synced && node.state == "online" && node.role != "witness" {
        roles.push("not synced");
    }
    let mut tail = roles.join(", ");
    let links = links_summary(&node.links);
    if !links.is_empty() {
        tail = if tail.is_empty() {
            links
        } else {
            format!("{tail}; {links}")
        };
    }
    let state_columns = 8;
    let head = format!(
        "  {}  {}",
        pad(&one_line(&node.name), name_columns),
        paint.tone(
            tone_of_state(&node.state),
            &pad(&one_line(&node.state), state_columns)
        ),
    );
    let head_columns = 2 + name_columns + 2 + state_columns.max(node.state.chars().count());
    let mut lines = beside(&head, head_columns, &tail, columns);
    let indent = name_columns + 4;
    lines.extend(wrap(&one_line(&node.detail), indent, columns));
    lines.extend(
        node.links
            .iter()
            .filter(|link| link.state != "up")
            .flat_map(|link| {
                wrap(
                    &format!("link {} is {}", one_line(&link.address), one_line(&link.state)),
                    indent,
                    columns,
                )
            }),
    );
    lines.extend(wrap(&watchdog(node), indent, columns));
    lines.extend(wrap(&fenced(node), indent, columns));
    lines
}

/// How often it was fenced lately, and when it may vote again.
fn fenced(node: &NodeView) -> String {
    let count = match node.fenced_lately {
        0 => return String::new(),
        1 => "fenced once within the last hour".to_string(),
        count => format!("fenced {count} times within the last hour"),
    };
    match node.votes_again_in_s {
        None => count,
        Some(seconds) => format!("{count}; it votes and may take groups in {seconds} s, if it stays"),
    }
}

/// The armed watchdog; the name of its driver is known on the node itself.
fn watchdog(node: &NodeView) -> String {
    match (node.watchdog_ms, node.watchdog.as_str()) {
        (0, _) => String::new(),
        (ms, "") => format!("watchdog {}", span_ms(ms.into())),
        (ms, driver) => format!("watchdog {} ({})", span_ms(ms.into()), one_line(driver)),
    }
}

/// `tail` beside `head` where there is room, below it otherwise.
fn beside(head: &str, head_columns: usize, tail: &str, columns: usize) -> Vec<String> {
    if tail.is_empty() {
        return vec![head.trim_end().to_string()];
    }
    if head_columns + 2 + tail.chars().count() <= columns {
        return vec![format!("{head}  {tail}")];
    }
    let mut lines = vec![head.trim_end().to_string()];
    lines.extend(wrap(tail, 4, columns));
    lines
}

/// The links in a few words.
fn links_summary(links: &[LinkView]) -> String {
    if links.is_empty() {
        return String::new();
    }
    let up: Vec<_> = links.iter().filter(|link| link.state == "up").collect();
    let mut text = format!("links {}/{}", up.len(), links.len());
    if let Some(rtt_us) = up.iter().map(|link| link.rtt_us).filter(|rtt| *rtt > 0).min() {
        text.push_str(&format!(", {}.{} ms", rtt_us / 1000, rtt_us % 1000 / 100));
    }
    let lost = links.iter().map(|link| link.lost_percent).max().unwrap_or(0);
    if lost > 0 {
        text.push_str(&format!(", {lost} % lost"));
    }
    text
}

/// The groups, those that need attention first when there are too many to show.
fn group_section(view: &StatusView, paint: Paint, columns: usize) -> Vec<String> {
    let mut shown: Vec<&GroupView> = view.groups.iter().collect();
    if shown.len() > GROUPS_SHOWN {
        shown.sort_by_key(|group| group.state == "running");
        shown.truncate(GROUPS_SHOWN);
    }
    let name_columns = widest(shown.iter().map(|group| group.name.as_str()), 6);
    let mut lines = Vec::new();
    for group in &shown {
        lines.extend(group_lines(group, name_columns, paint, columns));
    }
    let left_out = view.groups.len() - shown.len();
    if left_out > 0 {
        lines.push(format!(
            "  and {left_out} more groups: hactl status --json has all"
        ));
    }
    lines
}

/// A group: name, state, node; then why, and its resources that are not well.
fn group_lines(group: &GroupView, name_columns: usize, paint: Paint, columns: usize) -> Vec<String> {
    let place = if group.node.is_empty() {
        String::new()
    } else {
        format!("on {}", one_line(&group.node))
    };
    let head = format!(
        "  {}  {}",
        pad(&one_line(&group.name), name_columns),
        paint.tone(tone_of_state(&group.state), &pad(&one_line(&group.state), 8)),
    );
    let head_columns = 2 + name_columns + 2 + group.state.chars().count().max(8);
    let mut tail = place;
    if group.disabled {
        tail.push_str(" disabled");
    }
    if group.last_outage_ms > 0 {
        tail.push_str(&format!(", last outage {}", span_ms(group.last_outage_ms)));
    }
    let mut lines = beside(&head, head_columns, tail.trim_start_matches([' ', ',']), columns);
    let indent = name_columns + 4;
    lines.extend(wrap(&one_line(&group.reason), indent, columns));
    for resource in group
        .resources
        .iter()
        .filter(|resource| resource.state != "running")
    {
        let text = format!(
            "{} ({}) is {}. {}",
            resource.name, resource.kind, resource.state, resource.detail
        );
        lines.extend(wrap(&one_line(&text), indent, columns));
    }
    lines.extend(members::lines(group, indent, columns));
    for failure in &group.failures {
        lines.extend(wrap(&one_line(failure), indent, columns));
    }
    lines
}

/// Who says it, and by which numbers.
fn footer(view: &StatusView) -> String {
    let mut parts = Vec::new();
    if !view.quorum.is_empty() {
        parts.push(one_line(&view.quorum).trim_end_matches('.').to_string());
    }
    parts.push(format!("lease {}", span_ms(view.lease_ms.into())));
    parts.push(format!("state {}", view.version));
    if !view.scheduling.is_empty() {
        parts.push(one_line(&view.scheduling));
    }
    format!("Seen by {}: {}.", one_line(&view.node), parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_how_often_a_node_was_fenced_and_when_it_votes_again() {
        let node = |fenced_lately, votes_again_in_s| NodeView {
            fenced_lately,
            votes_again_in_s,
            ..NodeView::default()
        };
        assert_eq!(fenced(&node(0, None)), "");
        assert_eq!(fenced(&node(1, None)), "fenced once within the last hour");
        assert_eq!(
            fenced(&node(3, Some(20))),
            "fenced 3 times within the last hour; it votes and may take groups in 20 s, if it stays"
        );
    }

    #[test]
    fn a_watchdog_is_told_with_its_driver_where_that_is_known() {
        let node = |watchdog_ms, watchdog: &str| NodeView {
            watchdog_ms,
            watchdog: watchdog.into(),
            ..NodeView::default()
        };
        assert_eq!(watchdog(&node(0, "")), "");
        assert_eq!(watchdog(&node(5000, "")), "watchdog 5000 ms");
        assert_eq!(
            watchdog(&node(10_000, "i6300ESB timer")),
            "watchdog 10.0 s (i6300ESB timer)"
        );
    }
}

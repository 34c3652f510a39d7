//! Members of a group: one line for each that fits a phone, with what an operator needs to know of its copy.

use holdfast_proto::control::{GroupView, MemberView};

use crate::ui::text::{one_line, pad, span_ms, widest, wrap};

/// Longest position that is shown; sets of transactions can be long, and `hactl status --json` has all of it.
const POSITION_CHARS: usize = 60;

/// The members of `group`. Of a group on every node only those that are not well.
pub fn lines(group: &GroupView, indent: usize, columns: usize) -> Vec<String> {
    let told: Vec<&MemberView> = group
        .members
        .iter()
        .filter(|member| member.role != "member" || member.state != "running")
        .collect();
    let node_columns = widest(told.iter().map(|member| member.node.as_str()), 3);
    told.into_iter()
        .flat_map(|member| member_lines(member, node_columns, indent, columns))
        .collect()
}

fn member_lines(member: &MemberView, node_columns: usize, indent: usize, columns: usize) -> Vec<String> {
    let head = format!("{} {}", pad(&member.node, node_columns), one_line(&member.role));
    let words = words(member).join(", ");
    let margin = " ".repeat(indent);
    let one = format!("{margin}{head}  {words}");
    if one.chars().count() <= columns {
        return vec![one.trim_end().to_string()];
    }
    let mut lines = vec![format!("{margin}{head}")];
    lines.extend(wrap(&words, indent + 2, columns));
    lines
}

/// What there is to say of a member, the most important first.
fn words(member: &MemberView) -> Vec<String> {
    let mut words = Vec::new();
    match member.state.as_str() {
        "running" => {}
        "" => words.push("nothing known yet".into()),
        state => words.push(one_line(state)),
    }
    if member.role != "member" {
        words.push(if member.in_sync { "in sync" } else { "not in sync" }.into());
    }
    if let Some(lag_ms) = member.lag_ms.filter(|_| member.role == "replica") {
        words.push(format!("{} behind", span_ms(lag_ms)));
    }
    if !member.position.is_empty() {
        let position = one_line(&member.position);
        let shown: String = position.chars().take(POSITION_CHARS).collect();
        let more = if shown.len() < position.len() { "..." } else { "" };
        words.push(format!("at {shown}{more}"));
    }
    if !member.obstacle.is_empty() {
        words.push(format!("cannot be promoted: {}", one_line(&member.obstacle)));
    } else if !member.in_sync && !member.possible_loss.is_empty() {
        words.push(format!("would lose {}", one_line(&member.possible_loss)));
    }
    if !member.detail.is_empty() {
        words.push(one_line(&member.detail));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica() -> MemberView {
        MemberView {
            node: "db2".into(),
            role: "replica".into(),
            state: "running".into(),
            lag_ms: Some(12_400),
            position: "0-1-1230".into(),
            ..MemberView::default()
        }
    }

    fn shown(members: Vec<MemberView>, columns: usize) -> Vec<String> {
        let group = GroupView {
            members,
            ..GroupView::default()
        };
        lines(&group, 4, columns)
    }

    #[test]
    fn a_replica_says_how_far_it_is_and_what_it_would_cost() {
        let primary = MemberView {
            node: "db1".into(),
            role: "primary".into(),
            state: "running".into(),
            in_sync: true,
            lag_ms: Some(0),
            position: "0-1-1242".into(),
            ..MemberView::default()
        };
        let behind = MemberView {
            possible_loss: "at most 12 transactions".into(),
            ..replica()
        };
        assert_eq!(
            shown(vec![primary, behind.clone()], 100),
            [
                "    db1 primary  in sync, at 0-1-1242",
                "    db2 replica  not in sync, 12.4 s behind, at 0-1-1230, would lose at most 12 transactions",
            ]
        );
        assert_eq!(
            shown(vec![behind], 40),
            [
                "    db2 replica",
                "      not in sync, 12.4 s behind, at",
                "      0-1-1230, would lose at most 12",
                "      transactions",
            ]
        );
    }

    #[test]
    fn an_obstacle_and_a_lost_node_come_to_the_front() {
        let ill = MemberView {
            obstacle: "replication is broken".into(),
            state: "lost".into(),
            position: "x".repeat(200),
            ..replica()
        };
        let text = shown(vec![ill], 300).remove(0);
        assert!(text.starts_with("    db2 replica  lost, not in sync"), "{text}");
        assert!(
            text.ends_with("..., cannot be promoted: replication is broken"),
            "{text}"
        );
    }

    #[test]
    fn a_group_on_every_node_names_only_those_that_are_not_well() {
        let member = |node: &str, state: &str| MemberView {
            node: node.into(),
            role: "member".into(),
            state: state.into(),
            ..MemberView::default()
        };
        assert_eq!(
            shown(vec![member("db1", "running"), member("db2", "failed")], 80),
            ["    db2 member  failed"]
        );
    }
}

//! `hactl galera`: where the copies are, and founding the cluster once.

use std::path::Path;

use holdfast_guards::galera::State;
use holdfast_proto::control::{GroupView, MemberView, StatusView};
use serde::Serialize;

use super::act;
use super::fence::ask_for_name;
use crate::cli::{BootstrapArgs, GaleraCommand};
use crate::client::Endpoint;
use crate::outcome::{Exit, Failure};
use crate::ui::Ui;
use crate::ui::text::{clean, pad, widest};

/// Runs the command.
///
/// # Errors
/// When there is nothing to be read, it is not clear which copy to go on from, or the cluster refuses.
pub fn run(had: &Endpoint, command: GaleraCommand, ui: &Ui) -> anyhow::Result<()> {
    match command {
        GaleraCommand::Position { datadir } => position(&datadir, ui),
        GaleraCommand::Bootstrap(args) => bootstrap(had, &args, ui),
    }
}

/// The JSON document of `galera position`.
#[derive(Serialize)]
struct PositionJson {
    uuid: String,
    seqno: Option<u64>,
    safe_to_bootstrap: bool,
}

fn position(datadir: &Path, ui: &Ui) -> anyhow::Result<()> {
    let path = datadir.join("grastate.dat");
    let at = path.display();
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Failure::new(Exit::Failed, format!("{at} cannot be read: {error}")))?;
    let state = State::parse(&text)
        .ok_or_else(|| Failure::new(Exit::Failed, format!("{at} is no state file of Galera")))?;
    let document = PositionJson {
        uuid: state.uuid,
        seqno: state.seqno,
        safe_to_bootstrap: state.is_safe,
    };
    if ui.json() {
        return Ok(ui.document(&document)?);
    }
    let seqno = document
        .seqno
        .map_or("not known".to_owned(), |seqno| seqno.to_string());
    ui.line(format_args!("cluster   {}", document.uuid))?;
    ui.line(format_args!("position  {seqno}"))?;
    let last = if document.safe_to_bootstrap { "yes" } else { "no" };
    ui.line(format_args!("left last {last}"))?;
    if document.seqno.is_none() {
        ui.note("it runs, or did not end cleanly: `hactl status` shows what it says, or what the agent's recovery found");
    }
    Ok(())
}

/// A copy as it was reported.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    history: &'a str,
    seqno: u64,
}

/// `UUID:SEQNO`; None for what is not known, or no data of a cluster.
fn place(member: &MemberView) -> Option<Place<'_>> {
    let (history, seqno) = member.position.rsplit_once(':')?;
    let seqno = seqno.parse().ok()?;
    (history.len() == 36).then_some(Place { history, seqno })
}

/// Which copy the cluster is founded from.
#[derive(Debug, PartialEq, Eq)]
enum Choice {
    /// It is promoted there already.
    Promoted(String),
    /// From this one.
    From(String),
    /// It is not clear: why, and what can be said.
    Unclear(String),
}

/// Decides by what was reported. A word of the operator (`named`) stands against everything but the node's own refusal, which
/// the cluster knows of.
fn choose(group: &GroupView, named: Option<&str>) -> Choice {
    if !group.node.is_empty() {
        return Choice::Promoted(group.node.clone());
    }
    if let Some(node) = named {
        return Choice::From(node.into());
    }
    let unheard: Vec<&str> = group
        .members
        .iter()
        .filter(|member| member.state != "running" || member.position.is_empty())
        .map(|member| member.node.as_str())
        .collect();
    if !unheard.is_empty() || group.members.is_empty() {
        return Choice::Unclear(format!("the copy on {} is not known", unheard.join(" and ")));
    }
    let placed = || {
        group
            .members
            .iter()
            .filter_map(|member| Some((member, place(member)?)))
    };
    let Some((furthest, at)) = placed().max_by_key(|(_, place)| place.seqno) else {
        // Nobody has data: the first that may.
        let mut able = group.members.iter().filter(|member| member.obstacle.is_empty());
        return able.next().map_or_else(
            || Choice::Unclear("no copy may be gone on from".into()),
            |member| Choice::From(member.node.clone()),
        );
    };
    if placed().any(|(_, place)| place.history != at.history) {
        return Choice::Unclear("the copies belong to different histories, and only one can be kept".into());
    }
    if !furthest.obstacle.is_empty() {
        return Choice::Unclear(format!(
            "the furthest copy is on {}: {}",
            furthest.node,
            clean(&furthest.obstacle)
        ));
    }
    // Of equal ones the one that the cluster counts on.
    let equal = placed().filter(|(member, place)| place.seqno == at.seqno && member.obstacle.is_empty());
    let best = equal
        .map(|(member, _)| member)
        .min_by_key(|member| !member.in_sync);
    Choice::From(best.unwrap_or(furthest).node.clone())
}

fn find<'a>(view: &'a StatusView, name: Option<&str>) -> Result<&'a GroupView, Failure> {
    let is_galera = |group: &&GroupView| group.resources.iter().any(|resource| resource.kind == "galera");
    if let Some(name) = name {
        let found = view.groups.iter().find(|group| group.name == name);
        return found.ok_or_else(|| Failure::new(Exit::Usage, format!("there is no group {name}")));
    }
    let all: Vec<&GroupView> = view.groups.iter().filter(is_galera).collect();
    match all.as_slice() {
        [one] => Ok(one),
        [] => Err(
            Failure::new(Exit::Usage, "no group with a galera resource is known")
                .hint("name it: hactl galera bootstrap GROUP"),
        ),
        several => {
            let names: Vec<&str> = several.iter().map(|group| group.name.as_str()).collect();
            let text = format!("there are several: {}", names.join(", "));
            Err(Failure::new(Exit::Usage, text).hint("name it: hactl galera bootstrap GROUP"))
        }
    }
}

fn bootstrap(had: &Endpoint, args: &BootstrapArgs, ui: &Ui) -> anyhow::Result<()> {
    let view = had.status()?;
    let group = find(&view, args.group.as_deref())?;
    let name = group.name.as_str();
    if !ui.json() {
        let width = widest(group.members.iter().map(|member| member.node.as_str()), 4);
        for member in &group.members {
            let position = if member.position.is_empty() {
                "not known"
            } else {
                &member.position
            };
            let about = if member.obstacle.is_empty() {
                &member.detail
            } else {
                &member.obstacle
            };
            ui.line(format_args!(
                "{}  {}  {}",
                pad(&member.node, width),
                clean(position),
                clean(about)
            ))?;
        }
    }
    let node = match choose(group, args.node.as_deref()) {
        Choice::Promoted(node) => {
            let text =
                format!("{name} is promoted on {node} already: nothing is founded, members join that one");
            return Err(Failure::new(Exit::Refused, text).into());
        }
        Choice::Unclear(why) => {
            return Err(Failure::new(Exit::Refused, format!("nothing was founded: {why}"))
                .hint("wait until all nodes are heard, or look at `hactl why`")
                .hint(format!(
                    "say which copy to keep: hactl galera bootstrap {name} --node NODE"
                ))
                .into());
        }
        Choice::From(node) => node,
    };
    if !args.yes {
        let warning = format!(
            "{name} is founded anew from the copy on {node}: what only other copies have is lost when they join it."
        );
        ask_for_name(
            &node,
            &warning,
            &format!("hactl galera bootstrap {name} --node {node} --yes"),
            ui,
        )?;
    }
    act::move_group(had, name, (Some(&node), args.accept_loss), &args.wait, ui)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "2dfd1921-e628-11f1-a5f6-a7235c425517";

    fn member(node: &str, position: &str, obstacle: &str) -> MemberView {
        MemberView {
            node: node.into(),
            state: "running".into(),
            position: position.into(),
            obstacle: obstacle.into(),
            ..MemberView::default()
        }
    }

    fn group(members: Vec<MemberView>) -> GroupView {
        GroupView {
            name: "galera".into(),
            members,
            ..GroupView::default()
        }
    }

    fn at(seqno: u64) -> String {
        format!("{UUID}:{seqno}")
    }

    #[test]
    fn the_furthest_copy_is_taken_and_exactly_one() {
        let copies = || vec![member("db1", &at(7), ""), member("db2", &at(9), "")];
        assert_eq!(choose(&group(copies()), None), Choice::From("db2".into()));
        assert_eq!(choose(&group(copies()), Some("db1")), Choice::From("db1".into()));
        let mut promoted = group(copies());
        promoted.node = "db1".into();
        assert_eq!(choose(&promoted, Some("db2")), Choice::Promoted("db1".into()));
        let blank = vec![
            member("db1", "no data of a cluster", "x"),
            member("db2", &at(1), ""),
        ];
        assert_eq!(choose(&group(blank), None), Choice::From("db2".into()));
        let none = vec![
            member("db1", "no data of a cluster", ""),
            member("db2", "no data of a cluster", ""),
        ];
        assert_eq!(choose(&group(none), None), Choice::From("db1".into()));
    }

    #[test]
    fn what_is_not_clear_is_left_to_the_operator() {
        let unclear = |members| match choose(&group(members), None) {
            Choice::Unclear(why) => why,
            other => panic!("{other:?}"),
        };
        let unheard = unclear(vec![member("db1", &at(7), ""), member("db2", "", "")]);
        assert_eq!(unheard, "the copy on db2 is not known");
        let other = format!("00000000-e628-11f1-a5f6-a7235c425517:{}", 3);
        assert!(
            unclear(vec![member("db1", &at(7), ""), member("db2", &other, "")])
                .contains("different histories")
        );
        let ahead = unclear(vec![
            member("db1", &at(7), ""),
            member("db2", &at(9), "it was being filled"),
        ]);
        assert_eq!(ahead, "the furthest copy is on db2: it was being filled");
    }
}

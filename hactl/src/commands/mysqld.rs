//! `hactl mysqld seed`: asks the agent on this node to fetch its data anew from the primary, and shows how far that is.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_proto::control::{MemberView, StatusView};
use holdfast_proto::mysqld::{seed_refusal, seed_request};

use super::fence::ask_for_name;
use crate::cli::{MysqldCommand, SeedArgs};
use crate::client::Endpoint;
use crate::outcome::{Exit, Failure};
use crate::ui::Ui;
use crate::ui::text::clean;

/// Pause between looks.
const LOOK: Duration = Duration::from_millis(500);
/// The agent takes a wish up within this time: it needs the primary's answer first.
const TAKEN_LIMIT: Duration = Duration::from_secs(30);
/// `had` may be away for so long meanwhile: it is restarted, or elects.
const AWAY_LIMIT: Duration = Duration::from_secs(60);

/// Runs the command.
///
/// # Errors
/// It is refused, or did not work.
pub fn run(had: &Endpoint, command: MysqldCommand, ui: &Ui) -> anyhow::Result<()> {
    match command {
        MysqldCommand::Seed(args) => seed(had, &args, ui),
    }
}

/// Why nothing may be replaced; None if it may. The agent looks at the committed state once more.
fn refusal(view: &StatusView, group: &str, node: &str) -> Option<(Exit, String)> {
    if view.node != node {
        let text = format!("this is {}: run it on {node}, whose data is replaced", view.node);
        return Some((Exit::Usage, text));
    }
    let Some(found) = view.groups.iter().find(|found| found.name == group) else {
        return Some((Exit::Usage, format!("there is no group {group}")));
    };
    let Some(member) = found.members.iter().find(|member| member.node == node) else {
        let text = format!("{group} has no copy on {node}: `hactl status` shows where it has");
        return Some((Exit::Usage, text));
    };
    if found.node == node {
        return Some((
            Exit::Refused,
            format!("{group} is promoted on {node}: its copy is the one that counts"),
        ));
    }
    if found.node.is_empty() || found.state != "running" {
        let text = format!(
            "{group} runs nowhere: there is nothing to fetch, and the copy on {node} may be the last"
        );
        return Some((Exit::Refused, text));
    }
    member.in_sync.then(|| {
        let text = format!(
            "the copy of {group} on {node} is whole, and the cluster counts on it: nothing is replaced"
        );
        (Exit::Refused, text)
    })
}

fn member<'a>(view: &'a StatusView, args: &SeedArgs) -> Option<&'a MemberView> {
    let group = view.groups.iter().find(|group| group.name == args.group)?;
    group.members.iter().find(|member| member.node == args.node)
}

/// The wish; taken back when it was not taken up.
struct Wish(PathBuf);

impl Drop for Wish {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn wish(args: &SeedArgs) -> anyhow::Result<Wish> {
    let path = seed_request(&args.state_dir, &args.group);
    let _ = std::fs::remove_file(seed_refusal(&args.state_dir, &args.group));
    let made = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.flush());
    made.map_err(|error| {
        let text = format!("{} cannot be written: {error}", path.display());
        Failure::new(Exit::Failed, text).hint("run it as root, on a node where had-agentd runs")
    })?;
    Ok(Wish(path))
}

fn refused(path: &Path) -> Option<Failure> {
    let text = std::fs::read_to_string(path).ok()?;
    let _ = std::fs::remove_file(path);
    Some(Failure::new(Exit::Refused, clean(&text)))
}

fn seed(had: &Endpoint, args: &SeedArgs, ui: &Ui) -> anyhow::Result<()> {
    let view = had.status()?;
    let (group, node) = (&args.group, &args.node);
    if let Some((exit, text)) = refusal(&view, group, node) {
        return Err(Failure::new(exit, text).into());
    }
    if !args.yes {
        let position = member(&view, args)
            .map(|member| clean(&member.position))
            .unwrap_or_default();
        let warning = format!("The data of {group} on {node} (at {position}) is replaced by the primary's.");
        ask_for_name(
            node,
            &warning,
            &format!("hactl mysqld seed {group} {node} --yes"),
            ui,
        )?;
    }
    let wish = wish(args)?;
    let answer = seed_refusal(&args.state_dir, group);
    let mut progress = ui.progress();
    let begun = Instant::now();
    while wish.0.exists() {
        if begun.elapsed() > TAKEN_LIMIT {
            let text = format!("the agent of {group} on {node} did not take it up; nothing was begun");
            return Err(Failure::new(Exit::Failed, text).hint("hactl status").into());
        }
        progress.show("waiting for the agent to ask the primary");
        std::thread::sleep(LOOK);
    }
    let mut heard = Instant::now();
    loop {
        if let Some(failure) = refused(&answer) {
            return Err(failure.into());
        }
        if args.no_wait {
            return Ok(ui.line(format_args!(
                "{group} on {node} is fetched anew; `hactl status` shows how far it is"
            ))?);
        }
        match had.status() {
            Ok(view) => match member(&view, args) {
                Some(member) if member.in_sync => {
                    return Ok(ui.line(format_args!("the copy of {group} on {node} is whole"))?);
                }
                Some(member) => {
                    heard = Instant::now();
                    let doing = [&member.obstacle, &member.detail]
                        .into_iter()
                        .find(|text| !text.is_empty());
                    progress.show(&doing.map_or_else(|| member.state.clone(), |text| clean(text)));
                }
                // A `had` that was just started may not know it yet.
                None if heard.elapsed() > AWAY_LIMIT => {
                    let text = format!("{group} has no copy on {node} any more");
                    return Err(Failure::new(Exit::Failed, text).hint("hactl status").into());
                }
                None => {}
            },
            Err(error) if heard.elapsed() > AWAY_LIMIT => return Err(error),
            Err(_) => {}
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use holdfast_proto::control::GroupView;

    use super::*;

    fn view(primary: &str, in_sync: bool) -> StatusView {
        let member = |node: &str, in_sync| MemberView {
            node: node.into(),
            in_sync,
            ..MemberView::default()
        };
        StatusView {
            node: "db2".into(),
            groups: vec![GroupView {
                name: "shop".into(),
                node: primary.into(),
                state: "running".into(),
                members: vec![member("db1", true), member("db2", in_sync)],
                ..GroupView::default()
            }],
            ..StatusView::default()
        }
    }

    #[test]
    fn only_a_copy_that_nobody_counts_on_is_replaced() {
        let why =
            |view: &StatusView, group: &str, node: &str| refusal(view, group, node).map(|(_, text)| text);
        assert_eq!(why(&view("db1", false), "shop", "db2"), None);
        assert!(
            why(&view("db1", true), "shop", "db2")
                .unwrap()
                .contains("counts on it")
        );
        assert!(
            why(&view("db2", true), "shop", "db2")
                .unwrap()
                .contains("promoted on db2")
        );
        assert!(
            why(&view("", false), "shop", "db2")
                .unwrap()
                .contains("runs nowhere")
        );
        assert!(
            why(&view("db1", false), "shop", "db1")
                .unwrap()
                .contains("run it on db1")
        );
        assert!(
            why(&view("db1", false), "toys", "db2")
                .unwrap()
                .contains("no group")
        );
    }

    #[test]
    fn what_the_agent_says_against_it_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = seed_refusal(folder.path(), "shop");
        std::fs::write(&path, "no room").unwrap();
        assert!(refused(&path).is_some());
        assert!(refused(&path).is_none());
    }
}

//! `hactl drill`: fences the passive node for real and measures it.

use std::time::Duration;

use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{NodeRequest, NodeView, StatusView};
use jiff::Zoned;

use super::fence::ask_for_name;
use super::wait::{Step, Track, carry_out};
use super::{fence, fence_test};
use crate::cli::{DrillArgs, Wait, Window};
use crate::client::Endpoint;
use crate::outcome::{Exit, Failure};
use crate::ui::Ui;
use crate::ui::text::{clean, span_ms};

/// Longest sleep while waiting for the window: the clock may be set meanwhile.
const LOOK: Duration = Duration::from_secs(30);

/// Runs the command.
///
/// # Errors
/// When the cluster is not well or refuses, the node cannot be fenced, or does not come back in time.
pub fn run(had: &Endpoint, args: &DrillArgs, ui: &Ui) -> anyhow::Result<()> {
    let node = args.node.as_str();
    if !args.yes {
        ask_for_name(
            node,
            &format!("{node} loses power now, without warning, to see that fencing works."),
            &format!("hactl drill {node} --yes"),
            ui,
        )?;
    }
    if let Some(window) = &args.window {
        await_window(window, ui);
    }
    let before = had.status()?;
    if before.health != "ok" {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "a drill is for a cluster in which all is well: {}",
                clean(&before.summary)
            ),
        )
        .into());
    }
    fence_test::demand(had, node, ui)?;
    let request = Request::Drill(NodeRequest {
        node: node.into(),
        ..NodeRequest::default()
    });
    let wait = Wait {
        timeout: args.timeout,
        no_wait: false,
    };
    let groups = |view: &StatusView| view.groups.iter().map(|group| group.name.clone()).collect();
    carry_out(had, request, &wait, ui, groups, |track, view| {
        judge(node, track, view)
    })
}

fn await_window(window: &Window, ui: &Ui) {
    let mut progress = ui.progress();
    loop {
        let wait = window.opens_in(&Zoned::now());
        if wait.is_zero() {
            return;
        }
        progress.show(&format!(
            "waiting for the window, {} min",
            wait.as_secs().div_ceil(60)
        ));
        std::thread::sleep(wait.min(LOOK));
    }
}

fn judge(node: &str, track: &Track, view: &StatusView) -> Step {
    let Some(now) = view.nodes.iter().find(|one| one.name == node) else {
        return Step::Failed(format!("{node} is not a member any more"));
    };
    if let Some(group) = track.groups().find(|group| track.was_away(group)) {
        return Step::Failed(format!(
            "{group} did not run all the time, though it was not on {node}: hactl why {group}"
        ));
    }
    let proven = fence::is_fenced(track, now, node);
    if proven {
        track.measure("proven_off");
    }
    if track.measured("proven_off").is_none() {
        return Step::Waiting(waiting(now));
    }
    if now.state == "online" {
        track.measure("heard_again");
    }
    if view.health != "ok" {
        return Step::Waiting(format!("{node} was proven off; {}", view.summary));
    }
    track.measure("whole_again");
    let after = |what: &str| {
        let span = track.measured(what).unwrap_or_default();
        span_ms(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    };
    Step::Done(format!(
        "{node} was proven off after {}, heard again after {}, and all was well after {}",
        after("proven_off"),
        after("heard_again"),
        after("whole_again")
    ))
}

fn waiting(node: &NodeView) -> String {
    let detail = match node.detail.as_str() {
        "" => String::new(),
        detail => format!(": {detail}"),
    };
    format!("{} is {}{detail}", node.name, node.state)
}

//! Commands that change where groups are and whether they run.

use std::time::Duration;

use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{MoveRequest, NodeRequest, ResourceRequest, StatusView, Switch};

use super::wait::{Step, Track, ask_and_tell, carry_out, group_in, waiting_for};
use crate::cli::{OnOff, ResourceCommand, Wait};
use crate::client::Endpoint;
use crate::outcome::{Exit, Failure};
use crate::ui::Ui;

/// A group that runs on after a restart was agreed, and was not seen away for this long, was restarted too
/// quickly to be seen.
const UNSEEN: Duration = Duration::from_secs(2);
/// A group that runs nowhere for this long has nowhere to go.
const NOWHERE: Duration = Duration::from_secs(3);

/// `hactl move` and `hactl failover`.
///
/// # Errors
/// When the cluster refuses, the group ends up elsewhere, or the time is over.
pub fn move_group(
    had: &Endpoint,
    group: &str,
    (to, accept_loss): (Option<&str>, bool),
    wait: &Wait,
    ui: &Ui,
) -> anyhow::Result<()> {
    let request = Request::Move(MoveRequest {
        accept_loss,
        group: group.into(),
        to: to.unwrap_or_default().into(),
    });
    carry_out(
        had,
        request,
        wait,
        ui,
        |_| vec![group.into()],
        |track, view| moved(track, view, group, to),
    )
}

/// Whether the group has arrived.
fn moved(track: &Track, view: &StatusView, name: &str, to: Option<&str>) -> Step {
    let Some(group) = group_in(view, name) else {
        return Step::Failed(format!("{name} is no longer part of the configuration"));
    };
    let (was_on, old_epoch) = track
        .group_before(name)
        .map_or(("", 0), |before| (before.node.as_str(), before.epoch));
    let arrived = to.map_or(group.node != was_on, |to| group.node == to);
    match group.state.as_str() {
        "running" if arrived => Step::Done(String::new()),
        "running" if group.epoch != old_epoch && track.was_away(name) => {
            Step::Failed(format!("{name} runs on {} instead: {}", group.node, group.reason))
        }
        "failed" if group.node.is_empty() => Step::Failed(format!("{name} failed: {}", group.reason)),
        "stopped" if group.epoch != old_epoch && group.node.is_empty() && group.disabled => {
            Step::Failed(format!("{name} is stopped: {}", group.reason))
        }
        _ => waiting_for(group),
    }
}

/// `hactl standby`.
///
/// # Errors
/// When the cluster refuses or the time is over.
pub fn standby(had: &Endpoint, node: &str, wait: &Wait, ui: &Ui) -> anyhow::Result<()> {
    let request = Request::Standby(NodeRequest {
        node: node.into(),
        on: true,
        reason: String::new(),
    });
    carry_out(
        had,
        request,
        wait,
        ui,
        |before| groups_on(before, node),
        |track, view| {
            if let Some(group) = view.groups.iter().find(|group| group.node == node) {
                return waiting_for(group);
            }
            settled_elsewhere(track, view, format!("{node} is in standby"))
        },
    )
}

/// Names of the groups on `node`.
#[must_use]
pub fn groups_on(view: &StatusView, node: &str) -> Vec<String> {
    view.groups
        .iter()
        .filter(|group| group.node == node)
        .map(|group| group.name.clone())
        .collect()
}

/// Done with `text` once each group followed either runs or has nowhere to go.
pub fn settled_elsewhere(track: &Track, view: &StatusView, text: String) -> Step {
    let on_its_way = |name: &str| {
        group_in(view, name).filter(|group| match group.state.as_str() {
            "running" | "stopped" => false,
            "failed" => !group.node.is_empty(),
            "waiting" => track.steady(name) < NOWHERE,
            _ => true,
        })
    };
    track
        .groups()
        .find_map(on_its_way)
        .map_or(Step::Done(text), waiting_for)
}

/// `hactl online`.
///
/// # Errors
/// When the cluster refuses or the time is over.
pub fn online(had: &Endpoint, node: &str, wait: &Wait, ui: &Ui) -> anyhow::Result<()> {
    let request = Request::Standby(NodeRequest {
        node: node.into(),
        on: false,
        reason: String::new(),
    });
    carry_out(
        had,
        request,
        wait,
        ui,
        |_| Vec::new(),
        |_, view| match view.nodes.iter().find(|known| known.name == node) {
            None => Step::Failed(format!("{node} is not a member any more")),
            Some(known) if known.state == "standby" => Step::Waiting(format!("{node} is still in standby")),
            Some(known) if known.state == "online" => Step::Done(format!(
                "{node} is online; groups stay where they are until moved"
            )),
            Some(known) => Step::Done(format!("{node} is out of standby, and {}", known.state)),
        },
    )
}

/// `hactl maintenance`.
///
/// # Errors
/// When the cluster refuses.
pub fn maintenance(had: &Endpoint, switch: OnOff, ui: &Ui) -> anyhow::Result<()> {
    ask_and_tell(
        had,
        Request::Maintenance(Switch {
            on: switch == OnOff::On,
        }),
        ui,
    )
}

/// `hactl resource`.
///
/// # Errors
/// When the cluster refuses, the group fails, or the time is over.
pub fn resource(had: &Endpoint, command: ResourceCommand, ui: &Ui) -> anyhow::Result<()> {
    match command {
        ResourceCommand::Restart { target, wait } => {
            let (group, resource) = target.split_once('/').unwrap_or((target.as_str(), ""));
            restart(had, group, resource, &wait, ui)
        }
        ResourceCommand::Cleanup { group } => {
            let group = group.as_deref().unwrap_or_default();
            whole_group(group, "cleanup")?;
            ask_and_tell(had, resource_request("cleanup", group, ""), ui)
        }
        ResourceCommand::Disable { group, wait } => {
            whole_group(&group, "disable")?;
            let request = resource_request("disable", &group, "");
            carry_out(
                had,
                request,
                &wait,
                ui,
                |_| Vec::new(),
                |_, view| match group_in(view, &group) {
                    None => Step::Failed(format!("{group} is no longer part of the configuration")),
                    Some(seen) if seen.disabled && seen.node.is_empty() => Step::Done(format!(
                        "{group} is stopped, and stays so until: hactl resource enable {group}"
                    )),
                    Some(seen) => waiting_for(seen),
                },
            )
        }
        ResourceCommand::Enable { group, wait } => {
            whole_group(&group, "enable")?;
            let request = resource_request("enable", &group, "");
            carry_out(
                had,
                request,
                &wait,
                ui,
                |_| vec![group.clone()],
                |_, view| match group_in(view, &group) {
                    None => Step::Failed(format!("{group} is no longer part of the configuration")),
                    Some(seen) if seen.disabled => waiting_for(seen),
                    Some(seen) if seen.state == "running" => Step::Done(String::new()),
                    Some(seen) if seen.state == "failed" && seen.node.is_empty() => {
                        Step::Failed(format!("{group} failed: {}", seen.reason))
                    }
                    Some(seen) => waiting_for(seen),
                },
            )
        }
    }
}

fn resource_request(action: &str, group: &str, resource: &str) -> Request {
    Request::Resource(ResourceRequest {
        action: action.into(),
        group: group.into(),
        resource: resource.into(),
    })
}

/// Refuses GROUP/RESOURCE where only a group makes sense.
fn whole_group(target: &str, action: &str) -> anyhow::Result<()> {
    match target.split_once('/') {
        Some((group, _)) => Err(Failure::new(
            Exit::Usage,
            format!("{action} is for whole groups, not for {target}"),
        )
        .hint(format!("hactl resource {action} {group}"))
        .into()),
        None => Ok(()),
    }
}

fn restart(had: &Endpoint, group: &str, resource: &str, wait: &Wait, ui: &Ui) -> anyhow::Result<()> {
    let request = resource_request("restart", group, resource);
    carry_out(
        had,
        request,
        wait,
        ui,
        |_| vec![group.into()],
        |track, view| {
            let Some(seen) = group_in(view, group) else {
                return Step::Failed(format!("{group} is no longer part of the configuration"));
            };
            let changed = track.group_before(group).is_none_or(|before| {
                before.epoch != seen.epoch || before.last_outage_ms != seen.last_outage_ms
            });
            match seen.state.as_str() {
                "running" if changed || track.was_away(group) => Step::Done(String::new()),
                "running" if track.elapsed() > UNSEEN => {
                    Step::Done("restarted; it was not seen away from this node".into())
                }
                "running" => Step::Waiting(format!("{group} is about to restart")),
                "failed" if seen.node.is_empty() => Step::Failed(format!("{group} failed: {}", seen.reason)),
                _ => waiting_for(seen),
            }
        },
    )
}

//! `hactl fence`, what is below it, and `hactl quorum force`.

use std::io::{self, BufRead, IsTerminal, Write};

use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{NodeRequest, NodeView, StatusView, TokenRequest};
use serde::Serialize;

use super::act::{groups_on, settled_elsewhere};
use super::wait::{Step, Track, ask_and_tell, carry_out};
use crate::cli::{FenceArgs, FenceCommand, QuorumCommand, Wait};
use crate::client::Endpoint;
use crate::outcome::{Exit, Failure};
use crate::ui::Ui;
use crate::ui::text::clean;

/// Longest answer read from the operator.
const ANSWER_BYTES_MAX: u64 = 256;

/// Runs `hactl fence`.
///
/// # Errors
/// When the cluster refuses, the node cannot be fenced, or the time is over.
pub fn run(had: &Endpoint, args: FenceArgs, ui: &Ui) -> anyhow::Result<()> {
    match (args.command, args.node) {
        (Some(FenceCommand::Test { node }), _) => super::fence_test::run(had, &node, ui),
        (Some(FenceCommand::History { node, last }), _) => {
            super::fence_history::run(had, node.as_deref().unwrap_or_default(), last, ui)
        }
        (Some(FenceCommand::Confirm { node, reason, yes }), _) => confirm(had, &node, reason, yes, ui),
        (None, Some(node)) => fence(had, &node, &args.wait, ui),
        (None, None) => Err(Failure::new(Exit::Usage, "which node? hactl fence NODE").into()),
    }
}

fn node_in<'a>(view: &'a StatusView, name: &str) -> Option<&'a NodeView> {
    view.nodes.iter().find(|node| node.name == name)
}

fn fence(had: &Endpoint, node: &str, wait: &Wait, ui: &Ui) -> anyhow::Result<()> {
    let request = Request::Fence(NodeRequest {
        node: node.into(),
        on: true,
        reason: String::new(),
    });
    let mut proved = false;
    carry_out(
        had,
        request,
        wait,
        ui,
        |before| groups_on(before, node),
        |track, view| {
            let Some(now) = node_in(view, node) else {
                return Step::Failed(format!("{node} is not a member any more"));
            };
            proved |= is_fenced(track, now, node);
            if !proved {
                let detail = if now.detail.is_empty() {
                    String::new()
                } else {
                    format!(": {}", now.detail)
                };
                return Step::Waiting(format!("{node} is {}{detail}", now.state));
            }
            if let Some(group) = view
                .groups
                .iter()
                .find(|group| group.node == node && now.state != "online")
            {
                return super::wait::waiting_for(group);
            }
            settled_elsewhere(track, view, format!("{node} was fenced"))
        },
    )
}

/// True once the node is proven off, or was heard again from a new boot.
pub fn is_fenced(track: &Track, now: &NodeView, node: &str) -> bool {
    let old_boot = node_in(&track.before, node).map_or("", |before| before.boot.as_str());
    let rebooted = !old_boot.is_empty() && !now.boot.is_empty() && now.boot != old_boot;
    now.state == "fenced" || rebooted
}

/// The operator's word, typed out: it can cost data if it is wrong.
fn confirm(had: &Endpoint, node: &str, reason: Option<String>, yes: bool, ui: &Ui) -> anyhow::Result<()> {
    let reason = if yes {
        reason.unwrap_or_default()
    } else {
        ask_for_word(node, reason, ui)?
    };
    let request = Request::FenceConfirm(NodeRequest {
        node: node.into(),
        on: true,
        reason,
    });
    ask_and_tell(had, request, ui)
}

/// Asks for the node's name, and for the reason if none was given; returns the reason.
fn ask_for_word(node: &str, reason: Option<String>, ui: &Ui) -> anyhow::Result<String> {
    let warning = format!(
        "you are about to vouch that {node} is powered off or unplugged.\n\
         Its groups then start elsewhere. If {node} still runs, both write to the same data and data is lost.\n\
         Your word is recorded with your name."
    );
    let without = format!("hactl fence confirm {node} --reason \"how you know\" --yes");
    ask_for_name(node, &warning, &without, ui)?;
    match reason {
        Some(reason) => Ok(reason),
        None => ask("How do you know? "),
    }
}

/// Has the node's name typed after `warning`; `without` is the command for when nobody can be asked.
///
/// # Errors
/// When nobody is there to be asked, or something else was typed.
pub fn ask_for_name(node: &str, warning: &str, without: &str, ui: &Ui) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        let message = format!("nobody is there to be asked about {node}");
        return Err(Failure::new(Exit::Usage, message)
            .hint(format!("if you are certain: {without}"))
            .into());
    }
    ui.warn(warning);
    if ask("Type the node's name to go on: ")? == node {
        return Ok(());
    }
    let message = format!("that was not `{node}`: nothing was changed");
    Err(Failure::new(Exit::Refused, message).into())
}

fn ask(question: &str) -> anyhow::Result<String> {
    let mut err = io::stderr().lock();
    write!(err, "{question}").and_then(|()| err.flush())?;
    let mut answer = String::new();
    io::Read::take(io::stdin().lock(), ANSWER_BYTES_MAX).read_line(&mut answer)?;
    Ok(answer.trim().to_string())
}

/// What `quorum force` found, for JSON.
#[derive(Serialize)]
struct ForceJson<'a> {
    ok: bool,
    forced: bool,
    text: &'a str,
}

/// `hactl quorum`.
///
/// # Errors
/// When the cluster refuses.
pub fn quorum(had: &Endpoint, command: QuorumCommand, ui: &Ui) -> anyhow::Result<()> {
    let QuorumCommand::Force { token, token_option } = command;
    let token = token.or(token_option);
    let forced = token.is_some();
    let token = token.unwrap_or_default();
    let answer = had.ask(Request::QuorumForce(TokenRequest {
        token: token.trim().into(),
    }))?;
    if ui.json() {
        ui.document(&ForceJson {
            ok: true,
            forced,
            text: &answer,
        })?;
        return Ok(());
    }
    ui.line(clean(&answer))?;
    Ok(())
}

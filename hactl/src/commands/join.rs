//! `hactl cluster join` and `hactl cluster token`.

use std::io::{self, BufRead, IsTerminal, Read};
use std::time::Duration;

use holdfast_proto::config::parse;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{JoinTokenRequest, StatusView};
use holdfast_proto::ids::NodeId;
use serde::Serialize;

use super::bootstrap::{Host, start_units, wait_for_had};
use super::config::read;
use crate::cli::{JoinArgs, Wait};
use crate::client::Endpoint;
use crate::outcome::{Exit, Failure};
use crate::ui::text::clean;
use crate::ui::{Progress, Tone, Ui};

/// Longest token read.
const TOKEN_BYTES_MAX: u64 = 4096;

/// The JSON document of `cluster token`.
#[derive(Serialize)]
struct TokenJson<'a> {
    ok: bool,
    token: &'a str,
    witness: bool,
}

/// Runs `hactl cluster token`. The token alone goes to standard output, so that it can be piped.
///
/// # Errors
/// When `had` refuses.
pub fn token(had: &Endpoint, witness: bool, ui: &Ui) -> anyhow::Result<()> {
    let token = had.ask(Request::JoinToken(JoinTokenRequest { witness }))?;
    let token = token.trim();
    if ui.json() {
        ui.document(&TokenJson {
            ok: true,
            token,
            witness,
        })?;
        return Ok(());
    }
    ui.line(clean(token))?;
    if ui.is_terminal() {
        let option = if witness { " --witness" } else { "" };
        ui.note(format_args!(
            "Good for one join within one hour: hactl cluster join{option} TOKEN"
        ));
    }
    Ok(())
}

/// The JSON document of `cluster join`.
#[derive(Serialize)]
struct JoinJson<'a> {
    ok: bool,
    outcome: &'a str,
    node: &'a str,
    started: bool,
}

/// Runs `hactl cluster join`.
///
/// # Errors
/// When this machine is a member already, the cluster refuses, or the time is over.
pub fn run(had: &Endpoint, args: &JoinArgs, ui: &Ui) -> anyhow::Result<()> {
    let name = if args.witness {
        Some(args.node.as_deref().unwrap_or("witness"))
    } else {
        args.node.as_deref()
    };
    let host = Host::new(&args.places, name)?;
    host.refuse_if_member()?;
    let token = read_token(&args.token, ui)?;
    host.prepare()?;
    let mut progress = ui.progress();
    progress.show("asking the cluster");
    let mut outcome = ask(&host, args, &token)?;
    let start = !args.places.no_start;
    if start {
        progress.show("starting the daemons");
        start_units(is_witness(&host)?)?;
        outcome = bring_in(had, &host, &args.wait, &mut progress)?;
    }
    drop(progress);
    if ui.json() {
        ui.document(&JoinJson {
            ok: true,
            outcome: &outcome,
            node: &host.node,
            started: start,
        })?;
        return Ok(());
    }
    ui.line(format_args!("{} {outcome}", ui.paint().tone(Tone::Good, "done:")))?;
    if start {
        ui.line("next: hactl status")?;
    } else {
        ui.line("next: start the daemons, then hactl status")?;
    }
    Ok(())
}

/// Hands the token to `had join`, which asks the cluster and writes the configuration. Returns what it said.
fn ask(host: &Host, args: &JoinArgs, token: &str) -> anyhow::Result<String> {
    let links: Vec<String> = args.links.iter().map(ToString::to_string).collect();
    let links = links.join(",");
    let mut words = vec!["join"];
    if args.witness {
        words.push("--witness");
    }
    if !links.is_empty() {
        words.extend(["--links", &links]);
    }
    let said = host.had(&words, &format!("{token}\n"))?;
    host.open_config()?;
    if !host.node_name_written() {
        host.write_node_name()?;
    }
    Ok(clean(&said))
}

/// Waits, if wanted, until the cluster has taken this machine in. Returns how it stands.
fn bring_in(had: &Endpoint, host: &Host, wait: &Wait, progress: &mut Progress) -> anyhow::Result<String> {
    if wait.no_wait {
        return Ok(format!(
            "{} is configured and started; the cluster takes it in by itself",
            host.node
        ));
    }
    let longest = Duration::from_secs(wait.timeout);
    let view = wait_for_had(had, longest, progress, |view| taken_in(view, &host.node))?;
    Ok(format!(
        "{} is a member of {}: {}",
        host.node, view.cluster, view.summary
    ))
}

/// Whether the cluster took this machine in as its witness: the configuration says so, which `had join` wrote.
fn is_witness(host: &Host) -> anyhow::Result<bool> {
    let valid = parse(&read(&host.config)?, &host.config.display().to_string())
        .map_err(|errors| Failure::new(Exit::InvalidConfig, errors.render(false)))?;
    Ok(valid.node_by_name(&host.node).is_some_and(NodeId::is_witness))
}

/// Whether `node` votes and knows the committed state.
fn taken_in(view: &StatusView, node: &str) -> Result<(), String> {
    let Some(ours) = view.nodes.iter().find(|known| known.name == node) else {
        return Err(format!("the cluster to name {node} as a member"));
    };
    match (ours.synced, ours.voter) {
        (true, true) => Ok(()),
        (false, _) if !ours.detail.is_empty() => Err(format!("{node} to catch up: {}", ours.detail)),
        (false, _) => Err(format!("{node} to catch up with the cluster's state")),
        (true, false) => Err(format!("the cluster to give {node} a vote")),
    }
}

/// The token from the command line, or from standard input.
fn read_token(given: &str, ui: &Ui) -> anyhow::Result<String> {
    let mut token = given.to_string();
    if given == "-" {
        if io::stdin().is_terminal() {
            ui.note("Paste the token from `hactl cluster token`, then Enter:");
        }
        token.clear();
        io::stdin().lock().take(TOKEN_BYTES_MAX).read_line(&mut token)?;
    }
    let token = token.trim();
    if token.is_empty() {
        return Err(Failure::new(Exit::Usage, "there is no token")
            .hint("on a node of the cluster: hactl cluster token")
            .into());
    }
    Ok(token.to_string())
}

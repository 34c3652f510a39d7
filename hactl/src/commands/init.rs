//! `hactl cluster init`: this machine becomes the first node of a new cluster.

use std::time::Duration;

use clap::ValueEnum;
use holdfast_proto::config;
use holdfast_proto::control::JoinTokenRequest;
use holdfast_proto::control::control_request::Body as Request;
use serde::Serialize;

use super::bootstrap::{Host, random_id, start_units, wait_for_had};
use super::config::read;
use super::template::{Seed, completed, new_config};
use crate::cli::InitArgs;
use crate::client::Endpoint;
use crate::outcome::{Exit, Failure};
use crate::ui::{Tone, Ui};

/// Longest time for the new cluster to have a leader.
const START: Duration = Duration::from_secs(30);

/// The JSON document.
#[derive(Serialize)]
struct InitJson<'a> {
    ok: bool,
    cluster: &'a str,
    node: &'a str,
    config: String,
    started: bool,
    /// The join token for the second node; absent with `--no-start`.
    token: Option<&'a str>,
}

/// Runs the command.
///
/// # Errors
/// When there is a cluster already, something is missing, or a step fails.
pub fn run(had: &Endpoint, args: &InitArgs, ui: &Ui) -> anyhow::Result<()> {
    let host = Host::new(&args.places, args.node.as_deref())?;
    host.refuse_if_member()?;
    check_args(args)?;
    host.prepare()?;
    let mut progress = ui.progress();
    progress.show("making the node's key");
    let pin = key_pin(&host)?;
    let text = config_text(args, &host, &pin)?;
    let valid = config::parse(&text, &host.config.display().to_string()).map_err(|errors| {
        Failure::new(
            Exit::InvalidConfig,
            format!(
                "this would not be a valid configuration:\n{}",
                errors.render(false)
            ),
        )
    })?;
    progress.show("writing the configuration and the first state");
    host.write(&host.config, &text)?;
    host.write_node_name()?;
    if let Err(error) = host.had(&["init"], "") {
        // Half a cluster would be in the way of the next attempt.
        let _ = std::fs::remove_file(&host.config);
        return Err(error);
    }
    let token = if args.places.no_start {
        None
    } else {
        Some(start(had, &mut progress)?)
    };
    drop(progress);
    if ui.json() {
        let config = host.config.display().to_string();
        let (cluster, node) = (valid.cluster.name.as_str(), host.node.as_str());
        let started = token.is_some();
        ui.document(&InitJson {
            ok: true,
            cluster,
            node,
            config,
            started,
            token: token.as_deref(),
        })?;
        return Ok(());
    }
    tell(ui, &valid.cluster.name, &host, token.as_deref())
}

/// What can be refused before anything is written.
fn check_args(args: &InitArgs) -> anyhow::Result<()> {
    let missing = match args.config {
        Some(_) => None,
        None if args.name.is_none() => Some("--name NAME, the cluster's name"),
        None if args.links.is_empty() => Some("--links ADDRESS,..., this node's addresses"),
        None => None,
    };
    match missing {
        Some(missing) => Err(Failure::new(Exit::Usage, format!("needed: {missing}"))
            .hint("example: hactl cluster init --name shop-db --node db1 --links 10.0.0.1,192.168.7.1")
            .into()),
        None => Ok(()),
    }
}

/// The pin of this node's key, which `had keygen` makes if there is none.
fn key_pin(host: &Host) -> anyhow::Result<String> {
    let said = host.had(&["keygen"], "")?;
    let is_pin = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let pin = said.split_whitespace().find(is_pin);
    pin.map(Into::into).ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            format!("had keygen printed no key pin but `{said}`"),
        )
        .hint("compare `hactl --version` with `had --version`")
        .into()
    })
}

fn config_text(args: &InitArgs, host: &Host, pin: &str) -> anyhow::Result<String> {
    let id = random_id()?;
    if let Some(file) = &args.config {
        return completed(&read(file)?, &id, &host.node, pin).map_err(|wrong| {
            Failure::new(Exit::InvalidConfig, format!("{}: {wrong}", file.display()))
                .hint(format!(
                    "see what is wrong with it: hactl config check {}",
                    file.display()
                ))
                .into()
        });
    }
    let profile = args.profile.to_possible_value();
    let seed = Seed {
        cluster: args.name.as_deref().unwrap_or_default(),
        id: &id,
        profile: profile.as_ref().map_or("balanced", |profile| profile.get_name()),
        node: &host.node,
        links: &args.links,
        pin,
    };
    Ok(new_config(&seed))
}

/// Starts the units, waits for a leader and makes a token for the second node.
fn start(had: &Endpoint, progress: &mut crate::ui::Progress) -> anyhow::Result<String> {
    progress.show("starting had-agentd and had");
    start_units(false)?;
    wait_for_had(had, START, progress, |view| {
        if view.leader.is_empty() {
            Err("a leader".into())
        } else {
            Ok(())
        }
    })?;
    let token = had.ask(Request::JoinToken(JoinTokenRequest { witness: false }))?;
    Ok(token.trim().to_string())
}

/// The outcome and the next step.
fn tell(ui: &Ui, cluster: &str, host: &Host, token: Option<&str>) -> anyhow::Result<()> {
    let paint = ui.paint();
    let done = paint.tone(Tone::Good, "done:");
    let at = host.config.display();
    let Some(token) = token else {
        ui.line(format_args!(
            "{done} cluster {cluster} is prepared, with {} as its first node ({at})",
            host.node
        ))?;
        ui.line(
            "next: start had-agentd and had, then `hactl cluster token` makes the token for the second node",
        )?;
        return Ok(());
    };
    ui.line(format_args!(
        "{done} cluster {cluster} runs, with {} as its first node ({at})",
        host.node
    ))?;
    ui.line("")?;
    ui.line("On the second node, within one hour:")?;
    ui.line(format_args!("  hactl cluster join {token}"))?;
    ui.line("For a witness, here:")?;
    ui.line("  hactl cluster token --witness")?;
    Ok(())
}

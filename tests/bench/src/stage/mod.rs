//! A stage: one cluster in namespaces of its own, which does what the bench tells it line by line.
//!
//! The stage is PID 1 of its PID namespace, so that its end, whatever causes it, is the end of everything on it. It
//! takes one JSON order per line from standard input and answers each with one JSON line; the end of its standard input
//! is the end of the stage.

mod commands;
mod files;
mod holdfast;
mod idle;
mod keepalived;
mod outage;
mod pacemaker;
mod peer;
mod silence;
mod team;

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc;

use anyhow::Context;
use holdfast_hactl::demo::{node, power, service, stage};

use crate::contender::{Contender, Manager};
use crate::order::Order;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::setsid;
use team::Team;

/// Does the part of the bench that `words` name: what follows `--internal`.
///
/// # Errors
/// When there is no such part, and when it fails.
pub fn internal(words: &[&str]) -> anyhow::Result<ExitCode> {
    match words {
        ["stage", contender, parent, bin] => open(contender, parent, Path::new(bin)),
        ["node", contender, name] => {
            let contender: Contender = contender.parse().map_err(anyhow::Error::msg)?;
            match contender.manager {
                Manager::Keepalived { .. } => keepalived::run(name),
                Manager::Pacemaker { .. } => pacemaker::run(name),
                Manager::Holdfast(_) => node::init(name, "data"),
            }
        }
        ["service"] => service::serve("builtin"),
        ["outlet"] => power::ask(None),
        ["hog"] => {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // The kernel shares CPU time between sessions first: each hog is one of its own, like a service in its cgroup.
            setsid()?;
            loop {
                std::hint::spin_loop();
            }
        }
        other => anyhow::bail!("`--internal {}` is no part of the bench", other.join(" ")),
    }
}

/// Enters the namespaces, sets the cluster up and obeys. `bin` is the folder of the programs that cargo built.
fn open(contender: &str, parent: &str, bin: &Path) -> anyhow::Result<ExitCode> {
    let contender: Contender = contender.parse().map_err(anyhow::Error::msg)?;
    stage::enter(parent, || {
        let orders = listen()?;
        let bench = std::env::current_exe().context("cannot tell where holdfast-bench itself is")?;
        stage::furnish(&[
            ("had", &bin.join("had")),
            ("had-agentd", &bin.join("had-agentd")),
            ("hactl", &bin.join("hactl")),
            ("holdfast-bench", &bench),
        ])?;
        if !contender.realtime {
            commands::forbid_realtime()?;
        }
        let team: Box<dyn Team> = match contender.manager {
            Manager::Holdfast(profile) => Box::new(holdfast::Holdfast::start(profile)?),
            Manager::Keepalived { .. } => Box::new(keepalived::Keepalived::start(contender)?),
            Manager::Pacemaker { .. } => Box::new(pacemaker::Pacemaker::start(contender)?),
        };
        for order in orders {
            let answer = commands::obey(&order, contender, team.as_ref());
            let line = match answer {
                Ok(value) => value,
                Err(error) => serde_json::json!({ "error": format!("{error:#}") }),
            };
            println!("{line}");
            std::io::stdout().flush()?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Reads orders on a thread of their own, so that the end of standard input ends the stage also while it works.
fn listen() -> anyhow::Result<mpsc::Receiver<Order>> {
    let (sender, orders) = mpsc::channel();
    std::thread::Builder::new().name("orders".into()).spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let order = serde_json::from_str(&line);
            if !order.is_ok_and(|order| sender.send(order).is_ok()) {
                break;
            }
        }
        std::process::exit(0)
    })?;
    Ok(orders)
}

//! `hactl demo`: a whole cluster on this machine, without root and without packages.
//!
//! Two nodes, a witness and a client live in namespaces of their own, joined by two virtual switches. `had` and
//! `had-agentd` are the real ones, and so are the address, the service, the QUIC links and the fencing: the demo
//! only plays the parts that are hardware elsewhere (switches, power outlets) and systemd (`node`).
//!
//! Everything runs below one process, PID 1 of a PID namespace of its own, and writes only to a tmpfs inside its
//! mount namespace. Whatever ends that process ends all of it and leaves nothing behind.
//!
//! Its machinery is public for `tests/bench`, which puts other cluster managers on the same stage.

mod binaries;
pub mod client;
pub mod clock;
pub mod cluster;
mod config;
pub mod control;
pub mod eyes;
pub mod fault;
mod figures;
pub mod link;
mod load;
pub mod netlink;
pub mod node;
pub mod outlet;
pub mod paths;
pub mod power;
mod report;
mod run;
pub mod service;
pub mod stage;
pub mod story;
pub mod switch;
pub mod sys;
pub mod truth;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::ui::Ui;

/// Options of `hactl demo`.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// What goes wrong. Without it: the active node loses power once, told as a story.
    #[arg(long, value_enum)]
    pub fault: Option<FaultChoice>,
    /// How often each fault is tried.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub runs: u32,
    /// Detection profile.
    #[arg(long, value_enum, default_value_t = Profile::Fast)]
    pub profile: Profile,
    /// What runs behind the virtual IP.
    #[arg(long, value_enum, default_value_t = Service::Builtin)]
    pub service: Service,
    /// Show every event of every node.
    #[arg(long, short)]
    pub verbose: bool,
    /// Print the measurements as JSON, and the progress on standard error: `--json`, which every command has.
    #[arg(skip)]
    pub json: bool,
    /// Copy the daemons' logs to this folder at the end.
    #[arg(long, value_name = "DIR", hide = true)]
    pub keep_logs: Option<PathBuf>,
    /// No fault, but this many processes that take all the CPU they get.
    #[arg(long, value_name = "N", hide = true, conflicts_with_all = ["fault", "idle"])]
    pub hogs: Option<u32>,
    /// How long the hogs run.
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span, default_value = "60s", hide = true)]
    pub hogs_for: Duration,
    /// No fault: measure memory and CPU of the daemons for this long.
    #[arg(long, value_name = "SPAN", value_parser = parse_span, hide = true, conflicts_with = "fault")]
    pub idle: Option<Duration>,
    /// A part of the demo started by the demo itself.
    #[arg(long, value_name = "ROLE", num_args = 1.., hide = true)]
    pub internal: Vec<String>,
}

/// `--fault`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FaultChoice {
    /// The active node loses power.
    Crash,
    /// The active node's links go dead in both directions; its power outlet can still be reached.
    Cut,
    /// The active node's links carry what it sends and nothing that it should receive.
    CutOneway,
    /// had on the active node is frozen.
    HangHad,
    /// had-agentd on the active node is frozen.
    HangAgentd,
    /// Both daemons on the active node are frozen.
    HangBoth,
    /// The same where nobody is fenced, because the group only requires a lease: the kernel alone silences the node. Not
    /// part of `all`, because it needs a group of its own kind.
    HangAll,
    /// had on the active node is killed.
    KillHad,
    /// The operator moves the group.
    Switchover,
    /// The virtual IP is deleted by hand.
    VipDeleted,
    /// The service is killed.
    ServiceDies,
    /// All of them but hang-all, one after the other.
    All,
}

/// `--profile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// A lease of 300 ms.
    Fast,
    /// A lease of 1 s.
    Balanced,
    /// A lease of 5 s.
    Wan,
}

impl Profile {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Profile::Fast => "fast",
            Profile::Balanced => "balanced",
            Profile::Wan => "wan",
        }
    }

    /// Its lease.
    #[must_use]
    pub fn lease(self) -> Duration {
        Duration::from_millis(match self {
            Profile::Fast => 300,
            Profile::Balanced => 1000,
            Profile::Wan => 5000,
        })
    }
}

/// `--service`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// A small TCP responder that is part of hactl.
    Builtin,
    /// redis-server, which has to be installed.
    Redis,
    /// Nothing: the virtual IP alone, asked by ICMP echo.
    None,
}

/// Runs `hactl demo`.
///
/// # Errors
/// When the demo cannot be set up on this machine; the message says what to do about it.
pub fn run(mut args: DemoArgs, ui: &Ui) -> anyhow::Result<ExitCode> {
    args.json = ui.json();
    let args = &args;
    anyhow::ensure!(
        args.fault != Some(FaultChoice::HangAll) || args.service == Service::Builtin,
        "hang-all asks the built-in service by UDP which node answers: leave --service out"
    );
    let words: Vec<&str> = args.internal.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => stage::open(args),
        ["stage", parent, had, agentd] => stage::perform(args, parent, had.as_ref(), agentd.as_ref()),
        ["node", name, role] => node::init(name, role),
        ["service", kind] => service::serve(kind),
        ["power", node] => power::ask(Some(node)),
        ["hog"] => load::hog(),
        other => anyhow::bail!("`--internal {}` is no part of the demo", other.join(" ")),
    }
}

/// Reads `60s`, `500ms`, `2m` or a number of seconds.
fn parse_span(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("`{text}` is not a span of time such as 60s"))?;
    match &text[digits.len()..] {
        "" | "s" => Ok(Duration::from_secs(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        unit => Err(format!("`{unit}` is not a unit of time: write s, ms or m")),
    }
}

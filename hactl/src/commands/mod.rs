//! What the commands do.

pub mod act;
pub mod bootstrap;
pub mod config;
pub mod drbd;
mod drill;
pub mod events;
pub mod fence;
mod fence_history;
pub mod fence_test;
mod galera;
mod guards;
pub mod init;
pub mod job;
pub mod join;
mod mysqld;
mod ocf;
pub mod sbd;
pub mod status;
pub mod template;
pub mod wait;
pub mod why;

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::cli::{Cli, ClusterCommand, Command};
use crate::client::Endpoint;
use crate::outcome::{Exit, Failure};
use crate::ui::Ui;

/// Runs the command.
///
/// # Errors
/// What went wrong, for [`crate::outcome::report`].
pub fn dispatch(cli: Cli, ui: &Ui) -> anyhow::Result<ExitCode> {
    let had = Endpoint::new(&cli.global.socket);
    match cli.command {
        Command::Status(args) => return status::run(&had, &args, ui).map(Into::into),
        Command::Demo(args) => return crate::demo::run(args, ui),
        Command::Cluster(ClusterCommand::Init(args)) => init::run(&had, &args, ui)?,
        Command::Cluster(ClusterCommand::Join(args)) => join::run(&had, &args, ui)?,
        Command::Cluster(ClusterCommand::Token { witness }) => join::token(&had, witness, ui)?,
        Command::Move(args) => {
            let target = (args.node.as_deref(), args.accept_loss);
            act::move_group(&had, &args.group, target, &args.wait, ui)?;
        }
        Command::Failover(args) => act::move_group(&had, &args.group, (None, false), &args.wait, ui)?,
        Command::Standby(args) => act::standby(&had, &args.node, &args.wait, ui)?,
        Command::Online(args) => act::online(&had, &args.node, &args.wait, ui)?,
        Command::Maintenance(args) => act::maintenance(&had, args.switch, ui)?,
        Command::Resource(command) => act::resource(&had, command, ui)?,
        Command::Fence(args) => fence::run(&had, args, ui)?,
        Command::Drill(args) => drill::run(&had, &args, ui)?,
        Command::Quorum(command) => fence::quorum(&had, command, ui)?,
        Command::Drbd(args) => return drbd::run(args, ui),
        Command::Galera(command) => galera::run(&had, command, ui)?,
        Command::Mysqld(command) => mysqld::run(&had, command, ui)?,
        Command::Job(command) => job::run(&had, command, ui)?,
        Command::Sbd(args) => sbd::run(args, ui)?,
        Command::Config(command) => config::run(&had, command, ui)?,
        Command::Why(args) => why::run(&had, &args.group, ui)?,
        Command::Events(args) => events::run(&had, &args, ui)?,
        Command::Completions { shell } => completions(shell)?,
        Command::Man { dir } => manual(&dir)?,
    }
    Ok(Exit::Ok.into())
}

/// Prints completions. Written to memory first: clap_complete panics when its writer fails.
fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hactl", &mut script);
    io::Write::write_all(&mut io::stdout().lock(), &script)?;
    Ok(())
}

/// Writes one manual page per command.
fn manual(dir: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), dir))
        .map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("manual pages cannot be written to {}: {error}", dir.display()),
            )
        })?;
    Ok(())
}

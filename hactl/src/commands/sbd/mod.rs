//! `hactl sbd`: works on the disks themselves, as root, with or without a cluster.

mod check;
mod create;
mod devices;
mod message;
mod show;
mod witness;

use std::path::Path;
use std::thread;

use holdfast_sbd::{Disk, Volume};

use crate::cli::{DiskArgs, SbdArgs, SbdCommand};
use crate::outcome::{Exit, Failure};
use crate::ui::Ui;
use crate::ui::text::{clean, one_line};
pub use check::warnings;
use devices::Disks;

/// Runs the command.
///
/// # Errors
/// When there is no disk, or too few of them do what was asked.
pub fn run(args: SbdArgs, ui: &Ui) -> anyhow::Result<()> {
    let disks = || devices::find(&args.disks);
    match args.command {
        SbdCommand::CreateWitness(create) => witness::run(&args.disks, &create, ui),
        SbdCommand::List => show::list(&disks()?, ui),
        SbdCommand::Dump => show::dump(&disks()?, ui),
        SbdCommand::Create(create) => create::run(&disks()?, &create, ui),
        SbdCommand::Allocate { node } => create::allocate(&disks()?, &node, ui),
        SbdCommand::Message(message) => message::run(&disks()?, &message, ui),
    }
}

/// What each disk gave, all asked side by side: one that is dead costs its timeout once.
fn each<T: Send>(
    disks: &Disks,
    work: impl Fn(&Path) -> holdfast_sbd::Result<T> + Sync,
) -> Vec<(String, Result<T, String>)> {
    let work = &work;
    let ask = |path: &Path| work(path).map_err(|error| one_line(&error.to_string()));
    thread::scope(|scope| {
        let asked: Vec<_> = disks
            .paths
            .iter()
            .map(|path| (path.display().to_string(), scope.spawn(move || ask(path))))
            .collect();
        asked
            .into_iter()
            .map(|(name, thread)| {
                let done = thread.join();
                (name, done.unwrap_or_else(|_| Err("its thread ended".to_string())))
            })
            .collect()
    })
}

fn open(disks: &Disks, path: &Path) -> holdfast_sbd::Result<Volume> {
    Volume::read(Disk::open(path, disks.io_timeout)?)
}

/// An error if a disk failed; what each said was shown before.
fn all_well<T>(found: &[(String, Result<T, String>)]) -> anyhow::Result<()> {
    if found.iter().all(|(_, done)| done.is_ok()) {
        return Ok(());
    }
    Err(Failure::already_printed(Exit::Failed).into())
}

fn warn_of_failures<T>(found: &[(String, Result<T, String>)], ui: &Ui) {
    for error in found.iter().filter_map(|(_, done)| done.as_ref().err()) {
        ui.complain(&clean(error), &[]);
    }
}

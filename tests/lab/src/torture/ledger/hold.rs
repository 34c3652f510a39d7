//! The holder: notes in the ledger of a data folder that this node opens it, then becomes the server that uses it.
//!
//! The server inherits the lock. So two servers on one data folder are seen even if the second one finds out by itself
//! and ends at once.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::Opened;

/// Becomes `program`, with the ledger of `dir` open and locked.
pub fn run(dir: &Path, program: &str, arguments: &[String]) -> Result<()> {
    let opened = Opened::begin(dir)?;
    fcntl(&opened.file, FcntlArg::F_SETFD(FdFlag::empty())).context("let the server inherit the ledger")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("could not run {program}"))
}

//! The Holdfast command line as a library, so that tests drive the same code as the program.
//!
//! - [`cli`]: commands, options and help. [`commands`]: one module per group of commands.
//! - [`client`]: the control socket of `had`. [`outcome`]: errors, exit codes and how they are printed.
//! - [`ui`]: colour, wrapping, progress. Output goes to standard output, everything else to standard error.
//! - [`demo`]: a whole cluster on one machine, without root.

pub mod cli;
pub mod client;
pub mod commands;
pub mod demo;
pub mod outcome;
pub mod ui;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::outcome::Exit;
use crate::ui::Ui;

/// Runs `hactl` with `args`, the first of which is the program's name.
pub fn run<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors. A closed pipe while printing them is not one either.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Ok.into()
            };
        }
    };
    let ui = Ui::from_env(cli.global.json);
    match commands::dispatch(cli, &ui) {
        Ok(code) => code,
        Err(error) => outcome::report(&error, &ui).into(),
    }
}

//! `had`, the Holdfast daemon. Everything is in the library.

use std::process::ExitCode;

use clap::Parser;
use holdfast_daemon::args::{Cli, Command};
use holdfast_daemon::{init, join, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match act(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("had: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(cli: &Cli) -> anyhow::Result<()> {
    match cli.command.as_ref().unwrap_or(&Command::Run) {
        Command::Run => run::run(&cli.places),
        Command::Init => {
            println!("{}", init::init(&cli.places)?);
            Ok(())
        }
        Command::Keygen => {
            println!("{}", init::keygen(&cli.places)?);
            Ok(())
        }
        Command::Join(args) => {
            println!("{}", join::join(&cli.places, args)?);
            Ok(())
        }
        Command::Version => {
            println!("had {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

//! The project's own commands: `cargo xtask test`, `sim`, `sabotage`, `lab`, `deb`, `licences`.

mod bench;
mod deb;
mod fuzz;
mod glibc;
mod leftovers;
mod licences;
mod model;
mod packages;
mod run;
mod sabotage;
mod spdx;
mod tally;
mod tiers;
mod torture;
mod unpacked;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Holdfast's own commands",
    disable_help_subcommand = true
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the tests need and run them: every tier, or those named.
    Test {
        /// Tiers to run, in the order given.
        #[arg(value_enum)]
        tiers: Vec<tiers::Tier>,
    },
    /// Run the simulator: --seeds N [--seed FIRST] [--trace] [--json].
    Sim {
        /// Passed to the simulator as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Explore small clusters exhaustively: [--deep] [--config NAME] [--max-states N] [--story] [--json].
    Model {
        /// Passed to the model checker as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Put bugs back on purpose, in a copy outside the tree, and see that each is caught: all, or those whose names begin so.
    Sabotage {
        /// Names, or their beginnings.
        names: Vec<String>,
        /// Only name them and what each drops.
        #[arg(long)]
        list: bool,
    },
    /// Put faults into the decision core, all in one build, and see that tests notice each: [FILES...] [--seeds N] [--json].
    Mutants {
        /// Passed on as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Feed every decoder and parser, and the decision core, with what a fuzzer thinks up.
    Fuzz(fuzz::Options),
    /// Run scenarios on real systemd nodes; all of them, or those named.
    Lab {
        /// Passed to the lab as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run scenarios on two virtual machines with watchdogs and management boards: [SCENARIO…] [--list] [--json].
    Vm {
        /// Passed to the machines' harness as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measure outages beside keepalived and Pacemaker, idle cost, decisions: [PART…] [--runs N] [--quick] [--json FILE].
    Bench {
        /// Passed to the bench as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run real OCF agents under Holdfast and under Pacemaker's executor, and compare: [--only PART] [--verbose] [--markdown].
    Ocf {
        /// Passed on as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Torment a cluster of real systemd nodes: [--minutes M] [--seed S] [--no-witness] [--json] [--keep DIR].
    #[command(after_help = "Examples:\n  cargo xtask torture --minutes 30 --seed 7\n  \
                            cargo xtask torture --minutes 5 --seed 7 --no-witness --json")]
    Torture {
        /// Passed to the lab as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Count failovers of a service under a client's writes, on real systemd nodes: SERVICE [--times N] [--faults LIST] [--json].
    #[command(after_help = "Examples:\n  cargo xtask failovers redis --times 50\n  \
                            cargo xtask failovers mariadb --times 20 --faults power,kill --json")]
    Failovers {
        /// Passed to the lab as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build the Debian packages `holdfast` and `holdfast-witness`.
    Deb {
        /// Where to write them.
        #[arg(long, default_value = "target/debian")]
        out: PathBuf,
        /// Appended to the version, as in `+lab1`.
        #[arg(long, default_value = "")]
        suffix: String,
    },
    /// Check every dependency against deny.toml.
    Licences,
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Test { tiers } => tiers::test(&tiers),
        Command::Sim { args } => run::run_bin("holdfast-sim", &args),
        Command::Model { args } => model::run(&args),
        Command::Sabotage { list: true, .. } => sabotage::list().map(|()| 0),
        Command::Sabotage { names, .. } => sabotage::check(&names).map(|tally| {
            println!("{tally}");
            u8::from(tally.failed > 0)
        }),
        Command::Mutants { args } => run::run_package("holdfast-mutants", &args),
        Command::Fuzz(options) => fuzz::command(&options),
        Command::Lab { args } => tiers::lab(&args),
        Command::Vm { args } => vm::run(&args),
        Command::Bench { args } => bench::run(&args),
        Command::Ocf { args } => {
            packages::ensure(packages::OCF).and_then(|()| run::run_package("holdfast-ocf", &args))
        }
        Command::Torture { args } => torture::run("torture", &args),
        Command::Failovers { args } => torture::run("failovers", &args),
        Command::Deb { out, suffix } => deb::build(&out, &suffix, deb::Purpose::Release).map(|packages| {
            for package in packages {
                println!("{}", package.display());
            }
            0
        }),
        Command::Licences => licences::check(),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

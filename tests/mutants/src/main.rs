//! `cargo xtask mutants`: does a test notice when the decision core is wrong?
//!
//! cargo-mutants says which faults to put in; all of them go into one build of a copy ([`weave`]), and each is woken up
//! by the environment: first under the core's unit tests, and what survives these under the simulator.

mod list;
mod report;
mod sites;
mod stage;
mod weave;
mod workbench;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;

use list::Mutant;
use report::{Fate, Report};
use stage::{Outcome, Stage};
use workbench::Workbench;

/// Puts faults into the decision core, one at a time, and sees whether a test notices.
#[derive(Parser)]
#[command(
    name = "cargo xtask mutants",
    after_help = "Examples:\n  cargo xtask mutants\n  cargo xtask mutants core/src/node/permits.rs core/src/quorum.rs\n  \
                  cargo xtask mutants --seeds 0 --json"
)]
struct Args {
    /// Files to mutate, as core/src/quorum.rs; all of the core if none is named.
    files: Vec<String>,
    /// Seeds of the simulator for what the unit tests do not catch; 0 leaves the simulator out.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Also explore this configuration of the model, with two faults on each way, for what the simulator does not catch.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Where the copy and its builds go.
    #[arg(long, default_value = "target/mutants")]
    work: PathBuf,
    /// Only these mutants: those whose name contains TEXT.
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Print the report as JSON: {"total", "files", "survivors"}.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Exit code 1 when a mutant survives that nobody argued for.
fn run(args: &Args) -> Result<ExitCode> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = root.ancestors().nth(2).context("no workspace above")?;
    let mut mutants = list::list(root, &args.files)?;
    mutants.retain(|mutant| args.only.is_empty() || args.only.iter().any(|text| mutant.name.contains(text)));
    let bench = Workbench::make(root, &root.join(&args.work), &mutants)?;
    let mut fates: Vec<Fate> = (1..=mutants.len())
        .map(|id| {
            let unviable = bench.unviable.contains_key(&id);
            if unviable { Fate::Unviable } else { Fate::Survived }
        })
        .collect();
    let unit = ["-Zunstable-options", "--fail-fast", "--test-threads=1"];
    let stage = Stage::new("unit", bench.unit_tests()?, &unit, &[])?;
    pass(&stage, &mutants, &mut fates)?;
    if args.seeds > 0 {
        let program = bench.program("holdfast-sim", "holdfast-sim")?;
        let seeds = args.seeds.to_string();
        let stage = Stage::new("sim", program, &["--seeds", &seeds, "--json"], &[])?;
        pass(&stage, &mutants, &mut fates)?;
    }
    if let Some(config) = &args.model {
        let program = bench.program("holdfast-model", "holdfast-model")?;
        let bounds = ["--config", config, "--total", "2", "--threads", "1", "--json"];
        // 1: a promise was broken; 101: an assertion failed.
        let stage = Stage::new("model", program, &bounds, &[1, 101])?;
        pass(&stage, &mutants, &mut fates)?;
    }
    let report = Report::of(root, &mutants, &fates)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        report.print();
    }
    let open = report.total.survived > report.total.argued;
    Ok(if open {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Runs a stage with every mutant that still lives.
fn pass(stage: &Stage, mutants: &[Mutant], fates: &mut [Fate]) -> Result<()> {
    let alive = fates.iter().filter(|fate| **fate == Fate::Survived).count();
    let (mut done, mut told) = (0, Instant::now());
    for (index, fate) in fates.iter_mut().enumerate() {
        if *fate != Fate::Survived {
            continue;
        }
        *fate = match stage.run(index + 1)? {
            Outcome::Caught => Fate::Caught(stage.name),
            Outcome::Timeout => Fate::Timeout,
            Outcome::Survived => {
                eprintln!("survives {}: {}", stage.name, mutants[index].name);
                Fate::Survived
            }
        };
        done += 1;
        if told.elapsed().as_secs() >= 15 {
            told = Instant::now();
            eprintln!("{}: {done} of {alive} mutants", stage.name);
        }
    }
    let left = fates.iter().filter(|fate| **fate == Fate::Survived).count();
    eprintln!("{}: {left} of {alive} survive", stage.name);
    Ok(())
}

//! Failovers of a service with a primary and a replica, counted: a client writes without a pause, node after node is struck,
//! and at the end every write that was acknowledged has to be there.
//!
//! - `service`: which services; `fault`: what is done to them
//! - `writer`: the clients; `sentinel`: one that asks for the primary; `judge`: what their writes say
//! - `rounds`: one fault, from the strike until both copies are whole again
//! - `report`: the figures
//! - `lag`: a replica that lags, and the address of readers
//! - `seed`: a replica's data anew from the primary

mod fault;
mod judge;
pub mod lag;
pub mod options;
mod report;
mod rounds;
pub mod seed;
mod sentinel;
mod service;
mod stage;
mod writer;

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use options::Options;
use report::Report;
use rounds::Rounds;
use stage::Stage;

/// Address of the primary.
pub const FAILOVER_VIP: &str = "10.81.0.103";

/// Runs it; true if nothing was lost and no two nodes took writes.
pub fn run(options: &Options) -> Result<bool> {
    let stage = Stage::set(options.service).context("boot the nodes")?;
    let mut report = Report::new(options.service.name);
    let played = play(options, &stage, &mut report);
    if let Some(dir) = &options.keep {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        std::fs::write(dir.join("nodes.txt"), stage.report())?;
        report.keep(dir)?;
    }
    if let Err(error) = &played {
        report.faults.push(format!("{error:#}"));
        if options.keep.is_none() {
            stage.keep_report(options::WORD)?;
        }
    }
    report.print(options.json)?;
    Ok(report.is_good())
}

fn play(options: &Options, stage: &Stage, report: &mut Report) -> Result<()> {
    stage.form().context("form the cluster")?;
    let mut rounds = Rounds::start(stage, report)?;
    let played = all(options, &mut rounds);
    let writers = rounds.finish();
    report.tried(&writers);
    // What was acknowledged is asked for after a run that went wrong, too: then of the primary alone.
    let found = match &played {
        Ok(()) => stage.read_back(),
        Err(_) => stage.read_primary(),
    };
    if let Ok(found) = &found {
        let found: BTreeSet<u64> = found.iter().copied().collect();
        report.judge(options.service, &writers, &found);
    }
    played.and(found.map(drop))
}

fn all(options: &Options, rounds: &mut Rounds<'_>) -> Result<()> {
    for _ in 0..options.moves {
        rounds.switch_over()?;
    }
    for number in 0..options.times as usize {
        rounds.strike(options.faults[number % options.faults.len()])?;
    }
    Ok(())
}

//! The command line.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, ValueEnum};

use crate::contender::{ALL, Contender};
use crate::machine::{self, Machine};
use crate::order::Fault;
use crate::render;
use crate::report::Report;
use crate::{costs, decisions, outages, scheduler, simulator, theatre};

/// Contenders of the outages and the idle cost: those with real-time scheduling, as they are delivered.
fn regular() -> Vec<Contender> {
    ALL.into_iter().filter(|contender| contender.realtime).collect()
}

/// A part of the bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Part {
    /// Every part.
    All,
    /// Client outage for crash, cut and switchover, beside keepalived and Pacemaker.
    Outage,
    /// CPU time, memory and packets of clusters that have nothing to do.
    Idle,
    /// Silence of a healthy node between two packets, without load and with hogs on all CPUs.
    Jitter,
    /// Virtual hours per second of the simulator.
    Sim,
    /// Decisions with 10, 1,000 and 5,000 groups, beside Pacemaker's scheduler.
    Decisions,
}

/// Measures; asserts nothing by time.
#[derive(Parser, Debug)]
#[command(
    name = "cargo xtask bench",
    after_help = "Examples:\n  cargo xtask bench --quick\n  cargo xtask bench outage --runs 20 --who holdfast-300,pacemaker-300\n  \
                  cargo xtask bench all --json /tmp/bench.json\n  \
                  cargo xtask bench --render /tmp/bench.json --into docs/benchmarks.md"
)]
pub struct Args {
    /// What to measure; everything if nothing is named.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// Runs of each outage.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// A look at everything in about three minutes: one run of each, short spans. Figures of no weight.
    #[arg(long)]
    quick: bool,
    /// Contenders for outage, idle and jitter, by name, separated by commas.
    #[arg(long, value_delimiter = ',')]
    who: Vec<Contender>,
    /// Write all figures to this file, `-` for standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A sentence that belongs to the figures, such as what else ran on the machine.
    #[arg(long, default_value = "")]
    note: String,
    /// Measure nothing: print the tables of figures that were written before.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["parts", "quick", "json", "who"])]
    render: Option<PathBuf>,
    /// Put the tables into this document, between its marks, instead of printing them.
    #[arg(long, value_name = "DOCUMENT", requires = "render")]
    into: Option<PathBuf>,
}

/// Runs the command line.
///
/// # Errors
/// When something cannot be set up or measured.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.render {
        return show(file, args.into.as_ref());
    }
    let report = measure(args)?;
    let json = serde_json::to_string_pretty(&report)?;
    match &args.json {
        Some(file) if file.as_os_str() == "-" => println!("{json}"),
        Some(file) => {
            fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
            print!("{}", render::tables(&report));
        }
        None => print!("{}", render::tables(&report)),
    }
    Ok(ExitCode::SUCCESS)
}

fn show(file: &PathBuf, into: Option<&PathBuf>) -> anyhow::Result<ExitCode> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let report: Report = serde_json::from_str(&text)
        .with_context(|| format!("{} holds no figures of this bench", file.display()))?;
    let tables = render::tables(&report);
    if let Some(document) = into {
        let name = document.display();
        let old = fs::read_to_string(document).with_context(|| format!("cannot read {name}"))?;
        let new =
            render::put_into(&old, &tables).with_context(|| format!("{name} has no marks for figures"))?;
        fs::write(document, new).with_context(|| format!("cannot write {name}"))?;
    } else {
        print!("{tables}");
    }
    Ok(ExitCode::SUCCESS)
}

/// How much of each part is done.
struct Extent {
    runs: usize,
    seconds: u32,
    seeds: u32,
    repeats: u32,
}

fn measure(args: &Args) -> anyhow::Result<Report> {
    let extent = if args.quick {
        Extent {
            runs: 1,
            seconds: 5,
            seeds: 200,
            repeats: 1,
        }
    } else {
        Extent {
            runs: args.runs as usize,
            seconds: 30,
            seeds: 2000,
            repeats: 5,
        }
    };
    let all = args.parts.is_empty() || args.parts.contains(&Part::All);
    let wanted = |part| all || args.parts.contains(&part);
    let mut report = Report {
        note: args.note.clone(),
        machine: Machine::look(),
        ..Report::default()
    };
    if wanted(Part::Sim) {
        report.simulator = Some(simulator::measure(extent.seeds)?);
    }
    if wanted(Part::Decisions) {
        report.decisions = decisions::measure(extent.repeats)?;
        report.scheduler = scheduler::measure(extent.repeats)?;
    }
    on_stages(args, &extent, wanted, &mut report)?;
    report.machine.ended = machine::now();
    Ok(report)
}

fn on_stages(
    args: &Args,
    extent: &Extent,
    wanted: impl Fn(Part) -> bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    let chosen = |default: Vec<Contender>| {
        if args.who.is_empty() {
            default
        } else {
            args.who.clone()
        }
    };
    if wanted(Part::Outage) || wanted(Part::Idle) {
        let mut stages = theatre::open_all(&chosen(regular()))?;
        if wanted(Part::Idle) {
            report.idle = costs::idle(&mut stages, extent.seconds)?;
        }
        if wanted(Part::Outage) {
            report.outages = outages::measure(&mut stages, extent.runs, &Fault::ALL)?;
        }
    }
    if wanted(Part::Jitter) {
        let short = |contender: &Contender| contender.detection_ms == 300;
        let mut stages = theatre::open_all(&chosen(ALL.into_iter().filter(short).collect()))?;
        let cpus = report.machine.cpus as u32;
        report.jitter = costs::jitter(&mut stages, extent.seconds, cpus * 2)?;
    }
    Ok(())
}

//! `lab torture`: a nemesis over real nodes, under a load whose every acknowledged write is accounted for.
//!
//! The nemesis ([`nemesis`]) draws faults from a seed ([`schedule`]); the workloads ([`workloads`]) run under them; both
//! write what they did on one clock ([`history`]). Afterwards the checker ([`checker`]) reads the files alone.

mod act;
pub mod checker;
mod evidence;
pub mod history;
pub mod ledger;
mod nemesis;
pub mod options;
mod orders;
mod recovery;
mod relay;
mod report;
mod rng;
mod schedule;
mod stage;
mod strike;
mod wires;
pub mod workloads;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use history::History;
use nemesis::Nemesis;
use options::Options;
use orders::Orders;
use report::Report;
use stage::Stage;
use workloads::Workloads;

/// Groups that the cluster of a torture run has, each with its workload.
pub const GROUPS: [&str; 3] = ["ledger", "redis", "mariadb"];
/// Where the directory that the data nodes share, as they would a LUN, is mounted on each of them.
pub const SHARED: &str = "/srv/shared";
/// Virtual address of group `redis`.
pub const REDIS_VIP: &str = "10.81.0.101";
/// Virtual address of group `mariadb`.
pub const MARIADB_VIP: &str = "10.81.0.102";

/// Plays a run and tells of it; true if no promise was broken.
pub fn run(options: &Options) -> Result<bool> {
    let dir = folder(options)?;
    let outcome = play(options, &dir);
    if let (Ok(report), None) = (&outcome, &options.keep)
        && report.is_good()
    {
        fs::remove_dir_all(&dir)?;
    } else {
        eprintln!("lab: what clients and nodes wrote down is in {}", dir.display());
    }
    let report = outcome?;
    if options.json {
        eprint!("{}", report.screen());
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.screen());
    }
    Ok(report.is_good())
}

/// Checks once more what an earlier run wrote down.
pub fn check_again(dir: &Path) -> Result<bool> {
    let verdict = checker::check(dir, &dir.join("shared"))?;
    println!("{}", serde_json::to_string_pretty(&verdict)?);
    Ok(verdict.is_good())
}

/// A folder for what this run writes down.
fn folder(options: &Options) -> Result<PathBuf> {
    let dir = options.keep.clone().unwrap_or_else(|| {
        let shape = if options.witness { "with" } else { "without" };
        let name = format!("torture-{shape}-{}-{}", options.seed, std::process::id());
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../target/lab")
            .join(name)
    });
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    dir.canonicalize().with_context(|| dir.display().to_string())
}

fn play(options: &Options, dir: &Path) -> Result<Report> {
    eprintln!("lab: making the cluster");
    let stage = Stage::build(options.witness)?;
    let history = History::new(dir)?;
    let load = Workloads::start(&stage.lab.net, &stage.shared, &history)?;
    let begun = Instant::now();
    let deeds = served(&stage, &load, &history).and_then(|()| {
        let nemesis = Nemesis::new(&stage, &load, &history, options.seed);
        nemesis.play(Duration::from_secs_f64(options.minutes * 60.0))
    });
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    if deeds.as_ref().map_or(true, |deeds| !deeds.late.is_empty()) {
        fs::write(dir.join("report.txt"), stage.cluster.report())?;
    }
    let stopped = load.stop();
    let collected = workloads::collect_journals(&stage.cluster.machines, dir);
    evidence::keep(&stage, dir)?;
    let Stage {
        cluster, shared, lab, ..
    } = stage;
    lab.power.wire(&[]);
    drop(cluster);
    let copied = evidence::copy(&shared, &dir.join("shared"));
    let deeds = deeds?;
    stopped.context("read back what the servers have")?;
    collected.and(copied)?;
    let verdict = checker::check(dir, &dir.join("shared"))?;
    Ok(Report::new(
        options,
        minutes,
        deeds,
        evidence::crashes(dir)?,
        verdict,
    ))
}

/// Waits until every group serves its clients, before anything is done to it.
fn served(stage: &Stage, load: &Workloads, history: &History) -> Result<()> {
    let begin = history.clock.now_ms();
    let back = recovery::wait(stage, load, history, &mut Orders::new(stage), begin)?;
    anyhow::ensure!(
        back.late.is_empty(),
        "the load does not run: {}",
        back.late.join("; ")
    );
    Ok(())
}

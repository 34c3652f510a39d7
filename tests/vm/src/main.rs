//! Runs scenarios on real kernels: `vm [SCENARIO...]`, all of them without a name, `--list` for the names.
//!
//! Prints one line per scenario and ends with the counts. All it makes is removed again, whatever happens; the image and
//! the saved states stay in the cache.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use holdfast_vm::lab::Lab;
use holdfast_vm::place;
use holdfast_vm::reaper::{self, Reaper};
use holdfast_vm::scenarios::{ALL, Outcome, Scenario};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;

/// Scenarios on two virtual machines with watchdogs and management boards.
#[derive(Parser)]
#[command(name = "vm")]
struct Args {
    /// Scenarios to run; all without a name.
    scenarios: Vec<String>,
    /// Only name them.
    #[arg(long)]
    list: bool,
    /// Only say whether the machines' disk is there: the exit status is 1 if it has to be made, from Debian's archive.
    #[arg(long)]
    has_image: bool,
    /// One JSON document per scenario.
    #[arg(long)]
    json: bool,
    /// How often the scenarios that repeat themselves cut the power.
    #[arg(long, default_value_t = 3)]
    cuts: u32,
    /// Folder of the packages that the machines install.
    #[arg(long, default_value = "target/vm")]
    packages: PathBuf,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [reaper::WORD, pid] => pid
            .parse()
            .context("a process id")
            .and_then(|pid| reaper::reap(|| place::Place::new(pid).remove()))
            .map(|()| true),
        _ => command(&Args::parse()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vm: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn command(args: &Args) -> Result<bool> {
    if args.list {
        for scenario in ALL {
            println!("{:<28} {}", scenario.name, scenario.about);
        }
        return Ok(true);
    }
    if args.has_image {
        return Ok(holdfast_vm::image::is_there());
    }
    let chosen = choose(&args.scenarios)?;
    if !nix::unistd::geteuid().is_root() {
        bail!("the machines' network needs root");
    }
    if let Err(error) = place::remove_dead() {
        eprintln!("vm: something of an earlier run stays: {error:#}");
    }
    let reaper = Reaper::start()?;
    hide_mounts()?;
    let outcome = play(&chosen, args);
    reaper.finish()?;
    outcome
}

/// What is mounted while the disk is made belongs to a mount namespace of our own, and ends with us: nothing is mounted
/// any more where an unfinished tree is removed.
fn hide_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("/")
}

fn choose(names: &[String]) -> Result<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let find = |name: &String| {
        let found = ALL.iter().find(|scenario| scenario.name == name);
        found.with_context(|| format!("there is no scenario {name}; `vm --list` names them"))
    };
    names.iter().map(find).collect()
}

fn play(chosen: &[&Scenario], args: &Args) -> Result<bool> {
    let mut lab = Lab::new(&args.packages, args.cuts)?;
    let mut failed = 0;
    for scenario in chosen {
        let begun = Instant::now();
        let ready = lab.fresh(scenario.shape).map(|()| begun.elapsed());
        let outcome = ready.and_then(|ready| Ok(((scenario.run)(&mut lab)?, ready)));
        let seconds = begun.elapsed().as_secs_f64();
        let (outcome, ready) = match outcome {
            Ok((outcome, ready)) => (Ok(outcome), ready.as_secs_f64()),
            Err(error) => (Err(error), 0.0),
        };
        tell(scenario.name, &outcome, seconds, ready, args.json);
        if outcome.is_err() {
            failed += 1;
            keep_report(&lab, scenario.name);
        }
        lab.discard();
    }
    println!("{} passed, {failed} failed", chosen.len() - failed);
    Ok(failed == 0)
}

/// The scenario's line.
fn tell(name: &str, outcome: &Result<Outcome>, seconds: f64, ready: f64, json: bool) {
    if json {
        let document = match outcome {
            Ok(seen) => {
                json!({ "scenario": name, "ok": true, "outcome": seen, "took_s": seconds, "ready_s": ready })
            }
            Err(error) => {
                json!({ "scenario": name, "ok": false, "error": format!("{error:#}"), "took_s": seconds })
            }
        };
        println!("{document}");
        return;
    }
    match outcome {
        Ok(seen) => println!("ok      {name} ({seconds:.1} s, ready after {ready:.1} s): {seen}"),
        Err(error) => println!("FAILED  {name} ({seconds:.1} s): {error:#}"),
    }
}

/// Writes down what the machines say of a failed scenario.
fn keep_report(lab: &Lab, name: &str) {
    let dir = lab.source().join("target/vm/logs");
    let file = dir.join(format!("{name}.txt"));
    let report = lab
        .cluster()
        .map(holdfast_vm::cluster::Cluster::report)
        .unwrap_or_default();
    let written = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&file, report));
    match written {
        Ok(()) => eprintln!("        see {}", file.display()),
        Err(error) => eprintln!("        its report could not be written: {error}"),
    }
}

//! Runs scenarios on real systemd nodes: `lab [--races N] [SCENARIO...]`, all of them without a name, `--list` for the
//! names. `lab torture` is the nemesis ([`torture`]); `lab torture-check DIR` judges once more what a run of it kept.
//! `lab failovers SERVICE` counts failovers of a service under a client's writes ([`failovers`]); `lab reader-lag SERVICE` has
//! its replica lag ([`failovers::lag`]), `lab seed SERVICE` fetches its data anew ([`failovers::seed`]).
//!
//! Prints one line per scenario and ends with the counts. All it makes is removed again, whatever happens.

mod bmc;
mod client;
mod cluster;
mod etcd;
mod failovers;
mod image;
mod lab;
mod machine;
mod net;
mod node;
mod place;
mod power;
mod scenarios;
mod throttle;
mod torture;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use holdfast_lab::reaper::Reaper;
use holdfast_lab::{reaper, sh};
use lab::Lab;
use scenarios::{ALL, BY_NAME, Scenario};
use torture::ledger;
use torture::options::{self, Options};

/// How often the fence race is run, unless told otherwise.
const RACES: u32 = 20;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--list"] => {
            let all = ALL.iter().chain(BY_NAME);
            all.for_each(|scenario| println!("{}", scenario.name));
            Ok(true)
        }
        [reaper::WORD, pid] => pid
            .parse()
            .context("a process id")
            .and_then(|pid| reaper::reap(|| place::Place::new(pid).remove()))
            .map(|()| true),
        [ledger::WRITE | ledger::HOLD | ledger::FRESH, ..] => ledger::main(&args).map(|()| true),
        [options::WORD, "--help"] => {
            println!("{}", options::USAGE);
            Ok(true)
        }
        [options::WORD, ..] => {
            Options::parse(&args[1..]).and_then(|options| inside(|| torture::run(&options)))
        }
        [failovers::options::WORD, "--help"] => {
            println!("{}", failovers::options::USAGE);
            Ok(true)
        }
        [failovers::options::WORD, ..] => failovers::options::Options::parse(&args[1..])
            .and_then(|options| inside(|| failovers::run(&options))),
        [failovers::lag::WORD, ..] => inside(|| failovers::lag::run(&args[1..])),
        [failovers::seed::WORD, ..] => inside(|| failovers::seed::run(&args[1..])),
        ["torture-check", dir] => torture::check_again(std::path::Path::new(dir)),
        ["--races", number, ..] => number
            .parse()
            .with_context(|| format!("--races needs a number, not '{number}'"))
            .and_then(|races| run(&args[2..], races)),
        _ => run(&args, RACES),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs the scenarios named, or all, and each fence race `races` times; true if all passed.
fn run(names: &[String], races: u32) -> Result<bool> {
    let chosen = choose(names)?;
    inside(|| play(&chosen, races))
}

/// Runs `work` as root, in a mount namespace of its own, and removes whatever it made.
fn inside(work: impl FnOnce() -> Result<bool>) -> Result<bool> {
    if !nix::unistd::geteuid().is_root() {
        bail!("booting systemd nodes needs root");
    }
    if let Err(error) = place::remove_dead() {
        eprintln!("lab: something of an earlier run stays: {error:#}");
    }
    let reaper = Reaper::start()?;
    // Overlays live in a mount namespace of our own and end with us.
    unshare(CloneFlags::CLONE_NEWNS).context("unshare")?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .context("/")?;
    let outcome = work();
    reaper.finish()?;
    outcome
}

fn choose(names: &[String]) -> Result<Vec<Scenario>> {
    if names.is_empty() {
        return Ok(ALL.to_vec());
    }
    let find = |name: &String| {
        let mut known = ALL.iter().chain(BY_NAME);
        let found = known.find(|scenario| scenario.name == name);
        found
            .copied()
            .with_context(|| format!("there is no scenario {name}; `lab --list` names them"))
    };
    names.iter().map(find).collect()
}

fn play(chosen: &[Scenario], races: u32) -> Result<bool> {
    let mut lab = Lab::new(races)?;
    let mut failed = 0;
    for scenario in chosen {
        let begun = Instant::now();
        let outcome = (scenario.run)(&mut lab);
        let seconds = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(seen) => println!("ok      {} ({seconds:.1} s): {seen}", scenario.name),
            Err(error) => {
                failed += 1;
                println!("FAILED  {} ({seconds:.1} s): {error:#}", scenario.name);
                keep_report(&lab, scenario.name);
                lab.discard();
            }
        }
    }
    println!("{} passed, {failed} failed", chosen.len() - failed);
    Ok(failed == 0)
}

/// Writes down what the nodes say of a failed scenario.
fn keep_report(lab: &Lab, name: &str) {
    match lab.log(name, &lab.report()) {
        Ok(file) => println!("        see {}", file.display()),
        Err(error) => println!("        its report could not be written: {error}"),
    }
}

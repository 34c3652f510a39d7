//! `cargo xtask sabotage`: bugs that are put back on purpose, each of which the simulator or the model checker must catch.
//!
//! A bug is a patch in `tests/sabotage`; README.md there says what stands before its diff.

mod bug;
mod workbench;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::run;
use crate::tally::Tally;
use bug::{Bug, Catcher, bugs};
use workbench::{Made, Workbench};

/// How long one run of a catcher may take. Some bugs make a cluster decide for ever; such a batch shows nothing.
const LIMIT: Duration = Duration::from_secs(120);
/// Copies of the workspace that are worked on side by side; each takes half a gigabyte of disk.
const WORKERS_MAX: usize = 4;
/// Dice that a schedule is tried with.
const DICE_MAX: u64 = 100;
/// Seeds that are run before their outcome is looked at.
const BATCH: u64 = 200;

fn patches() -> PathBuf {
    run::root().join("tests/sabotage")
}

/// Names every bug, what it drops and who catches it.
pub fn list() -> Result<()> {
    for bug in bugs(&patches(), &[])? {
        println!("{}: {}", bug.name, bug.drops);
    }
    Ok(())
}

/// Puts each bug back and tells whether it is caught. A build of the core uses little more than one processor, so there is a
/// copy for each.
pub fn check(names: &[String]) -> Result<Tally> {
    let bugs = bugs(&patches(), names)?;
    let next = AtomicUsize::new(0);
    let work = |number: usize| {
        let bench = Workbench::make(number)?;
        let mut tally = Tally::default();
        while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            tally += put_back(&bench, bug);
        }
        Ok(tally)
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = workers.min(WORKERS_MAX).min(bugs.len());
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let work = &work;
        let begun: Vec<_> = (0..workers)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        begun.into_iter().map(|worker| worker.join()).collect()
    });
    let mut tally = Tally::default();
    for outcome in outcomes {
        let outcome: Result<Tally> = outcome.map_err(|_| anyhow!("the run of a bug panicked"))?;
        tally += outcome?;
    }
    Ok(tally)
}

/// Builds one bug in and has it caught; prints how that went.
fn put_back(bench: &Workbench, bug: &Bug) -> Tally {
    let made = match bug.catcher {
        Catcher::Sim { .. } | Catcher::Schedule => Made::Program("holdfast-sim"),
        Catcher::Model(_) => Made::Program("holdfast-model"),
        Catcher::Unit { package, .. } => Made::Tests(package),
    };
    let begun = Instant::now();
    let program = bench.build(&bug.patch, made);
    let built = Instant::now();
    let outcome = program.and_then(|program| catch(bug, &program));
    let (build_s, catch_s) = ((built - begun).as_secs_f64(), built.elapsed().as_secs_f64());
    let took = format!("built in {build_s:.0} s, caught in {catch_s:.0} s");
    match &outcome {
        Ok(said) => println!("caught: {} by {said} ({took})", bug.name),
        Err(error) => println!("FAILED: {}: {error:#}", bug.name),
    }
    Tally::one(outcome.is_ok())
}

/// What caught `bug`, in the program that was built with it.
fn catch(bug: &Bug, program: &Path) -> Result<String> {
    match &bug.catcher {
        Catcher::Sim { seen, within } => {
            if let Some(said) = simulate(program, *seen, 1, &bug.breaks)? {
                return Ok(said);
            }
            let mut first = 1;
            while first <= *within {
                if let Some(said) = simulate(program, first, BATCH, &bug.breaks)? {
                    return Ok(said);
                }
                first += BATCH;
            }
            bail!("none of {within} seeds breaks {}", bug.breaks.join(" or "))
        }
        Catcher::Schedule => run_schedule(program, bug),
        Catcher::Model(configuration) => {
            let mut command = Command::new(program);
            command.arg("--config").args(configuration.split_whitespace());
            let ended = run::bounded(command.stderr(Stdio::null()), LIMIT, |_| {})?;
            let found = ended.stdout.lines().find_map(|line| explored(line, &bug.breaks));
            match found {
                Some(said) if !ended.success => Ok(format!("the model {configuration}: {said}")),
                _ => bail!(
                    "the model {configuration} breaks none of {}",
                    bug.breaks.join(", ")
                ),
            }
        }
        Catcher::Unit { test, .. } => {
            let ended = run::bounded(Command::new(program).args(["--exact", test]), LIMIT, |_| {})?;
            let failed = format!("test {test} ... FAILED");
            match ended.stdout.lines().any(|line| line == failed) {
                true => Ok(format!("the unit test {test}")),
                false => bail!("the unit test {test} does not fail"),
            }
        }
    }
}

/// Runs `count` seeds from `first`; the first that breaks one of `promises`, and what the simulator said of it.
fn simulate(program: &Path, first: u64, count: u64, promises: &[String]) -> Result<Option<String>> {
    let mut command = Command::new(program);
    command.args(["--seeds", &count.to_string(), "--seed", &first.to_string()]);
    let ended = run::bounded(command.stderr(Stdio::null()), LIMIT, |_| {})?;
    Ok(ended.stdout.lines().find_map(|line| breaks(line, promises)))
}

/// Runs the schedule of `bug`, with other dice until they fall so that it shows.
fn run_schedule(program: &Path, bug: &Bug) -> Result<String> {
    let file = bug.patch.with_extension("txt");
    let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let scratch = program.with_extension("txt");
    for dice in 1..=DICE_MAX {
        fs::write(
            &scratch,
            with_dice(&text, dice).with_context(|| file.display().to_string())?,
        )?;
        let mut command = Command::new(program);
        command.arg("--schedule").arg(&scratch);
        let ended = run::bounded(command.stderr(Stdio::null()), LIMIT, |_| {})?;
        let verdict = ended.stdout.lines().next_back().unwrap_or_default();
        let said = verdict
            .split_once(".txt: ")
            .and_then(|(_, said)| broken(said, &bug.breaks));
        if let Some(said) = said {
            return Ok(format!("its schedule with dice {dice}: {said}"));
        }
    }
    bail!(
        "its schedule breaks none of {} with {DICE_MAX} dice",
        bug.breaks.join(", ")
    )
}

/// The schedule `text` with another seed of its dice.
fn with_dice(text: &str, dice: u64) -> Result<String> {
    let key = "{\"seed\":";
    let (before, after) = text.split_once(key).context("it holds no seed")?;
    let rest = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
    Ok(format!("{before}{key}{dice}{rest}"))
}

/// A line such as `seed 12: S1: g0 runs on [node1, node2]`, if it is about one of `promises`.
fn breaks(line: &str, promises: &[String]) -> Option<String> {
    let (seed, said) = line.strip_prefix("seed ")?.split_once(": ")?;
    let said = broken(said, promises)?;
    Some(format!("seed {seed}: {said}"))
}

/// A line of the model such as `  S3 linear history is broken: version 4 is two states`, if it is about one of `promises`.
fn explored(line: &str, promises: &[String]) -> Option<String> {
    let (promise, said) = line.trim_start().split_once(" is broken: ")?;
    let (number, _) = promise.split_once(' ')?;
    promises
        .iter()
        .any(|one| one == number)
        .then(|| format!("{number}: {said}"))
}

/// What is said of a broken promise, if it is one of `promises`.
fn broken(said: &str, promises: &[String]) -> Option<String> {
    let (promise, _) = said.split_once(':')?;
    promises
        .iter()
        .any(|one| one == promise)
        .then(|| said.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_tried_with_other_dice() {
        let text = "# why\n{\"seed\":12,\"length_us\":5}\n";
        assert_eq!(
            with_dice(text, 3).unwrap(),
            "# why\n{\"seed\":3,\"length_us\":5}\n"
        );
        assert!(with_dice("# nothing\n", 3).is_err());
    }

    #[test]
    fn the_line_of_a_broken_promise_names_its_seed() {
        let line = "seed 12: S1: g0 runs on [node1, node2]";
        let promises = |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>();
        assert_eq!(
            breaks(line, &promises(&["S4", "S1"])).as_deref(),
            Some("seed 12: S1: g0 runs on [node1, node2]")
        );
        assert_eq!(breaks(line, &promises(&["S3"])), None);
        assert_eq!(
            explored(
                "  S3 linear history is broken: version 4 is two states",
                &promises(&["S1", "S3"])
            )
            .as_deref(),
            Some("S3: version 4 is two states")
        );
        assert_eq!(
            explored("  S3 linear history is broken: so", &promises(&["S1"])),
            None
        );
        assert_eq!(breaks("12 seeds, 0 violations", &promises(&["S1"])), None);
    }
}

//! The command line of the simulator.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

use crate::run::run_seed;

const HELP: &str = "\
Simulates whole clusters in virtual time, one per seed, and asserts the promises S1 to S4, S6 and L1.

Usage: cargo xtask sim --seeds N [--seed FIRST] [--trace] [--json]

  --seeds N     how many seeds to run (default 100)
  --seed FIRST  the first seed (default 1)
  --trace       print what happened, a column per member, even if nothing is wrong
  --json        print {\"seeds\", \"violations\", \"virtual_hours\", \"wall_s\"} only, and the first failing seed if there is one

Examples:
  cargo xtask sim --seeds 2000
  cargo xtask sim --seeds 1 --seed 4711 --trace
";

#[derive(Debug, Serialize)]
struct Figures {
    seeds: u64,
    violations: u64,
    virtual_hours: f64,
    wall_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failing_seed: Option<u64>,
}

struct Options {
    seeds: u64,
    first: u64,
    trace: bool,
    json: bool,
}

impl Options {
    fn range(&self) -> std::ops::Range<u64> {
        self.first..self.first.saturating_add(self.seeds)
    }
}

/// Violations that a report spells out.
const SHOWN_MAX: usize = 10;

fn options(args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        seeds: 100,
        first: 1,
        trace: false,
        json: false,
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut number = || -> Result<u64, String> {
            let value = rest.next().ok_or_else(|| format!("{arg} needs a number"))?;
            value
                .parse()
                .map_err(|_| format!("{arg} needs a number, not '{value}'"))
        };
        match arg.as_str() {
            "--seeds" => options.seeds = number()?,
            "--seed" => options.first = number()?,
            "--trace" => options.trace = true,
            "--json" => options.json = true,
            other => return Err(format!("unknown option '{other}'; --help lists them")),
        }
    }
    if options.trace && options.json {
        return Err("--trace and --json exclude each other: a trace is no JSON".into());
    }
    Ok(options)
}

/// The trace of a seed and its verdict; false when a promise was broken.
fn show_trace(seed: u64) -> bool {
    let run = run_seed(seed, true);
    println!("{}", run.trace());
    match &run.broken {
        None => println!("seed {seed}: every promise was kept"),
        Some(broken) => println!("seed {seed}: {broken}"),
    }
    run.broken.is_none()
}

/// Runs the command line; the result is the exit code.
#[must_use]
pub fn cli(args: &[String]) -> i32 {
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        print!("{HELP}");
        return 0;
    }
    let options = match options(args) {
        Ok(options) => options,
        Err(why) => {
            eprintln!("sim: {why}");
            return 2;
        }
    };
    std::panic::set_hook(Box::new(|_| {}));
    if options.trace {
        let broken = options.range().filter(|seed| !show_trace(*seed)).count();
        return i32::from(broken > 0);
    }
    let begun = Instant::now();
    let (failures, virtual_us) = run_all(&options);
    let figures = Figures {
        seeds: options.seeds,
        violations: failures.len() as u64,
        virtual_hours: virtual_us as f64 / 3.6e9,
        wall_s: begun.elapsed().as_secs_f64(),
        first_failing_seed: failures.first().map(|(seed, _)| *seed),
    };
    if options.json {
        println!("{}", serde_json::to_string(&figures).unwrap_or_default());
    } else {
        print!("{}", report(&figures, &failures));
        if let Some((seed, _)) = failures.first() {
            println!("\ntrace of seed {seed}:");
            show_trace(*seed);
        }
    }
    i32::from(!failures.is_empty())
}

fn run_all(options: &Options) -> (Vec<(u64, String)>, u64) {
    let next = AtomicU64::new(options.first);
    let end = options.range().end;
    let virtual_us = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut failures: Vec<(u64, String)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut failed = Vec::new();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return failed;
                        }
                        let run = run_seed(seed, false);
                        virtual_us.fetch_add(run.virtual_us(), Ordering::Relaxed);
                        failed.extend(run.broken.map(|broken| (seed, broken)));
                    }
                })
            })
            .collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .flatten()
            .collect()
    });
    failures.sort();
    (failures, virtual_us.into_inner())
}

/// What an operator or a developer reads: each broken promise with the command that replays it, then the totals.
fn report(figures: &Figures, failures: &[(u64, String)]) -> String {
    let mut out = String::new();
    for (seed, broken) in failures.iter().take(SHOWN_MAX) {
        out.push_str(&format!(
            "seed {seed}: {broken}\n  replay: cargo xtask sim --seeds 1 --seed {seed} --trace\n"
        ));
    }
    if failures.len() > SHOWN_MAX {
        out.push_str(&format!("and {} more\n", failures.len() - SHOWN_MAX));
    }
    let ratio = figures.virtual_hours * 3600.0 / figures.wall_s.max(1e-9);
    out.push_str(&format!(
        "{} seeds, {} violations, {:.1} virtual hours in {:.1} s ({ratio:.0} times faster than the clock)\n",
        figures.seeds, figures.violations, figures.virtual_hours, figures.wall_s
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(args: &[&str]) -> Result<Options, String> {
        options(&args.iter().map(|arg| (*arg).to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn a_failing_seed_is_reported_with_the_command_that_replays_it() {
        let figures = Figures {
            seeds: 2000,
            violations: 1,
            virtual_hours: 20.0,
            wall_s: 36.0,
            first_failing_seed: Some(713),
        };
        let text = report(&figures, &[(713, "L1: g0 does not run anywhere".into())]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "seed 713: L1: g0 does not run anywhere");
        assert_eq!(lines[1], "  replay: cargo xtask sim --seeds 1 --seed 713 --trace");
        assert!(lines[2].contains("2000 times faster"), "{}", lines[2]);
        assert!(given(&["--seeds", "1", "--seed", "713", "--trace"]).is_ok());
    }

    #[test]
    fn bad_options_are_refused_in_words() {
        let refused = |args: &[&str]| given(args).err().unwrap_or_default();
        assert!(refused(&["--sed", "3"]).contains("unknown option '--sed'"));
        assert!(refused(&["--seeds"]).contains("--seeds needs a number"));
        assert!(refused(&["--seeds", "many"]).contains("not 'many'"));
        assert!(refused(&["--trace", "--json"]).contains("exclude each other"));
    }
}

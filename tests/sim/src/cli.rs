//! The command line of the simulator.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

use crate::world::World;

const HELP: &str = "\
Simulates whole clusters in virtual time, one per seed, and asserts the promises S1 to S4, S6 and L1.

Usage: cargo xtask sim --seeds N [--seed FIRST] [--trace] [--json]

  --seeds N     how many seeds to run (default 100)
  --seed FIRST  the first seed (default 1)
  --trace       print what happened, a column per member, even if nothing is wrong
  --json        print {\"seeds\", \"violations\", \"virtual_hours\", \"wall_s\"} only

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
    Ok(options)
}

/// What one seed gave.
struct Run {
    virtual_us: u64,
    broken: Option<String>,
}

/// Runs one seed; an assertion of the core that fails is a violation like any other.
fn run_seed(seed: u64) -> Run {
    let mut world = World::new(seed, false);
    let broken = catch_unwind(AssertUnwindSafe(|| world.run().err())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Some(format!(
            "assertion: {}",
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()))
                .unwrap_or_default()
        ))
    });
    Run {
        virtual_us: world.now_us,
        broken,
    }
}

fn show_trace(seed: u64) {
    let mut world = World::new(seed, true);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run()));
    let members: Vec<_> = world
        .machines
        .keys()
        .copied()
        .filter(|node| !node.is_witness())
        .collect();
    let witness = world.machines.keys().copied().filter(|node| node.is_witness());
    let columns: Vec<_> = members.into_iter().chain(witness).collect();
    println!("{}", world.trace.render(&columns));
    match outcome {
        Ok(Ok(())) => println!("seed {seed}: every promise was kept"),
        Ok(Err(broken)) => println!("seed {seed}: {broken}"),
        Err(_) => println!("seed {seed}: an assertion failed"),
    }
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
        (options.first..options.first + options.seeds).for_each(show_trace);
        return 0;
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
    report(&options, &figures, &failures);
    i32::from(!failures.is_empty())
}

fn run_all(options: &Options) -> (Vec<(u64, String)>, u64) {
    let next = AtomicU64::new(options.first);
    let end = options.first + options.seeds;
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
                        let run = run_seed(seed);
                        virtual_us.fetch_add(run.virtual_us, Ordering::Relaxed);
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

fn report(options: &Options, figures: &Figures, failures: &[(u64, String)]) {
    if options.json {
        println!("{}", serde_json::to_string(figures).unwrap_or_default());
        return;
    }
    for (seed, broken) in failures.iter().take(10) {
        println!("seed {seed}: {broken}");
        println!("  replay: cargo xtask sim --seeds 1 --seed {seed} --trace");
    }
    let ratio = figures.virtual_hours * 3600.0 / figures.wall_s.max(1e-9);
    println!(
        "{} seeds, {} violations, {:.1} virtual hours in {:.1} s ({ratio:.0} times faster than the clock)",
        figures.seeds, figures.violations, figures.virtual_hours, figures.wall_s
    );
    if let Some((seed, _)) = failures.first() {
        println!("\ntrace of seed {seed}:");
        show_trace(*seed);
    }
}

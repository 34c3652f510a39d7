//! The command line of the simulator.

use std::time::Instant;

use serde::Serialize;

use crate::coverage::Situation;
use crate::fleet::{Outcome, run_seeds};
use crate::run::run_schedule;
use crate::schedule::Schedule;
use crate::shrink::shrink;
use crate::table::{self, Cell};

const HELP: &str = "\
Simulates whole clusters in virtual time, one per seed, and asserts the promises S1 to S6, J1, L1 and L2.

Usage: cargo xtask sim --seeds N [--seed FIRST] [--etcd | --disk-witness | --roles] [--trace] [--shrink] [--coverage] [--json]
       cargo xtask sim --schedule FILE [--trace] [--shrink]
       cargo xtask sim --table [--check FILE]

  --seeds N        how many seeds to run (default 100), on all processors
  --seed FIRST     the first seed (default 1)
  --schedule FILE  run this schedule instead: what --shrink printed, or a file of tests/sim/schedules
  --table          the table of failures and configurations of docs/failure-scenarios.md, each cell played anew
  --check FILE     with --table: fail unless FILE holds that table; figures may differ
  --etcd           every cluster has a witness, and it is kept in etcd
  --disk-witness   the same, kept on one or three shared disks
  --roles          every cluster has a group whose resource has roles, with replicated data: S5 as well
  --trace          print what happened, a column per member, even if nothing is wrong
  --shrink         make the first schedule that breaks a promise as small as it gets; print it, and its trace
  --coverage       say how often each named situation was reached, and what it means, the rarest first
  --json           print only {\"seeds\", \"violations\", \"virtual_hours\", \"wall_s\", \"longest_recovery_s\",
                   \"closest_to_bound\", \"situations\", \"missed\"}, and the first failing seed if there is one

Fails if a promise was broken, and from 10,000 seeds on also if a named situation was not reached.

Examples:
  cargo xtask sim --seeds 2000
  cargo xtask sim --seeds 2000 --etcd
  cargo xtask sim --seeds 1 --seed 4711 --trace
  cargo xtask sim --seeds 1 --seed 4711 --shrink
  cargo xtask sim --schedule tests/sim/schedules/fenced-by-two-outlets.txt --trace
";

#[derive(Debug, Serialize)]
struct Figures {
    seeds: u64,
    violations: u64,
    virtual_hours: f64,
    wall_s: f64,
    /// The longest time until the cluster was whole again after its faults were healed.
    longest_recovery_s: f64,
    /// The largest share of its bound that a recovery took.
    closest_to_bound: f64,
    /// How many named situations there are.
    situations: usize,
    /// Those that no seed reached.
    missed: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failing_seed: Option<u64>,
}

#[derive(Debug)]
struct Options {
    seeds: u64,
    first: u64,
    schedule: Option<String>,
    etcd: bool,
    disk_witness: bool,
    roles: bool,
    trace: bool,
    shrink: bool,
    coverage: bool,
    table: bool,
    check: Option<String>,
    json: bool,
}

impl Options {
    fn draw(&self) -> fn(u64) -> Schedule {
        if self.etcd {
            Schedule::draw_with_etcd
        } else if self.disk_witness {
            Schedule::draw_with_disk_witness
        } else if self.roles {
            Schedule::draw_with_roles
        } else {
            Schedule::draw
        }
    }

    fn range(&self) -> std::ops::Range<u64> {
        self.first..self.first.saturating_add(self.seeds)
    }
}

/// So many seeds have to reach every situation.
const SEEDS_FOR_ALL: u64 = 10_000;
/// Violations that a report spells out.
const SHOWN_MAX: usize = 10;

fn options(args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        seeds: 100,
        first: 1,
        schedule: None,
        etcd: false,
        disk_witness: false,
        roles: false,
        trace: false,
        shrink: false,
        coverage: false,
        table: false,
        check: None,
        json: false,
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{arg} needs a value"));
        let number = |value: &String| {
            value
                .parse()
                .map_err(|_| format!("{arg} needs a number, not '{value}'"))
        };
        match arg.as_str() {
            "--seeds" => options.seeds = number(value()?)?,
            "--seed" => options.first = number(value()?)?,
            "--schedule" => options.schedule = Some(value()?.clone()),
            "--etcd" => options.etcd = true,
            "--disk-witness" => options.disk_witness = true,
            "--roles" => options.roles = true,
            "--trace" => options.trace = true,
            "--shrink" => options.shrink = true,
            "--coverage" => options.coverage = true,
            "--table" => options.table = true,
            "--check" => options.check = Some(value()?.clone()),
            "--json" => options.json = true,
            other => return Err(format!("unknown option '{other}'; --help lists them")),
        }
    }
    if options.etcd && options.disk_witness {
        return Err("--etcd excludes --disk-witness: a witness is kept in one place".into());
    }
    if options.roles && (options.etcd || options.disk_witness) {
        return Err("--roles stands alone: each of these draws clusters of its own".into());
    }
    if options.json && (options.trace || options.shrink) {
        return Err("--json excludes --trace and --shrink: a trace is no JSON".into());
    }
    Ok(options)
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
    if let Some(file) = &options.schedule {
        return match read(file) {
            Ok(schedule) => i32::from(!show(&schedule, file, &options)),
            Err(why) => {
                eprintln!("sim: {file}: {why}");
                2
            }
        };
    }
    if options.table {
        return print_table(options.check.as_deref());
    }
    if options.trace {
        let shown = options.range().map(|seed| show_seed(seed, &options));
        return i32::from(shown.filter(|kept| !kept).count() > 0);
    }
    run(&options)
}

fn print_table(holds_it: Option<&str>) -> i32 {
    let mut cells = Vec::new();
    let mut broken = 0;
    for (failure, configuration) in table::cells() {
        match Cell::play(failure, configuration) {
            Ok(cell) => cells.push(cell),
            Err(why) => {
                eprintln!("{why}");
                broken += 1;
            }
        }
    }
    print!("{}", table::markdown(&cells));
    println!("{} cells, {broken} of them broken", cells.len() + broken);
    if let Some(file) = holds_it {
        let text = std::fs::read_to_string(file);
        if !text.is_ok_and(|text| table::is_in(&cells, &text)) {
            eprintln!("sim: {file} does not hold this table; put it there");
            return 1;
        }
    }
    i32::from(broken > 0)
}

fn read(file: &str) -> Result<Schedule, String> {
    let text = std::fs::read_to_string(file).map_err(|why| why.to_string())?;
    Schedule::parse(&text)
}

fn run(options: &Options) -> i32 {
    let begun = Instant::now();
    let outcome = run_seeds(options.range(), options.draw(), !options.json);
    let figures = figures(options.seeds, &outcome, begun.elapsed().as_secs_f64());
    if options.json {
        println!("{}", serde_json::to_string(&figures).unwrap_or_default());
    } else {
        print!("{}", report(&figures, &outcome.failures));
        if options.coverage {
            print!("\n{}", outcome.coverage.table());
        }
        if let Some((seed, _)) = outcome.failures.first() {
            println!();
            show_seed(*seed, options);
        }
    }
    let missed = options.seeds >= SEEDS_FOR_ALL && !figures.missed.is_empty();
    i32::from(!outcome.failures.is_empty() || missed)
}

fn figures(seeds: u64, outcome: &Outcome, wall_s: f64) -> Figures {
    Figures {
        seeds,
        violations: outcome.failures.len() as u64,
        virtual_hours: outcome.virtual_us as f64 / 3.6e9,
        wall_s,
        longest_recovery_s: outcome.recoveries.longest_us as f64 / 1e6,
        closest_to_bound: outcome.recoveries.closest_permille as f64 / 1e3,
        situations: Situation::ALL.len(),
        missed: outcome.coverage.missed().map(Situation::name).collect(),
        first_failing_seed: outcome.failures.first().map(|(seed, _)| *seed),
    }
}

fn show_seed(seed: u64, options: &Options) -> bool {
    show(&options.draw()(seed), &format!("seed {seed}"), options)
}

/// The trace of a schedule and its verdict, after it was made smaller if that was asked for; false when a promise was
/// broken.
fn show(schedule: &Schedule, name: &str, options: &Options) -> bool {
    let mut schedule = schedule.clone();
    if options.shrink
        && let Some(broken) = run_schedule(&schedule, false).broken
    {
        eprintln!(
            "{name}: {broken}\nshrinking {} faults ...",
            schedule.strikes.len()
        );
        schedule = shrink(&schedule, &broken, &mut |smaller| {
            eprint!(
                "\r{:>4} faults, {:>5.1} s ",
                smaller.strikes.len(),
                smaller.length_us as f64 / 1e6
            );
        });
        eprintln!();
        println!("{}", schedule.to_text());
    }
    let run = run_schedule(&schedule, true);
    println!("{}", run.trace());
    match &run.broken {
        None => println!("{name}: every promise was kept"),
        Some(broken) => println!("{name}: {broken}"),
    }
    run.broken.is_none()
}

/// What an operator or a developer reads: each broken promise with the command that replays it, then the totals.
fn report(figures: &Figures, failures: &[(u64, String)]) -> String {
    let mut out = String::new();
    for (seed, broken) in failures.iter().take(SHOWN_MAX) {
        out.push_str(&format!(
            "seed {seed}: {broken}\n  replay: cargo xtask sim --seeds 1 --seed {seed} --trace\n  shrink: cargo xtask sim \
             --seeds 1 --seed {seed} --shrink\n"
        ));
    }
    if failures.len() > SHOWN_MAX {
        out.push_str(&format!("and {} more\n", failures.len() - SHOWN_MAX));
    }
    let ratio = figures.virtual_hours * 3600.0 / figures.wall_s.max(1e-9);
    out.push_str(&format!(
        "{} seeds, {} violations, {:.1} virtual hours in {:.1} s ({ratio:.0} times faster than the clock)\n\
         longest recovery {:.1} s; the closest to its bound took {:.0} % of it\n",
        figures.seeds,
        figures.violations,
        figures.virtual_hours,
        figures.wall_s,
        figures.longest_recovery_s,
        figures.closest_to_bound * 100.0
    ));
    let reached = figures.situations - figures.missed.len();
    out.push_str(&format!("{reached} of {} situations reached", figures.situations));
    if !figures.missed.is_empty() {
        out.push_str(&format!("; missed: {}", figures.missed.join(", ")));
    }
    out.push('\n');
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
            longest_recovery_s: 31.0,
            closest_to_bound: 0.625,
            situations: Situation::ALL.len(),
            missed: vec!["deposed", "sole-voter"],
            first_failing_seed: Some(713),
        };
        let text = report(&figures, &[(713, "L1: g0 does not run anywhere".into())]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "seed 713: L1: g0 does not run anywhere");
        assert_eq!(lines[1], "  replay: cargo xtask sim --seeds 1 --seed 713 --trace");
        assert_eq!(
            lines[2],
            "  shrink: cargo xtask sim --seeds 1 --seed 713 --shrink"
        );
        assert!(lines[3].contains("2000 times faster"), "{}", lines[3]);
        assert!(lines[5].ends_with("missed: deposed, sole-voter"), "{}", lines[5]);
        assert!(
            lines[4].contains("31.0 s") && lines[4].contains("62 %"),
            "{}",
            lines[4]
        );
        assert!(given(&["--seeds", "1", "--seed", "713", "--trace"]).is_ok());
        assert!(given(&["--seeds", "1", "--seed", "713", "--shrink"]).is_ok());
    }

    #[test]
    fn bad_options_are_refused_in_words() {
        let refused = |args: &[&str]| given(args).err().unwrap_or_default();
        assert!(refused(&["--sed", "3"]).contains("unknown option '--sed'"));
        assert!(refused(&["--seeds"]).contains("--seeds needs a value"));
        assert!(refused(&["--seeds", "many"]).contains("not 'many'"));
        assert!(refused(&["--trace", "--json"]).contains("excludes"));
        assert!(refused(&["--shrink", "--json"]).contains("excludes"));
    }
}

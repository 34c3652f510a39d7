//! The command line of the model checker.

use std::time::Duration;

use crate::bounds::Budget;
use crate::configs::{self, Bounds};
use crate::report::{Counterexample, Limits, Outcome, explore};

const HELP: &str = "\
Explores small clusters exhaustively: the real core, with every fault of a budget at every instant that matters. Asserts the
promises S1 to S4, S6 and the core's own assertions in every state, and that a healed cluster becomes whole again.

Usage: cargo xtask model [--deep] [--config NAME]... [--max-states N] [--seconds S] [--threads T] [--story] [--json]

  --deep          larger bounds, for hours
  --config NAME   only this one: pair, witness, witness-lost, voters, returning,
                  readmitted, cold-start, three, race, register, orders,
                  orders-witness
  --total N       deviations on one way, instead of the configuration's own bound
  --only KINDS    only deviations of these kinds, such as packets,links,power,wiped,kills,stalls,disks,fences,stops,operator
  --max-states N  stop after so many steps; what was not explored is then unknown
  --seconds S     stop after so long
  --threads T     threads (default: one for each processor)
  --heal-every N  heal one state in N and see that it becomes whole; 0 for none (default 16)
  --story         print everything that happens on the way to a broken promise, not only the deviations
  --json          print one object for each configuration: bounds, states, steps, depth, wall_s, exhausted, broken

The exit code is 0 if everything was explored and held, 1 if a promise was broken, 3 if it was stopped before the end.

Examples:
  cargo xtask model
  cargo xtask model --config pair --max-states 200000
  cargo xtask model --config witness --story
";

struct Options {
    json: bool,
    story: bool,
    bounds: Bounds,
    heal_every: Option<u64>,
    configs: Vec<String>,
    limits: Limits,
}

fn options(args: &[String]) -> Result<Options, String> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut options = Options {
        json: false,
        story: false,
        bounds: Bounds::default(),
        heal_every: None,
        configs: Vec::new(),
        limits: Limits {
            threads,
            ..Limits::default()
        },
    };
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{arg} needs a value"));
        let number = |text: &String| -> Result<u64, String> {
            text.parse()
                .map_err(|_| format!("{arg} needs a number, not '{text}'"))
        };
        match arg.as_str() {
            "--deep" => options.bounds.deep = true,
            "--json" => options.json = true,
            "--story" => options.story = true,
            "--config" => options.configs.push(value()?.clone()),
            "--only" => options.bounds.only = kinds(value()?)?,
            "--total" => options.bounds.total = Some(number(value()?)?.min(60) as u8),
            "--heal-every" => options.heal_every = Some(number(value()?)?),
            "--max-states" => options.limits.states = Some(number(value()?)? as usize),
            "--seconds" => options.limits.time = Some(Duration::from_secs(number(value()?)?)),
            "--threads" => options.limits.threads = number(value()?)?.max(1) as usize,
            other => return Err(format!("unknown option '{other}'; --help lists them")),
        }
    }
    let known = |name: &&String| !configs::NAMES.contains(&name.as_str());
    if let Some(unknown) = options.configs.iter().find(known) {
        return Err(format!(
            "there is no configuration '{unknown}'; there are: {}",
            configs::NAMES.join(", ")
        ));
    }
    if options.configs.is_empty() {
        options.configs = configs::NAMES.map(str::to_string).to_vec();
    }
    Ok(options)
}

/// Kinds of deviations, separated by commas.
fn kinds(text: &str) -> Result<Vec<String>, String> {
    let kinds: Vec<String> = text.split(',').map(str::to_string).collect();
    match kinds.iter().find(|kind| !Budget::KINDS.contains(&kind.as_str())) {
        None => Ok(kinds),
        Some(unknown) => Err(format!(
            "there is no kind '{unknown}'; there are: {}",
            Budget::KINDS.join(", ")
        )),
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
            eprintln!("model: {why}");
            return 2;
        }
    };
    std::panic::set_hook(Box::new(|_| {}));
    let outcomes: Vec<Outcome> = options
        .configs
        .iter()
        .filter_map(|name| run(name, &options))
        .collect();
    if outcomes.iter().any(|outcome| !outcome.broken.is_empty()) {
        1
    } else if outcomes.iter().all(|outcome| outcome.exhausted) {
        0
    } else {
        3
    }
}

fn run(name: &str, options: &Options) -> Option<Outcome> {
    let (setup, mut exploration) = configs::exploration(name, &options.bounds)?;
    exploration.heal_every = options.heal_every.unwrap_or(exploration.heal_every);
    let outcome = explore(&setup, exploration, options.limits);
    if options.json {
        println!("{}", serde_json::to_string(&outcome).unwrap_or_default());
    } else {
        print(&outcome, options.story);
    }
    Some(outcome)
}

fn print(outcome: &Outcome, story: bool) {
    let result = match (outcome.broken.is_empty(), outcome.exhausted) {
        (false, _) => "BROKEN",
        (true, true) => "exhausted, every promise holds",
        (true, false) => "stopped before the end, nothing broken so far",
    };
    println!("{}: {}", outcome.config, outcome.title);
    println!("  bounds  {}", bounds(outcome));
    println!(
        "  {} states, {} steps, depth {}, {:.1} s: {result}",
        outcome.states, outcome.steps, outcome.depth, outcome.wall_s
    );
    for counterexample in &outcome.broken {
        print_counterexample(counterexample, story);
    }
}

fn bounds(outcome: &Outcome) -> String {
    let bounds = &outcome.bounds;
    let kinds = [
        ("packets", bounds.packets),
        ("links", bounds.links),
        ("power", bounds.power),
        ("wiped disks", bounds.wiped),
        ("deaths of had", bounds.kills),
        ("stalls", bounds.stalls),
        ("stalled disks", bounds.disks),
        ("fence devices", bounds.fences),
        ("hung stops", bounds.stops),
        ("operator", bounds.operator),
    ];
    let kinds: Vec<String> = kinds
        .iter()
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    format!(
        "{} deviations, of each kind at most: {}",
        bounds.total,
        kinds.join(", ")
    )
}

fn print_counterexample(counterexample: &Counterexample, story: bool) {
    println!("  {} is broken: {}", counterexample.promise, counterexample.text);
    for deviation in &counterexample.deviations {
        println!("    {deviation}");
    }
    if story {
        counterexample
            .story
            .iter()
            .for_each(|line| println!("      {line}"));
    }
}

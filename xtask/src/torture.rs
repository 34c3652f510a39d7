//! `cargo xtask torture` and `failovers`: faults without end on real nodes, and the short runs of it that belong to `test`.

use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::leftovers::Before;
use crate::tally::Tally;
use crate::tiers::lab_packages;
use crate::{packages, run, unpacked};

/// The short runs: with a witness and without, each with a seed of its own.
const RUNS: [&[&str]; 2] = [
    &["torture", "--minutes", "1.5", "--seed", "1"],
    &["torture", "--minutes", "1.5", "--seed", "2", "--no-witness"],
];
/// How long a short run may take with all that is around it.
const LIMIT: Duration = Duration::from_secs(600);

/// A run of what the lab calls `word` with `args`, as long as they say; its exit code.
pub fn run(word: &str, args: &[String]) -> Result<u8> {
    packages::ensure(packages::LAB)?;
    if args.first().is_some_and(|service| service == "mysql") {
        unpacked::ensure();
    }
    run::build_release()?;
    lab_packages()?;
    let before = Before::look()?;
    let status = run::release_bin("lab").arg(word).args(args).status()?;
    // Not on standard output, which is for the report.
    let left = before.leftovers()?;
    for thing in &left {
        eprintln!("left behind: {thing}");
    }
    let code = run::code(status);
    Ok(if left.is_empty() { code } else { code.max(1) })
}

/// Both short runs, at the same time.
pub fn tier() -> Result<Tally> {
    if !nix::unistd::geteuid().is_root() {
        println!("torture boots systemd nodes, which needs root: skipped");
        return Ok(Tally::skip());
    }
    packages::ensure(packages::LAB)?;
    run::build_release()?;
    lab_packages()?;
    let ends = std::thread::scope(|scope| {
        let works = RUNS.map(|args| {
            let mut command = run::release_bin("lab");
            command.args(args);
            scope.spawn(move || run::bounded(&mut command, LIMIT, |_| {}))
        });
        works.map(|work| work.join().map_err(|_| anyhow!("a thread panicked"))?)
    });
    let mut tally = Tally::default();
    for ended in ends {
        let ended = ended?;
        print!("{}", ended.stdout);
        tally += Tally::one(ended.success);
    }
    Ok(tally)
}

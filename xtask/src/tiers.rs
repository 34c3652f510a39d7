//! `cargo xtask test`: the tiers, one after the other, with one count at the end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::Value;

use crate::leftovers::Before;
use crate::tally::Tally;
use crate::{deb, fuzz, model, packages, run, sabotage, torture, unpacked, vm};

/// How many of the lab's fence races `test` runs; `cargo xtask lab` runs all of them.
const TEST_RACES: &str = "4";

/// How many seeds `test` simulates; from so many on the simulator itself demands that every named situation was reached.
const TEST_SEEDS: &str = "10000";

/// A tier of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tier {
    /// Unit and property tests of every crate.
    Unit,
    /// Small clusters, every fault at every instant that matters.
    Model,
    /// Whole clusters in virtual time.
    Sim,
    /// Every decoder and parser, and the decision core, with what a fuzzer thinks up.
    Fuzz,
    /// Real daemons in namespaces, every fault once.
    Demo,
    /// Real systemd nodes with the packages installed.
    Lab,
    /// The same under faults drawn from a seed, with a witness and without.
    Torture,
    /// Real kernels with watchdogs and management boards. Run by name only, until it was seen to be quick and steady enough.
    Vm,
}

impl Tier {
    const BY_DEFAULT: [Tier; 7] = [
        Tier::Unit,
        Tier::Model,
        Tier::Sim,
        Tier::Fuzz,
        Tier::Demo,
        Tier::Lab,
        Tier::Torture,
    ];

    fn run(self) -> Result<Tally> {
        match self {
            Tier::Unit => unit(),
            Tier::Model => model::tier(),
            Tier::Sim => sim(),
            Tier::Fuzz => fuzz::tier(),
            Tier::Demo => demo(),
            Tier::Lab => lab_tier(),
            Tier::Torture => torture::tier(),
            Tier::Vm => vm::tier(),
        }
    }
}

/// Runs `tiers`, or those that are run by default, and ends with the counts on a line of their own.
pub fn test(tiers: &[Tier]) -> Result<u8> {
    let tiers = if tiers.is_empty() {
        &Tier::BY_DEFAULT
    } else {
        tiers
    };
    let before = Before::look()?;
    let mut total = Tally::default();
    for tier in tiers {
        let name = format!("{tier:?}").to_lowercase();
        println!("== {name}");
        let begun = Instant::now();
        let tally = tier.run().unwrap_or_else(|error| {
            println!("{name}: {error:#}");
            Tally::one(false)
        });
        println!("== {name}: {tally} in {:.0} s", begun.elapsed().as_secs_f64());
        total += tally;
    }
    let clean = is_clean(&before)?;
    println!("{total}");
    Ok(u8::from(total.failed > 0 || total.passed == 0 || !clean))
}

/// `cargo xtask lab`: the scenarios named, with the lab's own options.
pub fn lab(args: &[String]) -> Result<u8> {
    packages::ensure(packages::LAB)?;
    lab_packages()?;
    let before = Before::look()?;
    let code = run::run_bin("lab", args)?;
    Ok(if is_clean(&before)? { code } else { code.max(1) })
}

/// True if nothing is there that was not there before; names what is.
pub fn is_clean(before: &Before) -> Result<bool> {
    let left = before.leftovers()?;
    for thing in &left {
        println!("left behind: {thing}");
    }
    if left.is_empty() {
        println!("nothing left behind: no process, network namespace, mount, cgroup or card");
    }
    Ok(left.is_empty())
}

fn unit() -> Result<Tally> {
    if nix::unistd::geteuid().is_root() {
        packages::ensure(packages::UNIT)?;
        unpacked::ensure();
    }
    let mut tally = Tally::default();
    let mut command = run::cargo(&["test", "--workspace", "--no-fail-fast"]);
    let ended = run::bounded(&mut command, Duration::from_secs(1500), |line| {
        if let Some(counts) = Tally::from_cargo(line) {
            tally += counts;
        }
        // Passing tests are many: only what an operator of the tests has to read is printed.
        if !line.is_empty() && !line.ends_with("... ok") && !line.starts_with("running ") {
            println!("{line}");
        }
    })?;
    if !ended.success && tally.failed == 0 {
        tally += Tally::one(false);
    }
    Ok(tally)
}

fn sim() -> Result<Tally> {
    run::build_release()?;
    let mut command = run::release_bin("holdfast-sim");
    command.args(["--seeds", TEST_SEEDS, "--json"]);
    let ended = run::bounded(&mut command, Duration::from_secs(900), |line| println!("{line}"))?;
    let report = last_json(&ended.stdout).unwrap_or_default();
    let mut tally = Tally::one(report["violations"] == 0);
    // That every dangerous place was reached counts as much as that nothing broke there.
    tally += Tally::one(report["missed"].as_array().is_some_and(Vec::is_empty));
    let mut command = run::release_bin("holdfast-sim");
    command.args(["--table", "--check", "docs/failure-scenarios.md"]);
    let ended = run::bounded(&mut command, Duration::from_secs(300), |line| {
        if !line.starts_with('|') {
            println!("{line}");
        }
    })?;
    tally += Tally::one(ended.success);
    tally += sabotage::check(&[])?;
    Ok(tally)
}

fn demo() -> Result<Tally> {
    packages::ensure(packages::DEMO)?;
    run::build_release()?;
    let mut command = run::release_bin("hactl");
    command
        .args(["demo", "--fault", "all", "--runs", "1", "--json"])
        .stderr(Stdio::inherit());
    let ended = run::bounded(&mut command, Duration::from_secs(600), |_| {})?;
    let report: Value = serde_json::from_str(ended.stdout.trim()).context("the demo printed no JSON")?;
    let mut tally = Tally::default();
    for fault in report
        .as_array()
        .context("the demo's JSON is no list of faults")?
    {
        let good = fault_is_good(fault);
        println!("{} {}", if good { "ok    " } else { "FAILED" }, fault_line(fault));
        tally += Tally::one(good);
    }
    Ok(tally)
}

/// Recovered in every run, and never active twice.
fn fault_is_good(fault: &Value) -> bool {
    let runs = fault["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
    !runs.is_empty()
        && runs
            .iter()
            .all(|run| run["recovered"] == Value::Bool(true) && run["dual_active_ms"].as_f64() == Some(0.0))
}

fn fault_line(fault: &Value) -> String {
    let name = fault["fault"].as_str().unwrap_or("?");
    match fault["median_outage_ms"].as_f64() {
        Some(outage) => format!("{name}: outage {outage:.0} ms"),
        None => name.to_string(),
    }
}

fn lab_tier() -> Result<Tally> {
    if !nix::unistd::geteuid().is_root() {
        println!("the lab boots systemd nodes, which needs root: skipped");
        return Ok(Tally::skip());
    }
    packages::ensure(packages::LAB)?;
    lab_packages()?;
    let mut command = run::release_bin("lab");
    command.args(["--races", TEST_RACES]);
    scenarios(&mut command, Duration::from_secs(1200))
}

/// Runs a harness that ends with its counts.
pub fn scenarios(command: &mut Command, limit: Duration) -> Result<Tally> {
    let mut tally = None;
    let ended = run::bounded(command, limit, |line| {
        println!("{line}");
        tally = Tally::from_closing(line).or(tally);
    })?;
    let mut tally = tally.unwrap_or_default();
    if !ended.success && tally.failed == 0 {
        tally += Tally::one(false);
    }
    Ok(tally)
}

/// The packages that the lab installs: this version, and the same under a higher number for the rolling upgrade.
pub fn lab_packages() -> Result<()> {
    let out = std::path::Path::new("target/lab");
    for suffix in ["", "+lab1"] {
        deb::build(out, suffix, deb::Purpose::Lab)?;
    }
    Ok(())
}

/// The last line of `text` that is a JSON object.
pub fn last_json(text: &str) -> Option<Value> {
    text.lines()
        .rev()
        .find_map(|line| serde_json::from_str(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fault_counts_only_with_every_run_recovered_and_single() {
        let run = |recovered: bool, dual: f64| json!({"recovered": recovered, "dual_active_ms": dual});
        assert!(fault_is_good(
            &json!({"fault": "crash", "runs": [run(true, 0.0), run(true, 0.0)]})
        ));
        assert!(!fault_is_good(
            &json!({"fault": "crash", "runs": [run(true, 0.0), run(false, 0.0)]})
        ));
        assert!(!fault_is_good(
            &json!({"fault": "crash", "runs": [run(true, 0.5)]})
        ));
        assert!(!fault_is_good(&json!({"fault": "crash", "runs": []})));
    }

    #[test]
    fn the_report_is_the_last_json_line() {
        assert_eq!(
            last_json("seed 1\n{\"violations\": 0}\n").unwrap()["violations"],
            0
        );
        assert!(last_json("nothing").is_none());
    }
}

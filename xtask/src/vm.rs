//! `cargo xtask vm`: scenarios on two virtual machines, and those of them that belong to `test`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::leftovers::Before;
use crate::tally::Tally;
use crate::tiers::{is_clean, scenarios};
use crate::{deb, packages, run};

/// Where the machines' packages are made; the harness looks there by itself.
const PACKAGES: &str = "target/vm";
/// What `test` runs: each proof that a real machine can give once.
const TEST: [&str; 4] = [
    "agentd-stopped",
    "hung-stop-crashes",
    "ipmi",
    "board-dead-with-server",
];
/// How long that may take, with an image to be made first.
const LIMIT: Duration = Duration::from_secs(1800);

/// Runs the scenarios named, or all, with the harness' own options; the exit code.
pub fn run(args: &[String]) -> Result<u8> {
    if args.iter().any(|arg| arg == "--list" || arg == "--help") {
        return run::run_bin("vm", args);
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("the machines' network needs root");
    }
    packages::ensure(packages::VM)?;
    deb::build(Path::new(PACKAGES), "", deb::Purpose::Lab)?;
    let before = Before::look()?;
    let code = run::run_bin("vm", args)?;
    Ok(if is_clean(&before)? { code } else { code.max(1) })
}

/// A few scenarios, in the order of [`TEST`].
pub fn tier() -> Result<Tally> {
    if !nix::unistd::geteuid().is_root() {
        println!("the machines' network needs root: skipped");
        return Ok(Tally::skip());
    }
    packages::ensure(packages::VM)?;
    deb::build(Path::new(PACKAGES), "", deb::Purpose::Lab)?;
    scenarios(run::release_bin("vm").args(TEST), LIMIT)
}

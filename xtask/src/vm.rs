//! `cargo xtask vm`: scenarios on two virtual machines.

use std::path::Path;

use anyhow::{Result, bail};

use crate::leftovers::Before;
use crate::tiers::is_clean;
use crate::{deb, packages, run};

/// Where the machines' packages are made; the harness looks there by itself.
const PACKAGES: &str = "target/vm";

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

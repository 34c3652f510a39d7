//! `cargo xtask bench`: the bench with what it needs around it.

use anyhow::{Result, ensure};

use crate::leftovers::Before;
use crate::{packages, run, tiers};

/// Installs the peers, builds all, measures, and sees that nothing is left behind. Rendering needs none of that.
pub fn run(args: &[String]) -> Result<u8> {
    let measures = !args
        .iter()
        .any(|arg| arg.starts_with("--render") || arg == "--help" || arg == "-h");
    if !measures {
        return run::run_bin("holdfast-bench", args);
    }
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the bench runs real cluster managers in namespaces: run it as root"
    );
    packages::ensure(packages::BENCH)?;
    let before = Before::look()?;
    let code = run::run_bin("holdfast-bench", args)?;
    Ok(if tiers::is_clean(&before)? {
        code
    } else {
        code.max(1)
    })
}

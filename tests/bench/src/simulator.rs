//! How much virtual time the simulator gets through.

use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// A run of the simulator, as it reports it itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Simulated {
    /// Schedules that were run.
    pub seeds: u64,
    /// Promises that were broken.
    pub violations: u64,
    /// Virtual time, all seeds together.
    pub virtual_hours: f64,
    /// Real time.
    pub wall_s: f64,
}

/// Runs `seeds` schedules on all CPUs.
pub fn measure(seeds: u32) -> anyhow::Result<Simulated> {
    eprintln!("bench: the simulator runs {seeds} seeds");
    let bench = std::env::current_exe().context("cannot tell where holdfast-bench itself is")?;
    let output = Command::new(bench.with_file_name("holdfast-sim"))
        .args(["--seeds", &seeds.to_string(), "--json"])
        .output()
        .context("cannot run holdfast-sim beside holdfast-bench: `cargo xtask bench` builds it")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    let line = line.context("the simulator printed no figures")?;
    serde_json::from_str(line).with_context(|| format!("the simulator's figures: {line}"))
}

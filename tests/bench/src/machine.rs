//! The machine that the figures come from.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// What it is, and what ran on it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// When the run began, UTC.
    pub begun: String,
    /// When it ended, UTC.
    pub ended: String,
    /// Model of the processor.
    pub processor: String,
    /// Number of CPUs.
    pub cpus: usize,
    /// Memory in MB.
    pub memory_mb: u64,
    /// Kernel and its build.
    pub kernel: String,
    /// Distribution.
    pub system: String,
    /// Load averages when the run began: what else was running.
    pub load_before: String,
    /// Versions of the peers as their packages have them.
    pub versions: Vec<String>,
}

/// Packages whose versions matter.
const PACKAGES: [&str; 5] = [
    "keepalived",
    "corosync",
    "pacemaker",
    "pacemaker-cli-utils",
    "resource-agents",
];

impl Machine {
    /// Looks around.
    #[must_use]
    pub fn look() -> Machine {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let build = fs::read_to_string("/proc/sys/kernel/version").unwrap_or_default();
        let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
        Machine {
            begun: now(),
            ended: String::new(),
            processor: after(&processors, "model name")
                .trim_start_matches([':', '\t', ' '])
                .into(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mb: after(&memory, "MemTotal:")
                .split_whitespace()
                .next()
                .and_then(|kb| kb.parse::<u64>().ok())
                .unwrap_or(0)
                / 1024,
            kernel: format!("{} {}", kernel.trim(), build.trim()),
            system: after(&system, "PRETTY_NAME=").trim_matches('"').into(),
            load_before: load(),
            versions: PACKAGES.iter().filter_map(|package| version(package)).collect(),
        }
    }
}

/// The present time, UTC.
#[must_use]
pub fn now() -> String {
    let now = jiff::Timestamp::now();
    now.to_string()
        .chars()
        .take(16)
        .collect::<String>()
        .replace('T', " ")
}

/// Load averages over 1, 5 and 15 minutes.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn after<'a>(text: &'a str, key: &str) -> &'a str {
    let found = text.lines().find_map(|line| line.strip_prefix(key));
    found.unwrap_or_default().trim()
}

fn version(package: &str) -> Option<String> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${Version}", package])
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

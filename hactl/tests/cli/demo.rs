//! The demo as a whole: real daemons in namespaces. It needs user namespaces, or root, as `hactl demo` itself does;
//! the daemons are built by hactl, as it does below `cargo run`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};

use crate::support::{code, err, hactl, out};

/// Number and start time of every process below process `root`: the pair names it for good.
fn descendants(root: u32) -> Vec<(u32, String)> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some((parent, since)) = parent_and_start(pid) {
            parents.insert(pid, (parent, since));
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let of = found[next];
        found.extend(
            parents
                .iter()
                .filter(|(_, (parent, _))| *parent == of)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found[1..]
        .iter()
        .map(|pid| (*pid, parents[pid].1.clone()))
        .collect()
}

fn parent_and_start(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, (*fields.get(19)?).to_string()))
}

fn demo(words: &[&str]) -> Child {
    let mut command: Command = hactl();
    command.arg("demo").args(words);
    let dies_with_the_test = || Ok(prctl::set_pdeathsig(Signal::SIGTERM)?);
    // SAFETY: one system call, which allocates nothing.
    unsafe { command.pre_exec(dies_with_the_test) };
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hactl runs")
}

#[test]
fn the_active_node_loses_power_and_the_other_one_serves() {
    let output = demo(&["--fault", "crash", "--json"])
        .wait_with_output()
        .expect("hactl ends");
    assert_eq!(code(&output), 0, "{}", err(&output));
    let figures: serde_json::Value = serde_json::from_str(&out(&output)).expect("JSON on standard output");
    assert_eq!(figures["fault"], "crash");
    assert_eq!(figures["lease_ms"], 300);
    let run = &figures["runs"][0];
    assert_eq!(run["recovered"], true, "{figures}");
    assert_eq!(run["dual_active_ms"], 0.0, "{figures}");
    assert_eq!(run["outage_ms"], figures["median_outage_ms"]);
    for phase in [
        "detected_ms",
        "proved_ms",
        "started_ms",
        "announced_ms",
        "answered_ms",
    ] {
        assert!(run["phases"][phase].is_number(), "{phase}: {figures}");
    }
}

#[test]
fn ctrl_c_leaves_no_process() {
    let mut demo = demo(&["--fault", "all", "--runs", "1000"]);
    let stdout = demo.stdout.take().expect("a pipe");
    // The first run has begun when its title is there: every node is up.
    let begun = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .any(|line| line == "crash");
    assert!(begun, "the demo ended before its first run");
    let family = descendants(demo.id());
    assert!(family.len() > 8, "stage, nodes, daemons: {family:?}");
    let pid = nix::unistd::Pid::from_raw(demo.id() as i32);
    kill(pid, Signal::SIGINT).expect("a signal");
    let output = demo.wait_with_output().expect("hactl ends");
    assert_eq!(code(&output), 130, "{}", err(&output));
    let left: Vec<_> = family
        .into_iter()
        .filter(|(pid, since)| parent_and_start(*pid).is_some_and(|(_, now)| now == *since))
        .collect();
    assert!(left.is_empty(), "still there: {left:?}");
}

//! The systemd agent with a real systemd. Runs where systemd is PID 1 (the lab's nodes); elsewhere it says so and passes.

#![allow(missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use common::*;
use holdfast_proto::agent::agent_report::Body as Report;
use holdfast_proto::agent::{GroupSpec, GroupStatus, ResourceSpec};

/// A unit that is gone when the test is.
struct Unit(&'static str);

impl Unit {
    fn new(name: &'static str, service: &str) -> Option<Unit> {
        if !sd_notify::booted().unwrap_or(false) {
            eprintln!("not run: systemd is not PID 1 here");
            return None;
        }
        std::fs::write(Self::path(name), format!("[Service]\n{service}\n")).unwrap();
        systemctl(&["daemon-reload"]);
        Some(Unit(name))
    }

    fn path(name: &str) -> String {
        format!("/run/systemd/system/{name}")
    }

    fn group(&self) -> GroupSpec {
        let resource = ResourceSpec {
            name: "unit".into(),
            kind: "systemd".into(),
            params: BTreeMap::from([("unit".into(), self.0.into())]),
            probes: Vec::new(),
            start_timeout_ms: 20_000,
            stop_timeout_ms: 10_000,
        };
        GroupSpec {
            name: "web".into(),
            resources: vec![resource],
            max_restarts: 1,
            restart_window_ms: 600_000,
            requires: "fencing".into(),
            ..GroupSpec::default()
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        systemctl(&["kill", "-s", "KILL", self.0]);
        let _ = std::fs::remove_file(Self::path(self.0));
        systemctl(&["daemon-reload"]);
    }
}

fn systemctl(words: &[&str]) {
    let _ = Command::new("systemctl").args(words).output().unwrap();
}

fn main_pid(had: &mut Had) -> (i32, GroupStatus) {
    had.until(|report| match report {
        Report::Group(status) if status.run == "running" => {
            let pid = status.resources[0].detail.rsplit_once("pid ")?.1.parse().ok()?;
            Some((pid, status.clone()))
        }
        _ => None,
    })
}

fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

#[test]
fn a_unit_is_started_watched_restarted_and_stopped() {
    let Some(unit) = Unit::new("holdfast-one.service", "ExecStart=/bin/sleep 1000") else {
        return;
    };
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    had.start(1, LONG, &unit.group());
    let (first, _) = main_pid(&mut had);
    kill(first);
    let note = had.note("resource-failed");
    assert!(note.text.contains("holdfast-one.service is"), "{}", note.text);
    let second = loop {
        let (pid, status) = main_pid(&mut had);
        if pid != first && status.restarts == 1 {
            break pid;
        }
    };
    had.stop("web", 1);
    had.group("stopped");
    assert!(!lives(second));
}

#[test]
fn a_unit_that_does_not_stop_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let deaf = folder.path().join("deaf");
    let script = format!(
        "trap \"\" TERM; touch {}; while :; do sleep 1; done",
        deaf.display()
    );
    let service = format!("ExecStart=/bin/sh -c '{script}'\nTimeoutStopSec=infinity");
    let Some(unit) = Unit::new("holdfast-two.service", &service) else {
        return;
    };
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let mut spec = unit.group();
    spec.resources[0].stop_timeout_ms = 300;
    had.start(1, LONG, &spec);
    let (pid, _) = main_pid(&mut had);
    wait_for("the unit to ignore SIGTERM", || deaf.exists());
    had.stop("web", 1);
    had.group("stopped");
    assert!(!lives(pid));
    assert!(had.note("stop-escalated").text.contains("killing it"));
}

#[test]
fn a_unit_that_is_absent_or_fails_says_so() {
    let Some(unit) = Unit::new("holdfast-three.service", "Type=oneshot\nExecStart=/bin/false") else {
        return;
    };
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let mut spec = unit.group();
    had.start(1, LONG, &spec);
    let failed = had.group("failed");
    assert!(failed.detail.contains("job failed"), "{}", failed.detail);
    spec.resources[0]
        .params
        .insert("unit".into(), "holdfast-absent.service".into());
    had.start(2, LONG, &spec);
    let failed = had.group("failed");
    assert!(
        failed.detail.contains("is not-found on this node"),
        "{}",
        failed.detail
    );
}

#[test]
fn a_unit_survives_a_restart_of_agentd_and_is_watched_on() {
    let Some(unit) = Unit::new("holdfast-four.service", "ExecStart=/bin/sleep 1000") else {
        return;
    };
    let mut agentd = Agentd::start();
    let mut had = agentd.attach();
    had.start(1, LONG, &unit.group());
    let (pid, _) = main_pid(&mut had);
    agentd.crash_and_restart();
    let mut had = agentd.attach();
    had.permit("web", 1, LONG);
    assert_eq!(main_pid(&mut had).0, pid);
    kill(pid);
    had.note("resource-failed");
    had.stop("web", 1);
    had.group("stopped");
}

#[test]
fn a_lapse_ends_a_unit_without_asking_it_and_it_stays_away() {
    let folder = tempfile::tempdir().unwrap();
    let asked = folder.path().join("asked");
    let script = format!(
        "trap \"touch {}\" TERM; while :; do sleep 0.02; done",
        asked.display()
    );
    let service =
        format!("ExecStart=/bin/sh -c '{script}'\nRestart=always\nRestartSec=1ms\nTimeoutStopSec=infinity");
    let Some(unit) = Unit::new("holdfast-five.service", &service) else {
        return;
    };
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let mut spec = unit.group();
    spec.requires = "lease".into();
    spec.resources[0].stop_timeout_ms = 3_600_000;
    had.start(1, LONG, &spec);
    let (pid, _) = main_pid(&mut had);
    had.start(2, Duration::from_millis(500), &spec);
    let note = had.note("permit-lapsed");
    assert!(!note.text.contains("cut off"), "{}", note.text);
    had.group("stopped");
    assert!(!lives(pid) && !asked.exists());
    let state = Command::new("systemctl")
        .args(["is-active", unit.0])
        .output()
        .unwrap();
    assert_ne!(String::from_utf8_lossy(&state.stdout).trim(), "active");
}

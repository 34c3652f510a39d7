//! What had-agentd adds to the time that programs and addresses take, and what it costs while nothing happens. Prints
//! figures; asserts only outcomes. The second is a benchmark: `cargo test --release --test latency -- --ignored
//! --nocapture`.

#![allow(missing_docs)]

mod common;
mod netns;

use std::collections::BTreeMap;
use std::time::Duration;

use common::*;
use holdfast_agents::clock;
use holdfast_proto::agent::{GroupSpec, ResourceSpec};
use netns::Pair;

const ROUNDS: u64 = 20;

fn resource(name: &str, kind: &str, params: &[(&str, &str)]) -> ResourceSpec {
    let params = params.iter().map(|(key, value)| ((*key).into(), (*value).into()));
    ResourceSpec {
        name: name.into(),
        kind: kind.into(),
        params: params.collect::<BTreeMap<_, _>>(),
        probes: Vec::new(),
        start_timeout_ms: 20_000,
        stop_timeout_ms: 10_000,
    }
}

fn program() -> ResourceSpec {
    resource("program", "exec", &[("command", "/bin/sleep\n1000")])
}

fn vip(check_ms: &str) -> ResourceSpec {
    let params = [("address", "10.77.0.100/24"), ("duplicate_check_ms", check_ms)];
    resource("vip", "vip", &params)
}

/// Median and worst in milliseconds.
fn describe(mut spans: Vec<Duration>) -> String {
    spans.sort();
    let ms = |span: Duration| span.as_secs_f64() * 1000.0;
    let (median, worst) = (spans[spans.len() / 2], spans[spans.len() - 1]);
    format!("median {:.2} ms, worst {:.2} ms", ms(median), ms(worst))
}

fn measure(what: &str, resources: &[ResourceSpec]) {
    let agentd = Agentd::start_delegated();
    let mut had = agentd.attach();
    let spec = GroupSpec {
        name: "web".into(),
        resources: resources.to_vec(),
        requires: "lease".into(),
        ..GroupSpec::default()
    };
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for epoch in 1..=ROUNDS {
        let begun = clock::now();
        had.start(epoch, LONG, &spec);
        had.group("running");
        starts.push(clock::now().since(begun));
        let begun = clock::now();
        had.stop("web", epoch);
        had.group("stopped");
        stops.push(clock::now().since(begun));
    }
    println!("{what}: start {}; stop {}", describe(starts), describe(stops));
}

#[test]
fn orders_are_carried_out_without_needless_waits() {
    let Some(pair) = Pair::new() else { return };
    pair.enter_left_and(|_| {
        measure("program", &[program()]);
        measure("vip, no duplicate check", &[vip("0")]);
        measure("vip, duplicate check 5 ms", &[vip("5")]);
        measure("program and vip, duplicate check 5 ms", &[program(), vip("5")]);
    });
}

/// Permits as `had` renews them at the profile "balanced".
const HEARTBEAT: Duration = Duration::from_millis(125);
const IDLE: Duration = Duration::from_secs(10);

/// The line of `file` of the process or thread that begins with `key`, as a number.
fn number(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with(key))
        .unwrap_or_default();
    let digits = line.split_whitespace().nth(1).unwrap_or_default();
    digits.parse().unwrap_or_default()
}

/// Clock ticks that the process spent, and how often its threads woke up.
fn spent(pid: u32) -> (u64, u64) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let woke = threads.map(|thread| {
        let file = thread.path().join("status");
        number(file.to_str().unwrap(), "voluntary_ctxt_switches")
    });
    (ticks, woke.sum())
}

#[test]
#[ignore = "a benchmark"]
fn idle_cost() {
    let Some(pair) = Pair::new() else { return };
    pair.enter_left_and(|_| {
        let agentd = Agentd::start_delegated();
        let mut had = agentd.attach();
        let spec = GroupSpec {
            name: "web".into(),
            resources: vec![program(), vip("5")],
            requires: "lease".into(),
            ..GroupSpec::default()
        };
        had.start(1, LONG, &spec);
        had.group("running");
        let pid = agentd.pid();
        let before = spent(pid);
        let begun = clock::now();
        while clock::now().since(begun) < IDLE {
            had.permit("web", 1, LONG);
            std::thread::sleep(HEARTBEAT);
        }
        let after = spent(pid);
        let per_minute = 60.0 / IDLE.as_secs_f64();
        println!(
            "idle: {:.2} s of CPU and {:.0} wake-ups per minute, PSS {} kB",
            (after.0 - before.0) as f64 / 100.0 * per_minute,
            (after.1 - before.1) as f64 * per_minute,
            number(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
        );
    });
}

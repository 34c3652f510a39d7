//! What had-agentd adds to the time that programs and addresses take. Prints figures; asserts only outcomes.

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
    let agentd = Agentd::start();
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

//! The timers, checked against what was measured.

use std::time::Duration;

use holdfast_proto::control::{TimerRow, TimersView};
use holdfast_proto::ids::NodeId;

use crate::fence_tests::Shown;
use crate::shell::api::Snapshot;

/// Rows of every timer, and findings where one does not fit this machine, its links or its devices.
#[must_use]
pub fn timers(snapshot: &Snapshot) -> TimersView {
    let row = |(name, value, meaning): (&str, Duration, &str)| TimerRow {
        name: name.into(),
        value_ms: value.as_secs_f64() * 1000.0,
        meaning: meaning.into(),
    };
    let rows = snapshot.config.timers().rows().into_iter().map(row).collect();
    let mut findings = Vec::new();
    link_findings(snapshot, &mut findings);
    fence_findings(snapshot, &mut findings);
    device_findings(snapshot, &mut findings);
    if !snapshot.scheduling.full && snapshot.config.cluster.detection_ms < 1000 {
        findings.push(format!(
            "detection = {} ms needs the deciding thread at SCHED_FIFO with locked memory; here it runs with {}",
            snapshot.config.cluster.detection_ms, snapshot.scheduling.sentence
        ));
    }
    TimersView { rows, findings }
}

fn link_findings(snapshot: &Snapshot, findings: &mut Vec<String>) {
    let timers = snapshot.config.timers();
    let heartbeat_us = timers.heartbeat.as_micros();
    for link in &snapshot.links {
        let peer = snapshot.config.name_of(link.peer);
        if u128::from(link.rtt_us) * 2 > heartbeat_us {
            // A heartbeat is an eighth of the lease, and the round trip should fit twice into it.
            let enough_ms = u64::from(link.rtt_us) * 16 / 1000 + 1;
            findings.push(format!(
                "the round trip to {peer} at {} takes {:.1} ms, too long for a heartbeat every {} ms; set detection to \
                 at least {enough_ms} ms",
                link.address,
                f64::from(link.rtt_us) / 1000.0,
                timers.heartbeat.as_millis()
            ));
        }
        if link.lost_percent >= 10 {
            findings.push(format!(
                "{} % of the heartbeats on the link to {peer} at {} were lost lately; look at its cable, port and MTU",
                link.lost_percent, link.address
            ));
        }
    }
}

fn fence_findings(snapshot: &Snapshot, findings: &mut Vec<String>) {
    let config = &snapshot.config;
    for node in config.nodes.iter().map(|node| node.id) {
        let devices = config.fences_of(node);
        let slowest = devices.iter().map(|device| device.timeout_ms).max();
        let watchdog = watchdog_of(snapshot, node);
        let name = config.name_of(node);
        let armed = (watchdog > 0).then(|| Duration::from_millis(watchdog.into()));
        if let Some(fault) = config.watchdog_fault(node, armed) {
            findings.push(format!("{name} {fault}: it runs no group that requires fencing"));
            continue;
        }
        match (slowest, watchdog) {
            (Some(slowest), 0) => findings.push(format!(
                "if {name} is lost, its groups that require fencing wait for its fence device (at most {} s per attempt); \
                 it has no watchdog to prove it sooner",
                slowest.div_ceil(1000)
            )),
            (None, 0) => findings.push(format!(
                "{name} has neither a fence device nor an armed watchdog: groups that require fencing never leave it \
                 without its own word or `hactl fence confirm {name}`"
            )),
            (_, watchdog) if watchdog < config.cluster.detection_ms => findings.push(format!(
                "the watchdog of {name} fires after {watchdog} ms, sooner than a lease of {} ms ends: a pause that the \
                 cluster tolerates would reset the node; set it higher",
                config.cluster.detection_ms
            )),
            _ => {}
        }
    }
}

/// A fencing is a login and an order, then at least one reading like that of a test: some three times as long as a test.
const TESTS_PER_FENCING: u64 = 3;

/// What the devices' answers to their last tests mean for the timers.
fn device_findings(snapshot: &Snapshot, findings: &mut Vec<String>) {
    let proven = snapshot
        .fence_tests
        .iter()
        .filter(|test| test.shown == Shown::Proven);
    for test in proven {
        let (node, agent) = (snapshot.config.name_of(test.section.node), &test.section.agent);
        let fencing_ms = u64::from(test.took_ms) * TESTS_PER_FENCING;
        let says = format!(
            "the fence device {agent} of {node} took {} ms to log in and read the power state, so a fencing may take {fencing_ms} ms",
            test.took_ms
        );
        let enough_s = (fencing_ms * 2).div_ceil(1000);
        if fencing_ms > u64::from(test.section.timeout_ms) {
            findings.push(format!(
                "{says}, longer than its timeout of {} ms; set timeout = \"{enough_s}s\" for it",
                test.section.timeout_ms
            ));
        }
        let delay_ms = snapshot.config.cluster.fence_delay_ms;
        if fencing_ms > u64::from(delay_ms) {
            findings.push(format!(
                "{says}, longer than fence_delay, {delay_ms} ms: in a pair the other node would begin before the survivor is \
                 done; set fence_delay = \"{enough_s}s\""
            ));
        }
    }
}

fn watchdog_of(snapshot: &Snapshot, node: NodeId) -> u32 {
    if node == snapshot.view.node {
        return snapshot.agent.watchdog_ms;
    }
    let peer = snapshot.view.peers.iter().find(|peer| peer.node == node);
    peer.and_then(|peer| peer.watchdog)
        .map_or(0, |span| span.as_millis() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence_tests::FenceTests;
    use crate::status::fixture;
    use holdfast_proto::config;
    use holdfast_proto::time::Time;

    #[test]
    fn a_node_without_the_watchdog_that_it_needs_is_a_finding() {
        let mut snapshot = fixture::healthy();
        let text = snapshot
            .config
            .source
            .replacen("[cluster]", "[cluster]\nwatchdog = \"required\"", 1);
        let valid = config::parse(&text, "f").unwrap_or_else(|found| panic!("{found}"));
        snapshot.config = std::sync::Arc::new(valid);
        let findings = timers(&snapshot).findings;
        let said = |finding: &&String| finding.contains("has no armed watchdog, which is required");
        assert_eq!(
            findings.iter().filter(said).count(),
            snapshot.config.nodes.len(),
            "{findings:?}"
        );
    }

    #[test]
    fn a_slow_device_needs_a_longer_timeout_and_fence_delay() {
        let mut snapshot = fixture::healthy();
        let config = fixture::with_fences();
        snapshot.fence_tests = FenceTests::new(&config, NodeId(1), Time::ZERO).picture();
        snapshot.config = config.into();
        let findings = |snapshot: &Snapshot| {
            let findings = timers(snapshot).findings.into_iter();
            findings
                .filter(|finding| finding.contains("took"))
                .collect::<Vec<_>>()
        };
        assert!(findings(&snapshot).is_empty(), "nothing was measured");
        snapshot.fence_tests[1].shown = Shown::Proven;
        for (took_ms, expected) in [(400, 0), (2_000, 1), (12_000, 2)] {
            snapshot.fence_tests[1].took_ms = took_ms;
            assert_eq!(findings(&snapshot).len(), expected, "{took_ms}");
        }
        assert!(
            findings(&snapshot)[1].contains("fence_delay = \"72s\""),
            "{:?}",
            findings(&snapshot)
        );
    }
}

//! The timers, checked against what was measured.

use holdfast_proto::control::{TimerRow, TimersView};
use holdfast_proto::ids::NodeId;

use crate::shell::api::Snapshot;

/// Rows of every timer, and findings where one does not fit this machine, its links or its devices.
#[must_use]
pub fn timers(snapshot: &Snapshot) -> TimersView {
    let row = |(name, value, meaning): (&str, std::time::Duration, &str)| TimerRow {
        name: name.into(),
        value_ms: value.as_secs_f64() * 1000.0,
        meaning: meaning.into(),
    };
    let rows = snapshot.config.timers().rows().into_iter().map(row).collect();
    let mut findings = Vec::new();
    link_findings(snapshot, &mut findings);
    fence_findings(snapshot, &mut findings);
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

fn watchdog_of(snapshot: &Snapshot, node: NodeId) -> u32 {
    if node == snapshot.view.node {
        return snapshot.agent.watchdog_ms;
    }
    let peer = snapshot.view.peers.iter().find(|peer| peer.node == node);
    peer.and_then(|peer| peer.watchdog)
        .map_or(0, |span| span.as_millis() as u32)
}

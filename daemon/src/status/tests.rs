use std::sync::Arc;

use super::fixture::healthy;
use super::*;
use crate::shell::api::LinkSample;

fn link(link: usize, up: bool, address: &str) -> LinkSample {
    LinkSample {
        link,
        peer: NodeId(2),
        address: address.into(),
        up,
        rtt_us: 300,
        lost_percent: 0,
    }
}

#[test]
fn healthy_is_said_in_one_line() {
    let view = status(&healthy());
    assert_eq!(view.health, "ok");
    assert_eq!(view.summary, "healthy: mysql runs on db1");
    assert_eq!(view.leader, "db1");
    assert_eq!(view.voters, ["witness", "db1", "db2"]);
    assert_eq!(view.survivor, "", "only a pair has one");
}

#[test]
fn a_lost_node_degrades_and_is_named() {
    let mut snapshot = healthy();
    snapshot.view.peers[0].state = "lost";
    snapshot.view.peers[0].detail = "silent for 14 s".into();
    let view = status(&snapshot);
    assert_eq!(view.health, "degraded");
    assert_eq!(view.summary, "mysql runs on db1; db2 is lost (silent for 14 s)");
}

#[test]
fn a_group_that_waits_is_down_with_its_reason() {
    let mut snapshot = healthy();
    snapshot.view.groups[0].state = "waiting";
    snapshot.view.groups[0].reason = "db1 is not proven to be off".into();
    let view = status(&snapshot);
    assert_eq!(view.health, "down");
    assert_eq!(view.summary, "mysql is waiting (db1 is not proven to be off)");
}

#[test]
fn no_quorum_comes_first() {
    let mut snapshot = healthy();
    snapshot.view.has_quorum = false;
    snapshot.view.quorum = "1 of 3 voters answers".into();
    let view = status(&snapshot);
    assert_eq!(
        (view.health.as_str(), view.summary.as_str()),
        ("down", "no quorum: 1 of 3 voters answers; mysql runs on db1")
    );
}

#[test]
fn a_blank_node_says_what_it_waits_for() {
    let mut snapshot = healthy();
    snapshot.view.state = None;
    let view = status(&snapshot);
    assert_eq!(view.health, "down");
    assert!(view.summary.contains("hactl cluster init"), "{}", view.summary);
    assert_eq!(
        view.nodes
            .iter()
            .find(|node| node.name == "db1")
            .map(|node| node.state.as_str()),
        Some("joining")
    );
}

#[test]
fn standby_and_missing_agentd_show() {
    let mut snapshot = healthy();
    let mut state = (**snapshot.view.state.as_ref().expect("state")).clone();
    state.nodes.entry(NodeId(2)).or_default().standby = true;
    snapshot.view.state = Some(Arc::new(state));
    snapshot.agent.attached = false;
    let view = status(&snapshot);
    assert_eq!(
        view.nodes
            .iter()
            .find(|node| node.name == "db2")
            .map(|node| node.state.as_str()),
        Some("standby")
    );
    assert!(view.warnings.iter().any(|warning| warning.contains("had-agentd")));
    assert_eq!(view.health, "degraded");
}

#[test]
fn a_link_down_beside_one_that_is_up_is_a_warning() {
    let mut snapshot = healthy();
    snapshot.links = vec![link(0, true, "10.0.0.2"), link(1, false, "10.1.0.2")];
    let view = status(&snapshot);
    assert_eq!(
        view.warnings,
        ["link 2 to db2 (10.1.0.2) is down; another carries on, without a spare"]
    );
    assert_eq!(view.health, "degraded");
}

#[test]
fn why_names_candidates_and_reason() {
    let snapshot = healthy();
    let view = why(&snapshot, "mysql", Vec::new()).expect("group");
    assert_eq!(view.sentence, "mysql runs on db1: preferred node");
    assert_eq!(view.candidates, ["db1: could run it", "db2: no, in standby"]);
    assert!(why(&snapshot, "nothing", Vec::new()).is_none());
}

#[test]
fn timers_are_checked_against_measurements() {
    let mut snapshot = healthy();
    snapshot.links = vec![LinkSample {
        rtt_us: 90_000,
        lost_percent: 20,
        ..link(0, true, "10.0.0.2")
    }];
    let findings = timers(&snapshot).findings;
    assert!(
        findings
            .iter()
            .any(|finding| finding.contains("at least 1441 ms")),
        "{findings:?}"
    );
    assert!(
        findings
            .iter()
            .any(|finding| finding.contains("20 % of the heartbeats")),
        "{findings:?}"
    );
    assert!(
        findings
            .iter()
            .any(|finding| finding.contains("hactl fence confirm db2")),
        "{findings:?}"
    );
}

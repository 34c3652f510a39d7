//! Watchdogs that a takeover may count on: what is committed about them, and that nobody runs anything without one that
//! others count on.

use super::*;

const TIMEOUT: Duration = Duration::from_secs(2);

/// Two nodes and a witness, both with a watchdog of 2 s that is committed; the group, its owner and the other node.
fn watched() -> (Cluster, NodeId, NodeId) {
    let mut cluster = Cluster::of(all_vote(&config(2, true, &group("db", "fencing", ""))));
    for node in [A, B] {
        cluster.host_mut(node).watchdog = Some(TIMEOUT);
    }
    cluster.form();
    let owner = cluster.runs_on("db")[0];
    let other = if owner == A { B } else { A };
    (cluster, owner, other)
}

fn claimed(cluster: &Cluster, by: NodeId, about: NodeId) -> u32 {
    cluster.state(by).nodes[&about].watchdog_ms
}

/// The agent process of `node` ends and comes back with `watchdog`; nothing ran there.
fn comes_back_with(cluster: &mut Cluster, node: NodeId, watchdog: Option<Duration>) {
    cluster.event(node, Event::Agent(AgentEvent::Detached));
    cluster.host_mut(node).watchdog = watchdog;
    cluster.attach_agent(node);
}

#[test]
fn after_a_cold_start_of_one_the_watchdog_of_a_node_that_was_never_heard_counts() {
    let (mut cluster, owner, other) = watched();
    assert_eq!(claimed(&cluster, other, owner), 2_000);
    for node in [owner, other, W] {
        cluster.power_off(node);
    }
    cluster.run_for(1_000);
    for node in [other, W] {
        cluster.boot(node);
    }
    let booted = cluster.now;
    cluster.run_until(120_000, "it runs on the node that came back", |cluster| {
        cluster.runs_on("db").contains(&other)
    });
    let record = cluster.state(other).nodes[&owner]
        .proof
        .clone()
        .expect("recorded");
    assert_eq!(record.kind, ProofKind::Watchdog);
    let spans = cluster.config.timers();
    assert!(
        cluster.now.since(booted) > TIMEOUT + spans.lease,
        "the one that may be running there had the time to end"
    );
}

#[test]
fn a_node_gets_no_permit_while_others_count_on_a_watchdog_that_it_lacks() {
    let (mut cluster, owner, other) = watched();
    let leader = cluster.lead();
    let follower = if leader == owner { other } else { owner };
    cluster.host_mut(leader).disk_held = true;
    comes_back_with(&mut cluster, follower, None);
    cluster.run_for(300);
    assert_eq!(
        claimed(&cluster, leader, follower),
        2_000,
        "it cannot be changed yet"
    );
    assert!(cluster.node(leader).withheld_from(follower).1);
    cluster.host_mut(leader).disk_held = false;
    cluster.write_disk(leader);
    cluster.run_until(3_000, "nobody counts on it", |cluster| {
        claimed(cluster, leader, follower) == 0 && !cluster.node(leader).withheld_from(follower).1
    });
    assert!(
        cluster
            .state(leader)
            .reason
            .contains("no armed watchdog any more")
    );
}

#[test]
fn a_shorter_timeout_is_as_good_at_once_and_a_longer_one_only_when_it_is_committed() {
    let (mut cluster, owner, other) = watched();
    let leader = cluster.lead();
    let follower = if leader == owner { other } else { owner };
    cluster.host_mut(leader).disk_held = true;
    let asked_with = |cluster: &mut Cluster, seconds| {
        comes_back_with(cluster, follower, Some(Duration::from_secs(seconds)));
        cluster.run_for(200);
        cluster.node(leader).honours_its_claim(follower)
    };
    assert!(asked_with(&mut cluster, 1));
    assert!(!asked_with(&mut cluster, 3));
    cluster.host_mut(leader).disk_held = false;
    cluster.write_disk(leader);
    cluster.run_until(3_000, "it is committed", |cluster| {
        claimed(cluster, leader, follower) == 3_000
    });
    assert!(cluster.node(leader).honours_its_claim(follower));
}

#[test]
fn a_claim_that_may_yet_be_committed_binds_as_well() {
    let mut cluster = Cluster::of(all_vote(&config(2, true, &group("db", "fencing", ""))));
    cluster.form();
    let leader = cluster.lead();
    let follower = if leader == A { B } else { A };
    cluster.host_mut(leader).disk_held = true;
    comes_back_with(&mut cluster, follower, Some(TIMEOUT));
    cluster.run_for(300);
    comes_back_with(&mut cluster, follower, None);
    cluster.run_for(300);
    assert_eq!(claimed(&cluster, leader, follower), 0);
    assert!(
        cluster.node(leader).withheld_from(follower).1,
        "its proposal says 2 s"
    );
}

#[test]
fn permits_do_not_outlive_the_watchdog_that_they_rest_on() {
    let (mut cluster, owner, _) = watched();
    assert!(cluster.node(owner).local.groups["db"].permit.is_some());
    comes_back_with(&mut cluster, owner, None);
    assert!(cluster.node(owner).local.groups["db"].permit.is_none());
    cluster.run_until(
        3_000,
        "it has one again, and nobody counts on its watchdog",
        |cluster| {
            let permit = cluster.node(owner).local.groups["db"].permit.is_some();
            permit && claimed(cluster, owner, owner) == 0
        },
    );
}

#[test]
fn a_grant_that_answers_what_was_said_with_a_better_watchdog_is_none() {
    let (mut cluster, owner, other) = watched();
    let leader = cluster.lead();
    let follower = if leader == owner { other } else { owner };
    cluster.run_for(200);
    assert!(cluster.node(follower).grant.is_some());
    // Its answer is still under way when the agent process comes back.
    let (seq, sent_at) = cluster
        .node(follower)
        .rounds
        .back()
        .copied()
        .expect("it sent some");
    let late = HeartbeatAck {
        seq,
        sent_at,
        ballot: cluster.node(leader).leading_ballot().expect("it leads"),
        backs: false,
        lease_left: LEASE,
        granted: cluster.state(leader).version,
        withheld: Default::default(),
        withhold_all: false,
        committed: cluster.state(leader).version,
        blank: false,
    };
    comes_back_with(&mut cluster, follower, None);
    let from = cluster.sender(leader);
    let beat = Beat::Ack(late);
    cluster.event(follower, Event::Beat { from, beat });
    assert!(cluster.node(follower).grant.is_none());
    cluster.run_until(3_000, "it is given new ones", |cluster| {
        cluster.node(follower).grant.is_some()
    });
    assert_eq!(claimed(&cluster, leader, follower), 0);
}

#[test]
fn an_agent_process_that_is_away_for_a_moment_changes_no_claim() {
    let (mut cluster, owner, other) = watched();
    let version = cluster.state(owner).version;
    for node in [owner, other] {
        comes_back_with(&mut cluster, node, Some(TIMEOUT));
        cluster.run_for(500);
    }
    assert_eq!(cluster.state(owner).version, version);
}

//! The timeline of a takeover: which proof lets a group leave a node that is not heard, and not a moment earlier (4.3).

use super::*;
use holdfast_proto::config::Timers as Spans;

/// A witness and two nodes, one of which is cut off while it runs `group`; who is left, and since when.
pub(super) fn owner_lost(requires: &str, watchdog: Option<Duration>) -> (Cluster, NodeId, NodeId, Time) {
    let mut cluster = Cluster::of(all_vote(&config(2, true, &group("db", requires, ""))));
    for node in [A, B] {
        cluster.host_mut(node).watchdog = watchdog;
    }
    cluster.form();
    cluster.run_for(1_000);
    let owner = cluster.runs_on("db")[0];
    let other = if owner == A { B } else { A };
    let since = cluster.now;
    cluster.isolate(owner);
    (cluster, owner, other, since)
}

/// The latest instant until which the lost owner was permitted to run the group.
fn permitted_until(cluster: &Cluster, owner: NodeId, group: &str) -> Time {
    cluster.host(owner).permits[group].1
}

#[test]
fn a_lease_group_moves_after_the_permit_lapsed_and_the_margin_passed() {
    let (mut cluster, owner, other, since) = owner_lost("lease", None);
    cluster.run_until(10_000, "it runs elsewhere", |cluster| {
        cluster.runs_on("db").contains(&other)
    });
    let started = cluster.started_at(other, "db", since).expect("started");
    let margin = cluster.config.timers().lapse_margin;
    assert!(
        started >= permitted_until(&cluster, owner, "db") + margin,
        "not before the margin"
    );
    assert!(cluster.fences.is_empty(), "such a group needs no fencing");
    let reason = &cluster.state(other).groups["db"].reason;
    assert!(reason.contains("lapsed"), "{reason}");
}

#[test]
fn a_lease_group_is_taken_over_within_lease_and_margin() {
    let (mut cluster, _, other, since) = owner_lost("lease", None);
    cluster.run_for(3_000);
    let started = cluster.started_at(other, "db", since).expect("started");
    let spans = cluster.config.timers();
    let bound = Spans::stretch(spans.lease) + spans.lapse_margin + Duration::from_millis(150);
    assert!(started.since(since) <= bound, "{:?}", started.since(since));
}

#[test]
fn a_fencing_group_waits_for_the_proof_however_long_it_takes() {
    let (mut cluster, owner, other, since) = owner_lost("fencing", None);
    cluster.run_for(60_000);
    assert_eq!(
        cluster.owner(other, "db"),
        Some(owner),
        "a permit that lapsed is not enough"
    );
    let ask = cluster.asked_about(owner)[0];
    assert!(ask.at >= since + LEASE && ask.by == other);
    let view = cluster.node(other).view(cluster.now);
    assert_eq!(view.groups[0].state, "unknown");
    assert!(view.groups[0].reason.contains("n1") || view.groups[0].reason.contains("n2"));
    cluster.device_proves(ask);
    cluster.run_until(200, "it runs elsewhere", |cluster| {
        cluster.runs_on("db") == [other]
    });
    let record = cluster.state(other).nodes[&owner]
        .proof
        .clone()
        .expect("recorded with its evidence");
    assert_eq!(
        (record.kind, record.evidence.as_str()),
        (ProofKind::Power, "status: off")
    );
}

#[test]
fn a_group_that_requires_nothing_leaves_as_soon_as_its_node_is_lost() {
    let (mut cluster, _, other, since) = owner_lost("nothing", None);
    cluster.run_until(5_000, "it runs elsewhere", |cluster| {
        cluster.runs_on("db").contains(&other)
    });
    assert!(
        cluster.started_at(other, "db", since) >= Some(since + LEASE),
        "but not before it is lost"
    );
}

#[test]
fn an_armed_watchdog_proves_when_it_must_have_fired() {
    let timeout = Duration::from_secs(2);
    let (mut cluster, owner, other, since) = owner_lost("fencing", Some(timeout));
    cluster.run_until(20_000, "it runs elsewhere", |cluster| {
        cluster.runs_on("db").contains(&other)
    });
    let started = cluster.started_at(other, "db", since).expect("started");
    let last_pet = permitted_until(&cluster, owner, "db");
    assert!(started >= last_pet + timeout + cluster.config.timers().lapse_margin);
    let record = cluster.state(other).nodes[&owner]
        .proof
        .clone()
        .expect("recorded");
    assert_eq!(record.kind, ProofKind::Watchdog);
}

#[test]
fn the_first_proof_wins_whether_device_or_watchdog() {
    let (mut cluster, owner, other, _) = owner_lost("fencing", Some(Duration::from_secs(2)));
    cluster.run_until(5_000, "the device is asked", |cluster| {
        !cluster.asked_about(owner).is_empty()
    });
    let ask = cluster.asked_about(owner)[0];
    cluster.device_proves(ask);
    cluster.run_until(200, "it does not wait for the watchdog", |cluster| {
        cluster.runs_on("db") == [other]
    });
}

#[test]
fn a_node_that_comes_back_with_another_boot_proves_that_the_old_one_ended() {
    let (mut cluster, owner, other, _) = owner_lost("fencing", None);
    cluster.power_off(owner);
    cluster.run_for(3_000);
    assert_eq!(cluster.owner(other, "db"), Some(owner));
    let boot = cluster.host(owner).boot;
    cluster.heal();
    cluster.boot(owner);
    cluster.run_until(5_000, "it runs", |cluster| cluster.runs_on("db").len() == 1);
    let record = cluster.state(other).nodes[&owner]
        .proof
        .clone()
        .expect("recorded");
    assert_eq!((record.kind, record.ended_boot), (ProofKind::Reset, Some(boot)));
}

#[test]
fn the_operators_word_releases_what_the_cluster_cannot_prove() {
    let (mut cluster, owner, other, _) = owner_lost("fencing", None);
    let node = owner;
    cluster.run_for(500);
    cluster.run_until(5_000, "another leads", |cluster| cluster.leader() == Some(other));
    cluster.run_for(2_000);
    cluster.power_off(owner);
    let said = cluster.ask_done(
        other,
        OperatorRequest::FenceConfirm {
            node,
            reason: String::new(),
        },
    );
    assert!(said.contains("recorded"), "{said}");
    cluster.run_until(500, "it runs elsewhere", |cluster| {
        cluster.runs_on("db") == [other]
    });
    let record = cluster.state(other).nodes[&owner]
        .proof
        .clone()
        .expect("recorded");
    assert_eq!(record.kind, ProofKind::Operator);
    assert!(
        record.evidence.contains("ann") && record.evidence.contains("noon"),
        "{}",
        record.evidence
    );
}

#[test]
fn the_operators_word_about_a_node_that_is_heard_is_refused() {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    let owner = cluster.runs_on("db")[0];
    let other = if owner == A { B } else { A };
    let said = cluster.ask_refused(
        other,
        OperatorRequest::FenceConfirm {
            node: owner,
            reason: String::new(),
        },
    );
    let said_here = cluster.ask_refused(
        owner,
        OperatorRequest::FenceConfirm {
            node: other,
            reason: String::new(),
        },
    );
    assert!(said.contains("heard") || said.contains("itself"), "{said}");
    assert!(said_here.contains("is heard"), "{said_here}");
    assert_eq!(cluster.node(owner).fence_proofs().count(), 0);
}

#[test]
fn a_new_leader_waits_for_permits_of_the_one_before() {
    // The owner only follows, and its leader dies with a warrant for the other node: permits of the old ballot still run.
    let mut cluster = Cluster::formed(3, false, &group("web", "lease", ""));
    let owner = cluster.runs_on("web")[0];
    assert_eq!(cluster.leader(), Some(owner), "who owns leads");
    let since = cluster.now;
    let target = [A, B, C]
        .into_iter()
        .find(|node| *node != owner)
        .expect("another");
    let ballot = cluster.node(owner).durable().expect("state").promised;
    cluster.say(owner, target, Message::Transfer { ballot });
    cluster.isolate(owner);
    cluster.run_until(10_000, "it runs elsewhere", |cluster| {
        cluster.runs_on("web").iter().any(|node| *node != owner)
    });
    let new = cluster
        .runs_on("web")
        .into_iter()
        .find(|node| *node != owner)
        .expect("runs");
    let started = cluster.started_at(new, "web", since).expect("started");
    let (_, until) = cluster.host(owner).permits["web"];
    assert!(
        started >= until + cluster.config.timers().lapse_margin,
        "{started} against {until}"
    );
}

#[test]
fn a_message_with_another_boot_that_answered_nothing_proves_no_reset() {
    let (mut cluster, owner, other, _) = owner_lost("fencing", None);
    cluster.run_until(5_000, "another leads", |cluster| cluster.leader() == Some(other));
    // It may be older than the assignment: only an answer to this leader's own heartbeat is not.
    let from = Sender {
        boot: BootId(5),
        incarnation: Incarnation(99),
        ..cluster.sender(owner)
    };
    let message = Message::Report(Default::default());
    cluster.event(other, Event::Message { from, message });
    cluster.run_for(500);
    assert_eq!(cluster.owner(other, "db"), Some(owner));
}

#[test]
fn an_owner_that_only_talks_or_only_hears_is_lost_as_well() {
    for deaf in [true, false] {
        let mut cluster = Cluster::formed(2, true, &group("web", "lease", ""));
        let owner = cluster.runs_on("web")[0];
        let other = if owner == A { B } else { A };
        for peer in [other, W] {
            cluster
                .cut
                .insert(if deaf { (peer, owner) } else { (owner, peer) });
        }
        let since = cluster.now;
        cluster.run_until(10_000, "it runs elsewhere", |cluster| {
            cluster.runs_on("web").contains(&other)
        });
        let started = cluster.started_at(other, "web", since).expect("started");
        assert!(started >= permitted_until(&cluster, owner, "web"), "deaf: {deaf}");
    }
}

#[test]
fn a_boot_heard_before_the_election_proves_no_reset() {
    // Node 1 knows node 2 by an earlier boot than the one that the leader, node 3, gave the group to.
    let groups = group("db", "fencing", "") + &group("own", "fencing", "");
    let mut cluster = Cluster::formed(3, false, &groups);
    let to_node = |group: &str, to| OperatorRequest::Move {
        group: group.into(),
        to: Some(to),
    };
    cluster.ask_done(A, to_node("own", C));
    cluster.ask_done(A, to_node("db", C));
    cluster.run_until(2_000, "node 3 leads", |cluster| cluster.leader() == Some(C));
    cluster.run_for(1_000);
    cluster.cut_between(A, B);
    cluster.power_off(B);
    cluster.boot(B);
    cluster.run_until(5_000, "it is synced", |cluster| cluster.node(B).synced);
    cluster.run_for(300);
    cluster.ask_done(C, to_node("db", B));
    cluster.run_until(1_000, "it runs there", |cluster| cluster.runs_on("db") == [B]);
    cluster.run_for(300);
    cluster.event(C, Event::Shutdown);
    cluster.run_until(1_000, "node 1 leads", |cluster| cluster.leader() == Some(A));
    cluster.run_for(20);
    assert_eq!(cluster.owner(A, "db"), Some(B));
    assert_eq!(cluster.runs_on("db"), [B]);
}

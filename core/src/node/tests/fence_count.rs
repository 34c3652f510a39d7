//! How often a node was fenced lately, and how long it has to stay before it votes again.

use super::*;

/// A pair without a witness; node 1 runs everything.
fn pair() -> Cluster {
    let mut cluster = Cluster::formed(2, false, &group("db", "fencing", "prefer = [\"n1\"]"));
    cluster.run_for(500);
    assert_eq!(cluster.runs_on("db"), [A]);
    cluster
}

/// Node 2 loses contact, is fenced, and boots again.
fn fenced_and_back(cluster: &mut Cluster) {
    let asked = cluster.asked_about(B).len();
    cluster.isolate(B);
    cluster.run_until(20_000, "its device is asked", |cluster| {
        cluster.asked_about(B).len() > asked
    });
    let ask = cluster.asked_about(B)[asked];
    cluster.device_proves(ask);
    cluster.run_until(5_000, "node 1 goes on alone", |cluster| {
        cluster.state(A).voters == VoterSet::EMPTY.with(A)
    });
    cluster.heal();
    cluster.boot(B);
}

/// The same, until it votes again. How long that took after its boot.
fn round(cluster: &mut Cluster) -> Duration {
    fenced_and_back(cluster);
    let since = cluster.now;
    cluster.run_until(120_000, "it votes again", |cluster| {
        cluster.state(A).voters.len() == 2 && cluster.node(B).synced
    });
    let took = cluster.now.since(since);
    cluster.run_for(500);
    took
}

#[test]
fn a_node_that_was_fenced_again_and_again_votes_after_growing_waits_up_to_a_bound() {
    let mut cluster = pair();
    let delay = cluster.config.timers().fence_delay;
    let took: Vec<Duration> = (0..8).map(|_| round(&mut cluster)).collect();
    for (took, times) in took.iter().zip([0, 1, 2, 4, 8, 16, 16, 16]) {
        let late = Duration::from_secs(2);
        assert!(
            *took >= delay * times && *took <= delay * times + late,
            "{took:?}, {times}"
        );
    }
    let said = cluster.journal(A, "stays-out");
    assert_eq!(said.len(), 7, "once for each");
    assert!(
        said[1]
            .text
            .starts_with("n2 is back after it was fenced 3 times within the last hour")
            && said[1].text.contains("if it stays for another 6 s"),
        "{}",
        said[1].text
    );
    assert_eq!(cluster.runs_on("db"), [A]);
}

#[test]
fn who_has_to_stay_first_can_be_lost_without_being_fenced_and_begins_anew() {
    let mut cluster = pair();
    round(&mut cluster);
    round(&mut cluster);
    fenced_and_back(&mut cluster);
    cluster.run_for(3_000);
    let shown = |cluster: &Cluster| {
        let view = cluster.node(A).view(cluster.now);
        let peer = view.peers.into_iter().find(|peer| peer.node == B).expect("known");
        (peer.fenced_lately, peer.stays_out_until)
    };
    let (count, until) = shown(&cluster);
    let until = until.expect("it stays out");
    assert_eq!(count, 3);
    let asked = cluster.fences.len();
    cluster.isolate(B);
    cluster.run_for(10_000);
    assert_eq!(
        cluster.fences.len(),
        asked,
        "its loss costs nothing, and it fences nobody"
    );
    assert_eq!(shown(&cluster), (3, None), "who is not heard is not let in");
    cluster.heal();
    cluster.run_for(1_000);
    let anew = shown(&cluster).1.expect("it stays out");
    assert!(anew > until, "it has to stay without a break");
    assert_eq!(cluster.leader(), Some(A));
    cluster.run_until(10_000, "it votes again", |cluster| {
        cluster.state(A).voters.len() == 2
    });
    assert!(cluster.now >= anew);
}

#[test]
fn fencings_of_long_ago_count_no_more() {
    let mut cluster = pair();
    round(&mut cluster);
    let node = cluster.node(A);
    assert_eq!(node.fenced_lately(B), 1);
    let known = &node.fencings[&B];
    let before = cluster.now + super::super::fence_count::RECENT - Duration::from_secs(60);
    assert_eq!(known.recent(before), 1);
    assert_eq!(known.recent(cluster.now + super::super::fence_count::RECENT), 0);
}

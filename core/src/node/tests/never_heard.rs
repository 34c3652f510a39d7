//! Proofs about a node that this run of `had` had not heard when it began to fence it: they name no boot, so they are not for
//! one that is heard by the time they come.

use super::harness::FenceAsk;
use super::*;

/// A pair that lost contact. `had` of node 1, which owns `db`, was restarted since and asks `devices` of node 2, or the one that
/// it has.
fn asks_unheard(devices: &str) -> (Cluster, Vec<FenceAsk>) {
    let groups = group("db", "fencing", "prefer = [\"n1\"]");
    let mut cluster = Cluster::formed(2, false, &(groups + devices));
    cluster.isolate(B);
    cluster.stop_had(A);
    cluster.run_for(20);
    cluster.start_had(A);
    cluster.run_until(20_000, "the devices are asked", |cluster| {
        cluster.asked_about(B).iter().any(|ask| ask.by == A)
    });
    assert_eq!(cluster.node(A).boot_of(B), None, "it was never heard");
    let asked = cluster.asked_about(B);
    (cluster, asked)
}

/// Node 2 comes up anew, and node 1 hears it.
fn comes_back(cluster: &mut Cluster) {
    cluster.heal();
    cluster.boot(B);
    cluster.run_until(2_000, "it is heard", |cluster| {
        cluster.node(A).boot_of(B).is_some()
    });
}

#[test]
fn a_late_proof_without_a_boot_is_nothing_for_one_that_was_heard_since() {
    let (mut cluster, asked) = asks_unheard("");
    cluster.power_off(B);
    let off_at = cluster.now;
    cluster.run_for(100);
    comes_back(&mut cluster);
    cluster.device_answers_late(asked[0], true, off_at);
    assert_eq!(cluster.node(A).fence_proofs().count(), 0, "that boot is alive");
    assert!(cluster.node(A).stand_in().is_empty(), "and votes for itself");
    cluster.run_until(5_000, "both vote", |cluster| {
        cluster
            .leader()
            .is_some_and(|leader| cluster.node(leader).in_pair())
    });
    assert_eq!(cluster.runs_on("db"), [A]);
}

#[test]
fn storage_that_is_cut_after_the_node_was_heard_is_cut_for_that_boot() {
    let fabric = "[[fence]]\nnode = \"n2\"\nagent = \"exec\"\nkind = \"storage\"\nmethod = \"fabric\"\n\
                  params = { program = \"/bin/fabric\" }\n";
    let (mut cluster, asked) = asks_unheard(fabric);
    cluster.device_answers(asked[0], false);
    cluster.heal();
    cluster.run_until(2_000, "it is heard", |cluster| {
        cluster.node(A).boot_of(B).is_some()
    });
    let heard = cluster.node(A).boot_of(B);
    cluster.run_for(1);
    cluster.device_answers(asked[1], true);
    let named: Vec<_> = cluster
        .node(A)
        .fence_proofs()
        .map(|(_, proof)| proof.ended_boot())
        .collect();
    assert_eq!(named, [heard]);
    cluster.run_until(5_000, "it answers, and votes again", |cluster| {
        cluster.node(A).fence_proofs().count() == 0
            && cluster
                .leader()
                .is_some_and(|leader| cluster.node(leader).in_pair())
    });
}

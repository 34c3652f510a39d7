//! The encoding forgets when something happened and nothing that a decision depends on.

use super::*;
use crate::encoding::{Encoder, Origin};

fn words(cluster: &Cluster) -> Vec<u64> {
    let mut to = Encoder::new(Origin::default());
    let node = cluster.host(A).node.as_ref().expect("it runs");
    node.encode(cluster.now, &mut to);
    to.words().to_vec()
}

#[test]
fn a_cluster_at_rest_is_the_same_after_a_permit_was_renewed() {
    let mut cluster = Cluster::formed(2, true, &group("g", "fencing", ""));
    cluster.run_for(20_000);
    let before = words(&cluster);
    // A permit of two leases is told anew every third heartbeat.
    cluster.run_for(3 * 125);
    assert_eq!(words(&cluster), before);
}

#[test]
fn a_lost_peer_is_not_the_same() {
    let mut cluster = Cluster::formed(2, true, &group("g", "fencing", ""));
    cluster.run_for(20_000);
    let before = words(&cluster);
    for node in cluster.members().into_iter().filter(|node| *node != A) {
        cluster.cut.insert((node, A));
    }
    cluster.run_for(125);
    assert_ne!(words(&cluster), before);
}

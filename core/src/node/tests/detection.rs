//! A change of the detection time: nobody counts by a length that the others do not grant.

use super::*;

fn config_with(cluster: &Cluster, detection: &str) -> Arc<holdfast_proto::config::Config> {
    let source =
        cluster
            .config
            .source
            .replacen("detection = \"1s\"", &format!("detection = \"{detection}\""), 1);
    assert_ne!(source, cluster.config.source, "it names the detection time");
    let config = holdfast_proto::config::parse(&source, "test").expect("valid");
    Arc::new(config)
}

fn with_detection(cluster: &Cluster, detection: &str) -> OperatorRequest {
    OperatorRequest::ApplyConfig {
        config: config_with(cluster, detection),
    }
}

#[test]
fn a_longer_lease_is_claimed_only_when_everybody_grants_it() {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    let leader = cluster.lead();
    cluster.isolate(W);
    cluster.run_for(200);
    let request = with_detection(&cluster, "1500ms");
    cluster.ask_done(leader, request);
    let node = cluster.node(leader);
    assert_eq!(
        (node.spans.lease, node.detection.claims.lease),
        (LEASE * 3 / 2, LEASE)
    );
    assert_eq!(node.detection.owes.lease, LEASE * 3 / 2);
    cluster.heal();
    cluster.run_until(60_000, "the change is over", |cluster| {
        cluster.state(leader).lease_before_ms == 0
    });
    let leader = cluster.lead();
    assert_eq!(cluster.node(leader).detection.claims.lease, LEASE * 3 / 2);
    assert!(!cluster.runs_on("db").is_empty());
}

#[test]
fn a_shorter_lease_leaves_others_the_longer_one_until_its_permits_have_ended() {
    let mut cluster = Cluster::formed(2, true, &group("db", "lease", ""));
    let leader = cluster.lead();
    let other = if leader == A { B } else { A };
    let since = cluster.now;
    let request = with_detection(&cluster, "300ms");
    cluster.ask_done(leader, request);
    let node = cluster.node(leader);
    assert_eq!(
        (node.detection.claims.lease, node.detection.owes.lease),
        (LEASE * 3 / 10, LEASE)
    );
    let again = with_detection(&cluster, "500ms");
    let said = cluster.ask_refused(leader, again);
    assert!(said.contains("not over yet"), "{said}");
    cluster.isolate(other);
    cluster.run_for(10_000);
    assert_eq!(
        cluster.state(leader).lease_before_ms,
        1000,
        "who is not heard may hold an old permit"
    );
    cluster.heal();
    cluster.run_until(20_000, "the change is over", |cluster| {
        cluster.state(leader).lease_before_ms == 0
    });
    assert!(cluster.now.since(since) > LEASE * 3);
}

#[test]
fn a_second_change_that_was_asked_for_with_the_first_is_waited_for_from_its_own_beginning() {
    let mut cluster = Cluster::formed(2, true, &group("db", "lease", ""));
    let leader = cluster.lead();
    let other = if leader == A { B } else { A };
    let request = with_detection(&cluster, "1500ms");
    cluster.ask_done(leader, request);
    cluster.isolate(other);
    cluster.run_for(10_000);
    let (config, now) = (config_with(&cluster, "300ms"), cluster.now);
    let node = cluster.host_mut(leader).node.as_mut().expect("runs");
    let mut next = ClusterState::clone(node.committed().expect("a state"));
    assert_eq!(next.lease_before_ms, 1000, "the first is not over");
    next.config = Arc::clone(&config);
    node.durable.as_mut().expect("a state").committed = Arc::new(next);
    (node.config, node.now) = (config, now);
    node.follow_spans();
    assert_eq!(node.detection.since, Some(now));
    node.follow_spans();
    assert_eq!(
        (node.detection.since, node.detection.owes.lease),
        (Some(now), LEASE)
    );
}

//! Drills: a node that runs nothing is fenced for real, and nothing else is disturbed.

use super::*;

/// Whoever leads and owns `db`, and the other.
fn quiet_pair(witness: bool) -> (Cluster, NodeId, NodeId) {
    let mut cluster = Cluster::formed(2, witness, &group("db", "fencing", ""));
    let owner = cluster.runs_on("db")[0];
    cluster.run_until(5_000, "the owner leads", |cluster| {
        cluster.leader() == Some(owner)
    });
    let other = if owner == A { B } else { A };
    (cluster, owner, other)
}

#[test]
fn a_drill_ends_the_passive_node_and_disturbs_nothing() {
    for witness in [true, false] {
        let (mut cluster, owner, other) = quiet_pair(witness);
        let boot = cluster.host(other).boot;
        let epoch = cluster.assignment(owner, "db").epoch();
        let said = cluster.ask_done(owner, OperatorRequest::Drill { node: other });
        assert!(said.contains("drill"), "{said}");
        let ask = cluster.asked_about(other)[0];
        cluster.power_off(other);
        cluster.device_proves(ask);
        cluster.run_for(3_000);
        assert_eq!(
            (cluster.runs_on("db"), cluster.assignment(owner, "db").epoch()),
            (vec![owner], epoch)
        );
        cluster.boot(other);
        cluster.run_until(20_000, "it is back and votes", |cluster| {
            cluster.node(other).synced && cluster.state(owner).voters.contains(other)
        });
        let proved = &cluster.journal(owner, "fence-proved")[0];
        assert_eq!(proved.account.as_ref().expect("account").ended_boot, Some(boot));
        assert_eq!(cluster.asked_about(other).len(), 1, "once");
    }
}

#[test]
fn a_drill_is_refused_unless_it_costs_nobody_anything() {
    let (mut cluster, owner, other) = quiet_pair(true);
    let refused = |cluster: &mut Cluster, node| cluster.ask_refused(owner, OperatorRequest::Drill { node });
    assert!(refused(&mut cluster, owner).contains("does not fence itself"));
    cluster.isolate(W);
    cluster.run_for(1_500);
    let said = refused(&mut cluster, other);
    assert!(said.contains("is not heard"), "{said}");
    cluster.heal();
    cluster.run_for(1_000);
    cluster.ask_done(owner, OperatorRequest::Maintenance { on: true });
    assert!(refused(&mut cluster, other).contains("maintenance"));
    cluster.ask_done(owner, OperatorRequest::Maintenance { on: false });
    let (group, to) = ("db".into(), Some(other));
    cluster.ask_done(owner, OperatorRequest::Move { group, to });
    cluster.run_until(2_000, "it runs there", |cluster| cluster.runs_on("db") == [other]);
    let leader = cluster.lead();
    let owner_now = cluster.ask_refused(leader, OperatorRequest::Drill { node: other });
    assert!(
        owner_now.contains("db") || owner_now.contains("itself"),
        "{owner_now}"
    );
    assert!(cluster.fences.is_empty());
}

#[test]
fn a_node_that_is_fenced_already_or_is_not_heard_is_not_drilled() {
    let (mut cluster, owner, other) = quiet_pair(true);
    cluster.ask_done(owner, OperatorRequest::Drill { node: other });
    let said = cluster.ask_refused(owner, OperatorRequest::Drill { node: other });
    assert!(said.contains("not well"), "its device works: {said}");
    assert_eq!(cluster.asked_about(other).len(), 1);
    let (mut cluster, owner, other) = quiet_pair(true);
    cluster.power_off(other);
    cluster.run_for(3_000);
    let said = cluster.ask_refused(owner, OperatorRequest::Drill { node: other });
    assert!(said.contains("not well"), "it is off: {said}");
}

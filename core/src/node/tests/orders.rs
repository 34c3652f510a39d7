//! Orders on shared disks, and the quorum that stands in for disks that cannot be read: never both.

use super::harness::FenceAsk;
use super::*;

/// `[sbd]`, and an order on its disks as a second method for each of the nodes.
fn disks(nodes: u8) -> String {
    let device = |node| format!("[[fence]]\nnode = \"n{node}\"\nagent = \"sbd\"\nmethod = \"disks\"\n");
    let devices: String = (1..=nodes).map(device).collect();
    format!("[sbd]\ndevices = [\"/dev/sdb1\"]\n{devices}")
}

/// Two nodes; `db` runs on node 1.
fn formed(witness: bool) -> Cluster {
    let groups = group("db", "fencing", "prefer = [\"n1\"]") + &disks(2);
    let mut cluster = Cluster::formed(2, witness, &groups);
    cluster.run_for(1_000);
    assert_eq!(cluster.runs_on("db"), [A]);
    cluster
}

/// Waits until `by` fences `target`; its power device fails, and what is left is the order.
fn ordered(cluster: &mut Cluster, by: NodeId, target: NodeId) -> FenceAsk {
    cluster.run_until(20_000, "its devices are asked", |cluster| {
        cluster.asked_about(target).iter().any(|ask| ask.by == by)
    });
    let asked = cluster.asked_about(target);
    let asked: Vec<FenceAsk> = asked.into_iter().filter(|ask| ask.by == by).collect();
    assert_eq!(asked.len(), 2);
    cluster.device_answers(asked[0], false);
    asked[1]
}

/// The instants as of which a quorum stood behind `node`, by what its agent process was told.
fn backing(cluster: &Cluster, node: NodeId) -> Vec<Time> {
    let told = cluster.done.iter().filter(|(_, at, _)| *at == node);
    let told = told.filter_map(|(_, _, effect)| match effect {
        Effect::Quorum(since) => Some(*since),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_quorum_is_told_of_where_there_are_disks_and_only_while_it_is_there() {
    let mut cluster = formed(true);
    for node in [A, B] {
        let last = *backing(&cluster, node).last().expect("it is told");
        assert!(cluster.now.since(last) < Duration::from_millis(700));
    }
    let since = cluster.now;
    cluster.isolate(A);
    cluster.run_for(5_000);
    assert!(
        backing(&cluster, A).iter().all(|at| *at <= since),
        "nobody stands behind it"
    );
    assert!(backing(&cluster, B).iter().any(|at| *at > since));
    let plain = Cluster::formed(2, true, &group("db", "fencing", ""));
    assert!(backing(&plain, A).is_empty());
}

#[test]
fn a_pair_that_lost_contact_has_no_quorum() {
    let mut cluster = formed(false);
    let since = cluster.now;
    cluster.isolate(A);
    cluster.run_for(1_500);
    for node in [A, B] {
        assert!(backing(&cluster, node).iter().all(|at| *at <= since));
    }
}

#[test]
fn nobody_stands_behind_a_node_that_its_leader_ordered_to_end() {
    let mut cluster = formed(true);
    let leader = cluster.lead();
    let target = if leader == A { B } else { A };
    cluster.ask_done(leader, OperatorRequest::Fence { node: target });
    let ask = ordered(&mut cluster, leader, target);
    cluster.run_for(5_000);
    assert!(cluster.node(leader).is_online(target), "it is heard all the time");
    assert!(backing(&cluster, target).iter().all(|at| *at <= ask.at));
    cluster.device_answers(ask, true);
    assert_eq!(cluster.node(leader).fence_proofs().count(), 1);
}

#[test]
fn who_ordered_its_peer_to_end_does_not_back_it_before_the_answer() {
    let mut cluster = formed(false);
    cluster.isolate(A);
    let ask = ordered(&mut cluster, B, A);
    cluster.heal();
    cluster.run_for(5_000);
    assert!(backing(&cluster, A).iter().all(|at| *at <= ask.at));
    assert_eq!(cluster.runs_on("db"), [A]);
    cluster.device_answers(ask, false);
    for ask in cluster.asked_about(B) {
        cluster.device_answers(ask, false);
    }
    cluster.run_until(20_000, "one leads again", |cluster| cluster.leader().is_some());
    cluster.run_for(1_000);
    assert!(backing(&cluster, A).iter().any(|at| *at > ask.at));
}

#[test]
fn an_order_of_a_leader_that_lost_its_lease_meanwhile_proves_nothing() {
    let mut cluster = formed(true);
    cluster.isolate(A);
    let ask = ordered(&mut cluster, B, A);
    cluster.isolate(B);
    cluster.run_for(3_000);
    cluster.heal();
    cluster.isolate(A);
    cluster.run_until(10_000, "it leads again", |cluster| cluster.leader() == Some(B));
    cluster.device_answers(ask, true);
    assert_eq!(cluster.node(B).fence_proofs().count(), 0);
    let said = cluster.journal(B, "order-void");
    assert!(
        said[0]
            .text
            .contains("another one may have let n1 go on without its disks"),
        "{}",
        said[0].text
    );
    assert_eq!(cluster.owner(B, "db"), Some(A));
}

#[test]
fn an_order_in_a_pair_proves_as_long_as_it_is_one() {
    let mut cluster = formed(false);
    cluster.isolate(A);
    let ask = ordered(&mut cluster, B, A);
    cluster.run_for(3_000);
    cluster.power_off(A);
    cluster.device_answers(ask, true);
    assert_eq!(cluster.node(B).fence_proofs().count(), 1);
    cluster.run_until(3_000, "it runs elsewhere", |cluster| cluster.runs_on("db") == [B]);
}

/// Loses the contact of a pair; node 1 orders node 2 to end, whose next boot begins half a second after the order.
fn next_boot_after_an_order() -> (Cluster, FenceAsk) {
    let mut cluster = formed(false);
    cluster.isolate(A);
    let ask = ordered(&mut cluster, A, B);
    cluster.power_off(B);
    cluster.run_for(500);
    cluster.heal();
    let now = cluster.now;
    cluster.host_mut(B).booted_at = now;
    cluster.boot(B);
    (cluster, ask)
}

#[test]
fn a_boot_says_nothing_until_an_order_that_ended_the_one_before_has_stood() {
    let (mut cluster, ask) = next_boot_after_an_order();
    let ended = ask.boot;
    let certain = cluster.config.sbd.as_ref().expect("it has disks");
    let certain = certain.order_is_certain_after();
    cluster.run_for(certain.as_millis() as u64 - 500);
    assert_eq!(cluster.node(A).boot_of(B), ended, "the next boot was not heard");
    assert!(cluster.node(B).is_online(A) || cluster.node(B).members[&A].heard_at.is_some());
    cluster.device_answers(ask, true);
    cluster.run_until(3_000, "node 1 goes on alone", |cluster| {
        cluster.state(A).voters == holdfast_proto::ids::VoterSet::EMPTY.with(A)
    });
    assert_eq!(cluster.node(A).boot_of(B), ended);
    cluster.run_until(10_000, "the next boot is heard and voted in", |cluster| {
        cluster.state(A).voters.contains(B) && cluster.node(A).boot_of(B) != ended
    });
}

#[test]
fn a_boot_that_says_nothing_says_why() {
    let (mut cluster, _) = next_boot_after_an_order();
    let said = cluster.journal(B, "quiet");
    let said = &said.last().expect("it says so").text;
    assert!(
        said.starts_with("this node says nothing to others for another 13 s: an order on the shared disks"),
        "{said}"
    );
    let refused = cluster.ask(B, OperatorRequest::Maintenance { on: true });
    assert!(
        matches!(&refused, OperatorOutcome::NoQuorum(why) if why.contains("says nothing to others")),
        "{refused:?}"
    );
    let view = cluster.node(B).view(cluster.now);
    assert!(view.quorum.contains("says nothing to others") && !view.has_quorum);
}

#[test]
fn nobody_is_blamed_for_not_answering_who_said_nothing() {
    let mut cluster = formed(true);
    cluster.power_off(B);
    let now = cluster.now;
    cluster.host_mut(B).booted_at = now;
    cluster.boot(B);
    cluster.run_for(20_000);
    assert!(cluster.node(B).is_online(A));
    assert!(cluster.journal(B, "peer-lost").is_empty());
}

#[test]
fn without_shared_disks_a_boot_speaks_at_once() {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    cluster.power_off(B);
    let now = cluster.now;
    cluster.host_mut(B).booted_at = now;
    cluster.boot(B);
    let boot = cluster.host(B).boot;
    cluster.run_for(500);
    assert_eq!(cluster.node(A).boot_of(B), Some(boot));
    assert!(cluster.journal(B, "quiet").is_empty());
}

#[test]
fn who_orders_its_leader_to_end_on_request_backs_it_no_more() {
    let mut cluster = formed(false);
    assert_eq!(cluster.lead(), A);
    cluster.ask_done(B, OperatorRequest::Fence { node: A });
    let ask = ordered(&mut cluster, B, A);
    cluster.run_for(5_000);
    let late = |at: &&Time| **at > ask.at;
    assert_eq!(
        backing(&cluster, A).iter().filter(late).count(),
        0,
        "the order would prove nothing"
    );
}

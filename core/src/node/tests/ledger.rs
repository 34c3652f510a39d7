//! The ledger of proofs: what each takeover rests on, with what was seen.

use super::takeover::owner_lost;
use super::*;
use crate::journal::Account;

fn account(cluster: &Cluster, node: NodeId, kind: &str) -> Account {
    let entries = cluster.journal(node, kind);
    let entry = entries.last().unwrap_or_else(|| panic!("no {kind}"));
    entry.account.clone().expect("it belongs to the ledger")
}

fn confirm(node: NodeId, reason: &str) -> OperatorRequest {
    OperatorRequest::FenceConfirm {
        node,
        reason: reason.into(),
    }
}

#[test]
fn a_takeover_on_a_device_is_accounted_for_from_the_attempt_to_the_state_that_rests_on_it() {
    let (mut cluster, owner, other, _) = owner_lost("fencing", None);
    let boot = cluster.host(owner).boot;
    cluster.run_until(5_000, "the device is asked", |cluster| {
        !cluster.asked_about(owner).is_empty()
    });
    let first = cluster.asked_about(owner)[0];
    cluster.device_answers(first, false);
    let failed = account(&cluster, other, "fence-failed");
    assert_eq!(
        (failed.node, failed.proof, failed.evidence.len()),
        (owner, None, 1)
    );
    cluster.run_until(5_000, "it is asked again", |cluster| {
        cluster.asked_about(owner).len() == 2
    });
    let begun = first.at;
    let second = cluster.asked_about(owner)[1];
    cluster.device_proves(second);
    let proved = account(&cluster, other, "fence-proved");
    assert_eq!(
        (proved.proof, proved.ended_boot),
        (Some(ProofKind::Power), Some(boot))
    );
    assert_eq!(proved.evidence, ["status: off"]);
    assert_eq!(
        proved.took,
        Some(cluster.now.since(begun)),
        "from the first attempt on"
    );
    cluster.run_until(500, "it runs elsewhere", |cluster| {
        cluster.runs_on("db") == [other]
    });
    let used = account(&cluster, other, "proof-used");
    let recorded = cluster.state(other).nodes[&owner]
        .proof
        .clone()
        .expect("recorded");
    assert_eq!(
        (used.proof, used.version),
        (Some(ProofKind::Power), recorded.version)
    );
    assert!(used.version > 0);
}

#[test]
fn a_takeover_tells_how_many_groups_left_the_node_that_was_lost() {
    let groups = ["db", "one", "two"].map(|name| group(name, "fencing", ""));
    let mut cluster = Cluster::formed(3, false, &groups.concat());
    let (group, to) = ("db".into(), Some(B));
    cluster.ask_done(A, OperatorRequest::Move { group, to });
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("db") == [B]);
    cluster.isolate(A);
    cluster.run_until(5_000, "it is fenced", |cluster| {
        !cluster.asked_about(A).is_empty()
    });
    let ask = cluster.asked_about(A)[0];
    cluster.device_proves(ask);
    cluster.run_for(1_000);
    let used = cluster.journal(ask.by, "proof-used");
    assert!(used[0].text.contains("2 groups left it"), "{}", used[0].text);
}

#[test]
fn a_takeover_on_a_countdown_says_from_which_heartbeat_it_was_counted() {
    let (mut cluster, owner, other, since) = owner_lost("fencing", Some(Duration::from_secs(2)));
    cluster.run_until(20_000, "it runs elsewhere", |cluster| {
        cluster.runs_on("db").contains(&other)
    });
    let used = account(&cluster, other, "proof-used");
    assert_eq!((used.node, used.proof), (owner, Some(ProofKind::Watchdog)));
    let said = &used.evidence[0];
    let (elected, _) = said
        .strip_prefix("it was answered nothing since this leader was elected ")
        .and_then(|rest| rest.split_once(" s ago, and its armed watchdog fired "))
        .unwrap_or_else(|| panic!("{said}"));
    let elected: f64 = elected.parse().expect("seconds");
    assert!(
        elected > 2.0 && elected < cluster.now.since(since).as_secs_f64(),
        "{said}"
    );
}

#[test]
fn an_operators_word_is_kept_with_its_reason_and_once_for_a_boot() {
    let (mut cluster, owner, other, _) = owner_lost("fencing", None);
    cluster.run_until(5_000, "another leads", |cluster| cluster.leader() == Some(other));
    cluster.power_off(owner);
    let boot = cluster.host(owner).boot;
    cluster.ask_done(other, confirm(owner, "unplugged"));
    let word = account(&cluster, other, "fence-confirmed");
    assert_eq!(
        (word.proof, word.ended_boot),
        (Some(ProofKind::Operator), Some(boot))
    );
    assert!(
        word.evidence[0].contains("ann") && word.evidence[0].ends_with(": unplugged"),
        "{word:?}"
    );
    let said = cluster.ask_done(other, confirm(owner, "unplugged, I say"));
    assert!(said.contains("already") && said.contains(": unplugged"), "{said}");
    assert_eq!(cluster.journal(other, "fence-confirmed").len(), 1);
}

//! Methods of a level race: each proves by itself, the first wins, and of the others only a note is left.

use super::harness::FenceAsk;
use super::*;
use crate::effect::FenceStep::{self, Act, Off, On, ReadBack};

/// One more device of node 1, whose first one has no method.
fn device(program: &str, keys: &str) -> String {
    format!(
        "[[fence]]\nnode = \"n1\"\nagent = \"exec\"\nparams = {{ program = \"/bin/{program}\" }}\n{keys}\n"
    )
}

/// Two nodes with `devices` for node 1 beside its first; it runs `db` and is lost.
fn racing(witness: bool, devices: &str) -> Cluster {
    let db = group("db", "fencing", "prefer = [\"n1\"]");
    let mut cluster = Cluster::formed(2, witness, &(db + devices));
    assert_eq!(cluster.runs_on("db"), [A]);
    cluster.isolate(A);
    cluster.run_until(20_000, "its devices are asked", |cluster| {
        !cluster.asked_about(A).is_empty()
    });
    cluster
}

fn steps(asked: &[FenceAsk]) -> Vec<FenceStep> {
    asked.iter().map(|ask| ask.step).collect()
}

fn said(cluster: &Cluster, kind: &str) -> Vec<String> {
    let entries = cluster.journal(B, kind);
    entries.iter().map(|entry| entry.text.clone()).collect()
}

#[test]
fn the_first_method_that_proves_it_wins_and_of_the_other_only_a_note_is_left() {
    let mut cluster = racing(true, &device("pdu", "method = \"pdu\""));
    let asked = cluster.asked_about(A);
    assert_eq!(
        steps(&asked),
        [Off, Off],
        "side by side, and none turns it on again yet"
    );
    cluster.device_proves(asked[1]);
    assert_eq!(cluster.node(B).fence_proofs().count(), 1, "it needs no other");
    let proved = said(&cluster, "fence-proved");
    assert!(
        proved[0]
            .starts_with("n1 is fenced by the method pdu: status: off; what has no method lost the race"),
        "{proved:?}"
    );
    cluster.run_until(500, "it runs elsewhere", |cluster| cluster.runs_on("db") == [B]);
    assert_eq!(
        cluster.asked_about(A).len(),
        2,
        "the slow one may still turn it off"
    );
    assert!(cluster.node(B).is_being_fenced(A) && !cluster.node(B).is_fencing(A));
    cluster.device_answers(asked[0], false);
    let late = said(&cluster, "fence-late");
    assert_eq!(
        late,
        [
            "n1: after it was fenced by the method pdu, an answer came from the devices without a method, which is only noted: \
          exit 0, status: on"
        ]
    );
    assert_eq!(
        steps(&cluster.asked_about(A)[2..]),
        [On, On],
        "both were turned off"
    );
    assert!(cluster.node(B).fences.is_empty() && said(&cluster, "fence-failed").is_empty());
}

#[test]
fn a_late_proof_is_only_noted() {
    let mut cluster = racing(true, &device("pdu", "method = \"pdu\""));
    let asked = cluster.asked_about(A);
    cluster.device_proves(asked[1]);
    let proof = cluster.node(B).proofs[&A].clone();
    cluster.run_for(300);
    cluster.device_answers(asked[0], true);
    assert_eq!(cluster.node(B).proofs[&A], proof);
    assert_eq!(
        (
            said(&cluster, "fence-proved").len(),
            said(&cluster, "fence-late").len()
        ),
        (1, 1)
    );
}

#[test]
fn a_method_that_fails_leaves_the_others_racing_and_all_must_fail_for_the_next_level() {
    let more = device("pdu", "method = \"pdu\"") + &device("last", "level = 2");
    let mut cluster = racing(true, &more);
    let asked = cluster.asked_about(A);
    cluster.device_answers(asked[0], false);
    assert_eq!(cluster.asked_about(A).len(), 2, "one method is left");
    let failed = said(&cluster, "fence-method-failed");
    assert_eq!(
        failed,
        ["n1 is not proven off by the devices without a method: exit 0, status: on"]
    );
    cluster.device_answers(asked[1], false);
    let asked = cluster.asked_about(A);
    assert_eq!(steps(&asked), [Off, Off, Act], "now the next level");
    assert_eq!(said(&cluster, "fence-failed").len(), 1);
    cluster.device_proves(asked[2]);
    assert_eq!(cluster.node(B).fence_proofs().count(), 1);
}

#[test]
fn devices_of_one_method_are_needed_together() {
    let more = device("pdu-a", "method = \"pdu\"") + &device("pdu-b", "method = \"pdu\"");
    let mut cluster = racing(true, &more);
    let asked = cluster.asked_about(A);
    assert_eq!(steps(&asked), [Off, Off, Off]);
    cluster.device_answers(asked[1], true);
    assert_eq!(cluster.node(B).fence_proofs().count(), 0, "one of two supplies");
    cluster.device_answers(asked[2], true);
    let asked = cluster.asked_about(A);
    assert_eq!(steps(&asked[3..]), [ReadBack, ReadBack]);
    cluster.device_answers(asked[3], true);
    assert_eq!(cluster.node(B).fence_proofs().count(), 0);
    cluster.power_off(A);
    cluster.device_answers(asked[4], true);
    assert_eq!(cluster.node(B).fence_proofs().count(), 1);
    cluster.device_answers(asked[0], false);
    assert_eq!(steps(&cluster.asked_about(A)[5..]), [On, On, On]);
}

#[test]
fn a_supply_that_fails_ends_its_method_only() {
    let more = device("pdu-a", "method = \"pdu\"") + &device("pdu-b", "method = \"pdu\"");
    let mut cluster = racing(true, &more);
    let asked = cluster.asked_about(A);
    cluster.device_answers(asked[1], true);
    cluster.device_answers(asked[2], false);
    cluster.device_proves(asked[0]);
    assert_eq!(cluster.node(B).fence_proofs().count(), 1);
}

#[test]
fn a_takeover_of_a_pair_waits_for_no_loser() {
    let mut cluster = racing(false, &device("pdu", "method = \"pdu\""));
    let asked = cluster.asked_about(A);
    cluster.device_proves(asked[0]);
    cluster.run_until(2_000, "it runs elsewhere", |cluster| cluster.runs_on("db") == [B]);
    assert!(
        cluster.node(B).is_being_fenced(A),
        "the other device is still at work"
    );
}

#[test]
fn in_a_pair_a_method_that_cannot_stand_in_for_a_vote_does_not_end_the_race() {
    let storage = "[[fence]]\nnode = \"n1\"\nagent = \"fence_scsi\"\nmethod = \"disks\"\n";
    let mut cluster = racing(false, storage);
    let asked = cluster.asked_about(A);
    assert_eq!(steps(&asked), [Act, Act]);
    cluster.device_answers(asked[1], true);
    assert_eq!(cluster.node(B).proofs[&A].kind(), ProofKind::Storage);
    cluster.run_for(500);
    assert_eq!(
        cluster.runs_on("db"),
        [A],
        "it still runs, cut off its storage, and votes"
    );
    cluster.device_proves(asked[0]);
    assert_eq!(cluster.node(B).proofs[&A].kind(), ProofKind::Power);
    cluster.run_until(2_000, "it runs elsewhere", |cluster| cluster.runs_on("db") == [B]);
}

#[test]
fn a_node_that_is_lost_again_is_fenced_anew_although_a_loser_of_before_is_still_at_work() {
    let mut cluster = racing(true, &device("pdu", "method = \"pdu\""));
    let asked = cluster.asked_about(A);
    cluster.device_proves(asked[1]);
    cluster.run_until(500, "it runs elsewhere", |cluster| cluster.runs_on("db") == [B]);
    cluster.heal();
    cluster.boot(A);
    cluster.run_until(10_000, "it is synced", |cluster| cluster.node(A).synced);
    cluster.ask_done(B, OperatorRequest::Fence { node: A });
    assert_eq!(steps(&cluster.asked_about(A)), [Off, Off, Off, Off]);
    cluster.device_answers(asked[0], true);
    assert_eq!(
        cluster.node(B).fence_proofs().count(),
        0,
        "its answer is about a boot of before"
    );
}

#[test]
fn a_countdown_that_proves_it_ends_the_attempts_of_the_devices() {
    let db = group("db", "fencing", "prefer = [\"n1\"]");
    let mut cluster = Cluster::formed(2, true, &db);
    cluster.host_mut(A).watchdog = Some(Duration::from_secs(2));
    cluster.attach_agent(A);
    cluster.run_for(1_000);
    cluster.isolate(A);
    cluster.run_until(5_000, "its device is asked", |cluster| {
        !cluster.asked_about(A).is_empty()
    });
    let ask = cluster.asked_about(A)[0];
    cluster.run_until(20_000, "it runs elsewhere", |cluster| {
        cluster.runs_on("db").contains(&B)
    });
    cluster.device_answers(ask, false);
    cluster.run_for(30_000);
    assert_eq!(
        cluster.asked_about(A).len(),
        1,
        "nothing waits for a proof any more"
    );
    let ended = said(&cluster, "fence-ended");
    assert!(
        ended[0].starts_with("n1 is fenced no longer: nothing is left there"),
        "{ended:?}"
    );
}

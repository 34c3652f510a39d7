//! Fencing by a leader: whom, when, and what its result proves.

use super::harness::FenceAsk;
use super::*;
use crate::effect::FenceStep::{self, Act, Off, On, ReadBack};

fn steps(asked: &[FenceAsk]) -> Vec<FenceStep> {
    asked.iter().map(|ask| ask.step).collect()
}

/// Two nodes and a witness, the owner of `db` cut off and the other leading and fencing it.
fn fencing() -> (Cluster, NodeId, NodeId) {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    let owner = cluster.runs_on("db")[0];
    let other = if owner == A { B } else { A };
    cluster.isolate(owner);
    cluster.run_until(5_000, "the device is asked", |cluster| {
        !cluster.asked_about(owner).is_empty()
    });
    (cluster, owner, other)
}

/// Three nodes: `db` on the leader, which is named first, and `web` on another, named second.
fn spread() -> (Cluster, NodeId, NodeId) {
    let mut cluster = Cluster::formed(
        3,
        false,
        &(group("db", "fencing", "") + &group("web", "fencing", "")),
    );
    let to = Some(B);
    cluster.ask_done(
        A,
        OperatorRequest::Move {
            group: "web".into(),
            to,
        },
    );
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("web") == [B]);
    cluster.run_for(500);
    assert_eq!(cluster.leader(), Some(A));
    (cluster, A, B)
}

#[test]
fn only_the_leader_fences_and_only_who_may_run_something() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    let owner = cluster.runs_on("db")[0];
    let idle = [A, B, C]
        .into_iter()
        .find(|node| *node != owner)
        .expect("another");
    cluster.isolate(idle);
    cluster.run_for(20_000);
    assert!(
        cluster.fences.is_empty(),
        "a node that runs nothing is left alone"
    );
    cluster.heal();
    cluster.run_for(2_000);
    cluster.isolate(owner);
    cluster.run_until(5_000, "it is fenced", |cluster| !cluster.fences.is_empty());
    let leader = cluster.leader().expect("leads");
    assert!(
        cluster
            .fences
            .iter()
            .all(|ask| ask.by == leader && ask.target == owner)
    );
}

#[test]
fn a_command_that_exited_0_without_a_read_back_proves_nothing() {
    let (mut cluster, owner, other) = fencing();
    let ask = cluster.asked_about(owner)[0];
    cluster.device_answers(ask, false);
    assert_eq!(cluster.node(other).fence_proofs().count(), 0);
    assert_eq!(cluster.owner(other, "db"), Some(owner));
    assert_eq!(cluster.journal(other, "fence-failed").len(), 1);
}

#[test]
fn a_device_that_fails_is_asked_again_with_growing_pauses() {
    let (mut cluster, owner, _) = fencing();
    for count in 1..6 {
        let ask = *cluster.asked_about(owner).last().expect("asked");
        cluster.device_answers(ask, false);
        cluster.run_until(40_000, "asked again", |cluster| {
            cluster.asked_about(owner).len() > count
        });
    }
    let asked = cluster.asked_about(owner);
    let pauses: Vec<Duration> = asked
        .windows(2)
        .map(|pair| pair[1].at.since(pair[0].at))
        .collect();
    assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
    assert!(pauses[0] >= Duration::from_secs(1) && pauses[0] < pauses[3]);
    assert!(
        pauses.iter().all(|pause| *pause <= Duration::from_secs(17)),
        "{pauses:?}"
    );
}

#[test]
fn the_next_level_is_asked_when_one_fails_and_a_level_counts_as_a_whole() {
    let more = "[[fence]]\nnode = \"n1\"\nagent = \"exec\"\nlevel = 2\nparams = { program = \"/bin/pdu-a\" }\n\
                [[fence]]\nnode = \"n1\"\nagent = \"exec\"\nlevel = 2\nparams = { program = \"/bin/pdu-b\" }\n";
    let mut cluster = Cluster::formed(2, true, &(group("db", "fencing", "prefer = [\"n1\"]") + more));
    assert_eq!(cluster.runs_on("db"), [A]);
    cluster.isolate(A);
    cluster.run_until(5_000, "the board is asked", |cluster| {
        cluster.asked_about(A).len() == 1
    });
    let board = cluster.asked_about(A)[0];
    cluster.device_answers(board, false);
    let asked = cluster.asked_about(A);
    assert_eq!(asked.len(), 3, "both supplies at once");
    cluster.power_off(A);
    cluster.device_answers(asked[1], true);
    assert_eq!(
        cluster.node(B).fence_proofs().count(),
        0,
        "one of two supplies is not off"
    );
    cluster.device_answers(asked[2], true);
    let asked = cluster.asked_about(A);
    assert_eq!(
        steps(&asked),
        [Act, Off, Off, ReadBack, ReadBack],
        "none turns its outlet on before both are off"
    );
    cluster.device_answers(asked[3], true);
    assert_eq!(cluster.node(B).fence_proofs().count(), 0);
    cluster.device_answers(asked[4], true);
    assert_eq!(cluster.node(B).fence_proofs().count(), 1);
    assert_eq!(steps(&cluster.asked_about(A)[5..]), [On, On]);
    cluster.run_until(500, "it runs elsewhere", |cluster| cluster.runs_on("db") == [B]);
}

#[test]
fn a_supply_that_is_on_again_when_the_last_one_is_off_proves_nothing() {
    let more = "[[fence]]\nnode = \"n1\"\nagent = \"exec\"\nparams = { program = \"/bin/pdu-b\" }\n";
    let mut cluster = Cluster::formed(2, true, &(group("db", "fencing", "prefer = [\"n1\"]") + more));
    cluster.isolate(A);
    cluster.run_until(5_000, "both are asked", |cluster| {
        cluster.asked_about(A).len() == 2
    });
    for ask in cluster.asked_about(A) {
        cluster.device_answers(ask, true);
    }
    let asked = cluster.asked_about(A);
    cluster.device_answers(asked[2], false);
    cluster.device_answers(asked[3], true);
    assert_eq!(cluster.node(B).fence_proofs().count(), 0);
    assert_eq!(cluster.runs_on("db"), [A]);
}

#[test]
fn the_answer_of_an_unknown_command_is_dropped() {
    let (mut cluster, owner, other) = fencing();
    let mut ask = cluster.asked_about(owner)[0];
    ask.id = crate::effect::FenceId(ask.id.0 + 7);
    cluster.device_answers(ask, true);
    assert_eq!(cluster.node(other).fence_proofs().count(), 0);
}

#[test]
fn a_proof_is_refuted_when_the_boot_it_ended_answers() {
    let (mut cluster, owner, other) = fencing();
    let ask = cluster.asked_about(owner)[0];
    cluster.host_mut(other).disk_held = true;
    cluster.device_answers(ask, true);
    assert_eq!(cluster.node(other).fence_proofs().count(), 1);
    cluster.heal();
    cluster.run_for(300);
    assert_eq!(
        cluster.node(other).fence_proofs().count(),
        0,
        "the device lied, or cut another machine"
    );
    let said = cluster.journal(other, "proof-refuted");
    assert!(said[0].text.contains("right machine"), "{}", said[0].text);
}

#[test]
fn a_proof_says_nothing_about_what_was_assigned_after_it() {
    let (mut cluster, owner, other) = fencing();
    let ask = cluster.asked_about(owner)[0];
    cluster.device_proves(ask);
    let proof = cluster.node(other).proofs[&owner].clone();
    let assigned = |epoch| Assignment::Owned {
        owner,
        boot: proof.ended_boot(),
        epoch,
    };
    assert!(proof.releases(&assigned(1)).is_some());
    assert!(
        proof
            .releases(&assigned(cluster.state(other).next_epoch))
            .is_none()
    );
}

#[test]
fn a_fenced_node_that_boots_again_gets_groups_again() {
    let (mut cluster, owner, other) = fencing();
    let ask = cluster.asked_about(owner)[0];
    cluster.device_proves(ask);
    cluster.run_until(500, "it runs elsewhere", |cluster| {
        cluster.runs_on("db") == [other]
    });
    cluster.heal();
    cluster.boot(owner);
    cluster.run_until(10_000, "it is synced", |cluster| cluster.node(owner).synced);
    cluster.run_for(500);
    assert_eq!(cluster.node(other).fence_proofs().count(), 0);
    assert_eq!(cluster.runs_on("db"), [other], "and takes nothing back by itself");
    cluster.ask_done(
        other,
        OperatorRequest::Move {
            group: "db".into(),
            to: Some(owner),
        },
    );
    cluster.run_until(500, "it runs there", |cluster| cluster.runs_on("db") == [owner]);
}

#[test]
fn a_node_that_is_back_before_its_device_was_tried_again_is_left_alone() {
    let (mut cluster, owner, other) = fencing();
    let ask = cluster.asked_about(owner)[0];
    cluster.device_answers(ask, false);
    cluster.heal();
    cluster.run_for(30_000);
    assert_eq!(cluster.asked_about(owner).len(), 1);
    assert_eq!(cluster.node(other).fences.len(), 0);
}

#[test]
fn a_node_without_a_network_of_its_own_fences_nobody() {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    let owner = cluster.runs_on("db")[0];
    let other = if owner == A { B } else { A };
    let health = NetworkHealth {
        any_link_up: true,
        ping_answers: false,
    };
    cluster.event(other, Event::Network(health));
    cluster.isolate(owner);
    cluster.run_for(20_000);
    assert_eq!(cluster.leader(), Some(other));
    assert!(cluster.fences.is_empty());
}

#[test]
fn nobody_is_fenced_in_maintenance() {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    let owner = cluster.runs_on("db")[0];
    cluster.ask_done(owner, OperatorRequest::Maintenance { on: true });
    cluster.isolate(owner);
    cluster.run_for(20_000);
    assert!(cluster.fences.is_empty());
}

#[test]
fn a_node_never_heard_since_the_start_is_fenced_after_the_startup_grace() {
    let mut state = all_vote(&config(3, false, &group("db", "fencing", "")));
    state.groups.get_mut("db").expect("configured").assignment = Assignment::Owned {
        owner: C,
        boot: Some(BootId(77)),
        epoch: 1,
    };
    state.next_epoch = 2;
    let mut cluster = Cluster::of(state);
    let since = cluster.now;
    cluster.boot(A);
    cluster.boot(B);
    let grace = cluster.config.timers().startup_grace;
    cluster.run_for(grace.as_millis() as u64 - 100);
    assert!(cluster.leader().is_some() && cluster.fences.is_empty());
    cluster.run_until(1_000, "it is fenced", |cluster| !cluster.fences.is_empty());
    assert!(cluster.fences[0].at >= since + grace && cluster.fences[0].target == C);
}

#[test]
fn a_had_that_was_restarted_during_a_failover_does_not_wait_for_the_startup_grace() {
    let (mut cluster, leader, follower) = spread();
    cluster.power_off(follower);
    cluster.stop_had(leader);
    let since = cluster.now;
    cluster.start_had(leader);
    let spans = cluster.config.timers();
    assert!(spans.resume_grace < spans.startup_grace);
    cluster.run_until(20_000, "it is fenced", |cluster| {
        cluster.fences.iter().any(|fence| fence.target == follower)
    });
    let after = cluster.fences[0].at.since(since);
    assert!(after >= spans.resume_grace && after < spans.startup_grace);
}

#[test]
fn an_owner_whose_agent_stays_away_is_fenced_after_a_while() {
    let (mut cluster, leader, follower) = spread();
    let since = cluster.now;
    cluster.event(follower, Event::Agent(AgentEvent::Detached));
    let patience = cluster.node(leader).agent_patience();
    cluster.run_until(10_000, "it is fenced", |cluster| {
        !cluster.asked_about(follower).is_empty()
    });
    assert!(
        cluster.fences[0].at >= since + patience,
        "a restart of the agent takes less"
    );
    assert!(
        cluster.journal(leader, "fence-started")[0]
            .text
            .contains("agent process")
    );
}

#[test]
fn an_owner_that_cannot_stop_a_group_is_fenced() {
    let (mut cluster, leader, owner) = spread();
    let name = "web";
    cluster.host_mut(owner).stops_hang = true;
    let group = name.into();
    let call = OperatorRequest::Move { group, to: None };
    cluster.ask_done(leader, call);
    cluster.run_for(500);
    assert!(cluster.fences.is_empty(), "a stop may take its time");
    let epoch = cluster.assignment(leader, name).epoch();
    cluster.agent_reports(owner, name, epoch, RunState::Unknown);
    cluster.run_until(500, "it is fenced", |cluster| {
        !cluster.asked_about(owner).is_empty()
    });
    let ask = cluster.asked_about(owner)[0];
    cluster.device_proves(ask);
    cluster.run_until(1_000, "it runs elsewhere", |cluster| {
        cluster.runs_on(name).iter().any(|node| *node != owner)
    });
}

#[test]
fn fencing_that_an_operator_asked_for_goes_on_although_the_node_is_heard() {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    let owner = cluster.runs_on("db")[0];
    let other = if owner == A { B } else { A };
    cluster.ask_done(owner, OperatorRequest::Fence { node: other });
    cluster.run_for(1_000);
    let ask = cluster.asked_about(other)[0];
    assert_eq!(ask.by, owner);
    cluster.device_proves(ask);
    assert_eq!(cluster.journal(owner, "fence-proved").len(), 1);
    let said = cluster.ask_refused(owner, OperatorRequest::Fence { node: owner });
    assert!(said.contains("itself"), "{said}");
}

#[test]
fn a_proof_about_a_boot_that_is_over_is_not_held_against_the_next() {
    let (mut cluster, owner, other) = fencing();
    let ask = cluster.asked_about(owner)[0];
    cluster.power_off(owner);
    let read_at = cluster.now;
    cluster.heal();
    cluster.boot(owner);
    cluster.run_until(5_000, "it is synced again", |cluster| cluster.node(owner).synced);
    cluster.device_answers_late(ask, true, read_at);
    assert_eq!(cluster.node(other).fence_proofs().count(), 0);
    cluster.run_for(2_000);
    assert_eq!(cluster.asked_about(owner).len(), 1, "and nobody is fenced again");
}

#[test]
fn a_node_that_is_being_fenced_is_granted_nothing_although_it_is_heard() {
    let (mut cluster, leader, follower) = spread();
    cluster.ask_done(leader, OperatorRequest::Fence { node: follower });
    cluster.run_for(200);
    let before = cluster.host(follower).permits["web"];
    cluster.run_for(2_500);
    assert_eq!(cluster.host(follower).permits["web"], before);
    assert!(
        before.1 < cluster.now,
        "so it stops by itself if the device fails"
    );
}

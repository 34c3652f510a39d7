//! A pair without a witness: who fences, what stands in for a vote, and what needs no lease.

use super::*;

/// Nodes 1 and 2, `db` and `web` on node 1, which leads and is the agreed survivor.
fn pair() -> Cluster {
    let groups = group("db", "fencing", "") + &group("web", "lease", "");
    let cluster = Cluster::formed(2, false, &groups);
    assert_eq!(
        (cluster.runs_on("db"), cluster.runs_on("web")),
        (vec![A], vec![A])
    );
    assert_eq!((cluster.leader(), cluster.state(B).survivor), (Some(A), A));
    cluster
}

/// The pair, cut, and fenced by `winner` with a device that proves it.
fn won_by(winner: NodeId) -> (Cluster, NodeId) {
    let mut cluster = pair();
    let loser = if winner == A { B } else { A };
    cluster.cut_between(A, B);
    cluster.run_until(10_000, "the winner fences", |cluster| {
        cluster.asked_about(loser).iter().any(|ask| ask.by == winner)
    });
    let ask = cluster.asked_about(loser)[0];
    cluster.device_proves(ask);
    (cluster, loser)
}

#[test]
fn the_survivor_fences_at_once_and_the_other_after_the_fence_delay() {
    let mut cluster = pair();
    let since = cluster.now;
    cluster.cut_between(A, B);
    cluster.run_for(10_000);
    let spans = cluster.config.timers();
    let (by_survivor, by_other) = (cluster.asked_about(B)[0], cluster.asked_about(A)[0]);
    assert_eq!((by_survivor.by, by_other.by), (A, B));
    let beat = spans.heartbeat;
    let lost = since + spans.lease;
    assert!(
        by_survivor.at + beat >= lost && by_survivor.at <= lost + beat,
        "{}",
        by_survivor.at
    );
    let delayed = lost + spans.fence_delay;
    assert!(
        by_other.at + beat >= delayed && by_other.at <= delayed + beat,
        "{}",
        by_other.at
    );
}

#[test]
fn a_power_proof_stands_in_for_the_vote_and_the_winner_votes_alone() {
    let (mut cluster, loser) = won_by(A);
    cluster.run_until(1_000, "it decides alone", |cluster| {
        cluster.state(A).voters == voters(&[A])
    });
    assert!(cluster.leader() == Some(A));
    let record = cluster.state(A).nodes[&loser].proof.clone().expect("recorded");
    assert_eq!(record.kind, ProofKind::Power);
    assert_eq!(cluster.runs_on("db"), [A], "and what it ran went on");
}

#[test]
fn the_other_node_takes_the_groups_when_the_survivor_is_dead() {
    let (mut cluster, _) = won_by(B);
    cluster.run_until(3_000, "it runs there", |cluster| cluster.runs_on("db") == [B]);
    cluster.run_until(1_000, "it runs there", |cluster| cluster.runs_on("web") == [B]);
    assert_eq!(cluster.state(B).voters, voters(&[B]));
    assert_eq!(cluster.state(B).survivor, B);
}

#[test]
fn a_freshly_booted_node_alone_waits_and_fences_nobody() {
    let mut cluster = pair();
    cluster.power_off(A);
    cluster.power_off(B);
    cluster.run_for(1_000);
    let since = cluster.now;
    cluster.boot(A);
    cluster.run_for(600_000);
    assert!(cluster.fences.is_empty(), "its peer may be running everything");
    assert_eq!(cluster.leader(), None);
    assert_eq!(cluster.orders(A, since), Vec::<String>::new());
    cluster.boot(B);
    cluster.run_until(10_000, "the pair runs again", |cluster| {
        cluster.runs_on("db").len() == 1
    });
}

#[test]
fn a_restart_of_had_is_no_boot_and_its_node_stays_synced() {
    let mut cluster = pair();
    cluster.stop_had(A);
    cluster.run_for(100);
    cluster.start_had(A);
    cluster.cut_between(A, B);
    cluster.run_for(3_000);
    assert!(cluster.node(A).synced);
    assert!(
        cluster.asked_about(B).is_empty(),
        "but it blames nobody whom this run never heard"
    );
}

#[test]
fn a_node_whose_own_network_is_down_fences_nobody() {
    let mut cluster = pair();
    let health = NetworkHealth {
        any_link_up: false,
        ping_answers: true,
    };
    cluster.event(A, Event::Network(health));
    cluster.cut_between(A, B);
    cluster.run_for(2_000);
    assert!(cluster.fences.is_empty(), "the survivor is the isolated one");
    cluster.run_for(10_000);
    assert!(cluster.fences.iter().all(|ask| ask.by == B));
    assert!(
        !cluster.fences.is_empty(),
        "so the other one fences after its delay"
    );
}

#[test]
fn the_owner_keeps_its_groups_and_permits_while_nobody_is_fenced() {
    let mut cluster = pair();
    let since = cluster.now;
    cluster.cut_between(A, B);
    cluster.run_for(30_000);
    assert_eq!(cluster.leaders(), [], "there is no lease without a majority");
    for group in ["db", "web"] {
        let (_, until) = cluster.host(A).permits[group];
        assert!(until > cluster.now, "{group}: nobody else can start it");
        assert_eq!(cluster.runs_on(group), [A]);
    }
    assert_eq!(cluster.orders(A, since), Vec::<String>::new());
    assert_eq!(cluster.orders(B, since), Vec::<String>::new());
}

#[test]
fn countdowns_prove_nothing_in_a_pair() {
    let mut cluster = Cluster::of(all_vote(&config(2, false, &group("web", "lease", ""))));
    for node in [A, B] {
        cluster.host_mut(node).watchdog = Some(Duration::from_secs(2));
    }
    cluster.form();
    let owner = cluster.runs_on("web")[0];
    let other = if owner == A { B } else { A };
    cluster.power_off(owner);
    cluster.run_for(60_000);
    assert_eq!(cluster.owner(other, "web"), Some(owner));
    assert!(cluster.node(other).countdown(owner).is_none());
}

#[test]
fn a_fence_that_ends_a_later_boot_than_it_was_for_names_that_one() {
    let mut cluster = pair();
    cluster.power_off(B);
    cluster.run_until(5_000, "the survivor fences", |cluster| !cluster.fences.is_empty());
    let ask = cluster.fences[0];
    cluster.boot(B);
    cluster.run_until(2_000, "the new boot is heard", |cluster| {
        cluster.node(A).boot_of(B) == Some(cluster.host(B).boot)
    });
    // Only now does the device act, on a boot that nobody wanted to end; and it takes longer than a lease.
    cluster.power_off(B);
    cluster.run_for(1_500);
    cluster.device_answers(ask, true);
    cluster.run_until(2_000, "it goes on alone", |cluster| {
        cluster.state(A).voters == VoterSet::EMPTY.with(A)
    });
    assert_eq!(
        cluster.fences.len(),
        1,
        "the node is not fenced again for the silence of that boot"
    );
}

/// A pair whose A fences B for the silence of a boot, hears another boot of it meanwhile, and loses that too.
fn fenced_for_the_boot_before() -> (Cluster, FenceAsk) {
    let mut cluster = pair();
    let first = cluster.host(B).boot;
    cluster.power_off(B);
    cluster.run_until(5_000, "the survivor fences", |cluster| !cluster.fences.is_empty());
    let ask = cluster.fences[0];
    assert_eq!(ask.boot, Some(first), "the device is told which boot is to end");
    cluster.boot(B);
    cluster.run_until(2_000, "the new boot is heard", |cluster| {
        cluster.node(A).boot_of(B) == Some(cluster.host(B).boot)
    });
    cluster.power_off(B);
    cluster.run_for(1_500);
    (cluster, ask)
}

#[test]
fn a_device_that_ended_one_boot_says_nothing_about_the_next() {
    let (mut cluster, ask) = fenced_for_the_boot_before();
    let second = cluster.host(B).boot;
    // An order on a disk: it ended the boot that it was for, and was given before the later one was heard.
    cluster.device_answers_late(ask, true, Time::ZERO);
    cluster.run_until(5_000, "it is fenced for the later boot", |cluster| {
        cluster.fences.len() > 1
    });
    assert_eq!(cluster.state(A).voters, VoterSet::EMPTY.with(A).with(B));
    let again = cluster.fences[1];
    assert_eq!(again.boot, Some(second));
    cluster.device_answers_late(again, true, Time::ZERO);
    cluster.run_until(2_000, "it goes on alone", |cluster| {
        cluster.state(A).voters == VoterSet::EMPTY.with(A)
    });
}

#[test]
fn an_attempt_after_a_failed_one_is_for_the_boot_heard_last() {
    let (mut cluster, ask) = fenced_for_the_boot_before();
    cluster.device_answers(ask, false);
    cluster.run_until(30_000, "it is tried again", |cluster| cluster.fences.len() > 1);
    assert_eq!(cluster.fences[1].boot, Some(cluster.host(B).boot));
}

#[test]
fn a_storage_proof_releases_groups_but_does_not_vote() {
    let mut cluster = pair();
    cluster.cut_between(A, B);
    cluster.run_until(5_000, "the survivor fences", |cluster| !cluster.fences.is_empty());
    let at = cluster.now;
    let result = FenceResult {
        off_read_back: true,
        evidence: "reservation read back".into(),
        error: String::new(),
        read_at: at,
    };
    let results = [(holdfast_proto::config::FenceKind::Storage, result)];
    let boot = Some(cluster.host(B).boot);
    let proof = crate::proof::FenceProof::from_devices(B, boot, &results, at, 99).expect("all read back");
    cluster
        .host_mut(A)
        .node
        .as_mut()
        .expect("runs")
        .proofs
        .insert(B, proof);
    cluster.run_for(5_000);
    assert_eq!(cluster.node(A).stand_in(), VoterSet::EMPTY);
    assert_eq!(cluster.leader(), None);
}

#[test]
fn the_vote_of_a_fenced_node_is_void_before_its_new_boot_is_answered() {
    let (mut cluster, loser) = won_by(A);
    // Not committed yet: the proof stands in while the winner's disk is slow.
    assert_eq!(cluster.node(A).stand_in(), voters(&[loser]));
    cluster.host_mut(A).disk_held = true;
    cluster.heal();
    cluster.boot(loser);
    let sender = cluster.sender(loser);
    let ballot = Ballot::ZERO;
    let message = Message::PreVote { ballot };
    cluster.event(
        A,
        Event::Message {
            from: sender,
            message,
        },
    );
    assert_eq!(cluster.node(A).stand_in(), VoterSet::EMPTY);
    assert_eq!(cluster.node(A).fence_proofs().count(), 0);
}

#[test]
fn a_node_that_returns_is_brought_up_to_date_and_votes_again() {
    let (mut cluster, loser) = won_by(A);
    cluster.run_until(1_000, "alone", |cluster| cluster.state(A).voters == voters(&[A]));
    cluster.heal();
    cluster.boot(loser);
    cluster.run_until(10_000, "both vote", |cluster| {
        cluster.state(A).voters == voters(&[A, B])
    });
    cluster.run_until(1_000, "it is synced", |cluster| cluster.node(loser).synced);
    assert_eq!(cluster.runs_on("db"), [A]);
}

#[test]
fn a_returning_node_that_dies_while_it_is_added_costs_the_survivor_nothing() {
    let (mut cluster, loser) = won_by(A);
    cluster.run_until(1_000, "alone", |cluster| cluster.state(A).voters == voters(&[A]));
    cluster.heal();
    cluster.host_mut(loser).disk_held = true;
    cluster.boot(loser);
    let since = cluster.now;
    cluster.run_until(10_000, "it is being added", |cluster| {
        cluster.node(A).durable().expect("state").accepted.voters == voters(&[A, B])
    });
    cluster.power_off(loser);
    cluster.isolate(loser);
    cluster.run_until(15_000, "the change is withdrawn", |cluster| {
        let durable = cluster.node(A).durable().expect("state");
        durable.accepted.voters == voters(&[A]) && cluster.leader() == Some(A)
    });
    assert_eq!(cluster.orders(A, since), Vec::<String>::new());
    for group in ["db", "web"] {
        assert!(cluster.host(A).permits[group].1 > cluster.now, "{group}");
    }
}

#[test]
fn a_peer_that_lost_its_disk_cannot_have_decided_anything_alone() {
    let mut cluster = pair();
    cluster.power_off(B);
    cluster.host_mut(B).disk = None;
    cluster.boot(B);
    cluster.run_until(15_000, "it is a voter again", |cluster| {
        cluster.state(A).voters == voters(&[A, B]) && cluster.node(B).synced
    });
    assert!(cluster.fences.is_empty());
    assert_eq!(cluster.runs_on("db"), [A]);
}

#[test]
fn quorum_is_forced_only_where_the_peer_is_not_heard() {
    let mut cluster = pair();
    let said = cluster.ask(B, OperatorRequest::QuorumForce);
    assert!(
        matches!(&said, OperatorOutcome::Refused(text) if text.contains("n1 can be heard")),
        "{said:?}"
    );
    cluster.power_off(A);
    cluster.power_off(B);
    cluster.boot(B);
    cluster.run_for(5_000);
    cluster.ask_done(B, OperatorRequest::QuorumForce);
    cluster.run_until(5_000, "it runs there", |cluster| {
        cluster.runs_on("db") == [B] && cluster.runs_on("web") == [B]
    });
    assert_eq!(cluster.state(B).voters, voters(&[B]));
    let record = cluster.state(B).nodes[&A].proof.clone().expect("recorded");
    assert_eq!(record.kind, ProofKind::Operator);
}

#[test]
fn quorum_is_forced_only_when_it_is_on_disk() {
    let mut cluster = pair();
    cluster.power_off(A);
    cluster.power_off(B);
    cluster.boot(B);
    cluster.run_for(5_000);
    let version = cluster.state(B).version;
    cluster.host_mut(B).disk_held = true;
    let call = OperatorCall {
        request: OperatorRequest::QuorumForce,
        who: "operator".into(),
        at: "now".into(),
    };
    cluster.event(B, Event::Operator { request: 77, call });
    cluster.run_for(1_000);
    let told = |cluster: &Cluster| {
        let mut done = cluster.done.iter();
        done.any(|(_, _, effect)| matches!(effect, Effect::Reply { request: 77, .. }))
    };
    assert!(!told(&cluster), "it is not on disk yet, so it may still be lost");
    assert_eq!(cluster.state(B).version, version, "nor is it committed");
    cluster.host_mut(B).disk_held = false;
    cluster.write_disk(B);
    assert!(told(&cluster));
    assert_eq!(cluster.state(B).voters, voters(&[B]));
}

#[test]
fn a_maintenance_pair_fences_nobody() {
    let mut cluster = pair();
    cluster.ask_done(A, OperatorRequest::Maintenance { on: true });
    cluster.run_for(500);
    cluster.cut_between(A, B);
    cluster.run_for(20_000);
    assert!(cluster.fences.is_empty());
    assert_eq!(cluster.runs_on("db"), [A]);
}

#[test]
fn maintenance_that_ended_does_not_come_back_with_a_restart() {
    let mut cluster = pair();
    cluster.ask_done(A, OperatorRequest::Maintenance { on: true });
    cluster.run_for(500);
    cluster.ask_done(A, OperatorRequest::Maintenance { on: false });
    cluster.run_for(500);
    cluster.power_off(B);
    cluster.stop_had(A);
    cluster.start_had(A);
    assert!(
        cluster.state(A).maintenance,
        "what it wrote last was not yet known to be committed"
    );
    let grace_ms = cluster.config.cluster.startup_grace_ms;
    cluster.run_until(u64::from(grace_ms) + 2_000, "it fences", |cluster| {
        !cluster.fences.is_empty()
    });
}

#[test]
fn the_survivor_is_who_owns_the_groups() {
    let mut cluster = pair();
    for group in ["db", "web"] {
        let (group, to) = (group.into(), Some(B));
        cluster.ask_done(A, OperatorRequest::Move { group, to });
        cluster.run_for(1_000);
    }
    assert_eq!(cluster.state(A).survivor, B);
    assert_eq!(cluster.leader(), Some(B));
    cluster.cut_between(A, B);
    cluster.run_until(3_000, "the owner fences", |cluster| !cluster.fences.is_empty());
    assert_eq!(cluster.fences[0].by, B);
}

#[test]
fn a_freshly_booted_node_does_not_take_a_blank_peer_for_its_vote() {
    let mut cluster = pair();
    cluster.power_off(A);
    cluster.power_off(B);
    cluster.host_mut(B).disk = None;
    cluster.boot(A);
    cluster.boot(B);
    cluster.run_for(60_000);
    assert_eq!(
        cluster.node(A).stand_in(),
        VoterSet::EMPTY,
        "the peer may have decided alone before it lost its disk"
    );
    assert_eq!(cluster.leaders(), []);
    let said = cluster.node(A).view(cluster.now).quorum;
    assert!(
        said.contains("n2 is heard but has lost its state")
            && said.contains("turn n2 off, run hactl quorum force here"),
        "{said}"
    );
}

#[test]
fn an_assignment_to_an_earlier_boot_gets_no_permit() {
    let mut state = all_vote(&config(2, false, &group("db", "fencing", "")));
    state.groups.get_mut("db").expect("configured").assignment = Assignment::Owned {
        owner: A,
        boot: Some(BootId(77)),
        epoch: 1,
    };
    state.next_epoch = 2;
    let mut cluster = Cluster::of(state);
    cluster.host_mut(A).synced_marker = true;
    cluster.start_had(A);
    cluster.run_for(5_000);
    assert!(cluster.node(A).synced && cluster.node(A).in_pair());
    assert!(cluster.host(A).permits.is_empty());
}

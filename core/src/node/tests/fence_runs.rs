//! Fencing under way, and proofs that are held: whom they bar, and what ends them.

use super::*;

/// Three nodes: `db` on node 1, which leads, and `web` on node 2.
fn spread() -> Cluster {
    let groups = group("db", "fencing", "prefer = [\"n1\"]") + &group("web", "fencing", "prefer = [\"n2\"]");
    let mut cluster = Cluster::formed(3, false, &groups);
    assert_eq!(cluster.runs_on("db"), [A]);
    let (group, to) = ("web".into(), Some(B));
    cluster.ask(A, OperatorRequest::Move { group, to });
    cluster.run_until(1_000, "it runs there", |cluster| cluster.runs_on("web") == [B]);
    cluster.run_for(500);
    assert_eq!(cluster.leader(), Some(A));
    cluster
}

/// The device of node 2 is asked, because node 2 is not heard.
fn lost() -> (Cluster, FenceAsk) {
    let mut cluster = spread();
    cluster.isolate(B);
    cluster.run_until(5_000, "its device is asked", |cluster| {
        !cluster.asked_about(B).is_empty()
    });
    let ask = cluster.asked_about(B)[0];
    (cluster, ask)
}

/// `had` of `node` ends and starts again in the same boot.
fn restart_had(cluster: &mut Cluster, node: NodeId) {
    cluster.stop_had(node);
    cluster.run_for(20);
    cluster.start_had(node);
}

/// Node 1 hears the answer of node 2 to its latest heartbeat but `back`.
fn answer_to(cluster: &mut Cluster, back: usize) {
    let node = cluster.node(A);
    let (seq, sent_at) = *node.rounds.iter().rev().nth(back).expect("it beats");
    let ack = HeartbeatAck {
        seq,
        sent_at,
        ballot: Ballot::ZERO,
        backs: false,
        lease_left: Duration::ZERO,
        granted: 0,
        withheld: Default::default(),
        withhold_all: true,
        committed: 0,
        blank: false,
    };
    let (from, beat) = (cluster.sender(B), Beat::Ack(ack));
    cluster.event(A, Event::Beat { from, beat });
}

#[test]
fn a_group_is_not_placed_on_a_node_that_is_proven_off_although_it_was_just_heard() {
    let mut cluster = spread();
    cluster.ask_done(A, OperatorRequest::Fence { node: B });
    let ask = cluster.asked_about(B)[0];
    cluster.isolate(B);
    cluster.device_answers(ask, true);
    assert!(cluster.node(A).is_online(B), "its last word is fresh");
    cluster.run_until(500, "it left", |cluster| cluster.owner(A, "web") != Some(B));
    let owner = cluster.owner(A, "web").expect("it runs elsewhere");
    assert_ne!(owner, B, "although the group prefers it");
    cluster.run_for(300);
    assert_eq!(cluster.owner(A, "web"), Some(owner));
}

#[test]
fn an_answer_to_a_heartbeat_from_before_the_proof_does_not_refute_it() {
    let (mut cluster, ask) = lost();
    // The device reads off at the very instant of a heartbeat.
    let beats = cluster.node(A).beat_seq;
    cluster.run_until(500, "it beats", |cluster| cluster.node(A).beat_seq > beats);
    cluster.device_answers(ask, true);
    for back in [3, 0] {
        answer_to(&mut cluster, back);
        assert_eq!(cluster.node(A).fence_proofs().count(), 1, "{back} rounds before");
    }
    cluster.run_for(200);
    answer_to(&mut cluster, 0);
    assert_eq!(cluster.node(A).fence_proofs().count(), 0, "it lives");
}

#[test]
fn a_node_that_talks_again_while_its_device_works_gets_nothing_before_the_device_is_done() {
    let (mut cluster, ask) = lost();
    cluster.heal();
    restart_had(&mut cluster, B);
    cluster.run_for(1_000);
    assert!(
        cluster.node(A).is_being_fenced(B),
        "its power may go off at any moment"
    );
    let before = cluster.host(B).permits.clone();
    cluster.run_for(500);
    assert_eq!(cluster.host(B).permits, before);
    cluster.device_proves(ask);
    assert_eq!(cluster.journal(A, "fence-proved").len(), 1);
}

#[test]
fn fencing_that_an_operator_asked_for_outlives_a_restart_of_had_on_its_target() {
    let mut cluster = spread();
    cluster.ask_done(A, OperatorRequest::Fence { node: B });
    let ask = cluster.asked_about(B)[0];
    cluster.device_answers(ask, false);
    restart_had(&mut cluster, B);
    cluster.run_until(5_000, "it is tried again", |cluster| {
        cluster.asked_about(B).len() == 2
    });
}

#[test]
fn the_operators_word_about_a_node_never_heard_ends_with_its_first_word() {
    let mut state = all_vote(&config(3, false, &group("db", "fencing", "")));
    state.groups.get_mut("db").expect("configured").assignment = Assignment::Owned {
        owner: C,
        boot: Some(BootId(77)),
        epoch: 1,
    };
    state.next_epoch = 2;
    let mut cluster = Cluster::of(state);
    cluster.boot(A);
    cluster.boot(B);
    let leader = {
        cluster.run_until(5_000, "somebody leads", |cluster| cluster.leader().is_some());
        cluster.lead()
    };
    cluster.ask_done(
        leader,
        OperatorRequest::FenceConfirm {
            node: C,
            reason: String::new(),
        },
    );
    cluster.run_until(1_000, "it runs elsewhere", |cluster| {
        cluster.runs_on("db").len() == 1
    });
    cluster.boot(C);
    cluster.run_until(5_000, "it is synced", |cluster| cluster.node(C).synced);
    cluster.run_for(300);
    let leader = cluster.lead();
    assert_eq!(cluster.node(leader).fence_proofs().count(), 0);
    let (group, to) = ("db".into(), Some(C));
    cluster.ask_done(leader, OperatorRequest::Move { group, to });
    cluster.run_until(2_000, "it may run there", |cluster| cluster.runs_on("db") == [C]);
}

#[test]
fn a_device_that_fails_is_given_its_pause_although_the_node_is_heard() {
    let mut cluster = spread();
    cluster.event(B, Event::Agent(AgentEvent::Detached));
    cluster.run_until(5_000, "its device is asked", |cluster| {
        !cluster.asked_about(B).is_empty()
    });
    let ask = cluster.asked_about(B)[0];
    cluster.device_answers(ask, false);
    cluster.run_until(5_000, "it is asked again", |cluster| {
        cluster.asked_about(B).len() == 2
    });
    let pause = cluster.asked_about(B)[1].at.since(ask.at);
    assert!(pause >= cluster.config.timers().fence_retry, "{pause:?}");
}

#[test]
fn a_node_that_is_back_is_not_fenced_by_a_retry() {
    let (mut cluster, ask) = lost();
    cluster.device_answers(ask, false);
    cluster.heal();
    cluster.run_for(30_000);
    assert_eq!(cluster.leader(), Some(A));
    assert_eq!(cluster.asked_about(B).len(), 1);
    assert!(cluster.node(A).fences.is_empty());
}

#[test]
fn who_leads_no_more_fences_no_more() {
    let (mut cluster, ask) = lost();
    cluster.isolate(A);
    cluster.run_until(5_000, "it steps down", |cluster| {
        cluster.node(A).leading_ballot().is_none()
    });
    let since = cluster.now;
    cluster.device_answers(ask, false);
    cluster.run_for(40_000);
    let by_it = |ask: &&FenceAsk| ask.by == A && ask.at > since;
    assert_eq!(cluster.fences.iter().filter(by_it).count(), 0);
}

#[test]
fn a_device_that_fails_is_told_with_what_it_said() {
    let (mut cluster, ask) = lost();
    cluster.device_answers(ask, false);
    let said = &cluster.journal(A, "fence-failed")[0].text;
    assert!(said.contains("exit 0, status: on"), "{said}");
}

#[test]
fn a_short_absence_of_its_agent_process_costs_a_leader_nothing() {
    let mut cluster = spread();
    cluster.event(A, Event::Agent(AgentEvent::Detached));
    let patience = cluster.node(A).agent_patience();
    cluster.run_for(patience.as_millis() as u64 - 50);
    cluster.attach_agent(A);
    cluster.run_for(3_000);
    assert_eq!(cluster.leader(), Some(A));
    assert!(cluster.journal(A, "stepped-down").is_empty() && cluster.fences.is_empty());
    assert_eq!(patience, Duration::from_secs(1), "two leases, at most a second");
}

#[test]
fn leadership_does_not_go_to_a_node_that_could_not_stop_its_group() {
    let mut cluster = spread();
    cluster.ask_done(A, OperatorRequest::Maintenance { on: true });
    let epoch = cluster.assignment(A, "web").epoch();
    cluster.agent_reports(B, "web", epoch, RunState::Unknown);
    cluster.run_for(300);
    cluster.event(A, Event::Shutdown);
    cluster.run_until(1_000, "another leads", |cluster| {
        cluster.leader().is_some_and(|leader| leader != A)
    });
    let offered = cluster
        .sent
        .iter()
        .find_map(|(_, from, to, message)| match message {
            Message::Transfer { .. } if *from == A => Some(*to),
            _ => None,
        });
    assert_eq!(offered, Some(C));
}

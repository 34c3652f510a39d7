//! Who is a member, what it is told, and how its coming and going is noticed; budgets and instants to the last step.

use super::*;

const BALLOT: Ballot = Ballot { round: 9, node: 3 };

/// Node 2, whose configuration has two nodes; who votes by the committed and by the accepted state is given.
fn solo(committed: &[NodeId], accepted: &[NodeId]) -> Solo {
    let mut state = all_vote(&config(2, false, ""));
    state.voters = voters(committed);
    let mut durable = Durable::initial(state.clone());
    state.version = 2;
    state.voters = voters(accepted);
    durable.accepted = Arc::new(state);
    let config = Arc::clone(&durable.committed.config);
    Solo::start(B, Some(durable), &config)
}

#[test]
fn only_members_and_voters_are_listened_to() {
    let answers =
        |solo: &mut Solo, from| messages(&solo.hear(from, Message::PreVote { ballot: BALLOT })).len();
    assert_eq!(answers(&mut solo(&[A, B], &[A, B]), A), 1);
    assert_eq!(answers(&mut solo(&[A, B], &[A, B]), NodeId(9)), 0);
    assert_eq!(answers(&mut solo(&[A, B], &[A, B]), C), 0);
    assert_eq!(answers(&mut solo(&[A, B, C], &[A, B]), C), 1, "it still votes");
    assert_eq!(answers(&mut solo(&[A, B], &[A, B, C]), C), 1, "it is being added");
    assert_eq!(answers(&mut solo(&[A, B], &[A, B]), B), 0, "an echo of its own");
}

#[test]
fn a_message_that_only_a_node_with_state_sends_shows_that_it_is_not_blank() {
    let mut solo = Solo::free_voter(B, all_vote(&config(3, false, "")));
    let state = ClusterState {
        version: 2,
        ..ClusterState::clone(&solo.durable().committed)
    };
    let (ballot, state) = (Ballot { round: 5, node: 1 }, Arc::new(state));
    solo.hear(A, Message::Commit { ballot, state });
    assert!(solo.node.members[&A].seen_state);
}

#[test]
fn a_lease_is_over_at_the_instant_at_which_it_ends() {
    let cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    let node = cluster.node(A);
    let end = node.lease_end();
    assert!(node.holds_lease(Time(end.0 - 1)) && !node.holds_lease(end));
}

#[test]
fn a_member_that_was_lost_is_told_to_be_back_although_it_rebooted() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    cluster.power_off(C);
    cluster.run_for(3_000);
    assert_eq!(cluster.journal(A, "peer-lost").len(), 1);
    cluster.boot(C);
    cluster.run_for(1_000);
    assert_eq!(cluster.journal(A, "peer-back").len(), 1);
}

#[test]
fn a_group_is_held_after_more_moves_than_its_budget_and_not_before() {
    let more = "flap_budget = 3\nflap_window = \"1h\"";
    let config = config_with(3, false, more, &group("db", "fencing", ""));
    let mut solo = Solo::free_voter(B, all_vote(&config));
    let alerts = |effects: &[Effect]| {
        let held = |effect: &&Effect| matches!(effect, Effect::Journal(entry) if entry.kind == "group-held");
        effects.iter().filter(held).count()
    };
    for moves in 1..6 {
        let mut next = ClusterState::clone(&solo.durable().committed);
        next.version += 1;
        next.groups.get_mut("db").expect("configured").automatic_moves = moves;
        let (ballot, state) = (Ballot { round: 5, node: 1 }, Arc::new(next));
        let effects = solo.hear(A, Message::Commit { ballot, state });
        assert_eq!(solo.node.is_flapping("db"), moves > 3, "{moves}");
        assert_eq!(alerts(&effects), usize::from(moves == 4), "told once: {moves}");
    }
    assert!(solo.node.would_flap("db", 2));
}

#[test]
fn a_node_with_moves_to_spare_counts_those_that_are_not_committed_yet() {
    let more = "flap_budget = 3\nflap_window = \"1h\"";
    let config = config_with(3, false, more, &group("db", "fencing", ""));
    let solo = Solo::free_voter(B, all_vote(&config));
    assert!(!solo.node.would_flap("db", 3));
    assert!(solo.node.would_flap("db", 4) && solo.node.would_flap("db", 9));
}

#[test]
fn an_answer_that_leaves_nothing_of_a_lease_permits_nothing() {
    let mut state = all_vote(&config(2, true, &group("db", "fencing", "")));
    state.groups.get_mut("db").expect("configured").assignment = Assignment::Owned {
        owner: B,
        boot: Some(BootId(1 << 96)),
        epoch: 1,
    };
    state.next_epoch = 2;
    let mut solo = Solo::free_voter(B, state);
    solo.node.synced = true;
    solo.advance(LEASE / 8);
    let (seq, sent_at) = *solo.node.rounds.back().expect("it beats");
    let mut permitted = |lease_left| {
        let ack = HeartbeatAck {
            seq,
            sent_at,
            ballot: Ballot { round: 5, node: 1 },
            backs: false,
            lease_left,
            granted: 1,
            withheld: Default::default(),
            withhold_all: false,
            committed: 1,
            blank: false,
        };
        let (from, beat) = (sender(A), Beat::Ack(ack));
        let effects = solo.event(Event::Beat { from, beat });
        effects.iter().any(|effect| matches!(effect, Effect::Permits(_)))
    };
    assert!(
        !permitted(Duration::ZERO),
        "not even one that may outlive the lease"
    );
    assert!(permitted(LEASE / 2));
}

#[test]
fn a_request_that_is_waiting_is_done_before_leadership_follows_a_move() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    let (group, to) = ("db".into(), Some(B));
    cluster.ask_done(A, OperatorRequest::Move { group, to });
    cluster.run_until(1_000, "the assignment is under way", |cluster| {
        let accepted = &cluster.node(A).durable().expect("state").accepted;
        matches!(
            accepted.groups["db"].assignment,
            Assignment::Owned { owner: B, .. }
        )
    });
    assert!(cluster.state(A).survivor == A, "not committed");
    cluster.ask_done(A, OperatorRequest::Standby { node: C, on: true });
    cluster.run_until(2_000, "it leads where it runs", |cluster| {
        cluster.leader() == Some(B)
    });
}

#[test]
fn a_configuration_without_its_leader_is_refused() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    let mut config = Config::clone(&cluster.config);
    config.nodes.retain(|node| node.id != A);
    let config = Arc::new(config);
    cluster.ask_refused(A, OperatorRequest::ApplyConfig { config });
}

#[test]
fn a_move_without_a_target_leaves_although_the_present_node_is_the_best() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", "prefer = [\"n1\"]"));
    assert_eq!(cluster.runs_on("db"), [A]);
    let (group, to) = ("db".into(), None);
    cluster.ask_done(A, OperatorRequest::Move { group, to });
    cluster.run_until(2_000, "it moved", |cluster| {
        cluster.runs_on("db").iter().any(|node| *node != A)
    });
}

#[test]
fn a_leader_alerts_about_a_commit_beyond_what_it_knows_and_about_no_other() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    let known = cluster.node(A).durable().expect("state").accepted.version;
    let mut told = |version| {
        let mut state = cluster.state(A).clone();
        state.version = version;
        let (ballot, state) = (Ballot::ZERO, Arc::new(state));
        cluster.say(B, A, Message::Commit { ballot, state });
        cluster.journal(A, "contradiction").len()
    };
    assert_eq!([told(known - 1), told(known), told(known + 2)], [0, 0, 1]);
    assert_eq!(cluster.leader(), Some(A));
}

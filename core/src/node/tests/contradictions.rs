//! Words of other members that cannot be true. They are not believed, and they end no process. Found by fuzzing.

use super::*;

/// `state`, as if it had been changed `steps` times more.
fn later(state: &ClusterState, steps: u64) -> Arc<ClusterState> {
    let mut later = state.clone();
    later.version += steps;
    Arc::new(later)
}

/// Two nodes and a witness, formed; the leader, another node, and the leader's ballot.
fn led() -> (Cluster, NodeId, NodeId, Ballot) {
    let cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    let leader = cluster.leader().expect("leads");
    let other = if leader == A { B } else { A };
    let ballot = cluster.node(leader).durable().expect("state").promised;
    (cluster, leader, other, ballot)
}

fn commit(cluster: &mut Cluster, to: NodeId, from: NodeId, ballot: Ballot, steps: u64) {
    let state = later(cluster.state(to), steps);
    let from = cluster.sender(from);
    let message = Message::Commit { ballot, state };
    cluster.event(to, Event::Message { from, message });
}

#[test]
fn a_leader_does_not_believe_a_commit_that_its_own_ballot_rules_out() {
    let (mut cluster, leader, other, ballot) = led();
    let version = cluster.state(leader).version;
    commit(&mut cluster, leader, other, ballot, 50);
    commit(&mut cluster, leader, other, Ballot::ZERO, 50);
    assert_eq!(cluster.state(leader).version, version);
    cluster.run_for(3000);
    assert_eq!(cluster.leader(), Some(leader), "and goes on");
}

#[test]
fn a_commit_under_a_higher_ballot_ends_a_leadership() {
    let (mut cluster, leader, other, ballot) = led();
    let version = cluster.state(leader).version;
    commit(&mut cluster, leader, other, ballot.next_for(other), 1);
    assert_eq!(cluster.state(leader).version, version + 1);
    assert!(cluster.node(leader).leading_ballot().is_none());
}

#[test]
fn a_leader_that_was_deposed_by_a_commit_leaves_its_successor_a_lease() {
    let (mut cluster, leader, other, ballot) = led();
    cluster.isolate(leader);
    commit(&mut cluster, leader, other, ballot.next_for(other), 1);
    let since = cluster.now;
    cluster.run_until(3_000, "it campaigns", |cluster| {
        let asks = |sent: &(Time, NodeId, NodeId, Message)| {
            sent.0 >= since && sent.1 == leader && matches!(sent.3, Message::PreVote { .. })
        };
        cluster.sent.iter().any(asks)
    });
    assert!(cluster.now.since(since) >= LEASE);
}

#[test]
fn a_leader_that_hears_late_that_what_it_adopted_is_committed_takes_it_and_alerts_nobody() {
    let (mut cluster, old, new, ballot) = led();
    let on = OperatorRequest::Maintenance { on: true };
    cluster.ask_done(old, on);
    cluster.run_until(500, "it is committed", |cluster| cluster.state(old).maintenance);
    // The word of it is still under way when contact is lost.
    for node in cluster.members() {
        cluster.lose_messages_to(node);
    }
    cluster.isolate(old);
    let state = Arc::new(cluster.state(old).clone());
    assert!(!cluster.state(new).maintenance);
    cluster.run_until(5_000, "the other was elected and proposes it", |cluster| {
        cluster.node(new).leading_ballot().is_some()
    });
    cluster.say(old, new, Message::Commit { ballot, state });
    assert!(cluster.state(new).maintenance);
    assert!(cluster.journal(new, "contradiction").is_empty());
    cluster.run_for(2_000);
    assert_eq!(cluster.leader(), Some(new), "and leads on");
}

#[test]
fn promises_that_fall_short_of_what_is_committed_elect_nobody() {
    let state = all_vote(&config(2, true, &group("db", "fencing", "")));
    let config = Arc::clone(&state.config);
    let mut solo = Solo::start(A, Some(Durable::initial(state.clone())), &config);
    solo.advance(LEASE + Duration::from_millis(1));
    let state = Arc::new(state);
    let voters = KnownVoters {
        committed_version: state.version,
        committed: state.voters,
        accepted: state.voters,
    };
    let ballot = solo.durable().promised.next_for(A);
    let granted = Message::PreVoteReply {
        ballot,
        verdict: Verdict::Granted,
        promised: Ballot::ZERO,
        voters,
    };
    let effects = solo.hear(B, granted);
    assert_eq!(solo.durable().promised, ballot, "it opened its ballot");
    solo.event(Event::Persisted(records(&effects)[0]));
    let committed = later(&state, 7);
    let told = Message::Commit {
        ballot: Ballot::ZERO,
        state: Arc::clone(&committed),
    };
    solo.hear(W, told);
    let promise = Message::Promise {
        ballot,
        accepted_ballot: Ballot::ZERO,
        accepted: state,
        voters,
    };
    let effects = solo.hear(B, promise);
    assert!(solo.node.leading_ballot().is_none());
    assert_eq!(solo.durable().committed.version, committed.version);
    let alert = |effect: &Effect| matches!(effect, Effect::Journal(entry) if entry.kind == "contradiction");
    assert!(effects.iter().any(alert), "somebody said something wrong");
    let asks = |effects: &[Effect]| {
        let said = messages(effects).into_iter();
        said.filter(|(_, message)| matches!(message, Message::PreVote { .. }))
            .count()
    };
    let before = solo.advance(LEASE - Duration::from_millis(1));
    assert_eq!(asks(&before), 0, "whoever knows more goes first");
    assert!(asks(&solo.advance(Duration::from_millis(1))) > 0);
}

#[test]
fn a_leader_that_has_to_stop_something_first_believes_no_commit_beyond_what_it_adopted() {
    let mut state = all_vote(&config(2, true, &group("db", "fencing", "")));
    let held = state.groups.get_mut("db").expect("db");
    held.assignment = Assignment::Owned {
        owner: A,
        boot: Some(BootId(1 << 96)),
        epoch: 0,
    };
    let mut elsewhere = ClusterState::clone(&later(&state, 6));
    let taken = elsewhere.groups.get_mut("db").expect("db");
    taken.assignment = Assignment::Stopped { epoch: 1 };
    let own = later(&state, 9);
    let durable = Durable {
        promised: Ballot { round: 2, node: B.0 },
        accepted_ballot: Ballot { round: 1, node: B.0 },
        accepted: Arc::clone(&own),
        committed: Arc::new(state.clone()),
    };
    let mut solo = Solo::start(A, Some(durable), &state.config);
    solo.advance(LEASE + Duration::from_millis(1));
    let voters = KnownVoters {
        committed_version: state.version,
        committed: state.voters,
        accepted: state.voters,
    };
    let ballot = solo.durable().promised.next_for(A);
    let granted = Message::PreVoteReply {
        ballot,
        verdict: Verdict::Granted,
        promised: Ballot::ZERO,
        voters,
    };
    let effects = solo.hear(B, granted);
    solo.event(Event::Persisted(records(&effects)[0]));
    let promise = Message::Promise {
        ballot,
        accepted_ballot: Ballot { round: 2, node: B.0 },
        accepted: Arc::new(elsewhere),
        voters,
    };
    solo.hear(B, promise);
    assert_eq!(solo.node.leading_ballot(), Some(ballot));
    let told = Message::Commit {
        ballot: Ballot { round: 1, node: B.0 },
        state: own,
    };
    let effects = solo.hear(W, told);
    assert_eq!(solo.durable().committed.version, state.version);
    let alert = |effect: &Effect| matches!(effect, Effect::Journal(entry) if entry.kind == "contradiction");
    assert!(effects.iter().any(alert));
}

#[test]
fn a_sole_voter_withdraws_a_change_at_a_version_beyond_what_is_committed() {
    let mut state = all_vote(&config(2, false, &group("db", "fencing", "")));
    let both = state.voters;
    state.voters = voters(&[A]);
    let committed = later(&state, 4);
    let mut older = state.clone();
    older.voters = both;
    let durable = Durable {
        promised: Ballot { round: 4, node: B.0 },
        accepted_ballot: Ballot { round: 4, node: B.0 },
        accepted: Arc::new(older),
        committed: Arc::clone(&committed),
    };
    let mut solo = Solo::start(A, Some(durable), &state.config);
    let mut unwritten = records(&solo.advance(2 * LEASE));
    while let Some(id) = unwritten.pop() {
        unwritten = records(&solo.event(Event::Persisted(id)));
    }
    assert!(solo.node.is_established(), "it leads");
    assert!(solo.durable().committed.version > committed.version);
    assert_eq!(solo.durable().committed.voters, committed.voters);
}

#[test]
fn a_node_of_a_pair_with_a_proof_waits_before_it_tries_again_what_was_contradicted() {
    let mut cluster = Cluster::formed(2, false, &group("db", "fencing", ""));
    let leader = cluster.lead();
    let follower = if leader == A { B } else { A };
    commit(&mut cluster, follower, leader, Ballot::ZERO, 50);
    cluster.power_off(leader);
    cluster.run_until(20_000, "it fences", |cluster| !cluster.fences.is_empty());
    cluster.device_answers(cluster.fences[0], true);
    let alerts = |cluster: &Cluster| cluster.journal(follower, "contradiction").len();
    cluster.run_until(1_000, "it was elected by the proof", |cluster| {
        alerts(cluster) > 0
    });
    cluster.run_for(LEASE.as_millis() as u64 - 1);
    assert_eq!(
        alerts(&cluster),
        1,
        "a record on disk for each, and nothing would change"
    );
    cluster.run_until(1_000, "it tries again", |cluster| alerts(cluster) > 1);
}

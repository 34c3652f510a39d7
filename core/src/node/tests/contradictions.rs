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
    solo.hear(B, granted);
    assert_eq!(solo.durable().promised, ballot, "it opened its ballot");
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
    solo.hear(B, promise);
    solo.advance(Duration::from_millis(10));
    assert!(solo.node.leading_ballot().is_none());
    assert_eq!(solo.durable().committed.version, committed.version);
}

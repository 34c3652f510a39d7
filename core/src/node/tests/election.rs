//! Elections and the leader's lease.

use super::*;
use crate::node::Role;

fn known(state: &ClusterState) -> KnownVoters {
    KnownVoters {
        committed_version: state.version,
        committed: state.voters,
        accepted: state.voters,
    }
}

/// Node 1 of two nodes and a witness, asking for pre-votes with the ballot given.
fn candidate() -> (Solo, Ballot) {
    let state = all_vote(&config(2, true, &group("db", "fencing", "")));
    let config = Arc::clone(&state.config);
    let mut solo = Solo::start(A, Some(Durable::initial(state)), &config);
    let asked = messages(&solo.advance(LEASE + Duration::from_millis(1)));
    let ballot = asked.iter().find_map(|(_, message)| match message {
        Message::PreVote { ballot } => Some(*ballot),
        _ => None,
    });
    (solo, ballot.expect("it campaigns"))
}

fn pre_vote_reply(ballot: Ballot, state: &ClusterState, verdict: Verdict) -> Message {
    Message::PreVoteReply {
        ballot,
        verdict,
        promised: Ballot::ZERO,
        voters: known(state),
    }
}

#[test]
fn a_candidate_without_a_majority_of_pre_votes_disturbs_nobody() {
    let (mut solo, ballot) = candidate();
    let state = solo.durable().committed.clone();
    let refused = pre_vote_reply(ballot, &state, Verdict::Bound(LEASE));
    let mut effects = solo.hear(B, refused);
    effects.extend(solo.advance(LEASE * 30));
    let only_asks = messages(&effects)
        .iter()
        .all(|(_, message)| matches!(message, Message::PreVote { .. }));
    assert!(only_asks);
    assert_eq!(
        solo.durable().promised,
        Ballot::ZERO,
        "its ballot does not grow either"
    );
}

#[test]
fn a_node_that_was_cut_off_comes_back_without_ending_the_lease() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    let leader = cluster.leader().expect("leads");
    let away = *[C, B].iter().find(|node| **node != leader).expect("another");
    let ballot = cluster.node(leader).durable().expect("state").promised;
    cluster.isolate(away);
    cluster.run_for(20_000);
    cluster.heal();
    cluster.run_for(3_000);
    assert_eq!(cluster.leaders(), [leader]);
    assert_eq!(cluster.node(away).durable().expect("state").promised, ballot);
}

#[test]
fn an_elected_node_leads_only_once_it_committed_what_it_adopted() {
    let (mut solo, ballot) = candidate();
    let state = solo.durable().committed.clone();
    let effects = solo.hear(B, pre_vote_reply(ballot, &state, Verdict::Granted));
    solo.event(Event::Persisted(records(&effects)[0]));
    let mut newer = ClusterState::clone(&state);
    newer.version = 2;
    newer.reason = "accepted by the other node only".into();
    let effects = solo.hear(
        B,
        Message::Promise {
            ballot,
            accepted_ballot: Ballot { round: 0, node: 2 },
            accepted: Arc::new(newer.clone()),
            voters: known(&newer),
        },
    );
    let proposed = messages(&effects)
        .into_iter()
        .find_map(|(_, message)| match message {
            Message::Accept { ballot: under, state } => Some((under, state)),
            _ => None,
        });
    assert_eq!(
        proposed,
        Some((ballot, Arc::new(newer))),
        "the highest accepted state, under its own ballot"
    );
    assert!(matches!(solo.node.role, Role::Leading(_)) && !solo.node.is_established());
    let beat = effects.iter().find_map(|effect| match effect {
        Effect::SendBeat {
            to: B,
            beat: Beat::Heartbeat(beat),
        } => Some(*beat),
        _ => None,
    });
    let beat = beat.expect("it asks for backing at once");
    let told = messages(&solo.event(Event::Beat {
        from: sender(B),
        beat: Beat::Ack(ack(&beat, ballot)),
    }));
    assert!(
        !solo.node.holds_lease(solo.now),
        "backed, but nothing is committed under its ballot"
    );
    let commit = |(_, message): &(NodeId, Message)| matches!(message, Message::Commit { .. });
    assert!(
        !told.iter().any(commit),
        "under its ballot the older state would take the place of the adopted one"
    );
    let written = *records(&effects).last().expect("it accepts its own proposal");
    solo.event(Event::Persisted(written));
    solo.hear(B, Message::Accepted { ballot, version: 2 });
    assert!(solo.node.holds_lease(solo.now));
    assert_eq!(solo.durable().committed.version, 2);
}

fn ack(beat: &Heartbeat, ballot: Ballot) -> HeartbeatAck {
    HeartbeatAck {
        seq: beat.seq,
        sent_at: beat.sent_at,
        ballot,
        backs: true,
        lease_left: Duration::ZERO,
        granted: 0,
        withheld: Default::default(),
        withhold_all: true,
        committed: 1,
        blank: false,
    }
}

#[test]
fn an_election_also_needs_the_voters_that_were_only_accepted() {
    let (mut solo, ballot) = candidate();
    let state = solo.durable().committed.clone();
    let accepted = KnownVoters {
        accepted: voters(&[A, B]),
        ..known(&state)
    };
    let reply = Message::PreVoteReply {
        ballot,
        verdict: Verdict::Granted,
        promised: Ballot::ZERO,
        voters: accepted,
    };
    let prepares = |effects: &[Effect]| {
        let sent = messages(effects);
        sent.iter()
            .any(|(_, message)| matches!(message, Message::Prepare { .. }))
    };
    assert!(
        !prepares(&solo.hear(W, reply)),
        "the witness is no voter of the pair that was accepted"
    );
    assert!(prepares(
        &solo.hear(B, pre_vote_reply(ballot, &state, Verdict::Granted))
    ));
}

#[test]
fn a_leader_steps_down_when_its_lease_ends_and_nobody_leads_before() {
    let mut cluster = Cluster::formed(3, false, &group("db", "lease", ""));
    let leader = cluster.leader().expect("leads");
    let end = cluster.node(leader).lease_end();
    assert!(end <= cluster.now + LEASE * 98 / 100);
    cluster.isolate(leader);
    cluster.run_until(5_000, "it steps down", |cluster| {
        !cluster.journal(leader, "stepped-down").is_empty()
    });
    let stepped_down = cluster.journal(leader, "stepped-down")[0].at;
    assert!(stepped_down <= cluster.now && !cluster.node(leader).holds_lease(cluster.now));
    assert!(
        cluster.now < end + LEASE,
        "acks in flight may have renewed it once, no more"
    );
    cluster.run_until(5_000, "another leads", |cluster| {
        cluster.leader().is_some_and(|new| new != leader)
    });
    let elected = cluster.members().into_iter().filter(|node| *node != leader);
    let first = elected
        .flat_map(|node| cluster.journal(node, "elected"))
        .map(|entry| entry.at)
        .max();
    assert!(first > Some(stepped_down), "two leases never overlap");
}

#[test]
fn a_leader_that_hears_of_a_higher_ballot_steps_down_at_once() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    let leader = cluster.leader().expect("leads");
    let ballot = cluster.node(leader).durable().expect("state").promised;
    let other = if leader == B { C } else { B };
    let refuse = Message::Refuse {
        ballot,
        promised: ballot.next_for(other),
        verdict: Verdict::Stale,
    };
    cluster.say(other, leader, refuse);
    assert!(!cluster.node(leader).holds_lease(cluster.now));
}

#[test]
fn an_echo_of_a_heartbeat_that_was_never_sent_backs_nothing() {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    let leader = cluster.leader().expect("leads");
    let ballot = cluster.node(leader).durable().expect("state").promised;
    cluster.isolate(leader);
    cluster.run_for(500);
    let end = cluster.node(leader).lease_end();
    let other = if leader == A { B } else { A };
    let mut foreign = leaders_beat(cluster.node(leader).beat_seq, ballot);
    foreign.sent_at = cluster.now + LEASE * 100;
    let from = cluster.sender(other);
    cluster.event(
        leader,
        Event::Beat {
            from,
            beat: Beat::Ack(ack(&foreign, ballot)),
        },
    );
    assert_eq!(
        cluster.node(leader).lease_end(),
        end,
        "a time of another clock is no lease"
    );
}

#[test]
fn leadership_follows_the_groups_without_a_gap_in_the_lease() {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    assert_eq!(cluster.leader(), Some(A));
    let to = Some(B);
    cluster.ask_done(
        A,
        OperatorRequest::Move {
            group: "db".into(),
            to,
        },
    );
    cluster.run_until(1_000, "it runs there", |cluster| cluster.runs_on("db") == [B]);
    cluster.run_for(500);
    assert_eq!(cluster.leader(), Some(B), "the survivor is who owns the groups");
    assert_eq!(cluster.state(B).survivor, B);
    let handed_over = cluster.journal(A, "stepped-down");
    let taken = cluster.journal(B, "elected");
    assert_eq!((handed_over.len(), taken.len()), (1, 1));
    let gap = taken[0].at.since(handed_over[0].at);
    assert!(
        gap < LEASE / 10,
        "a warrant ends the promises to the old leader: {gap:?}"
    );
}

#[test]
fn a_node_that_does_not_vote_never_campaigns() {
    let mut state = all_vote(&config(3, false, ""));
    state.voters = voters(&[A, B]);
    let config = Arc::clone(&state.config);
    let mut outsider = Solo::start(C, Some(Durable::initial(state)), &config);
    assert!(messages(&outsider.advance(LEASE * 20)).is_empty());
}

#[test]
fn a_sole_voter_withdraws_a_change_that_only_it_could_complete() {
    let mut state = all_vote(&config(2, false, &group("db", "fencing", "")));
    state.voters = voters(&[A]);
    let mut durable = Durable::initial(state.clone());
    let mut adding = state;
    adding.version += 1;
    adding.voters = voters(&[A, B]);
    durable.accepted_ballot = Ballot { round: 3, node: 1 };
    durable.promised = durable.accepted_ballot;
    durable.accepted = Arc::new(adding);
    let mut cluster = Cluster::of(ClusterState::clone(&durable.committed));
    cluster.host_mut(A).disk = Some(durable);
    cluster.boot(A);
    cluster.run_until(5_000, "it leads alone", |cluster| cluster.leader() == Some(A));
    let told = cluster
        .sent
        .iter()
        .filter_map(|(_, _, _, message)| match message {
            Message::Commit { state, .. } | Message::Accept { state, .. } => Some(state.version),
            _ => None,
        });
    assert!(told.min() > Some(2), "nobody hears of a change that is withdrawn");
    assert_eq!(cluster.state(A).voters, voters(&[A]));
    assert!(
        cluster.state(A).version > 2,
        "withdrawn by a new version, not in place"
    );
    assert!(
        cluster.node(A).durable().expect("state").promised.round > 3,
        "and by a new ballot"
    );
}

#[test]
fn a_node_that_was_stalled_itself_blames_nobody() {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    let leader = cluster.leader().expect("leads");
    let other = if leader == A { B } else { A };
    let late = cluster.now + LEASE * 3;
    cluster.now = late;
    cluster.event(other, Event::Timeout);
    assert_eq!(cluster.journal(other, "stalled").len(), 1);
    assert!(
        cluster.journal(other, "peer-lost").is_empty(),
        "the silence was its own"
    );
    assert!(
        matches!(cluster.node(other).role, Role::Follower),
        "queued messages come first"
    );
}

#[test]
fn a_candidate_counts_its_own_promise_only_once_it_is_on_disk() {
    let (mut solo, ballot) = candidate();
    let state = solo.durable().committed.clone();
    let effects = solo.hear(B, pre_vote_reply(ballot, &state, Verdict::Granted));
    let written = records(&effects)[0];
    let promise = Message::Promise {
        ballot,
        accepted_ballot: Ballot::ZERO,
        accepted: Arc::clone(&state),
        voters: known(&state),
    };
    solo.hear(B, promise);
    assert!(
        matches!(solo.node.role, Role::Preparing(_)),
        "one promise of three"
    );
    let effects = solo.event(Event::Persisted(written));
    assert!(matches!(solo.node.role, Role::Leading(_)));
    // The same for its acceptance of what it proposes.
    solo.hear(B, Message::Accepted { ballot, version: 1 });
    assert!(!solo.node.is_established(), "one acceptance of three");
    let written = *records(&effects).last().expect("it accepts its own proposal");
    solo.event(Event::Persisted(written));
    assert!(solo.node.is_established());
}

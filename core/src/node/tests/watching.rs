//! What a node makes of heartbeats and answers, whom it brings up to date, and what it does when its disk refuses.

use super::*;
use crate::node::Role;

const BALLOT: Ballot = Ballot { round: 5, node: 1 };
const BEAT: Duration = Duration::from_millis(125);

fn trio() -> ClusterState {
    all_vote(&config(3, false, ""))
}

/// Node 2 with this promise on disk, just started.
fn restarted(promised: Ballot) -> Solo {
    let mut durable = Durable::initial(trio());
    durable.promised = promised;
    let config = Arc::clone(&durable.committed.config);
    Solo::start(B, Some(durable), &config)
}

/// Node 1 answers the heartbeat that was sent `back` rounds before the latest.
fn answer(solo: &mut Solo, back: usize, blank: bool) {
    let (seq, sent_at) = *solo.node.rounds.iter().rev().nth(back).expect("it beats");
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
        blank,
    };
    let (from, beat) = (sender(A), Beat::Ack(ack));
    solo.event(Event::Beat { from, beat });
}

#[test]
fn a_restarted_voter_backs_its_last_leader_at_once_and_another_after_a_lease() {
    let rival = Ballot { round: 6, node: 3 };
    let mut solo = restarted(BALLOT);
    let effects = solo.beat(C, leaders_beat(1, rival));
    assert!(!acks(&effects)[0].backs && records(&effects).is_empty());
    assert!(acks(&solo.beat(A, leaders_beat(1, BALLOT)))[0].backs);
    let mut solo = restarted(BALLOT);
    solo.advance(LEASE);
    let effects = solo.beat(C, leaders_beat(1, rival));
    assert_eq!(records(&effects).len(), 1, "it promises on disk first");
    solo.event(Event::Persisted(records(&effects)[0]));
    assert!(acks(&solo.beat(C, leaders_beat(2, rival)))[0].backs);
}

#[test]
fn a_promise_to_a_leader_ends_to_the_instant() {
    let mut solo = restarted(BALLOT);
    assert!(acks(&solo.beat(A, leaders_beat(1, BALLOT)))[0].backs);
    solo.advance(LEASE);
    let effects = solo.beat(C, leaders_beat(1, Ballot { round: 6, node: 3 }));
    assert_eq!(records(&effects).len(), 1);
}

#[test]
fn heartbeats_under_the_promised_ballot_write_nothing_and_are_told_once() {
    let mut solo = restarted(BALLOT);
    let mut effects = Vec::new();
    for seq in 1..5 {
        effects.extend(solo.beat(A, leaders_beat(seq, BALLOT)));
    }
    assert!(records(&effects).is_empty());
    let follows = |effect: &&Effect| matches!(effect, Effect::Journal(entry) if entry.kind == "following");
    assert_eq!(effects.iter().filter(follows).count(), 1);
}

#[test]
fn a_candidate_that_hears_its_leader_again_gives_up() {
    let mut solo = restarted(BALLOT);
    solo.advance(LEASE + BEAT);
    assert!(matches!(solo.node.role, Role::PreVoting(_)));
    assert!(acks(&solo.beat(A, leaders_beat(1, BALLOT)))[0].backs);
    assert!(matches!(solo.node.role, Role::Follower));
}

#[test]
fn a_late_answer_counts_for_as_long_as_its_round_is_remembered() {
    let mut solo = restarted(BALLOT);
    solo.advance(BEAT * 20);
    answer(&mut solo, 10, false);
    let sent_at = solo.node.rounds.iter().rev().nth(10).expect("remembered").1;
    assert_eq!(solo.node.members[&A].alive_at, Some(sent_at));
    solo.advance(BEAT * 100);
    assert_eq!(solo.node.rounds.len(), 64);
}

#[test]
fn a_member_is_blank_by_its_answers_and_never_again_once_it_showed_state() {
    let mut solo = restarted(BALLOT);
    solo.advance(BEAT);
    let blank = |solo: &Solo| solo.node.members[&A].blank;
    let mut empty = leaders_beat(1, Ballot::ZERO);
    (empty.leading, empty.blank) = (false, true);
    solo.beat(A, empty);
    assert!(!blank(&solo), "a heartbeat may have been under way for long");
    answer(&mut solo, 0, true);
    assert!(blank(&solo));
    answer(&mut solo, 0, false);
    assert!(!blank(&solo));
    answer(&mut solo, 0, true);
    assert!(!blank(&solo), "an answer that was overtaken");
    let mut solo = restarted(BALLOT);
    solo.advance(BEAT);
    solo.beat(A, leaders_beat(1, BALLOT));
    answer(&mut solo, 0, true);
    assert!(!blank(&solo));
}

#[test]
fn a_member_is_lost_and_no_longer_online_at_the_same_instant() {
    let mut solo = restarted(BALLOT);
    solo.advance(BEAT * 8);
    answer(&mut solo, 0, false);
    assert_eq!(solo.node.members[&A].alive_at, Some(solo.now));
    let moment = Duration::from_micros(1);
    for (span, lost) in [(LEASE - moment, false), (moment, true)] {
        solo.advance(span);
        assert_eq!((solo.node.is_lost(A), solo.node.is_online(A)), (lost, !lost));
    }
}

/// Commits that node 1 sent to `to`.
fn told(cluster: &Cluster, to: NodeId) -> usize {
    let commits = |(_, by, at, message): &&(Time, NodeId, NodeId, Message)| {
        (*by, *at) == (A, to) && matches!(message, Message::Commit { .. })
    };
    cluster.sent.iter().filter(commits).count()
}

/// Node 1 hears a heartbeat of node 3, which says that it knows version `committed`.
fn says(cluster: &mut Cluster, committed: u64, more: u64) {
    let seq = cluster.node(A).members[&C].seq + more;
    let mut beat = leaders_beat(seq, Ballot::ZERO);
    (beat.leading, beat.committed) = (false, committed);
    let (from, beat) = (cluster.sender(C), Beat::Heartbeat(beat));
    cluster.event(A, Event::Beat { from, beat });
}

#[test]
fn a_member_that_is_behind_is_sent_the_state_once_a_heartbeat() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    cluster.run_for(500);
    let (version, before) = (cluster.state(A).version, told(&cluster, C));
    says(&mut cluster, version, 1);
    assert_eq!(told(&cluster, C), before, "it has it");
    for more in 1..6 {
        says(&mut cluster, version - 1, more);
    }
    assert_eq!(told(&cluster, C), before + 1);
    cluster.isolate(C);
    cluster.run_for(BEAT.as_millis() as u64);
    says(&mut cluster, version - 1, 9);
    assert_eq!(told(&cluster, C), before + 2);
}

/// Node 2 hears a heartbeat of node 3, which knows nothing; the ballots under which it is told what is committed.
fn told_by(solo: &mut Solo, seq: u64) -> Vec<Ballot> {
    let mut beat = leaders_beat(seq, Ballot::ZERO);
    (beat.leading, beat.committed) = (false, 0);
    let told = |(to, message)| match message {
        Message::Commit { ballot, .. } if to == C => Some(ballot),
        _ => None,
    };
    let said = messages(&solo.beat(C, beat)).into_iter();
    said.filter_map(told).collect()
}

#[test]
fn what_is_committed_is_told_by_the_leader_and_by_others_only_where_nobody_leads() {
    let mut solo = restarted(BALLOT);
    assert!(acks(&solo.beat(A, leaders_beat(1, BALLOT)))[0].backs);
    assert!(told_by(&mut solo, 1).is_empty(), "its leader does");
    solo.advance(LEASE);
    assert_eq!(told_by(&mut solo, 2), [Ballot::ZERO], "nobody leads any more");
    solo.advance(LEASE);
    assert!(!matches!(solo.node.role, Role::Follower));
    assert!(
        told_by(&mut solo, 3).is_empty(),
        "a candidate asks, and tells when it leads"
    );
}

#[test]
fn without_a_leader_only_voters_are_told_and_nothing_older_than_what_was_accepted() {
    let of = |state: ClusterState, accepted: u64| {
        let mut durable = Durable::initial(state.clone());
        let mut newer = state;
        newer.version += accepted;
        (durable.accepted, durable.accepted_ballot) = (Arc::new(newer), BALLOT);
        let config = Arc::clone(&durable.committed.config);
        told_by(&mut Solo::start(B, Some(durable), &config), 1)
    };
    assert_eq!(of(trio(), 0), [BALLOT]);
    // Under that ballot it would take the place of what node 3 accepted, and that may have been chosen.
    assert!(of(trio(), 1).is_empty());
    let mut stranger = trio();
    stranger.voters = voters(&[A, B]);
    assert!(of(stranger, 0).is_empty());
}

#[test]
fn a_blank_voter_is_not_sent_the_state() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    cluster.run_for(500);
    cluster.isolate(C);
    let before = told(&cluster, C);
    let node = cluster.host_mut(A).node.as_mut().expect("runs");
    (node.member(C).blank, node.member(C).committed) = (true, 0);
    node.bring_up_to_date(C);
    cluster.run_for(1);
    assert_eq!(told(&cluster, C), before, "what it had promised is lost");
    let node = cluster.host_mut(A).node.as_mut().expect("runs");
    node.member(C).blank = false;
    node.bring_up_to_date(C);
    cluster.event(A, Event::Timeout);
    assert_eq!(told(&cluster, C), before + 1);
}

#[test]
fn a_disk_that_refuses_is_tried_with_each_heartbeat_until_it_takes_the_record() {
    let config = config(2, true, "");
    let mut witness = Solo::start(W, Some(Durable::initial(all_vote(&config))), &config);
    witness.advance(LEASE);
    let (ballot, transfer) = (BALLOT, None);
    let effects = witness.hear(A, Message::Prepare { ballot, transfer });
    let fails = |witness: &mut Solo, id| {
        let effects = witness.event(Event::PersistFailed(id, "no space left".into()));
        let alert =
            |effect: &&Effect| matches!(effect, Effect::Journal(entry) if entry.kind == "disk-failed");
        effects.iter().filter(alert).count()
    };
    let mut id = records(&effects)[0];
    assert_eq!(fails(&mut witness, id), 1);
    for _ in 0..3 {
        assert!(records(&witness.advance(BEAT - Duration::from_millis(1))).is_empty());
        let again = records(&witness.advance(Duration::from_millis(1)));
        assert_eq!(again.len(), 1);
        id = again[0];
        assert_eq!(fails(&mut witness, id), 0, "told once");
    }
    witness.event(Event::Persisted(id));
    assert!(records(&witness.advance(LEASE)).is_empty(), "and then no more");
}

#[test]
fn a_candidate_whose_disk_fails_gives_up_and_a_leader_looks_for_another_first() {
    let mut solo = restarted(Ballot { round: 4, node: 2 });
    solo.advance(BEAT * 2);
    assert!(matches!(solo.node.role, Role::PreVoting(_)));
    solo.event(Event::PersistFailed(PersistId(99), "no space left".into()));
    assert!(matches!(solo.node.role, Role::Follower));
    let mut cluster = Cluster::formed(2, false, &group("db", "fencing", ""));
    assert_eq!(cluster.leader(), Some(A));
    cluster.event(A, Event::PersistFailed(PersistId(9_999), "no space left".into()));
    assert_eq!(
        cluster.leader(),
        Some(A),
        "nobody in a pair could decide without it"
    );
    cluster.host_mut(A).disk_held = true;
    let version = cluster.node(A).durable().expect("state").accepted.version;
    let call = OperatorCall {
        request: OperatorRequest::Standby { node: B, on: true },
        who: "ann".into(),
        at: "noon".into(),
    };
    cluster.event(A, Event::Operator { request: 1, call });
    cluster.run_for(100);
    let accepted = cluster.node(A).durable().expect("state").accepted.version;
    assert_eq!(accepted, version, "but it decides nothing that it cannot write");
    assert_eq!(cluster.leader(), Some(A));
}

#[test]
fn a_leader_whose_disk_is_full_leaves_only_where_the_others_are_enough() {
    for (alone, leaves) in [(false, true), (true, false)] {
        let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
        assert_eq!(cluster.leader(), Some(A));
        // Nobody can take over at once: their agent processes are away.
        for node in [B, C] {
            cluster.event(node, Event::Agent(AgentEvent::Detached));
        }
        if alone {
            cluster.isolate(B);
            cluster.run_for(1_100);
        } else {
            cluster.run_for(200);
        }
        assert_eq!(cluster.leader(), Some(A));
        cluster.host_mut(A).disk_held = true;
        cluster.event(A, Event::PersistFailed(PersistId(9_999), "no space left".into()));
        cluster.run_for(5);
        assert_eq!(cluster.leader().is_none(), leaves, "alone: {alone}");
    }
}

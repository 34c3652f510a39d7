//! Candidates: when a node may campaign, what it asks for, how it takes a refusal; and whom a voter may help.

use super::*;
use crate::node::Role;

const BALLOT: Ballot = Ballot { round: 5, node: 1 };
const STAGGER: Duration = Duration::from_millis(50);

fn trio() -> ClusterState {
    all_vote(&config(3, false, &group("db", "fencing", "")))
}

/// Node 2 with this on disk, just started.
fn started(promised: Ballot) -> Solo {
    let mut durable = Durable::initial(trio());
    durable.promised = promised;
    let config = Arc::clone(&durable.committed.config);
    Solo::start(B, Some(durable), &config)
}

/// Ballots of pre-votes (`true`) or of phase 1 that node 1 is asked for.
fn asked(effects: &[Effect], pre: bool) -> Vec<Ballot> {
    let ballot = |(to, message): (NodeId, Message)| match message {
        Message::PreVote { ballot } if pre && to == A => Some(ballot),
        Message::Prepare { ballot, .. } if !pre && to == A => Some(ballot),
        _ => None,
    };
    messages(effects).into_iter().filter_map(ballot).collect()
}

/// What this voter answers to a candidate.
fn verdict(effects: &[Effect]) -> Option<Verdict> {
    let said = messages(effects);
    said.into_iter().find_map(|(_, message)| match message {
        Message::PreVoteReply { verdict, .. } => Some(verdict),
        _ => None,
    })
}

fn reply(ballot: Ballot, verdict: Verdict, promised: Ballot) -> Message {
    let voters = KnownVoters {
        committed_version: 1,
        committed: trio().voters,
        accepted: trio().voters,
    };
    Message::PreVoteReply {
        ballot,
        verdict,
        promised,
        voters,
    }
}

/// Node 2 backs node 1 under `BALLOT`, with the promise on disk.
fn following() -> Solo {
    let mut solo = Solo::free_voter(B, trio());
    let id = records(&solo.beat(A, leaders_beat(1, BALLOT)))[0];
    solo.event(Event::Persisted(id));
    assert!(acks(&solo.beat(A, leaders_beat(2, BALLOT)))[0].backs);
    solo
}

#[test]
fn a_restarted_leader_campaigns_after_a_heartbeat_and_others_after_a_lease() {
    let mut own = started(Ballot { round: 4, node: 2 });
    assert!(
        asked(&own.advance(LEASE / 16), true).is_empty(),
        "others come first"
    );
    let soon = own.advance(LEASE / 8 + STAGGER);
    assert_eq!(asked(&soon, true)[0].round, 5);
    let mut other = started(BALLOT);
    assert!(asked(&other.advance(LEASE - STAGGER), true).is_empty());
    assert!(!asked(&other.advance(STAGGER * 3), true).is_empty());
}

#[test]
fn a_node_that_is_bound_or_ends_does_not_campaign() {
    let mut bound = following();
    bound.node.campaign(None);
    assert!(matches!(bound.node.role, Role::Follower));
    let mut ending = started(Ballot { round: 4, node: 2 });
    ending.event(Event::Shutdown);
    assert!(asked(&ending.advance(LEASE * 3), true).is_empty());
}

#[test]
fn a_node_that_does_not_vote_takes_no_leadership_over() {
    let mut state = trio();
    state.voters = voters(&[A, C]);
    let mut durable = Durable::initial(state);
    durable.promised = BALLOT;
    let config = Arc::clone(&durable.committed.config);
    let mut solo = Solo::start(B, Some(durable), &config);
    assert!(messages(&solo.hear(A, Message::Transfer { ballot: BALLOT })).is_empty());
}

#[test]
fn a_node_that_was_voted_in_lets_a_lease_pass_before_it_campaigns() {
    let mut state = trio();
    state.voters = voters(&[A, C]);
    let mut solo = Solo::free_voter(B, state.clone());
    state.version += 1;
    state.voters = trio().voters;
    let (ballot, state) = (BALLOT, Arc::new(state));
    solo.hear(A, Message::Commit { ballot, state });
    assert!(
        asked(&solo.advance(LEASE), true).is_empty(),
        "its leader may be well"
    );
    assert_eq!(asked(&solo.advance(LEASE / 4), true).len(), 1);
}

#[test]
fn leadership_is_taken_over_from_its_holder_under_its_present_ballot_only() {
    let takes = |from, ballot| {
        let mut solo = following();
        !asked(&solo.hear(from, Message::Transfer { ballot }), false).is_empty()
    };
    assert!(!takes(C, BALLOT), "it is not its to give");
    assert!(!takes(A, Ballot { round: 4, node: 1 }), "it held that before");
    assert!(takes(A, BALLOT));
}

#[test]
fn a_voter_helps_the_leader_it_is_bound_to_and_whoever_shows_its_warrant() {
    let ballot = Ballot { round: 6, node: 1 };
    assert_eq!(
        verdict(&following().hear(A, Message::PreVote { ballot })),
        Some(Verdict::Granted)
    );
    let mut solo = following();
    let (ballot, transfer) = (Ballot { round: 6, node: 3 }, Some(BALLOT));
    let effects = solo.hear(C, Message::Prepare { ballot, transfer });
    solo.event(Event::Persisted(records(&effects)[0]));
    let ack = acks(&solo.beat(C, leaders_beat(1, ballot)))[0];
    assert!(ack.backs, "the promise to the old leader ended with its warrant");
}

#[test]
fn a_candidate_asks_again_when_the_voter_is_free() {
    for left in [LEASE / 5, LEASE * 4 / 5] {
        let mut solo = Solo::free_voter(B, trio());
        let ballot = asked(&solo.advance(STAGGER * 2), true)[0];
        solo.hear(A, reply(ballot, Verdict::Bound(left), Ballot::ZERO));
        assert!(asked(&solo.advance(left), true).is_empty());
        assert_eq!(
            asked(&solo.advance(STAGGER / 4), true).len(),
            1,
            "right then, and not a round later"
        );
    }
}

#[test]
fn a_candidate_goes_above_every_ballot_it_heard_of_and_keeps_to_the_one_it_asked_with() {
    let mut solo = Solo::free_voter(B, trio());
    let first = asked(&solo.advance(STAGGER * 2), true)[0];
    let heard = Ballot { round: 9, node: 3 };
    solo.hear(C, reply(first, Verdict::Stale, heard));
    let second = asked(&solo.advance(LEASE), true)[0];
    assert_eq!(second, heard.next_for(B));
    let effects = solo.hear(A, reply(second, Verdict::Granted, Ballot::ZERO));
    assert_eq!(asked(&effects, false), [second]);
}

#[test]
fn a_candidate_that_was_outbid_tries_again_soon_and_one_whose_voter_is_bound_waits() {
    for (verdict, soon) in [(Verdict::Stale, true), (Verdict::Bound(LEASE), false)] {
        let mut solo = Solo::free_voter(B, trio());
        let ballot = asked(&solo.advance(STAGGER * 2), true)[0];
        solo.hear(A, reply(ballot, Verdict::Granted, Ballot::ZERO));
        assert!(matches!(solo.node.role, Role::Preparing(_)));
        let promised = Ballot { round: 9, node: 3 };
        solo.hear(
            C,
            Message::Refuse {
                ballot,
                promised,
                verdict,
            },
        );
        assert!(asked(&solo.advance(STAGGER / 2), true).is_empty(), "not at once");
        let again = !asked(&solo.advance(STAGGER), true).is_empty();
        assert_eq!(again, soon, "{verdict:?}");
    }
}

#[test]
fn a_refusal_of_a_repeated_request_does_not_depose_the_leader() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    let ballot = cluster.node(A).leading_ballot().expect("leads");
    let refuse = |promised| Message::Refuse {
        ballot,
        promised,
        verdict: Verdict::Stale,
    };
    cluster.say(B, A, refuse(ballot));
    assert_eq!(cluster.leader(), Some(A));
    cluster.say(B, A, refuse(ballot.next_for(C)));
    assert_eq!(cluster.leader(), None);
    let since = cluster.now;
    cluster.run_until(2_000, "it campaigns", |cluster| {
        let asks = |sent: &(Time, NodeId, NodeId, Message)| {
            sent.0 >= since && sent.1 == A && matches!(sent.3, Message::PreVote { .. })
        };
        cluster.sent.iter().any(asks)
    });
    assert!(
        cluster.now.since(since) >= LEASE / 8,
        "the one that was promised more goes first"
    );
}

#[test]
fn a_change_of_voters_that_others_may_have_accepted_is_not_withdrawn() {
    let mut durable = Durable::initial(all_vote(&config(2, true, "")));
    let mut dropping = ClusterState::clone(&durable.committed);
    dropping.version = 2;
    dropping.voters = voters(&[A, B]);
    durable.accepted = Arc::new(dropping.clone());
    durable.accepted_ballot = BALLOT;
    durable.promised = BALLOT;
    let known = KnownVoters {
        committed_version: 1,
        committed: durable.committed.voters,
        accepted: dropping.voters,
    };
    let config = Arc::clone(&dropping.config);
    let mut solo = Solo::start(B, Some(durable), &config);
    let ballot = asked(&solo.advance(LEASE + STAGGER * 2), true)[0];
    let granted = Message::PreVoteReply {
        ballot,
        verdict: Verdict::Granted,
        promised: BALLOT,
        voters: known,
    };
    let effects = solo.hear(A, granted);
    solo.event(Event::Persisted(records(&effects)[0]));
    let promise = Message::Promise {
        ballot,
        accepted_ballot: BALLOT,
        accepted: Arc::new(dropping.clone()),
        voters: known,
    };
    let proposed = messages(&solo.hear(A, promise));
    let again = |(_, message): &(NodeId, Message)| matches!(message, Message::Accept { state, .. } if **state == dropping);
    assert!(proposed.iter().any(again), "{proposed:?}");
}

#[test]
fn a_leader_whose_lease_just_ended_helps_another_at_once() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    let end = cluster.node(A).lease_end();
    cluster.isolate(A);
    // The message comes in before any timer of it was looked at.
    cluster.now = end;
    let held = cluster.node(A).leading_ballot().expect("leads");
    let ballot = held.next_for(B);
    cluster.say(B, A, Message::PreVote { ballot });
    let answer = cluster
        .sent
        .iter()
        .rev()
        .find_map(|(_, from, _, message)| match message {
            Message::PreVoteReply { verdict, .. } if *from == A => Some(*verdict),
            _ => None,
        });
    assert_eq!(answer, Some(Verdict::Granted));
}

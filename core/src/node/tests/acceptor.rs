//! The acceptor: what it promises, what it accepts, and when it may say so.

use super::*;

const BALLOT: Ballot = Ballot { round: 5, node: 1 };

fn trio() -> ClusterState {
    all_vote(&config(2, true, &group("db", "fencing", "")))
}

fn prepare(ballot: Ballot) -> Message {
    Message::Prepare {
        ballot,
        transfer: None,
    }
}

/// The next state after `state`, for an `Accept`.
fn successor(state: &ClusterState) -> ClusterState {
    let mut next = state.clone();
    next.version += 1;
    next.reason = "a change".into();
    next
}

fn promises(effects: &[Effect]) -> usize {
    let promise = |sent: &&(NodeId, Message)| matches!(sent.1, Message::Promise { .. });
    messages(effects).iter().filter(promise).count()
}

fn refusal(effects: &[Effect]) -> Option<Verdict> {
    messages(effects)
        .into_iter()
        .find_map(|(_, message)| match message {
            Message::Refuse { verdict, .. } | Message::PreVoteReply { verdict, .. } => Some(verdict),
            _ => None,
        })
}

#[test]
fn a_promise_is_answered_only_after_it_is_on_disk() {
    let mut solo = Solo::free_voter(B, trio());
    let effects = solo.hear(A, prepare(BALLOT));
    assert_eq!(promises(&effects), 0);
    let id = *records(&effects).last().expect("the promise is written");
    assert_eq!(solo.durable().promised, BALLOT);
    assert_eq!(promises(&solo.event(Event::Persisted(id))), 1);
}

#[test]
fn an_acceptance_is_answered_only_after_it_is_on_disk() {
    let mut solo = Solo::free_voter(B, trio());
    let state = Arc::new(successor(&trio()));
    let effects = solo.hear(
        A,
        Message::Accept {
            ballot: BALLOT,
            state,
        },
    );
    assert!(messages(&effects).is_empty());
    let id = *records(&effects).last().expect("the state is written");
    let sent = messages(&solo.event(Event::Persisted(id)));
    assert_eq!(
        sent,
        [(
            A,
            Message::Accepted {
                ballot: BALLOT,
                version: 2
            }
        )]
    );
}

#[test]
fn an_older_record_on_disk_does_not_let_a_newer_promise_out() {
    let mut solo = Solo::free_voter(B, trio());
    let first = records(&solo.hear(A, prepare(BALLOT)));
    let higher = BALLOT.next_for(W);
    let second = records(&solo.hear(A, prepare(Ballot { node: 1, ..higher })));
    assert!(first[0] < second[0]);
    let sent = messages(&solo.event(Event::Persisted(first[0])));
    assert!(
        sent.iter()
            .all(|(_, message)| !matches!(message, Message::Promise { ballot, .. } if ballot.round == 6))
    );
    assert_eq!(promises(&solo.event(Event::Persisted(second[0]))), 1);
}

#[test]
fn a_node_whose_disk_refuses_does_not_vote_until_a_write_succeeds() {
    let mut solo = Solo::free_voter(B, trio());
    let id = records(&solo.hear(A, prepare(BALLOT)))[0];
    let effects = solo.event(Event::PersistFailed(id, "no space left".into()));
    assert_eq!(promises(&effects), 0);
    let higher = Ballot { round: 9, node: 1 };
    assert_eq!(
        refusal(&solo.hear(A, Message::PreVote { ballot: higher })),
        Some(Verdict::Blank)
    );
    assert!(
        acks(&solo.beat(A, leaders_beat(1, BALLOT)))
            .iter()
            .all(|ack| !ack.backs)
    );
    let retried = *records(&solo.advance(Duration::from_millis(200)))
        .last()
        .expect("it tries again");
    assert_eq!(
        promises(&solo.event(Event::Persisted(retried))),
        1,
        "now the promise is on disk"
    );
    assert_eq!(
        refusal(&solo.hear(A, Message::PreVote { ballot: higher })),
        Some(Verdict::Granted)
    );
}

#[test]
fn a_restarted_acceptor_promises_nothing_for_one_lease_but_to_its_last_leader() {
    let mut durable = Durable::initial(all_vote(&config(3, false, "")));
    durable.promised = BALLOT;
    let config = Arc::clone(&durable.committed.config);
    let mut solo = Solo::start(B, Some(durable), &config);
    let bound = refusal(&solo.hear(C, prepare(Ballot { round: 6, node: 3 })));
    assert_eq!(
        bound,
        Some(Verdict::Bound(LEASE)),
        "it may have backed a lease it forgot"
    );
    let effects = solo.hear(A, prepare(Ballot { round: 7, node: 1 }));
    assert_eq!(promises(&solo.event(Event::Persisted(records(&effects)[0]))), 1);
}

#[test]
fn an_acceptor_that_backs_a_lease_helps_nobody_else_for_one_lease() {
    let mut solo = Solo::free_voter(B, all_vote(&config(3, false, "")));
    let id = records(&solo.beat(A, leaders_beat(1, BALLOT)))[0];
    solo.event(Event::Persisted(id));
    assert!(acks(&solo.beat(A, leaders_beat(2, BALLOT)))[0].backs);
    let rival = Ballot { round: 6, node: 3 };
    solo.advance(LEASE - Duration::from_millis(1));
    assert_eq!(
        refusal(&solo.hear(C, prepare(rival))),
        Some(Verdict::Bound(Duration::from_millis(1)))
    );
    solo.advance(Duration::from_millis(1));
    assert_eq!(
        refusal(&solo.hear(C, Message::PreVote { ballot: rival })),
        Some(Verdict::Granted)
    );
}

#[test]
fn a_higher_ballot_is_backed_only_after_its_promise_is_on_disk() {
    let mut solo = Solo::free_voter(B, trio());
    let effects = solo.beat(A, leaders_beat(1, BALLOT));
    assert!(!acks(&effects)[0].backs);
    assert!(!acks(&solo.beat(A, leaders_beat(2, BALLOT)))[0].backs);
    solo.event(Event::Persisted(records(&effects)[0]));
    assert!(acks(&solo.beat(A, leaders_beat(3, BALLOT)))[0].backs);
}

#[test]
fn a_ballot_that_is_not_higher_is_stale() {
    let mut durable = Durable::initial(trio());
    durable.promised = BALLOT;
    let config = Arc::clone(&durable.committed.config);
    let mut solo = Solo::start(B, Some(durable), &config);
    solo.advance(LEASE + LEASE / 100);
    for ballot in [BALLOT, Ballot { round: 4, node: 1 }] {
        assert_eq!(refusal(&solo.hear(A, prepare(ballot))), Some(Verdict::Stale));
    }
    let state = Arc::new(successor(&trio()));
    let ballot = Ballot { round: 4, node: 1 };
    assert_eq!(
        refusal(&solo.hear(A, Message::Accept { ballot, state })),
        Some(Verdict::Stale)
    );
    assert!(!acks(&solo.beat(A, leaders_beat(1, ballot)))[0].backs);
}

#[test]
fn a_ballot_is_proposed_under_by_its_own_leader_only() {
    let mut solo = Solo::free_voter(B, all_vote(&config(3, false, "")));
    let state = Arc::new(successor(&solo.durable().committed));
    let ballot = Ballot { round: 9, node: 1 };
    assert_eq!(
        refusal(&solo.hear(C, Message::Accept { ballot, state })),
        Some(Verdict::Stale)
    );
    assert!(!acks(&solo.beat(C, leaders_beat(1, ballot)))[0].backs);
}

#[test]
fn a_candidate_that_is_no_committed_voter_gets_no_promise() {
    let mut state = all_vote(&config(3, false, ""));
    state.voters = voters(&[A, B]);
    let mut solo = Solo::free_voter(B, state);
    let ballot = Ballot { round: 9, node: 3 };
    assert_eq!(
        refusal(&solo.hear(C, Message::PreVote { ballot })),
        Some(Verdict::Stranger)
    );
    assert_eq!(refusal(&solo.hear(C, prepare(ballot))), Some(Verdict::Stranger));
}

#[test]
fn a_pre_vote_changes_nothing() {
    let mut solo = Solo::free_voter(B, trio());
    let before = solo.durable().clone();
    let effects = solo.hear(A, Message::PreVote { ballot: BALLOT });
    assert_eq!(refusal(&effects), Some(Verdict::Granted));
    assert!(records(&effects).is_empty());
    assert_eq!(*solo.durable(), before);
}

#[test]
fn a_blank_node_never_votes() {
    let state = trio();
    let mut solo = Solo::start(B, None, &state.config);
    let effects = solo.advance(LEASE * 20);
    assert!(messages(&effects).is_empty(), "it does not campaign");
    assert_eq!(
        refusal(&solo.hear(A, Message::PreVote { ballot: BALLOT })),
        Some(Verdict::Blank)
    );
    assert_eq!(refusal(&solo.hear(A, prepare(BALLOT))), Some(Verdict::Blank));
    let ack = acks(&solo.beat(A, leaders_beat(1, BALLOT)))[0];
    assert!(ack.blank && !ack.backs);
    let state = Arc::new(successor(&state));
    assert_eq!(
        refusal(&solo.hear(
            A,
            Message::Accept {
                ballot: BALLOT,
                state
            }
        )),
        Some(Verdict::Blank)
    );
}

#[test]
fn a_blank_node_takes_its_first_state_only_where_it_is_no_voter() {
    let voter = trio();
    let mut solo = Solo::start(B, None, &voter.config);
    let commit = |state: &ClusterState| Message::Commit {
        ballot: BALLOT,
        state: Arc::new(state.clone()),
    };
    solo.hear(A, commit(&voter));
    assert_eq!(
        solo.node.durable(),
        None,
        "what it had promised as a voter is lost"
    );
    let mut dropped = successor(&voter);
    dropped.voters = dropped.voters.without(B);
    solo.hear(A, commit(&dropped));
    assert_eq!(solo.durable().committed.version, 2);
}

#[test]
fn a_state_that_takes_a_group_away_is_acknowledged_after_the_stop() {
    let mut state = trio();
    let assign = |state: &mut ClusterState, owner, boot, epoch| {
        let entry = state.groups.get_mut("db").expect("configured");
        entry.assignment = Assignment::Owned { owner, boot, epoch };
    };
    assign(&mut state, B, Some(BootId(1 << 96)), 1);
    let mut solo = Solo::free_voter(B, state.clone());
    let running = observation("db", 1, RunState::Running);
    solo.event(Event::Agent(AgentEvent::Attached {
        groups: vec![running],
        watchdog: None,
    }));
    let mut next = successor(&state);
    assign(&mut next, A, None, 2);
    let accept = Message::Accept {
        ballot: BALLOT,
        state: Arc::new(next),
    };
    let effects = solo.hear(A, accept);
    let stops = |effect: &Effect| matches!(effect, Effect::StopGroup { epoch: 2, .. });
    assert!(effects.iter().any(stops) && records(&effects).is_empty());
    assert_eq!(
        solo.durable().accepted.version,
        1,
        "not even on its way to the disk"
    );
    let effects = solo.event(Event::Agent(AgentEvent::Group(observation(
        "db",
        2,
        RunState::Stopped,
    ))));
    let sent = messages(&solo.event(Event::Persisted(records(&effects)[0])));
    let accepted = |sent: &(NodeId, Message)| matches!(sent, (A, Message::Accepted { version: 2, .. }));
    assert!(sent.iter().any(accepted));
}

#[test]
fn word_of_an_older_run_or_boot_is_ignored() {
    let mut solo = Solo::free_voter(B, trio());
    let new = Sender {
        incarnation: Incarnation(2),
        boot: BootId(2 << 96),
        ..sender(A)
    };
    let message = Message::PreVote { ballot: BALLOT };
    let say = |from| Event::Message {
        from,
        message: message.clone(),
    };
    assert_eq!(refusal(&solo.event(say(new))), Some(Verdict::Granted));
    assert_eq!(refusal(&solo.event(say(sender(A)))), None, "of the boot before");
    let older_run = Sender {
        incarnation: Incarnation(1),
        ..new
    };
    assert_eq!(refusal(&solo.event(say(older_run))), None, "of the run before");
    assert_eq!(
        refusal(&solo.event(say(new))),
        Some(Verdict::Granted),
        "the present one still counts"
    );
}

#[test]
fn the_witness_votes_but_never_leads() {
    let config = config(2, true, "");
    let mut witness = Solo::start(W, Some(Durable::initial(all_vote(&config))), &config);
    let effects = witness.advance(LEASE * 20);
    assert!(effects.is_empty(), "it neither beats nor campaigns: {effects:?}");
    let effects = witness.hear(A, prepare(BALLOT));
    assert_eq!(
        promises(&witness.event(Event::Persisted(records(&effects)[0]))),
        1
    );
}

#[test]
fn a_rival_with_a_higher_ballot_is_not_backed_while_the_promise_to_the_leader_runs() {
    let mut solo = Solo::free_voter(B, all_vote(&config(3, false, "")));
    let id = records(&solo.beat(A, leaders_beat(1, BALLOT)))[0];
    solo.event(Event::Persisted(id));
    assert!(acks(&solo.beat(A, leaders_beat(2, BALLOT)))[0].backs);
    let rival = Ballot { round: 6, node: 3 };
    let effects = solo.beat(C, leaders_beat(1, rival));
    assert!(!acks(&effects)[0].backs && records(&effects).is_empty());
    assert!(
        acks(&solo.beat(A, leaders_beat(3, BALLOT)))[0].backs,
        "and the leader goes on"
    );
}

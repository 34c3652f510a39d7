//! `hactl quorum force` and what this node learned, but did not accept, or not in time: none of it is undone.

use super::*;

const REQUEST: u64 = 7;

/// Node 2 of a pair, which promised a candidate `BALLOT` and then learned that an older leader had committed version 3.
fn behind_its_commit() -> Solo {
    let state = all_vote(&config(2, false, &group("db", "fencing", "")));
    let mut durable = Durable::initial(state.clone());
    let mut committed = state;
    (committed.version, committed.maintenance) = (3, true);
    durable.promised = Ballot { round: 9, node: 1 };
    durable.committed = Arc::new(committed);
    let config = Arc::clone(&durable.committed.config);
    let mut solo = Solo::start(B, Some(durable), &config);
    solo.advance(LEASE * 3);
    solo
}

fn force(solo: &mut Solo) -> Vec<Effect> {
    let call = OperatorCall {
        request: OperatorRequest::QuorumForce,
        who: "ann".into(),
        at: "noon".into(),
    };
    let request = REQUEST;
    solo.event(Event::Operator { request, call })
}

fn write(solo: &mut Solo, effects: &[Effect]) -> Vec<Effect> {
    let last = *records(effects).last().expect("something to write");
    solo.event(Event::Persisted(last))
}

fn answers(effects: &[Effect]) -> Vec<&OperatorOutcome> {
    let answer = |effect: &'_ Effect| matches!(effect, Effect::Reply { request: REQUEST, .. });
    let answers = effects.iter().filter(|effect| answer(effect));
    answers
        .filter_map(|effect| match effect {
            Effect::Reply { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect()
}

/// Node 1's word of another version 4, from before it went off.
fn late_word(solo: &Solo) -> Message {
    let mut state = ClusterState::clone(&solo.durable().committed);
    (state.version, state.maintenance) = (4, false);
    state.reason = "agreed with the other node".into();
    let (ballot, state) = (Ballot { round: 8, node: 1 }, Arc::new(state));
    Message::Commit { ballot, state }
}

#[test]
fn what_this_node_accepted_last_is_forced_with_it_because_it_may_have_been_chosen() {
    let state = all_vote(&config(2, false, &group("db", "fencing", "")));
    let mut durable = Durable::initial(state.clone());
    let mut accepted = state;
    (accepted.version, accepted.maintenance) = (2, true);
    durable.accepted = Arc::new(accepted);
    let config = Arc::clone(&durable.committed.config);
    let mut solo = Solo::start(B, Some(durable), &config);
    solo.advance(LEASE * 3);
    let effects = force(&mut solo);
    write(&mut solo, &effects);
    let committed = &solo.durable().committed;
    assert_eq!((committed.version, committed.voters), (3, voters(&[B])));
    assert!(committed.maintenance);
}

#[test]
fn what_is_forced_goes_on_from_the_newest_state_that_is_known() {
    let mut solo = behind_its_commit();
    let effects = force(&mut solo);
    let effects = write(&mut solo, &effects);
    assert!(matches!(answers(&effects)[..], [OperatorOutcome::Done(_)]));
    let committed = &solo.durable().committed;
    assert_eq!((committed.version, committed.voters), (4, voters(&[B])));
    assert!(committed.maintenance, "nothing that was committed is undone");
}

#[test]
fn a_force_that_word_of_a_newer_commit_overtakes_is_refused_and_changes_nothing() {
    let mut solo = behind_its_commit();
    let effects = force(&mut solo);
    let word = late_word(&solo);
    solo.hear(A, word);
    let effects = write(&mut solo, &effects);
    assert!(matches!(answers(&effects)[..], [OperatorOutcome::Refused(_)]));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::MarkSynced)));
    let committed = &solo.durable().committed;
    assert_eq!((committed.version, committed.voters), (4, voters(&[A, B])));
    assert_eq!(committed.reason, "agreed with the other node");
    solo.advance(LEASE * 3);
    let effects = force(&mut solo);
    let effects = write(&mut solo, &effects);
    assert!(
        matches!(answers(&effects)[..], [OperatorOutcome::Done(_)]),
        "asked again"
    );
    let committed = &solo.durable().committed;
    assert_eq!((committed.version, committed.voters), (5, voters(&[B])));
    assert!(
        !committed.maintenance,
        "upon what was agreed, not upon the force that failed"
    );
}

//! Registers that are empty, were emptied, or are not the one that was voted in.

use super::*;

const PAIR: VoterSet = VoterSet(0b110);

fn commit(version: u64, voters: VoterSet) -> Input {
    Input::Message(Message::Commit {
        ballot: ballot(4, 1),
        state: state(version, voters),
    })
}

/// A register that node 1 has claimed, and the call that is to fill it.
fn about_to_be_filled() -> (Pair, Call) {
    let mut pair = Pair::empty();
    pair.give(1, commit(5, PAIR));
    pair.settle(1);
    pair.give(1, commit(5, PAIR));
    let call = pair.next_call(1);
    (pair, call)
}

#[test]
fn an_empty_register_is_claimed_and_then_filled_by_what_is_said_after_that() {
    let mut pair = Pair::empty();
    assert!(pair.beat(1, ballot(4, 1), true).expect("an answer").blank);
    pair.give(1, commit(5, PAIR));
    pair.settle(1);
    let claim = pair.register.clone().expect("a claim");
    assert_eq!(claim.states, None);
    assert!(
        pair.beat(1, ballot(4, 1), true).expect("an answer").blank,
        "a claim knows nothing"
    );
    pair.give(1, commit(6, PAIR));
    pair.settle(1);
    let filled = pair.register.clone().expect("a record");
    assert_eq!(filled.head.register, claim.head.register);
    assert_eq!(filled.states.expect("states").committed.version, 6);
    let ack = pair.beat(2, ballot(1, 1), false).expect("an answer");
    assert_eq!(
        (ack.blank, ack.committed),
        (false, 6),
        "the other node sees it as well"
    );
}

#[test]
fn what_was_said_before_a_register_was_emptied_does_not_fill_it() {
    let (mut pair, late) = about_to_be_filled();
    pair.register = None;
    let outcome = carry_out(&mut pair.register, &late.op);
    assert_eq!(outcome, Outcome::Content(None), "its claim is gone");
    pair.answer(1, late.id, outcome);
    pair.settle(1);
    assert_eq!(
        pair.register.expect("claimed anew").states,
        None,
        "the state has to be said again"
    );
}

#[test]
fn a_claim_of_another_node_is_replaced_and_its_maker_cannot_fill_it_any_more() {
    let (mut pair, late) = about_to_be_filled();
    for _ in 0..2 {
        pair.give(2, commit(7, PAIR));
        pair.settle(2);
    }
    assert!(pair.register.as_ref().expect("a record").states.is_some());
    assert!(matches!(
        carry_out(&mut pair.register, &late.op),
        Outcome::Content(Some(_))
    ));
}

#[test]
fn a_register_is_never_filled_with_a_state_in_which_it_votes() {
    let mut pair = Pair::empty();
    for _ in 0..3 {
        pair.give(1, commit(5, STATES));
        pair.settle(1);
    }
    assert_eq!(pair.register, None);
}

#[test]
fn one_that_was_emptied_is_blank_under_the_name_that_was_voted_in_and_promises_nothing() {
    let mut pair = Pair::filled();
    assert!(pair.backs(1, ballot(2, 1)));
    let faces = |events: Vec<Event>| -> Vec<(BootId, Incarnation)> {
        events
            .into_iter()
            .filter_map(|event| match event {
                Event::Beat { from, .. } => Some((from.boot, from.incarnation)),
                _ => None,
            })
            .collect()
    };
    let beat = pair.heartbeat(ballot(1, 1), false);
    pair.give(2, beat);
    let before = faces(pair.settle(2));
    pair.register = None;
    let beat = pair.heartbeat(ballot(1, 1), false);
    pair.give(2, beat);
    let after = faces(pair.settle(2));
    assert_eq!(before[0].0, after[0].0);
    assert!(
        before[0].1 < after[0].1,
        "a run of its own: what the one before knew is gone"
    );
    let refusal = pair.prepare(2, ballot(3, 2), None);
    assert!(matches!(
        refusal,
        Message::Refuse {
            verdict: Verdict::Blank,
            ..
        }
    ));
    assert!(!pair.backs(1, ballot(2, 1)));
}

#[test]
fn another_register_than_the_one_that_was_voted_in_does_not_vote() {
    let mut pair = Pair::filled();
    pair.trusted = Trusted::Only(BootId(78));
    let refusal = pair.prepare(2, ballot(3, 2), None);
    assert!(matches!(
        refusal,
        Message::Refuse {
            verdict: Verdict::Blank,
            ..
        }
    ));
    assert!(!pair.backs(1, ballot(2, 1)));
    pair.trusted = Trusted::Nobody;
    assert!(!pair.backs(1, ballot(2, 1)));
}

#[test]
fn one_that_went_back_to_an_earlier_record_is_voided_by_whoever_saw_a_newer_one() {
    let mut pair = Pair::filled();
    let backup = pair.register.clone();
    assert!(pair.backs(1, ballot(2, 1)));
    pair.beat(2, ballot(1, 1), false);
    pair.register = backup;
    let ack = pair.beat(2, ballot(1, 1), false).expect("an answer");
    assert!(ack.blank, "it forgot whom it backs");
    let found = pair.register.clone().expect("a claim");
    assert_eq!(found.states, None, "so that nobody else takes it for sound");
    pair.pass(LEASE_MS);
    assert!(pair.beat(1, ballot(2, 1), true).expect("an answer").blank);
}

use std::sync::Arc;

use holdfast_proto::config::Config;
use holdfast_proto::state::genesis;
use proptest::prelude::*;

use super::*;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const W: NodeId = NodeId::WITNESS;

fn set(nodes: &[NodeId]) -> VoterSet {
    nodes.iter().copied().collect()
}

/// A state in which `voters` vote, at `version`.
fn state(version: u64, voters: VoterSet) -> ClusterState {
    let text = "[cluster]\nname = \"t\"\nid = \"00000000000000aa\"\n[[node]]\nname = \"n1\"\nlinks = [\"10.0.0.1\"]\n\
                keys = [\"1111111111111111111111111111111111111111111111111111111111111111\"]\n";
    let config: Config = holdfast_proto::config::parse(text, "t.toml").expect("valid");
    let mut state = genesis(Arc::new(config), A);
    state.version = version;
    state.voters = voters;
    state
}

#[test]
fn a_proof_votes_only_in_a_data_pair() {
    assert!(wins(set(&[A, B]), set(&[A]), set(&[B])));
    assert!(!wins(set(&[A, W]), set(&[A]), set(&[W])));
    assert!(!wins(set(&[A, B, W]), set(&[A]), set(&[B])));
    assert!(wins(set(&[A, B, W]), set(&[A, W]), VoterSet::EMPTY));
}

#[test]
fn both_sets_have_to_be_won() {
    let electorate = Electorate::of(B, &state(4, set(&[A, B, W])), &state(5, set(&[A, B])));
    assert!(!electorate.is_won_by(set(&[B, W]), VoterSet::EMPTY));
    assert!(electorate.is_won_by(set(&[A, B]), VoterSet::EMPTY));
    assert_eq!(electorate.voters(), set(&[A, B, W]), "everyone is asked");
}

#[test]
fn a_sole_committed_voter_needs_nobody() {
    let (committed, accepted) = (state(4, set(&[B])), state(5, set(&[A, B])));
    assert!(Electorate::of(B, &committed, &accepted).is_won_by(set(&[B]), VoterSet::EMPTY));
    assert!(!Electorate::of(A, &committed, &accepted).is_won_by(set(&[A]), VoterSet::EMPTY));
}

#[test]
fn a_newer_committed_set_replaces_ours_and_an_older_one_does_not() {
    let ours = Electorate::of(B, &state(4, set(&[A, B])), &state(4, set(&[A, B])));
    let told = |version, committed| KnownVoters {
        committed_version: version,
        committed,
        accepted: set(&[A, B, W]),
    };
    let (newer, accepted) = ours.merged_with(told(5, set(&[A, B, W])));
    assert!(newer.is_won_by(set(&[A, B]), VoterSet::EMPTY));
    assert_eq!(
        accepted,
        set(&[A, B, W]),
        "what was accepted anywhere has to be won as well"
    );
    let (same, _) = ours.merged_with(told(3, set(&[B])));
    assert_eq!(same, ours);
    assert!(!same.is_sole());
}

#[test]
fn the_pairs_rules_need_both_sets_to_say_pair_or_only_me() {
    let pair = state(4, set(&[A, B]));
    assert!(is_pair(A, &pair, &pair));
    assert!(
        is_pair(A, &pair, &state(5, set(&[A]))),
        "its own takeover under way"
    );
    assert!(
        !is_pair(A, &pair, &state(5, set(&[B]))),
        "the other one's takeover"
    );
    assert!(
        !is_pair(A, &pair, &state(5, set(&[A, B, W]))),
        "the witness is coming back"
    );
    assert!(
        !is_pair(A, &state(4, set(&[A, B, W])), &state(5, set(&[A, B]))),
        "the witness is being dropped"
    );
    assert!(!is_pair(W, &pair, &pair), "who does not vote is no part of it");
    let with_witness = state(4, set(&[A, W]));
    assert!(!is_pair(A, &with_witness, &with_witness));
}

/// Up to seven voters, of the witness and the first data nodes.
fn voter_sets() -> impl Strategy<Value = VoterSet> {
    (1u32..128).prop_map(VoterSet)
}

proptest! {
    #[test]
    fn two_majorities_of_one_set_share_a_voter(voters in voter_sets(), one in 0u32..128, other in 0u32..128) {
        let (one, other) = (VoterSet(one), VoterSet(other));
        if wins(voters, one, VoterSet::EMPTY) && wins(voters, other, VoterSet::EMPTY) {
            prop_assert!(!one.and(other).and(voters).is_empty());
        }
    }

    #[test]
    fn majorities_before_and_after_a_change_of_one_voter_share_one(
        voters in voter_sets(),
        changed in 0u8..7,
        one in 0u32..128,
        other in 0u32..128,
    ) {
        let changed = NodeId(changed);
        let next = if voters.contains(changed) { voters.without(changed) } else { voters.with(changed) };
        let (one, other) = (VoterSet(one), VoterSet(other));
        if wins(voters, one, VoterSet::EMPTY) && wins(next, other, VoterSet::EMPTY) {
            prop_assert!(!one.and(other).is_empty());
        }
    }

    #[test]
    fn a_candidate_that_knows_of_a_change_meets_every_majority_of_both_sides(
        old in voter_sets(),
        new in voter_sets(),
        candidate in 0u8..7,
        votes in 0u32..128,
        other in 0u32..128,
    ) {
        let electorate = Electorate::of(NodeId(candidate), &state(4, old), &state(5, new));
        let (votes, other) = (VoterSet(votes), VoterSet(other));
        if electorate.is_sole() || !electorate.is_won_by(votes, VoterSet::EMPTY) {
            return Ok(());
        }
        for voters in [old, new] {
            if wins(voters, other, VoterSet::EMPTY) {
                prop_assert!(!votes.and(other).is_empty(), "{votes:?} and {other:?} of {voters:?}");
            }
        }
    }

    #[test]
    fn more_votes_never_lose(old in voter_sets(), new in voter_sets(), votes in 0u32..128, more in 0u32..128) {
        let electorate = Electorate::of(A, &state(4, old), &state(5, new));
        let votes = VoterSet(votes);
        if electorate.is_won_by(votes, VoterSet::EMPTY) {
            prop_assert!(electorate.is_won_by(votes.or(VoterSet(more)), VoterSet::EMPTY));
        }
    }

    #[test]
    fn a_stand_in_changes_nothing_outside_a_pair_of_data_nodes(
        voters in voter_sets(),
        votes in 0u32..128,
        stand_in in 0u32..128,
    ) {
        let (votes, stand_in) = (VoterSet(votes), VoterSet(stand_in));
        if !voters.is_data_pair() {
            prop_assert_eq!(wins(voters, votes, stand_in), wins(voters, votes, VoterSet::EMPTY));
        }
    }

    #[test]
    fn at_most_one_reading_of_the_voters_is_a_pair(old in voter_sets(), new in voter_sets(), me in 0u8..7) {
        let me = NodeId(me);
        let (committed, accepted) = (state(4, old), state(5, new));
        if is_pair(me, &committed, &accepted) {
            prop_assert!(old.is_data_pair() && old.contains(me) && !me.is_witness());
            prop_assert!(!new.contains(NodeId::WITNESS), "no third vote is coming or going");
        }
    }
}

#[test]
fn a_committed_set_that_is_newer_by_several_versions_replaces_ours() {
    let ours = Electorate::of(A, &state(4, set(&[A, B, W])), &state(4, set(&[A, B, W])));
    let known = |version, voters| KnownVoters {
        committed_version: version,
        committed: voters,
        accepted: voters,
    };
    let (newer, accepted) = ours.merged_with(known(6, set(&[A])));
    assert!(newer.is_sole() && accepted == set(&[A]));
    let (older, _) = ours.merged_with(known(3, set(&[A])));
    assert!(!older.is_sole());
}

//! What an acceptor takes in, in which order, and what of it counts as learned, synced and its own.

use super::*;

const BALLOT: Ballot = Ballot { round: 5, node: 1 };
const MINE: BootId = BootId(1 << 96);

fn owned(owner: NodeId, boot: BootId, epoch: u64) -> Assignment {
    let boot = Some(boot);
    Assignment::Owned { owner, boot, epoch }
}

/// A state of three nodes in which `db` and `web` are so.
fn state(version: u64, db: Assignment, web: Assignment) -> ClusterState {
    let groups = group("db", "fencing", "") + &group("web", "fencing", "");
    let mut state = all_vote(&config(3, false, &groups));
    state.version = version;
    for (group, assignment) in [("db", db), ("web", web)] {
        state.groups.get_mut(group).expect("configured").assignment = assignment;
    }
    state.next_epoch = 10;
    state
}

/// Node 2, which knows `state` as committed and runs what `runs` names.
fn voter(state: &ClusterState, runs: &[(&str, u64)]) -> Solo {
    let mut solo = Solo::free_voter(B, state.clone());
    let running = |(group, epoch): &(&str, u64)| observation(group, *epoch, RunState::Running);
    solo.event(Event::Agent(AgentEvent::Attached {
        groups: runs.iter().map(running).collect(),
        watchdog: None,
    }));
    solo
}

fn accept(ballot: Ballot, state: &ClusterState) -> Message {
    let state = Arc::new(state.clone());
    Message::Accept { ballot, state }
}

fn commit(ballot: Ballot, state: &ClusterState) -> Message {
    let state = Arc::new(state.clone());
    Message::Commit { ballot, state }
}

/// Groups whose stop is ordered among `effects`.
fn stops(effects: &[Effect]) -> Vec<(String, u64)> {
    let ordered = effects.iter().filter_map(|effect| match effect {
        Effect::StopGroup { group, epoch, .. } => Some((group.to_string(), *epoch)),
        _ => None,
    });
    ordered.collect()
}

/// Everything written is on disk.
fn write(solo: &mut Solo, effects: &[Effect]) -> Vec<Effect> {
    let id = *records(effects).last().expect("something is written");
    solo.event(Event::Persisted(id))
}

#[test]
fn a_new_assignment_to_the_same_node_ends_the_old_one_first() {
    let now = state(1, owned(B, MINE, 1), Assignment::Stopped { epoch: 0 });
    let another_epoch = owned(B, MINE, 5);
    let another_boot = owned(B, BootId(9), 1);
    for next in [another_epoch, another_boot] {
        let mut solo = voter(&now, &[("db", 1)]);
        let next = state(2, next, Assignment::Stopped { epoch: 0 });
        let effects = solo.hear(A, accept(BALLOT, &next));
        assert!(records(&effects).is_empty(), "not before it stopped");
        assert_eq!(stops(&effects).len(), 1);
    }
}

#[test]
fn an_assignment_that_stays_or_is_being_released_here_needs_no_stop_first() {
    let now = state(1, owned(B, MINE, 1), Assignment::Stopped { epoch: 0 });
    let releasing = Assignment::Releasing {
        owner: B,
        boot: Some(MINE),
        epoch: 5,
        toward: None,
    };
    for next in [owned(B, MINE, 1), releasing] {
        let mut solo = voter(&now, &[("db", 1)]);
        let next = state(2, next, Assignment::Stopped { epoch: 0 });
        assert_eq!(records(&solo.hear(A, accept(BALLOT, &next))).len(), 1);
    }
}

#[test]
fn what_is_assigned_here_is_confirmed_stopped_before_it_is_given_away_although_it_never_ran() {
    // Its start may have been ordered, and word of it be under way.
    let now = state(1, owned(B, MINE, 1), owned(B, MINE, 2));
    let mut solo = voter(&now, &[("web", 2)]);
    let next = state(2, owned(A, BootId(9), 5), owned(B, MINE, 2));
    let effects = solo.hear(A, accept(BALLOT, &next));
    assert_eq!(stops(&effects), [("db".to_string(), 5)]);
    assert!(records(&effects).is_empty());
    let stopped = observation("db", 5, RunState::Stopped);
    let effects = solo.event(Event::Agent(AgentEvent::Group(stopped)));
    assert_eq!(records(&effects).len(), 1);
}

#[test]
fn what_an_earlier_boot_or_another_node_owned_is_given_away_at_once() {
    for before in [owned(B, BootId(9), 1), owned(C, BootId(9), 1)] {
        let mut solo = voter(&state(1, before, Assignment::Stopped { epoch: 0 }), &[]);
        let next = state(2, owned(A, BootId(8), 5), Assignment::Stopped { epoch: 0 });
        let effects = solo.hear(A, accept(BALLOT, &next));
        assert_eq!((stops(&effects).len(), records(&effects).len()), (0, 1));
    }
}

#[test]
fn an_older_proposal_does_not_replace_a_newer_one_that_waits_for_a_stop() {
    let now = state(1, owned(B, MINE, 1), Assignment::Stopped { epoch: 0 });
    let mut solo = voter(&now, &[("db", 1)]);
    let newer = state(3, owned(A, BootId(9), 5), Assignment::Stopped { epoch: 0 });
    let older = ClusterState {
        version: 2,
        ..now.clone()
    };
    assert!(records(&solo.hear(A, accept(BALLOT, &newer))).is_empty());
    assert!(records(&solo.hear(A, accept(BALLOT, &older))).is_empty());
    assert_eq!(solo.durable().accepted.version, 1);
}

#[test]
fn an_older_proposal_is_not_accepted_after_a_newer_one_and_a_repeated_one_is_answered_again() {
    let now = state(
        1,
        Assignment::Stopped { epoch: 0 },
        Assignment::Stopped { epoch: 0 },
    );
    let mut solo = voter(&now, &[]);
    let [older, newer] = [2, 3].map(|version| ClusterState {
        version,
        ..now.clone()
    });
    let effects = solo.hear(A, accept(BALLOT, &newer));
    write(&mut solo, &effects);
    assert!(records(&solo.hear(A, accept(BALLOT, &older))).is_empty());
    assert_eq!(solo.durable().accepted.version, 3);
    let effects = solo.hear(A, accept(BALLOT, &newer));
    let answers = messages(&write(&mut solo, &effects));
    assert_eq!(answers.len(), 1, "the first answer may have been lost");
}

#[test]
fn a_candidate_that_accepts_from_a_higher_ballot_is_none_any_more() {
    let now = state(
        1,
        Assignment::Stopped { epoch: 0 },
        Assignment::Stopped { epoch: 0 },
    );
    let mut solo = voter(&now, &[]);
    solo.advance(LEASE);
    assert!(matches!(solo.node.role, crate::node::Role::PreVoting(_)));
    let next = ClusterState {
        version: 2,
        ..now.clone()
    };
    solo.hear(A, accept(BALLOT, &next));
    assert!(matches!(solo.node.role, crate::node::Role::Follower));
}

#[test]
fn a_commit_that_was_not_accepted_before_is_accepted_with_it() {
    let now = state(
        1,
        Assignment::Stopped { epoch: 0 },
        Assignment::Stopped { epoch: 0 },
    );
    let mut solo = voter(&now, &[]);
    let next = ClusterState {
        version: 2,
        ..now.clone()
    };
    solo.hear(A, commit(BALLOT, &next));
    let durable = solo.durable();
    assert_eq!(
        (durable.committed.version, durable.accepted.version),
        (2, 2),
        "an election may not go behind it"
    );
    assert_eq!(durable.accepted_ballot, BALLOT);
}

#[test]
fn a_commit_takes_no_newer_acceptance_back() {
    let now = state(
        1,
        Assignment::Stopped { epoch: 0 },
        Assignment::Stopped { epoch: 0 },
    );
    let mut solo = voter(&now, &[]);
    let [second, third] = [2, 3].map(|version| ClusterState {
        version,
        ..now.clone()
    });
    solo.hear(A, accept(BALLOT, &third));
    solo.hear(A, commit(BALLOT, &second));
    let durable = solo.durable();
    assert_eq!((durable.committed.version, durable.accepted.version), (2, 3));
}

#[test]
fn a_commit_of_a_ballot_below_the_promised_one_is_learned_and_not_accepted() {
    let now = state(
        1,
        Assignment::Stopped { epoch: 0 },
        Assignment::Stopped { epoch: 0 },
    );
    let mut solo = voter(&now, &[]);
    let (ballot, transfer) = (Ballot { round: 9, node: 3 }, None);
    solo.hear(C, Message::Prepare { ballot, transfer });
    let next = ClusterState {
        version: 2,
        ..now.clone()
    };
    solo.hear(A, commit(BALLOT, &next));
    let durable = solo.durable();
    assert_eq!(durable.promised, ballot);
    assert_eq!((durable.committed.version, durable.accepted.version), (2, 1));
}

#[test]
fn a_commit_that_is_known_already_is_not_written_again() {
    let now = state(
        1,
        Assignment::Stopped { epoch: 0 },
        Assignment::Stopped { epoch: 0 },
    );
    let mut solo = voter(&now, &[]);
    let next = ClusterState {
        version: 2,
        ..now.clone()
    };
    assert_eq!(records(&solo.hear(A, commit(BALLOT, &next))).len(), 1);
    assert_eq!(records(&solo.hear(A, commit(BALLOT, &next))).len(), 0);
}

#[test]
fn a_node_is_synced_by_a_commit_that_it_hears_again_after_its_acceptance() {
    let now = state(
        1,
        Assignment::Stopped { epoch: 0 },
        Assignment::Stopped { epoch: 0 },
    );
    let mut solo = voter(&now, &[]);
    let next = ClusterState {
        version: 2,
        ..now.clone()
    };
    solo.is_answered(A);
    let effects = solo.hear(A, commit(BALLOT, &next));
    write(&mut solo, &effects);
    let effects = solo.hear(A, accept(BALLOT, &next));
    write(&mut solo, &effects);
    assert!(!solo.node.synced, "heard before it voted");
    let effects = solo.hear(A, commit(BALLOT, &next));
    write(&mut solo, &effects);
    assert!(solo.node.synced);
}

/// A proof about an earlier boot may have stood in for the vote (found by the model, configuration returning).
#[test]
fn a_vote_syncs_nobody_for_what_was_committed_before_the_leader_heard_this_boot() {
    let now = state(
        1,
        Assignment::Stopped { epoch: 0 },
        Assignment::Stopped { epoch: 0 },
    );
    let mut solo = voter(&now, &[]);
    let [second, third] = [2, 3].map(|version| ClusterState {
        version,
        ..now.clone()
    });
    for message in [accept(BALLOT, &second), commit(BALLOT, &second)] {
        let effects = solo.hear(A, message);
        write(&mut solo, &effects);
    }
    assert!(!solo.node.synced, "the leader heard nothing of this boot");
    solo.is_answered(A);
    let effects = solo.hear(A, commit(BALLOT, &second));
    assert!(
        records(&effects).is_empty() && !solo.node.synced,
        "it had committed that when it first heard this boot"
    );
    for message in [accept(BALLOT, &third), commit(BALLOT, &third)] {
        let effects = solo.hear(A, message);
        write(&mut solo, &effects);
    }
    assert!(solo.node.synced);
}

#[test]
fn a_commit_of_another_ballot_syncs_nobody() {
    let now = state(
        1,
        Assignment::Stopped { epoch: 0 },
        Assignment::Stopped { epoch: 0 },
    );
    let mut solo = voter(&now, &[]);
    for leader in [A, C] {
        solo.is_answered(leader);
    }
    let [second, third] = [2, 3].map(|version| ClusterState {
        version,
        ..now.clone()
    });
    let effects = solo.hear(A, accept(BALLOT, &second));
    write(&mut solo, &effects);
    // What it acknowledged may never have been committed: this is another leader's.
    let effects = solo.hear(C, commit(Ballot { round: 7, node: 3 }, &third));
    write(&mut solo, &effects);
    assert!(!solo.node.synced);
}

#[test]
fn a_configuration_is_announced_when_its_text_changed_and_only_then() {
    let now = state(
        1,
        Assignment::Stopped { epoch: 0 },
        Assignment::Stopped { epoch: 0 },
    );
    let mut solo = voter(&now, &[]);
    let mut next = ClusterState {
        version: 2,
        ..now.clone()
    };
    next.config = Arc::new(Config::clone(&now.config));
    let announced = |effects: &[Effect]| {
        let announces = |effect: &&Effect| matches!(effect, Effect::ConfigChanged(_));
        effects.iter().filter(announces).count()
    };
    assert_eq!(announced(&solo.hear(A, commit(BALLOT, &next))), 0);
    next.version = 3;
    next.config = config(3, false, &group("db", "lease", ""));
    assert_eq!(announced(&solo.hear(A, commit(BALLOT, &next))), 1);
}

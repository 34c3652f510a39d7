//! What a leader's answer grants, to whom, and how often it is asked for and told.

use super::*;
use holdfast_proto::peer::WITHHELD_MAX;

const BALLOT: Ballot = Ballot { round: 5, node: 1 };

/// A state of version `version` in which `web` is so.
fn state_with(version: u64, assignment: Assignment) -> ClusterState {
    let mut state = all_vote(&config(2, true, &group("web", "lease", "")));
    state.version = version;
    state.groups.get_mut("web").expect("configured").assignment = assignment;
    state.next_epoch = 2;
    state
}

fn mine() -> Assignment {
    Assignment::Owned {
        owner: B,
        boot: Some(BootId(1 << 96)),
        epoch: 1,
    }
}

/// Node 2, which accepts and learns `state` from its leader, node 1, and writes it; what followed from that.
fn taught(solo: &mut Solo, state: ClusterState) -> Vec<Effect> {
    let (ballot, state) = (BALLOT, Arc::new(state));
    let accepted = Arc::clone(&state);
    solo.is_answered(A);
    let mut effects = solo.hear(
        A,
        Message::Accept {
            ballot,
            state: accepted,
        },
    );
    effects.extend(solo.hear(A, Message::Commit { ballot, state }));
    let written = *records(&effects).last().expect("written");
    effects.extend(solo.event(Event::Persisted(written)));
    assert!(solo.node.synced);
    effects
}

fn taught_anew(assignment: Assignment) -> (Solo, Vec<Effect>) {
    let start = state_with(1, Assignment::Stopped { epoch: 0 });
    let mut solo = Solo::free_voter(B, start);
    let effects = taught(&mut solo, state_with(2, assignment));
    (solo, effects)
}

/// Rounds of heartbeats among `effects`.
fn rounds(effects: &[Effect]) -> usize {
    let to_leader = |effect: &&Effect| {
        matches!(
            effect,
            Effect::SendBeat {
                to: A,
                beat: Beat::Heartbeat(_)
            }
        )
    };
    effects.iter().filter(to_leader).count()
}

/// The permit that follows from the leader's answer to the latest heartbeat, after `change` to that answer.
fn answered(solo: &mut Solo, from: NodeId, change: impl FnOnce(&mut HeartbeatAck)) -> Option<Time> {
    let (seq, sent_at) = *solo.node.rounds.back().expect("it beats");
    let version = solo.durable().committed.version;
    let mut ack = HeartbeatAck {
        seq,
        sent_at,
        ballot: BALLOT,
        backs: false,
        lease_left: LEASE / 2,
        granted: version,
        withheld: Default::default(),
        withhold_all: false,
        committed: version,
        blank: false,
    };
    change(&mut ack);
    let from = sender(from);
    let beat = Beat::Ack(ack);
    let effects = solo.event(Event::Beat { from, beat });
    effects.into_iter().find_map(|effect| match effect {
        Effect::Permits(permits) => Some(permits[0].until),
        _ => None,
    })
}

#[test]
fn only_the_leader_of_the_promised_ballot_grants() {
    let (mut solo, _) = taught_anew(mine());
    let deposed = Ballot { round: 4, node: 1 };
    assert_eq!(answered(&mut solo, A, |ack| ack.ballot = deposed), None);
    assert_eq!(answered(&mut solo, W, |_| ()), None, "it is not its ballot");
    assert!(answered(&mut solo, A, |_| ()).is_some());
}

#[test]
fn an_answer_that_withholds_everything_grants_nothing() {
    let (mut solo, _) = taught_anew(mine());
    assert_eq!(answered(&mut solo, A, |ack| ack.withhold_all = true), None);
    assert_eq!(answered(&mut solo, A, |ack| ack.withheld[3] = 1), None);
    assert!(answered(&mut solo, A, |_| ()).is_some());
}

#[test]
fn a_group_that_was_just_given_here_hastens_one_heartbeat_and_no_more() {
    let (mut solo, effects) = taught_anew(mine());
    assert_eq!(rounds(&effects), 1, "the permit comes with its answer");
    for links in [false, true, false, true] {
        let health = NetworkHealth {
            any_link_up: links,
            ping_answers: true,
        };
        assert_eq!(rounds(&solo.event(Event::Network(health))), 0);
    }
}

#[test]
fn what_needs_no_permit_here_hastens_nothing() {
    let elsewhere = |owner, boot| Assignment::Owned {
        owner,
        boot: Some(BootId(boot)),
        epoch: 1,
    };
    let others = [
        elsewhere(A, 1 << 96),
        elsewhere(A, 77),
        elsewhere(B, 77),
        Assignment::Stopped { epoch: 1 },
    ];
    for assignment in others {
        let (_, effects) = taught_anew(assignment.clone());
        assert_eq!(rounds(&effects), 0, "{assignment:?}");
    }
}

#[test]
fn a_group_that_has_its_permit_hastens_nothing_when_the_state_changes() {
    let (mut solo, _) = taught_anew(mine());
    assert!(answered(&mut solo, A, |_| ()).is_some());
    let mut next = state_with(3, mine());
    next.reason = "something else changed".into();
    assert_eq!(rounds(&taught(&mut solo, next)), 0);
}

#[test]
fn a_group_that_is_moved_waits_for_no_round_of_heartbeats() {
    let groups = group("db", "lease", "") + &group("own", "lease", "") + &group("too", "lease", "");
    let mut cluster = Cluster::formed(3, false, &groups);
    assert_eq!(cluster.leader(), Some(A));
    for (to, phase) in [(B, 10), (C, 40), (B, 70), (C, 100)] {
        cluster.run_for(1_000 + phase);
        let (group, to_node, since) = ("db".into(), Some(to), cluster.now);
        cluster.ask_done(A, OperatorRequest::Move { group, to: to_node });
        cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("db") == [to]);
        let learned = cluster.journal(to, "assigned").last().expect("assigned").at;
        let started = cluster.started_at(to, "db", since).expect("started");
        assert!(
            started.since(learned) < Duration::from_millis(10),
            "a heartbeat and its answer"
        );
    }
}

#[test]
fn short_permits_are_told_each_time_and_long_ones_when_it_is_worth_it() {
    let groups = group("db", "fencing", "") + &group("web", "lease", "");
    let mut cluster = Cluster::formed(2, true, &groups);
    cluster.run_for(1_000);
    let (since, beats) = (cluster.now, 40);
    let span = cluster.config.timers().heartbeat * beats;
    cluster.run_for(span.as_millis() as u64);
    let told = |group: &str| {
        let telling = |effect: &Effect| match effect {
            Effect::Permits(permits) => permits.iter().any(|permit| *permit.group == *group),
            _ => false,
        };
        let done = cluster.done.iter().filter(|(at, _, _)| *at >= since);
        done.filter(|(_, _, effect)| telling(effect)).count()
    };
    assert!(told("web") >= 36, "{} of {beats}", told("web"));
    assert!((10..=20).contains(&told("db")), "{} of {beats}", told("db"));
}

#[test]
fn a_leader_that_moves_more_groups_than_it_can_name_permits_none() {
    let names: Vec<String> = (0..=WITHHELD_MAX).map(|number| format!("g{number}")).collect();
    let groups: Vec<String> = names
        .iter()
        .map(|name| group(name, "fencing", "prefer = [\"n1\"]"))
        .collect();
    let mut cluster = Cluster::formed(3, false, &groups.concat());
    assert_eq!(cluster.leader(), Some(A));
    assert!(names.iter().all(|name| cluster.runs_on(name) == [A]));
    // The proposal cannot commit: no other disk takes it.
    for node in [B, C] {
        cluster.host_mut(node).disk_held = true;
    }
    let request = OperatorRequest::Standby { node: A, on: true };
    let call = OperatorCall {
        request,
        who: "ann".into(),
        at: "noon".into(),
    };
    cluster.event(A, Event::Operator { request: 1, call });
    assert!(cluster.node(A).withheld_from(A).1, "too many to name");
    let before = cluster.host(A).permits.clone();
    cluster.run_for(600);
    assert_eq!(cluster.leader(), Some(A));
    assert_eq!(cluster.host(A).permits, before);
}

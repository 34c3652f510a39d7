//! A leader's proposal on its way: what it waits for, when it is sent again, and what it keeps from being granted.

use super::*;

/// Three nodes and a witness; `db` and `web` on node 2, and node 1, which leads, keeps `own` and `too`.
fn cluster() -> Cluster {
    let names = ["db", "own", "too", "web"];
    let groups: Vec<String> = names.iter().map(|name| group(name, "fencing", "")).collect();
    let mut cluster = Cluster::formed(3, true, &groups.concat());
    for name in ["db", "web"] {
        let (group, to) = (name.into(), Some(B));
        cluster.ask_done(A, OperatorRequest::Move { group, to });
        cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on(name) == [B]);
        cluster.run_for(300);
    }
    assert_eq!(cluster.leader(), Some(A));
    cluster
}

/// Node 1 is asked to empty `node`, and proposes that.
fn standby(cluster: &mut Cluster, node: NodeId) {
    let call = OperatorCall {
        request: OperatorRequest::Standby { node, on: true },
        who: "ann".into(),
        at: "noon".into(),
    };
    cluster.event(A, Event::Operator { request: 1, call });
    let leading = &cluster.node(A).role;
    let proposes = matches!(leading, crate::node::Role::Leading(leading) if leading.proposal.is_some());
    assert!(proposes);
}

/// When node 1 sent its proposal of `version` to `to`.
fn proposed_to(cluster: &Cluster, to: NodeId, version: u64) -> Vec<Time> {
    let about = |(_, by, at, message): &&(Time, NodeId, NodeId, Message)| {
        let accept = matches!(message, Message::Accept { state, .. } if state.version == version);
        *by == A && *at == to && accept
    };
    cluster.sent.iter().filter(about).map(|sent| sent.0).collect()
}

#[test]
fn a_proposal_is_sent_again_every_second_heartbeat_to_whoever_did_not_accept_it() {
    let mut cluster = cluster();
    for node in [B, W] {
        cluster.host_mut(node).disk_held = true;
    }
    let version = cluster.state(A).version + 1;
    standby(&mut cluster, B);
    cluster.run_for(3_000);
    assert!(cluster.state(A).version < version, "two of four accepted");
    assert_eq!(proposed_to(&cluster, C, version).len(), 1);
    assert_eq!(proposed_to(&cluster, A, version).len(), 0);
    for node in [B, W] {
        let sent = proposed_to(&cluster, node, version);
        let pauses = sent.windows(2).map(|pair| pair[1].since(pair[0]));
        let pauses: Vec<Duration> = pauses.collect();
        assert!(
            pauses.len() > 9 && pauses.iter().all(|pause| *pause == LEASE / 4),
            "{pauses:?}"
        );
    }
    assert_eq!(cluster.leader(), Some(A), "and it goes on leading meanwhile");
    cluster.host_mut(W).disk_held = false;
    cluster.write_disk(W);
    cluster.run_until(500, "it is committed", |cluster| {
        cluster.state(A).version >= version
    });
}

#[test]
fn a_leader_commits_nothing_that_it_has_not_written_itself() {
    let mut cluster = cluster();
    cluster.host_mut(A).disk_held = true;
    let version = cluster.state(A).version + 1;
    standby(&mut cluster, B);
    cluster.run_for(600);
    let accepted = cluster.sent.iter().filter(|(_, _, to, message)| {
        *to == A && matches!(message, Message::Accepted { version: about, .. } if *about == version)
    });
    assert!(accepted.count() >= 3, "a majority has it");
    assert!(cluster.state(A).version < version);
    cluster.host_mut(A).disk_held = false;
    cluster.write_disk(A);
    cluster.run_until(100, "it is committed", |cluster| {
        cluster.state(A).version >= version
    });
}

#[test]
fn a_proposal_withholds_what_it_changes_and_nothing_else() {
    let mut cluster = cluster();
    for node in [B, C, W] {
        cluster.host_mut(node).disk_held = true;
    }
    standby(&mut cluster, B);
    let epochs = |group: &str| cluster.assignment(A, group).epoch();
    let (mut withheld, all) = cluster.node(A).withheld_from(B);
    let mut moving = [0, 0, epochs("db"), epochs("web")];
    withheld.sort_unstable();
    moving.sort_unstable();
    assert_eq!((withheld, all), (moving, false));
    assert_eq!(cluster.node(A).withheld_from(A), ([0; 4], false));
}

/// A pair of which node 1 is the only voter left, and node 2, whose disk is slow, on its way back.
fn returning() -> Cluster {
    let mut cluster = Cluster::formed(2, false, &group("db", "fencing", ""));
    cluster.cut_between(A, B);
    cluster.run_until(5_000, "it is fenced", |cluster| {
        !cluster.asked_about(B).is_empty()
    });
    let ask = cluster.asked_about(B)[0];
    cluster.device_proves(ask);
    cluster.run_until(1_000, "node 1 is alone", |cluster| {
        cluster.state(A).voters == voters(&[A])
    });
    cluster.heal();
    cluster.boot(B);
    cluster.host_mut(B).disk_held = true;
    cluster.run_until(10_000, "node 2 is being added", being_added);
    cluster
}

fn being_added(cluster: &Cluster) -> bool {
    cluster.node(A).durable().expect("state").accepted.voters == voters(&[A, B])
}

#[test]
fn a_voter_that_is_added_has_two_leases_to_answer() {
    let mut cluster = returning();
    let told = cluster.journal(A, "stepped-down").len();
    cluster.run_for(1_900);
    assert!(being_added(&cluster));
    assert_eq!(cluster.journal(A, "stepped-down").len(), told);
    cluster.host_mut(B).disk_held = false;
    cluster.write_disk(B);
    cluster.run_until(500, "both vote", |cluster| {
        cluster.state(A).voters == voters(&[A, B])
    });
}

#[test]
fn an_addition_is_withdrawn_after_two_leases_however_the_timers_fall() {
    let mut cluster = returning();
    cluster.isolate(B);
    // This node is late for everything that is due now.
    cluster.now = cluster.now + LEASE / 4 + Duration::from_millis(7);
    cluster.run_until(3_000, "it is withdrawn", |cluster| {
        !being_added(cluster) && cluster.leader() == Some(A)
    });
}

#[test]
fn a_leader_that_votes_alone_waits_for_its_slow_disk() {
    let mut cluster = returning();
    cluster.power_off(B);
    cluster.isolate(B);
    cluster.run_until(5_000, "it is alone again", |cluster| {
        !being_added(cluster) && cluster.leader() == Some(A)
    });
    cluster.run_for(500);
    cluster.host_mut(A).disk_held = true;
    let told = cluster.journal(A, "stepped-down").len();
    let version = cluster.state(A).version;
    standby(&mut cluster, B);
    cluster.run_for(5_000);
    assert_eq!(cluster.journal(A, "stepped-down").len(), told);
    cluster.host_mut(A).disk_held = false;
    cluster.write_disk(A);
    cluster.run_until(500, "it is committed", |cluster| {
        cluster.state(A).version > version
    });
}

#[test]
fn what_was_chosen_stays_chosen_although_the_leader_was_deposed_while_it_wrote_it() {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    let leader = cluster.lead();
    let other = if leader == A { B } else { A };
    cluster.isolate(W);
    cluster.run_until(10_000, "the drop of the witness is being written", |cluster| {
        cluster.node(leader).persistence.sealing.is_some()
    });
    let ballot = cluster.node(leader).leading_ballot().expect("leads");
    let refuse = Message::Refuse {
        ballot,
        promised: ballot.next_for(other),
        verdict: Verdict::Stale,
    };
    cluster.say(other, leader, refuse);
    assert_eq!(cluster.leader(), None);
    cluster.run_for(2);
    assert_eq!(cluster.state(leader).voters, voters(&[A, B]), "as its disk says");
}

#[test]
fn a_voter_that_was_never_heard_is_told_no_commit() {
    // It may be blank, and then must not learn a state in which it votes.
    let mut cluster = Cluster::of(all_vote(&config(3, false, &group("db", "fencing", ""))));
    cluster.boot(A);
    cluster.boot(B);
    cluster.run_until(5_000, "it runs", |cluster| cluster.runs_on("db").len() == 1);
    let told = |(_, _, to, message): &&(Time, NodeId, NodeId, Message)| {
        *to == C && matches!(message, Message::Commit { .. })
    };
    assert_eq!(cluster.sent.iter().filter(told).count(), 0);
}

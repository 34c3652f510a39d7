//! Voters: one change at a time, alone in its state, backed by those who will vote; losing and regaining the witness.

use super::*;

/// Two nodes and a witness, all of which vote; `db` on node 1.
fn trio() -> Cluster {
    let cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    assert_eq!((cluster.runs_on("db"), cluster.leader()), (vec![A], Some(A)));
    cluster
}

/// The trio after the witness was dropped.
fn without_witness() -> Cluster {
    let mut cluster = trio();
    cluster.isolate(W);
    cluster.run_until(10_000, "the pair goes on without it", |cluster| {
        cluster.state(B).voters == voters(&[A, B])
    });
    cluster
}

/// Every state that `node` learned to be committed, in order.
fn history(cluster: &Cluster, node: NodeId) -> Vec<Arc<ClusterState>> {
    let mut states: Vec<Arc<ClusterState>> = Vec::new();
    let told = cluster
        .sent
        .iter()
        .filter_map(|(_, from, to, message)| match message {
            Message::Commit { state, .. } if *from == node || *to == node => Some(state),
            _ => None,
        });
    for state in told {
        if states.last().is_none_or(|last| last.version < state.version) {
            states.push(Arc::clone(state));
        }
    }
    states
}

#[test]
fn a_silent_witness_is_dropped_after_its_grace_and_not_before() {
    let mut cluster = trio();
    let since = cluster.now;
    cluster.isolate(W);
    let grace = cluster.config.timers().witness_grace;
    cluster.run_for(grace.as_millis() as u64 - 150);
    assert!(cluster.state(A).voters.contains(W));
    cluster.run_for(400);
    assert_eq!(
        cluster.state(A).voters,
        voters(&[A, B]),
        "{:?}",
        cluster.now.since(since)
    );
    assert_eq!(cluster.leaders(), [A]);
    assert!(
        cluster.state(A).reason.contains("silent"),
        "{}",
        cluster.state(A).reason
    );
}

#[test]
fn the_witness_is_not_dropped_while_the_nodes_cannot_agree_on_it() {
    let mut cluster = trio();
    cluster.power_off(B);
    cluster.run_for(500);
    cluster.isolate(W);
    cluster.run_for(60_000);
    assert!(cluster.state(A).voters.contains(W), "one of three is no majority");
    assert_eq!(cluster.leader(), None);
}

#[test]
fn the_pairs_rules_apply_from_the_drop_to_the_return() {
    let mut cluster = trio();
    assert!(!cluster.node(A).in_pair());
    cluster = without_witness();
    assert!(cluster.node(A).in_pair() && cluster.node(B).in_pair());
    cluster.heal();
    cluster.run_until(10_000, "it votes again", |cluster| {
        cluster.state(A).voters == voters(&[A, B, W])
    });
    cluster.run_for(500);
    assert!(!cluster.node(A).in_pair() && !cluster.node(B).in_pair());
    assert_eq!(cluster.leaders(), [A]);
    assert_eq!(cluster.runs_on("db"), [A]);
}

/// The nodes are cut while the drop of the witness is accepted by the leader, and by the other node if `by_both`; then
/// the witness is back on the other node's side.
fn cut_during_the_drop(by_both: bool) -> Cluster {
    let mut cluster = trio();
    cluster.isolate(W);
    cluster.host_mut(B).disk_held = true;
    cluster.run_until(10_000, "the drop is proposed", |cluster| {
        cluster.node(A).durable().expect("state").accepted.voters == voters(&[A, B])
    });
    cluster.run_for(1);
    if by_both {
        cluster.host_mut(B).disk_held = false;
        cluster.cut_between(A, B);
        cluster.write_disk(B);
    } else {
        cluster.stop_had(B);
        cluster.host_mut(B).disk_held = false;
        cluster.start_had(B);
    }
    cluster.cut.clear();
    cluster.cut_between(A, B);
    cluster.cut_between(A, W);
    assert!(cluster.state(A).voters.contains(W) && cluster.state(B).voters.contains(W));
    cluster
}

#[test]
fn a_drop_that_only_one_side_accepted_before_a_cut_gives_no_second_leader() {
    let mut cluster = cut_during_the_drop(false);
    cluster.run_until(30_000, "the side with the witness leads", |cluster| {
        cluster.leader() == Some(B)
    });
    assert!(
        !cluster.node(A).in_pair(),
        "committed and accepted have to agree on it"
    );
    cluster.run_for(10_000);
    assert_eq!(cluster.leaders(), [B]);
    assert!(!cluster.fences.is_empty());
    assert!(
        cluster.fences.iter().all(|ask| ask.by == B),
        "the other one has no right to"
    );
    assert!(
        cluster.host(A).permits["db"].1 < cluster.now,
        "and its permits lapsed with its lease"
    );
}

#[test]
fn a_drop_that_both_accepted_before_a_cut_needs_both() {
    let mut cluster = cut_during_the_drop(true);
    cluster.run_for(30_000);
    assert_eq!(
        cluster.leaders(),
        [],
        "it may have committed, so the witness alone is no help"
    );
    assert!(cluster.fences.is_empty());
    cluster.heal();
    cluster.run_until(10_000, "all agree again", |cluster| {
        cluster.leader().is_some() && cluster.state(A).voters == voters(&[A, B, W])
    });
}

#[test]
fn voters_change_one_at_a_time_and_alone() {
    let mut state = all_vote(&config(3, true, &group("db", "fencing", "")));
    state.voters = voters(&[A]);
    let mut cluster = Cluster::of(state);
    for node in cluster.members() {
        cluster.boot(node);
    }
    // All the while an operator asks for something else.
    let all = voters(&[A, B, C, W]);
    for request in 0..400 {
        let call = OperatorCall {
            request: OperatorRequest::Standby {
                node: C,
                on: request % 2 == 0,
            },
            who: "ann".into(),
            at: "noon".into(),
        };
        cluster.event(A, Event::Operator { request, call });
        cluster.run_for(7);
    }
    cluster.run_until(20_000, "everyone votes", |cluster| cluster.state(A).voters == all);
    let states = history(&cluster, A);
    let mut changes = 0;
    for pair in states.windows(2) {
        let (old, new) = (&pair[0], &pair[1]);
        let changed = old.voters.0 ^ new.voters.0;
        assert!(changed.count_ones() <= 1, "{:?} to {:?}", old.voters, new.voters);
        if changed != 0 {
            changes += 1;
            assert_eq!(new.version, old.version + 1, "all versions are known here");
            assert_eq!(
                (&old.groups, &old.nodes),
                (&new.groups, &new.nodes),
                "version {}",
                new.version
            );
        }
    }
    assert_eq!(changes, 3);
}

#[test]
fn the_witness_is_dropped_only_between_two_synced_nodes() {
    let mut cluster = trio();
    cluster.isolate(W);
    cluster.run_for(1_000);
    cluster.power_off(B);
    cluster.run_for(10_000);
    cluster.boot(B);
    cluster.run_until(10_000, "the drop is proposed", |cluster| {
        cluster.node(A).durable().expect("state").accepted.voters == voters(&[A, B])
    });
    assert!(
        cluster.node(A).synced && cluster.node(B).synced,
        "the pair's rules need two that know the state"
    );
}

#[test]
fn blank_members_are_brought_in_by_the_leader() {
    let mut state = all_vote(&config(2, true, &group("db", "fencing", "")));
    state.voters = voters(&[A]);
    let mut cluster = Cluster::of(state);
    cluster.boot(A);
    cluster.run_until(5_000, "the first node runs alone", |cluster| {
        cluster.runs_on("db") == [A]
    });
    cluster.boot(W);
    cluster.run_for(5_000);
    assert_eq!(
        cluster.state(A).voters,
        voters(&[A]),
        "a witness decides nothing between one node"
    );
    cluster.boot(B);
    cluster.run_until(10_000, "all vote", |cluster| {
        cluster.state(A).voters == voters(&[A, B, W])
    });
    cluster.run_until(2_000, "the joined node is synced", |cluster| {
        cluster.node(B).synced
    });
}

#[test]
fn a_change_of_voters_commits_only_with_the_lease_backed_by_the_new_voters() {
    let mut cluster = without_witness();
    // The witness hears everything and its answers to heartbeats get lost.
    cluster.heal();
    cluster.run_until(10_000, "it is being added", |cluster| {
        cluster.node(A).durable().expect("state").accepted.voters == voters(&[A, B, W])
    });
    let proposed_at = cluster.now;
    cluster.run_until(2_000, "it is committed", |cluster| {
        cluster.state(A).voters.contains(W)
    });
    let backed_at = cluster.node(A).majority_backed_at(voters(&[A, B, W]));
    assert!(
        backed_at >= Some(proposed_at),
        "by heartbeats sent after it was proposed"
    );
}

#[test]
fn nobody_hears_of_new_voters_before_they_are_on_disk() {
    let mut cluster = without_witness();
    cluster.heal();
    cluster.run_until(10_000, "it is being added", |cluster| {
        cluster.node(A).durable().expect("state").accepted.voters == voters(&[A, B, W])
    });
    let version = cluster.node(A).durable().expect("state").accepted.version;
    cluster.run_for(10);
    cluster.host_mut(A).disk_held = true;
    cluster.run_for(800);
    let told = |cluster: &Cluster| {
        cluster.sent.iter().any(|(_, from, _, message)| {
            *from == A && matches!(message, Message::Commit { state, .. } if state.version >= version)
        })
    };
    if cluster.state(A).version < version {
        assert!(!told(&cluster));
        cluster.host_mut(A).disk_held = false;
        cluster.write_disk(A);
        cluster.run_until(1_000, "it is committed", |cluster| {
            cluster.state(A).version >= version
        });
    }
    let on_disk = cluster.host(A).disk.as_ref().expect("written").committed.voters;
    assert_eq!(on_disk, voters(&[A, B, W]));
}

#[test]
fn a_voter_that_lost_its_disk_stops_voting_and_joins_anew() {
    let mut cluster = trio();
    cluster.power_off(B);
    cluster.host_mut(B).disk = None;
    cluster.boot(B);
    cluster.run_until(5_000, "it votes no more", |cluster| {
        !cluster.state(A).voters.contains(B)
    });
    assert!(
        cluster.state(A).reason.contains("lost its disk"),
        "{}",
        cluster.state(A).reason
    );
    cluster.run_until(10_000, "it votes again", |cluster| {
        cluster.state(A).voters.contains(B)
    });
    cluster.run_until(5_000, "it is synced", |cluster| cluster.node(B).synced);
}

#[test]
fn a_node_that_rebooted_catches_up_before_it_counts_as_synced() {
    let mut cluster = trio();
    cluster.power_off(B);
    cluster.run_for(2_000);
    cluster.ask_done(A, OperatorRequest::Standby { node: B, on: true });
    let version = cluster.state(A).version;
    cluster.boot(B);
    assert!(!cluster.node(B).synced);
    cluster.run_until(5_000, "it is synced", |cluster| cluster.node(B).synced);
    assert!(
        cluster.state(B).version > version,
        "with a commit that it acknowledged in this boot"
    );
}

#[test]
fn a_node_that_the_last_deed_of_a_leader_voted_in_can_lead() {
    let mut cluster = trio();
    cluster.power_off(B);
    cluster.host_mut(B).disk = None;
    cluster.run_for(2_000);
    cluster.boot(B);
    cluster.run_until(10_000, "it is dropped", |cluster| {
        !cluster.state(A).voters.contains(B)
    });
    let votes = |cluster: &Cluster| {
        let durable = cluster.node(B).durable();
        durable.is_some_and(|durable| durable.committed.voters.contains(B))
    };
    cluster.run_until(10_000, "it is voted in again", votes);
    cluster.power_off(A);
    cluster.run_until(5_000, "it leads", |cluster| cluster.leader() == Some(B));
}

#[test]
fn a_node_that_was_voted_in_and_not_told_learns_it_from_the_witness() {
    let mut cluster = trio();
    cluster.power_off(B);
    cluster.host_mut(B).disk = None;
    cluster.run_for(2_000);
    cluster.boot(B);
    cluster.run_until(10_000, "it is dropped", |cluster| {
        !cluster.state(A).voters.contains(B)
    });
    cluster.run_until(10_000, "it is voted in again", |cluster| {
        cluster.state(A).voters.contains(B)
    });
    cluster.power_off(A);
    cluster.lose_messages_to(B);
    cluster.run_until(5_000, "it leads", |cluster| cluster.leader() == Some(B));
}

#[test]
fn synced_is_claimed_only_after_the_state_is_on_disk() {
    let mut cluster = trio();
    cluster.power_off(B);
    cluster.run_for(2_000);
    cluster.host_mut(B).disk_held = true;
    cluster.boot(B);
    cluster.run_for(5_000);
    assert!(!cluster.node(B).synced);
    cluster.host_mut(B).disk_held = false;
    cluster.write_disk(B);
    cluster.run_until(5_000, "it is synced", |cluster| cluster.node(B).synced);
}

#[test]
fn the_witness_judges_by_what_it_hears_because_nobody_answers_it() {
    let mut cluster = trio();
    cluster.run_for(5_000);
    assert_eq!(cluster.journal(W, "peer-lost").len(), 0);
    cluster.isolate(B);
    cluster.run_for(3_000);
    assert_eq!(cluster.journal(W, "peer-lost").len(), 1);
}

#[test]
fn a_change_of_voters_goes_before_everything_else_that_is_due() {
    let mut state = all_vote(&config(3, false, &group("db", "fencing", "")));
    state.voters = voters(&[A, B]);
    let mut cluster = Cluster::of(state);
    cluster.host_mut(C).disk = cluster.host(A).disk.clone();
    cluster.host_mut(A).synced_marker = true;
    cluster.start_had(A);
    cluster.boot(B);
    cluster.boot(C);
    cluster.run_until(5_000, "it is being added", |cluster| {
        cluster
            .node(A)
            .durable()
            .expect("state")
            .accepted
            .voters
            .contains(C)
    });
    let durable = cluster.node(A).durable().expect("state");
    assert_eq!(
        durable.accepted.groups, durable.committed.groups,
        "although a group is to be placed"
    );
    cluster.run_until(5_000, "it runs", |cluster| cluster.runs_on("db").len() == 1);
}

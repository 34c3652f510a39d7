//! Permits: what they rest on, and that they end in time.

use super::*;
use holdfast_proto::config::Timers as Spans;

/// Two nodes and a witness; `db` and `web` run on the node that does not lead, which `follower` names.
fn with_groups_on_a_follower() -> (Cluster, NodeId, NodeId) {
    let groups = group("db", "fencing", "") + &group("web", "lease", "") + &group("own", "fencing", "");
    let mut cluster = Cluster::formed(3, false, &groups);
    let leader = cluster.leader().expect("leads");
    let follower = if leader == B { C } else { B };
    for (group, to) in [("own", leader), ("db", follower), ("web", follower)] {
        let group = group.into();
        cluster.ask_done(leader, OperatorRequest::Move { group, to: Some(to) });
        cluster.run_for(300);
    }
    // Leadership follows the groups; whoever leads now, look at a node that only follows.
    let leader = cluster.leader().expect("leads");
    if leader == follower {
        let group = "own";
        let other = cluster.owner(leader, group).expect("it runs");
        return (cluster, leader, other);
    }
    (cluster, leader, follower)
}

#[test]
fn a_lease_permit_never_outlives_the_leaders_lease() {
    let mut cluster = Cluster::formed(
        3,
        false,
        &(group("web", "lease", "") + &group("api", "lease", "")),
    );
    let leader = cluster.leader().expect("leads");
    let other = if leader == B { C } else { B };
    let group = cluster.config.groups[0].name.clone();
    cluster.ask_done(
        leader,
        OperatorRequest::Move {
            group: group.clone(),
            to: Some(other),
        },
    );
    cluster.run_for(2_000);
    let leader = cluster.leader().expect("leads");
    for _ in 0..200 {
        cluster.run_for(7);
        let end = cluster.node(leader).lease_end();
        for node in [A, B, C] {
            for (group, (_, until)) in &cluster.host(node).permits {
                assert!(
                    *until <= end,
                    "{group} on {node}: {until} but the lease ends at {end}"
                );
            }
        }
    }
}

#[test]
fn permits_run_out_before_the_next_leader_can_be_elected() {
    let mut cluster = Cluster::formed(3, false, &group("web", "lease", ""));
    let owner = cluster.runs_on("web")[0];
    cluster.isolate(owner);
    let elected = |cluster: &Cluster| cluster.leader().is_some_and(|leader| leader != owner);
    cluster.run_until(5_000, "another leads", elected);
    let (_, until) = cluster.host(owner).permits["web"];
    assert!(until <= cluster.now, "{until} is after {}", cluster.now);
}

#[test]
fn a_fencing_permit_may_outlive_the_lease_because_its_group_never_moves_on_a_lapse() {
    let mut cluster = Cluster::formed(
        3,
        false,
        &(group("db", "fencing", "") + &group("web", "lease", "")),
    );
    let (db, web) = (cluster.runs_on("db")[0], cluster.runs_on("web")[0]);
    cluster.run_for(1_000);
    let spans = cluster.config.timers();
    let left = |cluster: &Cluster, node, group| cluster.now.until(cluster.host(node).permits[group].1);
    assert!(left(&cluster, db, "db") > spans.lease);
    assert!(left(&cluster, db, "db") <= Spans::shrink(spans.fencing_permit));
    assert!(left(&cluster, web, "web") <= Spans::shrink(spans.lease));
}

#[test]
fn nothing_is_granted_for_a_group_whose_move_is_in_flight() {
    let (mut cluster, leader, follower) = with_groups_on_a_follower();
    let group = cluster
        .state(leader)
        .groups
        .iter()
        .find(|(_, entry)| entry.assignment.runs_on(follower))
        .map(|(name, _)| name.clone())
        .expect("it runs one");
    let epoch = cluster.assignment(leader, &group).epoch();
    let others: Vec<NodeId> = [A, B, C].into_iter().filter(|node| *node != leader).collect();
    // The proposal cannot commit: its answers do not arrive. Heartbeats and their answers go on.
    for node in &others {
        cluster.host_mut(*node).disk_held = true;
    }
    let target = others
        .iter()
        .copied()
        .find(|node| *node != follower)
        .unwrap_or(leader);
    cluster.event(
        leader,
        Event::Operator {
            request: 1,
            call: OperatorCall {
                request: OperatorRequest::Move {
                    group: group.clone(),
                    to: Some(target),
                },
                who: "ann".into(),
                at: "noon".into(),
            },
        },
    );
    let (withheld, _) = cluster.node(leader).withheld_from(follower);
    assert!(withheld.contains(&epoch), "{withheld:?}");
    let before = cluster.host(follower).permits[&*group];
    cluster.run_for(600);
    assert_eq!(
        cluster.host(follower).permits[&*group],
        before,
        "not renewed while it may be moving"
    );
}

#[test]
fn a_group_starts_only_once_its_assignment_is_committed_and_permitted() {
    let mut cluster = Cluster::of(all_vote(&config(2, true, &group("db", "fencing", ""))));
    cluster.form();
    let owner = cluster.runs_on("db")[0];
    let started = cluster.started_at(owner, "db", Time::ZERO).expect("started");
    let start = cluster.done.iter().find_map(|(at, by, effect)| match effect {
        Effect::StartGroup { permit, .. } if *by == owner => Some((*at, permit.clone())),
        _ => None,
    });
    let (at, permit) = start.expect("ordered");
    assert!(permit.until > at, "the permit is live");
    let accepted_by_another = cluster.sent.iter().any(|(at, _, to, message)| {
        *to == owner && *at < started && matches!(message, Message::Accepted { version, .. } if *version >= 2)
    });
    assert!(
        accepted_by_another || cluster.state(owner).version > 2,
        "a majority has it before it starts"
    );
}

#[test]
fn a_node_that_lost_its_leader_renews_nothing() {
    let mut cluster = Cluster::formed(3, false, &group("web", "lease", ""));
    let owner = cluster.runs_on("web")[0];
    cluster.isolate(owner);
    cluster.run_for(10);
    let (_, until) = cluster.host(owner).permits["web"];
    cluster.run_for(20_000);
    let (_, later) = cluster.host(owner).permits["web"];
    assert_eq!(until.max(later), until, "no permit without a majority");
}

#[test]
fn a_restarted_node_runs_nothing_from_an_old_state() {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    let owner = cluster.runs_on("db")[0];
    cluster.power_off(owner);
    cluster.isolate(owner);
    cluster.run_for(500);
    let since = cluster.now;
    cluster.boot(owner);
    cluster.run_for(30_000);
    assert_eq!(
        cluster.orders(owner, since),
        Vec::<String>::new(),
        "alone and freshly booted it starts nothing"
    );
    assert!(cluster.host(owner).permits.is_empty());
}

#[test]
fn an_assignment_to_another_boot_is_not_run() {
    let mut state = all_vote(&config(2, false, &group("db", "fencing", "")));
    state.groups.get_mut("db").expect("configured").assignment = Assignment::Owned {
        owner: A,
        boot: Some(BootId(77)),
        epoch: 1,
    };
    state.next_epoch = 2;
    let mut cluster = Cluster::of(state);
    cluster.boot(A);
    cluster.boot(B);
    cluster.run_until(10_000, "it runs again", |cluster| {
        !cluster.runs_on("db").is_empty()
    });
    assert!(
        cluster.assignment(A, "db").epoch() > 1,
        "under a new assignment, after the reset was observed"
    );
    let record = cluster.state(A).nodes[&A].proof.clone().expect("recorded");
    assert_eq!(
        (record.kind, record.ended_boot),
        (ProofKind::Reset, Some(BootId(77)))
    );
}

#[test]
fn a_permit_is_told_to_the_agent_again_when_it_attaches() {
    let mut cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    let owner = cluster.runs_on("db")[0];
    cluster.event(owner, Event::Agent(AgentEvent::Detached));
    let since = cluster.now;
    cluster.attach_agent(owner);
    let again = cluster.done.iter().any(|(at, by, effect)| {
        *at >= since && *by == owner && matches!(effect, Effect::Permits(permits) if permits[0].until > since)
    });
    assert!(again);
    cluster.run_for(1_000);
    assert_eq!(
        cluster.orders(owner, since),
        Vec::<String>::new(),
        "and what runs goes on untouched"
    );
}

#[test]
fn a_grant_counts_for_the_version_it_was_made_at() {
    let state = all_vote(&config(2, true, &group("web", "lease", "")));
    let mut solo = Solo::free_voter(B, state.clone());
    let ballot = Ballot { round: 5, node: 1 };
    let mut next = state;
    next.version = 2;
    next.groups.get_mut("web").expect("configured").assignment = Assignment::Owned {
        owner: B,
        boot: Some(BootId(1 << 96)),
        epoch: 1,
    };
    let state = Arc::new(next);
    solo.is_answered(A);
    let mut effects = solo.hear(
        A,
        Message::Accept {
            ballot,
            state: Arc::clone(&state),
        },
    );
    effects.extend(solo.hear(A, Message::Commit { ballot, state }));
    solo.event(Event::Persisted(*records(&effects).last().expect("written")));
    assert!(solo.node.synced);
    let (seq, sent_at) = *solo.node.rounds.back().expect("it beats");
    let mut granted = |version| {
        let ack = HeartbeatAck {
            seq,
            sent_at,
            ballot,
            backs: false,
            lease_left: LEASE / 2,
            granted: version,
            withheld: Default::default(),
            withhold_all: false,
            committed: 2,
            blank: false,
        };
        let beat = Beat::Ack(ack);
        let effects = solo.event(Event::Beat {
            from: sender(A),
            beat,
        });
        effects.into_iter().find_map(|effect| match effect {
            Effect::Permits(permits) => Some(permits[0].until),
            _ => None,
        })
    };
    assert_eq!(granted(1), None, "made before the group was given to this node");
    let until = sent_at + Spans::shrink(LEASE / 2);
    assert_eq!(
        granted(2),
        Some(until),
        "from when the heartbeat was sent, for what the lease had left"
    );
}

#[test]
fn nothing_is_permitted_while_a_state_that_takes_a_group_away_waits_for_its_stop() {
    let mut cluster = Cluster::formed(2, false, &group("db", "fencing", ""));
    assert_eq!(cluster.runs_on("db"), [A]);
    cluster.host_mut(A).stops_hang = true;
    let mut state = cluster.state(A).clone();
    state.version += 1;
    state.groups.get_mut("db").expect("configured").assignment = Assignment::Owned {
        owner: B,
        boot: None,
        epoch: state.next_epoch,
    };
    let ballot = cluster.node(A).durable().expect("state").promised.next_for(B);
    let state = Arc::new(state);
    cluster.say(B, A, Message::Accept { ballot, state });
    let before = cluster.host(A).permits["db"];
    cluster.run_for(1_500);
    assert_eq!(
        cluster.host(A).permits["db"],
        before,
        "the pair's rules are no exception"
    );
}

#[test]
fn a_node_that_is_not_synced_permits_itself_nothing() {
    let mut state = all_vote(&config(2, false, &group("db", "fencing", "")));
    state.groups.get_mut("db").expect("configured").assignment = Assignment::Owned {
        owner: A,
        boot: Some(BootId(77)),
        epoch: 1,
    };
    state.next_epoch = 2;
    let mut cluster = Cluster::of(state);
    // The boot is the right one, but the marker that this boot knows the state is gone.
    cluster.host_mut(A).boot = BootId(77);
    cluster.start_had(A);
    cluster.run_for(5_000);
    assert!(cluster.node(A).in_pair() && !cluster.node(A).synced);
    assert!(cluster.host(A).permits.is_empty());
}

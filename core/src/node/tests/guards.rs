//! Rules that another rule usually makes true first: each holds by itself as well.

use super::*;
use crate::effect::Permit;

#[test]
fn a_pair_counts_nothing_down_even_where_a_proof_made_one_of_it_leader() {
    let mut cluster = Cluster::formed(2, false, &group("web", "lease", ""));
    assert_eq!(cluster.runs_on("web"), [A]);
    cluster.cut_between(A, B);
    cluster.run_until(5_000, "the survivor fences", |cluster| {
        !cluster.asked_about(B).is_empty()
    });
    let ask = cluster.asked_about(B)[0];
    cluster.device_proves(ask);
    cluster.run_until(1_000, "it leads by the proof", |cluster| {
        cluster.node(A).is_established()
    });
    let node = cluster.node(A);
    assert!(node.in_pair() && node.is_lost(B), "the peer still votes");
    assert!(node.countdown(B).is_none());
    assert_eq!(node.stand_in(), voters(&[B]), "the proof is what counts");
}

#[test]
fn a_node_that_is_not_synced_starts_nothing_whatever_permit_it_holds() {
    let mut state = all_vote(&config(2, true, &group("db", "fencing", "")));
    state.groups.get_mut("db").expect("configured").assignment = Assignment::Owned {
        owner: B,
        boot: Some(BootId(1 << 96)),
        epoch: 1,
    };
    state.next_epoch = 2;
    let mut solo = Solo::free_voter(B, state);
    let permit = Permit {
        group: "db".into(),
        epoch: 1,
        until: solo.now + LEASE * 100,
    };
    solo.node.local.renew(vec![(permit, Duration::ZERO)]);
    let attached = AgentEvent::Attached {
        groups: Vec::new(),
        watchdog: None,
    };
    let effects = solo.event(Event::Agent(attached));
    assert!(!solo.node.synced);
    let starts = |effect: &Effect| matches!(effect, Effect::StartGroup { .. });
    assert!(!effects.iter().any(starts));
}

#[test]
fn a_leader_that_ends_begins_nothing_new() {
    let mut cluster = Cluster::formed(3, false, &group("db", "fencing", ""));
    assert_eq!(cluster.leader(), Some(A));
    // Nobody can take over, so it waits for a while.
    for node in [B, C] {
        cluster.event(node, Event::Agent(AgentEvent::Detached));
    }
    cluster.run_for(300);
    let since = cluster.now;
    cluster.event(A, Event::Shutdown);
    let call = OperatorCall {
        request: OperatorRequest::Standby { node: C, on: true },
        who: "ann".into(),
        at: "noon".into(),
    };
    cluster.event(A, Event::Operator { request: 1, call });
    assert_eq!(cluster.leader(), Some(A), "it still holds the lease");
    cluster.run_for(300);
    let proposed = |(at, by, _, message): &&(Time, NodeId, NodeId, Message)| {
        *at >= since && *by == A && matches!(message, Message::Accept { .. })
    };
    assert_eq!(cluster.sent.iter().filter(proposed).count(), 0);
}

//! Instants: when countdowns end, when a leader that ends or is in trouble gives up, and that a deadline is met when it is
//! due and not with the next heartbeat.

use super::*;
use holdfast_proto::config::Timers as Spans;

const BEAT: Duration = Duration::from_millis(125);

/// Two nodes and a witness; the owner of `db` is cut off and lost, and the other leads. Both have a watchdog of 2 s.
fn owner_lost(requires: &str) -> (Cluster, NodeId, NodeId) {
    let mut cluster = Cluster::of(all_vote(&config(2, true, &group("db", requires, ""))));
    for node in [A, B] {
        cluster.host_mut(node).watchdog = Some(Duration::from_secs(2));
    }
    cluster.form();
    let owner = cluster.runs_on("db")[0];
    let other = if owner == A { B } else { A };
    cluster.run_for(61);
    cluster.isolate(owner);
    cluster.run_until(5_000, "a countdown runs", |cluster| {
        cluster.node(other).countdown(owner).is_some()
    });
    (cluster, owner, other)
}

#[test]
fn a_countdown_ends_a_margin_after_the_last_permit_and_the_watchdog_after_that() {
    let (cluster, owner, other) = owner_lost("fencing");
    let node = cluster.node(other);
    let countdown = node.countdown(owner).expect("runs");
    let margin = node.spans.lapse_margin;
    let crate::node::Role::Leading(leading) = &node.role else {
        panic!("it leads")
    };
    assert!(countdown.lapsed_at >= leading.old_permits_end + margin);
    let given = leading.elected_at + Spans::stretch(node.spans.fencing_permit);
    let fires = given + Spans::stretch(Duration::from_secs(2));
    assert!(countdown.fired_at >= Some(fires + margin));
    assert!(countdown.fired_at <= Some(fires + margin * 2), "and not for ever");
}

#[test]
fn a_watchdog_that_nobody_pets_any_more_counts_although_its_agent_process_is_gone() {
    let mut cluster = Cluster::of(all_vote(&config(2, true, &group("db", "fencing", ""))));
    for node in [A, B] {
        cluster.host_mut(node).watchdog = Some(Duration::from_secs(2));
    }
    cluster.form();
    let owner = cluster.runs_on("db")[0];
    let other = if owner == A { B } else { A };
    for node in [owner, other] {
        cluster.event(node, Event::Agent(AgentEvent::Detached));
    }
    cluster.run_for(300);
    let told = |node: NodeId| cluster.host(node).node.as_ref().expect("runs").local.watchdog();
    assert_eq!(told(owner), Some(Duration::from_secs(2)), "it holds a group");
    assert_eq!(told(other), None, "it may have been disarmed: nothing runs there");
    cluster.attach_agent(other);
    cluster.isolate(owner);
    cluster.run_until(5_000, "a countdown runs", |cluster| {
        cluster.node(other).countdown(owner).is_some()
    });
    assert!(
        cluster
            .node(other)
            .countdown(owner)
            .expect("runs")
            .fired_at
            .is_some()
    );
}

#[test]
fn a_takeover_begins_when_the_countdown_ends_and_not_with_the_next_heartbeat() {
    let (mut cluster, owner, other) = owner_lost("lease");
    let ends = cluster.node(other).countdown(owner).expect("runs").lapsed_at;
    cluster.run_until(3_000, "it is assigned", |cluster| {
        cluster.owner(other, "db") == Some(other)
    });
    assert!(cluster.now >= ends);
    assert!(
        cluster.now.since(ends) < Duration::from_millis(10),
        "{:?}",
        cluster.now.since(ends)
    );
}

#[test]
fn permits_of_a_pair_are_counted_from_the_end_of_its_rules() {
    let mut cluster = Cluster::formed(2, true, &group("db", "lease", ""));
    let leader = cluster.lead();
    let peer = if leader == A { B } else { A };
    cluster.isolate(W);
    cluster.run_until(10_000, "a pair", |cluster| cluster.node(leader).in_pair());
    cluster.run_for(1_000);
    cluster.heal();
    cluster.run_until(10_000, "three vote", |cluster| {
        cluster.state(leader).voters.contains(W)
    });
    // The peer accepted that some time before, after this node did: until then its permits rested on no answer of this node.
    let ended = cluster.now;
    let node = cluster.host_mut(leader).node.as_mut().expect("runs");
    node.member(peer).answered_at = None;
    cluster.isolate(peer);
    cluster.run_for(1_100);
    let node = cluster.node(leader);
    assert_eq!(node.lease_rules_since, ended);
    let countdown = node.countdown(peer).expect("runs");
    assert!(countdown.lapsed_at >= ended + Spans::stretch(LEASE) + node.spans.lapse_margin);
}

/// Three nodes, `db` on node 1, which leads, and `web` on node 2.
fn spread() -> Cluster {
    let groups = group("db", "fencing", "") + &group("web", "fencing", "");
    let mut cluster = Cluster::formed(3, false, &groups);
    let (group, to) = ("web".into(), Some(B));
    cluster.ask_done(A, OperatorRequest::Move { group, to });
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("web") == [B]);
    cluster.run_for(537);
    assert_eq!(cluster.leader(), Some(A));
    cluster
}

#[test]
fn patience_with_an_agent_process_ends_to_the_instant() {
    let mut cluster = spread();
    cluster.event(B, Event::Agent(AgentEvent::Detached));
    let away = |cluster: &Cluster| cluster.node(A).members[&B].agent_away_since;
    cluster.run_until(200, "it says so", |cluster| away(cluster).is_some());
    let since = away(&cluster).expect("away");
    cluster.run_until(2_000, "it is fenced", |cluster| !cluster.fences.is_empty());
    assert_eq!(cluster.fences[0].at, since + Duration::from_secs(1));
    let mut cluster = spread();
    let since = cluster.now;
    cluster.event(A, Event::Agent(AgentEvent::Detached));
    cluster.run_until(2_000, "it gives up leading", |cluster| {
        !cluster.journal(A, "stepped-down").is_empty()
    });
    let gave_up = cluster.journal(A, "stepped-down")[0].at;
    assert_eq!(gave_up, since + Duration::from_secs(1));
}

/// When `had` of `node` said that it may end.
fn may_end(cluster: &Cluster, node: NodeId) -> Vec<Time> {
    let ends =
        |(_, at, effect): &&(Time, NodeId, Effect)| *at == node && matches!(effect, Effect::ShutdownReady);
    cluster.done.iter().filter(ends).map(|done| done.0).collect()
}

#[test]
fn a_leader_that_nobody_can_relieve_ends_after_three_heartbeats() {
    let mut cluster = spread();
    for node in [B, C] {
        cluster.event(node, Event::Agent(AgentEvent::Detached));
    }
    cluster.run_for(200);
    let since = cluster.now;
    cluster.event(A, Event::Shutdown);
    cluster.run_for(1_000);
    assert_eq!(may_end(&cluster, A), [since + BEAT * 3]);
}

#[test]
fn a_leader_that_was_relieved_ends_as_soon_as_it_follows_the_other() {
    let mut cluster = spread();
    let since = cluster.now;
    cluster.event(A, Event::Shutdown);
    cluster.run_until(1_000, "it may end", |cluster| !may_end(cluster, A).is_empty());
    let followed = cluster.node(A).bound.map(|bound| bound.leader);
    assert_eq!(followed, Some(B));
    assert!(cluster.now.since(since) < BEAT * 2, "without waiting it out");
    cluster.run_for(1_000);
    assert_eq!(may_end(&cluster, A).len(), 1, "said once");
}

#[test]
fn a_leader_that_ends_first_finishes_what_is_in_flight() {
    let mut cluster = spread();
    let version = cluster.state(A).version;
    let call = OperatorCall {
        request: OperatorRequest::Standby { node: C, on: true },
        who: "ann".into(),
        at: "noon".into(),
    };
    cluster.event(A, Event::Operator { request: 1, call });
    cluster.event(A, Event::Shutdown);
    assert_eq!(cluster.leader(), Some(A), "it does not leave yet");
    cluster.run_until(500, "another leads", |cluster| {
        cluster.leader().is_some_and(|leader| leader != A)
    });
    let stepped_down = cluster.journal(A, "stepped-down")[0].at;
    assert!(cluster.state(A).version > version);
    let proposed_again = cluster.sent.iter().any(|(at, by, _, message)| {
        *at >= stepped_down && *by == A && matches!(message, Message::Accept { .. })
    });
    assert!(!proposed_again);
}

#[test]
fn a_leader_whose_disk_fails_during_a_proposal_does_not_wait_for_it() {
    let mut cluster = spread();
    cluster.host_mut(A).disk_held = true;
    let since = cluster.now;
    let call = OperatorCall {
        request: OperatorRequest::Standby { node: C, on: true },
        who: "ann".into(),
        at: "noon".into(),
    };
    cluster.event(A, Event::Operator { request: 1, call });
    cluster.event(A, Event::PersistFailed(PersistId(1_000), "no space left".into()));
    cluster.run_until(1_000, "another leads", |cluster| cluster.leader() == Some(B));
    assert!(cluster.now.since(since) < LEASE / 2, "by its own warrant");
    assert!(cluster.journal(A, "stepped-down")[0].text.contains("takes over"));
}

#[test]
fn who_handed_leadership_over_does_not_campaign_against_its_successor() {
    let mut cluster = spread();
    cluster.event(A, Event::Agent(AgentEvent::Detached));
    cluster.run_until(2_000, "another leads", |cluster| {
        cluster.leader().is_some_and(|leader| leader != A)
    });
    let asks = |(_, by, _, message): &&(Time, NodeId, NodeId, Message)| {
        *by == A && matches!(message, Message::PreVote { .. })
    };
    let since = cluster.journal(A, "stepped-down")[0].at;
    let asked = cluster.sent.iter().filter(|sent| sent.0 >= since);
    assert_eq!(asked.filter(asks).count(), 0);
}

#[test]
fn who_gave_leadership_up_helps_only_its_successor_until_its_lease_would_have_ended() {
    let mut cluster = spread();
    cluster.event(A, Event::Agent(AgentEvent::Detached));
    cluster.run_until(2_000, "it hands over", |cluster| {
        !cluster.journal(A, "stepped-down").is_empty()
    });
    let warrant = cluster.sent.iter().find_map(|(_, _, to, message)| match message {
        Message::Transfer { ballot } => Some((*to, *ballot)),
        _ => None,
    });
    let (successor, held) = warrant.expect("handed over");
    let other = if successor == B { C } else { B };
    let verdict_on = |cluster: &mut Cluster, candidate, transfer| {
        let node = cluster.host_mut(A).node.as_mut().expect("runs");
        node.verdict_on(candidate, held.next_for(candidate), transfer)
    };
    // Its permits, and what it told others of its lease, still hold.
    let left = cluster.now.until(cluster.node(A).lease_until);
    assert!(left > LEASE / 2, "{left:?}");
    assert_eq!(verdict_on(&mut cluster, other, None), Verdict::Bound(left));
    assert_eq!(verdict_on(&mut cluster, successor, Some(held)), Verdict::Granted);
    cluster.host_mut(A).node.as_mut().expect("runs").now = cluster.now + left;
    assert_eq!(verdict_on(&mut cluster, other, None), Verdict::Granted);
}

#[test]
fn a_leader_that_lost_its_lease_lets_a_heartbeat_pass_before_it_campaigns() {
    let mut cluster = spread();
    cluster.isolate(A);
    cluster.run_until(3_000, "it steps down", |cluster| {
        !cluster.journal(A, "stepped-down").is_empty()
    });
    let since = cluster.now;
    let asks = |sent: &(Time, NodeId, NodeId, Message)| {
        sent.0 >= since && sent.1 == A && matches!(sent.3, Message::PreVote { .. })
    };
    cluster.run_until(3_000, "it campaigns", |cluster| cluster.sent.iter().any(asks));
    assert!(cluster.now.since(since) >= BEAT);
}

#[test]
fn a_node_that_slept_past_its_election_lets_queued_messages_in_first() {
    let state = all_vote(&config(3, false, ""));
    let mut solo = Solo::free_voter(B, state);
    solo.now = solo.now + LEASE * 3;
    let mut effects = solo.event(Event::Timeout);
    effects.extend(solo.advance(BEAT * 3 / 2));
    let asks = |(_, message): &(NodeId, Message)| matches!(message, Message::PreVote { .. });
    assert!(!messages(&effects).iter().any(asks));
    assert!(messages(&solo.advance(BEAT)).iter().any(asks));
}

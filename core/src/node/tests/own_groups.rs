//! This node's own groups: what is started and stopped here, what the agent process is told, and what the others are told.

use super::*;
use crate::effect::Permit;

const MINE: BootId = BootId(1 << 96);
const BEAT: Duration = Duration::from_millis(125);

fn owned(owner: NodeId, boot: BootId, epoch: u64) -> Assignment {
    let boot = Some(boot);
    Assignment::Owned { owner, boot, epoch }
}

/// A state in which `db` is so; epochs below 10 were given out.
fn state(version: u64, db: Assignment) -> ClusterState {
    let mut state = all_vote(&config(3, false, &group("db", "fencing", "")));
    state.version = version;
    state.groups.get_mut("db").expect("configured").assignment = db;
    state.next_epoch = 10;
    state
}

/// Node 2, synced, with `db` given to it in epoch 5, and a permit for it that ends after `left`; its agent process is away.
fn permitted(left: Duration) -> Solo {
    let mut solo = Solo::free_voter(B, state(1, owned(B, MINE, 5)));
    solo.node.synced = true;
    let permit = Permit {
        group: "db".into(),
        epoch: 5,
        until: solo.now + left,
    };
    solo.node.local.renew(vec![(permit, Duration::ZERO)]);
    solo
}

fn attach(solo: &mut Solo, runs: &[(&str, u64, RunState)]) -> Vec<Effect> {
    let runs = runs.iter();
    let groups = runs.map(|(group, epoch, run)| observation(group, *epoch, *run));
    solo.event(Event::Agent(AgentEvent::Attached {
        groups: groups.collect(),
        watchdog: None,
    }))
}

fn starts(effects: &[Effect]) -> usize {
    let starts = |effect: &&Effect| matches!(effect, Effect::StartGroup { .. });
    effects.iter().filter(starts).count()
}

fn stops(effects: &[Effect]) -> usize {
    let stops = |effect: &&Effect| matches!(effect, Effect::StopGroup { .. });
    effects.iter().filter(stops).count()
}

#[test]
fn a_permit_that_is_about_to_end_starts_nothing() {
    assert_eq!(starts(&attach(&mut permitted(BEAT / 4), &[])), 0);
    assert_eq!(starts(&attach(&mut permitted(BEAT), &[])), 1);
}

#[test]
fn nothing_is_started_without_an_agent_process_or_in_maintenance() {
    let health = NetworkHealth {
        any_link_up: true,
        ping_answers: false,
    };
    assert_eq!(starts(&permitted(LEASE).event(Event::Network(health))), 0);
    let mut solo = permitted(LEASE);
    let mut maintained = state(2, owned(B, MINE, 5));
    maintained.maintenance = true;
    let ballot = Ballot { round: 5, node: 1 };
    let state = Arc::new(maintained);
    solo.hear(A, Message::Commit { ballot, state });
    assert_eq!(starts(&attach(&mut solo, &[])), 0);
}

#[test]
fn a_start_that_failed_is_not_repeated_under_the_same_assignment() {
    let failed = attach(&mut permitted(LEASE), &[("db", 5, RunState::Failed)]);
    assert_eq!(starts(&failed), 0);
    let earlier = attach(&mut permitted(LEASE), &[("db", 4, RunState::Failed)]);
    assert_eq!(starts(&earlier), 1, "that was another assignment");
    let stopped = attach(&mut permitted(LEASE), &[("db", 5, RunState::Stopped)]);
    assert_eq!(starts(&stopped), 1, "as when its permit had lapsed");
}

#[test]
fn nothing_is_started_while_a_state_waits_for_a_stop_here() {
    let mut solo = permitted(LEASE);
    attach(&mut solo, &[("db", 5, RunState::Running)]);
    let ballot = Ballot { round: 5, node: 1 };
    let state = Arc::new(state(2, owned(A, BootId(9), 11)));
    let effects = solo.hear(A, Message::Accept { ballot, state });
    assert_eq!(stops(&effects), 1);
    // Stopped, but under the old word: not the confirmation that is waited for.
    let stopped = observation("db", 5, RunState::Stopped);
    let effects = solo.event(Event::Agent(AgentEvent::Group(stopped)));
    assert_eq!(starts(&effects), 0);
}

/// Found by the virtual machines: the refusal came under the epoch before, and the order stood for ever.
#[test]
fn a_start_that_was_refused_is_ordered_again() {
    let mut solo = permitted(LEASE);
    assert_eq!(starts(&attach(&mut solo, &[])), 1);
    let mut told = |epoch| {
        let seen = observation("db", epoch, RunState::Stopped);
        starts(&solo.event(Event::Agent(AgentEvent::Group(seen))))
    };
    assert_eq!(told(4), 0, "from before the order");
    assert_eq!(told(5), 1, "the order was refused");
}

#[test]
fn nothing_is_started_while_a_newer_stop_is_not_answered() {
    let mut solo = permitted(BEAT / 4);
    attach(&mut solo, &[]);
    let ballot = Ballot { round: 5, node: 1 };
    let taken = Arc::new(state(2, owned(A, BootId(9), 11)));
    let effects = solo.hear(A, Message::Accept { ballot, state: taken });
    assert_eq!(stops(&effects), 1);
    let kept = Arc::new(state(3, owned(B, MINE, 5)));
    assert_eq!(
        records(&solo.hear(A, Message::Accept { ballot, state: kept })).len(),
        1
    );
    let permit = Permit {
        group: "db".into(),
        epoch: 5,
        until: solo.now + LEASE,
    };
    solo.node.local.renew(vec![(permit, Duration::ZERO)]);
    let health = NetworkHealth {
        any_link_up: true,
        ping_answers: false,
    };
    assert_eq!(starts(&solo.event(Event::Network(health))), 0);
}

#[test]
fn what_runs_here_for_another_owner_or_boot_is_stopped() {
    for assignment in [owned(A, BootId(9), 5), owned(B, BootId(9), 5)] {
        let mut solo = Solo::free_voter(B, state(1, assignment));
        assert_eq!(stops(&attach(&mut solo, &[("db", 5, RunState::Running)])), 1);
    }
}

#[test]
fn what_is_not_configured_is_stopped_unless_it_was_started_by_newer_word() {
    let start = || Solo::free_voter(B, state(1, Assignment::Stopped { epoch: 1 }));
    assert_eq!(stops(&attach(&mut start(), &[("old", 9, RunState::Running)])), 1);
    assert_eq!(stops(&attach(&mut start(), &[("new", 10, RunState::Running)])), 0);
}

#[test]
fn what_runs_without_being_assigned_is_stopped_before_it_is_given_to_another() {
    let mut solo = Solo::free_voter(B, state(1, Assignment::Stopped { epoch: 1 }));
    attach(&mut solo, &[("db", 10, RunState::Running)]);
    let ballot = Ballot { round: 5, node: 1 };
    let state = Arc::new(state(2, owned(A, BootId(9), 11)));
    let effects = solo.hear(A, Message::Accept { ballot, state });
    assert_eq!((stops(&effects), records(&effects).len()), (1, 0));
}

#[test]
fn a_permit_of_a_new_assignment_is_told_although_it_ends_no_later() {
    let mut solo = permitted(LEASE);
    let mut tell = |epoch| {
        let permit = Permit {
            group: "db".into(),
            epoch,
            until: solo.now + LEASE,
        };
        solo.node.local.renew(vec![(permit, BEAT)]).len()
    };
    assert_eq!((tell(5), tell(6), tell(6)), (0, 1, 0));
}

#[test]
fn an_agent_process_that_attaches_is_told_of_the_permits_that_still_run() {
    let told = |solo: &mut Solo| {
        let effects = attach(solo, &[("db", 5, RunState::Running)]);
        let tells = |effect: &&Effect| matches!(effect, Effect::Permits(_));
        effects.iter().filter(tells).count()
    };
    assert_eq!(told(&mut permitted(LEASE)), 1);
    let mut late = permitted(BEAT);
    late.advance(BEAT * 2);
    assert_eq!(told(&mut late), 0);
}

#[test]
fn trouble_of_a_group_is_journalled_as_a_warning_and_each_change_once() {
    use crate::journal::Level;
    let mut solo = permitted(LEASE);
    attach(&mut solo, &[("db", 5, RunState::Running)]);
    let mut said = |run| {
        let event = Event::Agent(AgentEvent::Group(observation("db", 5, run)));
        let effects = solo.event(event);
        let levels = effects.iter().filter_map(|effect| match effect {
            Effect::Journal(entry) if entry.kind.starts_with("group-") => Some(entry.level),
            _ => None,
        });
        levels.collect::<Vec<Level>>()
    };
    assert_eq!(said(RunState::Running), []);
    assert_eq!(said(RunState::Failed), [Level::Warn]);
    assert_eq!(said(RunState::Failed), []);
    assert_eq!(said(RunState::Stopping), [Level::Info]);
    assert_eq!(said(RunState::Unknown), [Level::Warn]);
}

#[test]
fn a_node_says_that_it_is_isolated() {
    let mut solo = permitted(LEASE);
    assert!(!solo.node.own_report().isolated);
    let health = NetworkHealth {
        any_link_up: false,
        ping_answers: true,
    };
    solo.event(Event::Network(health));
    assert!(solo.node.own_report().isolated);
}

/// Three nodes, node 1 leads, `web` on node 2.
fn reporting() -> Cluster {
    let groups = group("db", "fencing", "") + &group("web", "fencing", "");
    let mut cluster = Cluster::formed(3, false, &groups);
    let (group, to) = ("web".into(), Some(B));
    cluster.ask_done(A, OperatorRequest::Move { group, to });
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("web") == [B]);
    cluster.run_for(6_000);
    assert_eq!(cluster.leader(), Some(A));
    cluster
}

/// Reports from one node to another since then.
fn reports(cluster: &Cluster, from: NodeId, to: NodeId, since: Time) -> usize {
    let told = |(at, by, target, message): &&(Time, NodeId, NodeId, Message)| {
        *at >= since && (*by, *target) == (from, to) && matches!(message, Message::Report(_))
    };
    cluster.sent.iter().filter(told).count()
}

#[test]
fn the_leader_is_told_again_every_fourth_heartbeat_and_the_others_every_fortieth() {
    let mut cluster = reporting();
    let since = cluster.now;
    cluster.run_for(BEAT.as_millis() as u64 * 80);
    assert!((19..=21).contains(&reports(&cluster, B, A, since)));
    assert!((1..=3).contains(&reports(&cluster, B, C, since)));
}

#[test]
fn a_report_that_was_lost_is_made_up_for() {
    let mut cluster = reporting();
    let epoch = cluster.assignment(A, "web").epoch();
    cluster.cut_between(A, B);
    cluster.agent_reports(B, "web", epoch, RunState::Failed);
    cluster.run_for(100);
    cluster.heal();
    cluster.run_until(1_000, "it runs elsewhere", |cluster| {
        cluster.runs_on("web").iter().any(|node| *node != B)
    });
}

#[test]
fn a_change_is_told_to_all_at_once() {
    let mut cluster = reporting();
    let epoch = cluster.assignment(A, "web").epoch();
    cluster.cut_between(A, C);
    cluster.run_for(50);
    let since = cluster.now;
    cluster.agent_reports(B, "web", epoch, RunState::Failed);
    cluster.run_for(3);
    assert_eq!(
        cluster.node(C).report_on(B, "web").expect("told").run,
        RunState::Failed
    );
    assert!(reports(&cluster, B, A, since) > 0);
}

#[test]
fn changes_of_hundreds_of_groups_are_told_with_the_heartbeats_and_not_one_by_one() {
    let reports = |effects: &[Effect]| {
        let said = messages(effects).into_iter();
        said.filter(|(to, message)| *to == A && matches!(message, Message::Report(_)))
            .count()
    };
    for (many, at_once) in [(3, 1), (500, 0)] {
        let mut solo = permitted(LEASE);
        let names: Vec<String> = (0..many).map(|number| format!("g{number}")).collect();
        // Of later word than this node knows, so they are left alone.
        let runs: Vec<_> = names
            .iter()
            .map(|name| (&**name, 99, RunState::Running))
            .collect();
        attach(&mut solo, &runs);
        solo.advance(BEAT * 2);
        let failed = observation("g1", 99, RunState::Failed);
        let effects = solo.event(Event::Agent(AgentEvent::Group(failed)));
        assert_eq!(reports(&effects), at_once, "{many} groups");
        assert_eq!(reports(&solo.advance(BEAT)), 1 - at_once, "{many} groups");
    }
}

#[test]
fn a_member_whose_had_restarted_is_told_anew() {
    let mut cluster = reporting();
    cluster.stop_had(C);
    cluster.run_for(50);
    cluster.start_had(C);
    cluster.run_for(300);
    assert!(cluster.node(C).report_on(B, "web").is_some());
}

#[test]
fn a_new_leader_is_told_at_once() {
    let mut cluster = reporting();
    let since = cluster.now;
    cluster.event(A, Event::Shutdown);
    cluster.run_until(1_000, "another leads", |cluster| {
        cluster.leader().is_some_and(|leader| leader == C || leader == B)
    });
    let leader = cluster.lead();
    let other = if leader == B { A } else { B };
    cluster.run_until(1_000, "the other follows", |cluster| {
        cluster
            .node(other)
            .bound
            .is_some_and(|bound| bound.leader == leader)
    });
    assert!(
        cluster.now.since(since) < BEAT * 3,
        "before it is told again anyway"
    );
    assert!(reports(&cluster, other, leader, since) > 0);
}

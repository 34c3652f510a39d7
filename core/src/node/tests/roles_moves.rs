//! Planned moves of groups with roles, and what members are told meanwhile.

use super::*;

fn standby(node: NodeId, on: bool) -> OperatorRequest {
    OperatorRequest::Standby { node, on }
}

fn enable(group: &str, enabled: bool) -> OperatorRequest {
    OperatorRequest::Enable {
        group: group.into(),
        enabled,
    }
}

/// Whom `node` was to hand over to, with each order to stop `db`.
fn handed_to(cluster: &Cluster, node: NodeId) -> Vec<Option<NodeId>> {
    let stops = cluster.done.iter().filter(|(_, at, _)| *at == node);
    stops
        .filter_map(|(_, _, effect)| match effect {
            Effect::StopGroup { group, toward, .. } if &**group == "db" => Some(*toward),
            _ => None,
        })
        .collect()
}

#[test]
fn a_planned_move_hands_over_to_a_whole_copy_and_leaves_the_set_as_it_is() {
    let mut cluster = Cluster::promoted(2, "");
    cluster.ask_done(
        A,
        OperatorRequest::Move {
            group: "db".into(),
            to: None,
        },
    );
    cluster.run_until(2_000, "it moved", |cluster| cluster.runs_on("db") == [B]);
    assert_eq!(handed_to(&cluster, A), [Some(B)]);
    assert_eq!(cluster.in_sync(B), set(3, &[A, B]));
    assert!(cluster.journal(B, "possible-loss").is_empty());
    assert_eq!(cluster.state(B).groups["db"].automatic_moves, 0);
}

#[test]
fn standby_hands_over_and_ends_the_member_when_the_group_has_left() {
    let mut cluster = Cluster::promoted(2, "");
    cluster.host_mut(A).stops_hang = true;
    cluster.ask_done(A, standby(A, true));
    cluster.run_for(500);
    assert_eq!(handed_to(&cluster, A), [Some(B)]);
    assert!(cluster.told(A, "db").expect("told").wanted, "it still hands over");
    let epoch = cluster.assignment(A, "db").epoch();
    cluster.agent_reports(A, "db", epoch, RunState::Stopped);
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("db") == [B]);
    cluster.run_for(300);
    assert!(!cluster.told(A, "db").expect("told").wanted);
    let leader = cluster.lead();
    cluster.ask_done(leader, standby(A, false));
    cluster.run_for(300);
    assert!(cluster.told(A, "db").expect("told").wanted);
}

#[test]
fn standby_without_a_whole_copy_elsewhere_stops_the_group_until_its_node_is_back() {
    let mut cluster = Cluster::promoted(2, "on_possible_loss = \"promote\"");
    cluster.wishes(A, 3, &[A]);
    cluster.run_for(300);
    cluster.ask_done(A, standby(A, true));
    cluster.run_until(1_000, "it stops", |cluster| cluster.runs_on("db").is_empty());
    cluster.run_for(3_000);
    assert!(cluster.runs_on("db").is_empty());
    assert_eq!(handed_to(&cluster, A), [None]);
    let leader = cluster.lead();
    assert_eq!(cluster.in_sync(leader), set(3, &[A]));
    cluster.ask_done(leader, standby(A, false));
    cluster.run_until(2_000, "it is promoted again", |cluster| {
        cluster.runs_on("db") == [A]
    });
    assert_eq!(cluster.in_sync(A), set(4, &[A]));
}

#[test]
fn a_failed_one_is_followed_by_a_whole_copy_and_stays_in_the_set() {
    let mut cluster = Cluster::promoted(2, "");
    let epoch = cluster.assignment(A, "db").epoch();
    cluster.agent_reports(A, "db", epoch, RunState::Failed);
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("db") == [B]);
    assert_eq!(cluster.in_sync(B), set(3, &[A, B]));
}

#[test]
fn a_failure_is_forgotten_when_the_copy_is_whole_again_beside_the_promoted_one() {
    let mut cluster = Cluster::promoted(2, "");
    cluster.copy_is(A, "db", |copy| copy.readable = false);
    let epoch = cluster.assignment(A, "db").epoch();
    cluster.agent_reports(A, "db", epoch, RunState::Failed);
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("db") == [B]);
    cluster.run_for(500);
    let failed = |cluster: &Cluster| cluster.state(B).groups["db"].failures.contains_key(&A);
    assert!(failed(&cluster));
    cluster.copy_is(A, "db", |copy| copy.readable = true);
    cluster.run_until(1_000, "it is forgotten", |cluster| !failed(cluster));
}

#[test]
fn a_group_that_is_to_stop_keeps_its_members_until_nobody_is_promoted() {
    let mut cluster = Cluster::promoted(2, "");
    cluster.host_mut(A).stops_hang = true;
    cluster.ask_done(A, enable("db", false));
    cluster.run_for(500);
    assert!(cluster.told(B, "db").expect("told").wanted);
    let epoch = cluster.assignment(A, "db").epoch();
    cluster.agent_reports(A, "db", epoch, RunState::Stopped);
    cluster.run_for(500);
    for node in [A, B] {
        assert!(!cluster.told(node, "db").expect("told").wanted, "{node}");
    }
}

#[test]
fn nothing_is_told_in_maintenance_and_all_of_it_afterwards() {
    let mut cluster = Cluster::promoted(2, "");
    cluster.ask_done(A, OperatorRequest::Maintenance { on: true });
    cluster.wishes(A, 3, &[A]);
    cluster.run_for(500);
    assert_eq!(cluster.in_sync(A), set(3, &[A]), "writes must not wait for it");
    assert_eq!(cluster.told(A, "db").expect("told").in_sync, set(2, &[A, B]));
    cluster.ask_done(A, OperatorRequest::Maintenance { on: false });
    cluster.run_for(500);
    assert_eq!(cluster.told(A, "db").expect("told").in_sync, set(3, &[A]));
}

#[test]
fn an_agent_process_that_attaches_anew_is_told_anew_before_anything_is_started() {
    let mut cluster = Cluster::promoted(2, "");
    cluster.event(B, Event::Agent(AgentEvent::Detached));
    let before = cluster.done.len();
    cluster.attach_agent(B);
    cluster.run_for(300);
    let of_b = cluster.done[before..].iter().filter(|(_, at, _)| *at == B);
    let first = of_b
        .filter(|(_, _, effect)| matches!(effect, Effect::GroupRoles(_) | Effect::StartGroup { .. }))
        .map(|(_, _, effect)| effect)
        .next();
    assert!(
        matches!(first, Some(Effect::GroupRoles(roles)) if roles.wanted && roles.in_sync == set(2, &[A, B]))
    );
}

#[test]
fn a_configuration_that_takes_the_last_whole_copy_away_is_refused() {
    let mut cluster = Cluster::promoted(3, "");
    cluster.wishes(A, 3, &[A]);
    cluster.run_for(300);
    let leader = cluster.lead();
    let without_a = cluster
        .config
        .source
        .replace("prefer = [\"n1\"]\n", "")
        .replace("name = \"n1\"", "name = \"n4\"\nid = 4")
        .replace("node = \"n1\"", "node = \"n4\"")
        .replace("10.0.0.1\"", "10.0.0.4\"")
        .replace("name = \"n2\"", "name = \"n2\"\nid = 2")
        .replace("name = \"n3\"", "name = \"n3\"\nid = 3");
    let config = holdfast_proto::config::parse(&without_a, "t").unwrap_or_else(|why| panic!("{why}"));
    let apply = OperatorRequest::ApplyConfig {
        config: Arc::new(config),
    };
    // Whoever leads would be removed otherwise, which is refused for that.
    if leader == A {
        cluster.event(A, Event::Shutdown);
        cluster.run_until(2_000, "another leads", |cluster| {
            cluster.leader().is_some_and(|leader| leader != A)
        });
    }
    let leader = cluster.lead();
    let said = cluster.ask_refused(leader, apply);
    assert!(
        said.contains("the only whole copy of the data of db is on n1"),
        "{said}"
    );
}

#[test]
fn who_confirmed_its_stop_and_was_lost_before_the_next_one_was_promoted_leaves_the_set() {
    let mut cluster = Cluster::promoted(2, "");
    cluster.host_mut(A).stops_hang = true;
    let epoch = cluster.assignment(A, "db").epoch();
    cluster.agent_reports(A, "db", epoch, RunState::Failed);
    cluster.run_until(1_000, "it is to stop", |cluster| {
        matches!(cluster.assignment(B, "db"), Assignment::Releasing { .. })
    });
    // Its stop is the last thing that is heard of it.
    cluster.isolate(A);
    let (epoch, said) = (cluster.assignment(A, "db").epoch(), cluster.sent.len());
    cluster.agent_reports(A, "db", epoch, RunState::Stopped);
    cluster.run_for(100);
    let confirmed = cluster.sent[said..].iter().find_map(|(_, from, to, message)| {
        let report = matches!(message, Message::Report(_)) && (*from, *to) == (A, B);
        report.then(|| message.clone())
    });
    let message = confirmed.expect("it says so");
    let from = cluster.sender(A);
    cluster.event(B, Event::Message { from, message });
    cluster.loses_power(A);
    cluster.run_until(1_000, "it is promoted", |cluster| cluster.runs_on("db") == [B]);
    let state = cluster.state(B);
    let reason = &state.groups["db"].reason;
    assert!(
        reason.contains("it failed on n1"),
        "by its confirmed stop: {reason}"
    );
    assert_eq!(cluster.in_sync(B), set(3, &[B]));
}

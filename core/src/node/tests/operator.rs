//! Requests of operators: what is done, what is refused, and in which words.

use super::*;

/// Two nodes and a witness, `db` and `web` on node 1, which leads.
fn trio() -> Cluster {
    let groups = group("db", "fencing", "") + &group("web", "fencing", "");
    let cluster = Cluster::formed(2, true, &groups);
    assert_eq!((cluster.runs_on("db"), cluster.leader()), (vec![A], Some(A)));
    cluster
}

fn standby(node: NodeId, on: bool) -> OperatorRequest {
    OperatorRequest::Standby { node, on }
}

fn move_db(to: Option<NodeId>) -> OperatorRequest {
    OperatorRequest::Move {
        group: "db".into(),
        to,
    }
}

#[test]
fn standby_empties_a_node_and_online_moves_nothing_back() {
    let mut cluster = trio();
    cluster.ask_done(A, standby(A, true));
    cluster.run_until(2_000, "both moved", |cluster| {
        cluster.runs_on("db") == [B] && cluster.runs_on("web") == [B]
    });
    let leader = cluster.lead();
    let said = cluster.ask_refused(leader, move_db(Some(A)));
    assert!(said.contains("standby"), "{said}");
    let leader = cluster.lead();
    cluster.ask_done(leader, standby(A, false));
    cluster.run_for(5_000);
    assert_eq!(
        (cluster.runs_on("db"), cluster.runs_on("web")),
        (vec![B], vec![B])
    );
}

#[test]
fn standby_of_the_last_node_stops_the_groups_with_a_reason() {
    let mut cluster = trio();
    cluster.ask_done(A, standby(B, true));
    cluster.ask_done(A, standby(A, true));
    cluster.run_until(2_000, "nothing runs", |cluster| cluster.runs_on("db").is_empty());
    cluster.run_for(500);
    let leader = cluster.lead();
    let view = cluster.node(leader).view(cluster.now);
    let reason = &view.groups[0].reason;
    assert!(
        reason.contains("n1 is in standby") && reason.contains("n2 is in standby"),
        "{reason}"
    );
    cluster.ask_done(leader, standby(B, false));
    cluster.run_until(2_000, "it runs again", |cluster| cluster.runs_on("db") == [B]);
}

#[test]
fn a_move_goes_to_the_node_asked_for_and_names_who_asked() {
    let mut cluster = trio();
    let said = cluster.ask_done(A, move_db(Some(B)));
    assert_eq!(said, "db moves to n2");
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("db") == [B]);
    assert_eq!(cluster.runs_on("web"), [A], "and nothing else does");
    let entry = &cluster.state(A).groups["db"];
    assert!(entry.reason.contains("ann"), "{}", entry.reason);
    assert_eq!(entry.intent, None, "an event, not a rule left behind");
}

#[test]
fn a_move_without_a_target_takes_the_best_other_node() {
    let mut cluster = trio();
    cluster.ask_done(A, move_db(None));
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("db") == [B]);
}

#[test]
fn a_move_that_cannot_be_is_refused_in_words() {
    let mut cluster = trio();
    let said = cluster.ask_refused(
        A,
        OperatorRequest::Move {
            group: "bd".into(),
            to: None,
        },
    );
    assert!(
        said.contains("there is no group bd; there are: db, web"),
        "{said}"
    );
    let said = cluster.ask_done(A, move_db(Some(A)));
    assert!(said.contains("already on n1"), "{said}");
    cluster.event(B, Event::Agent(AgentEvent::Detached));
    cluster.run_for(200);
    let said = cluster.ask_refused(A, move_db(Some(B)));
    assert!(said.contains("n2 has no agent process"), "{said}");
}

#[test]
fn a_request_at_a_follower_goes_to_the_leader() {
    let mut cluster = trio();
    assert_eq!(cluster.leader(), Some(A));
    let said = cluster.ask_done(B, move_db(Some(B)));
    assert_eq!(said, "db moves to n2");
}

#[test]
fn without_a_leader_nothing_is_promised() {
    let mut cluster = trio();
    cluster.isolate(A);
    cluster.run_for(3_000);
    let outcome = cluster.ask(A, move_db(None));
    assert!(
        matches!(&outcome, OperatorOutcome::NoQuorum(text) if text.contains("no leader")),
        "{outcome:?}"
    );
}

#[test]
fn a_leader_that_loses_its_lease_says_that_it_does_not_know() {
    let mut cluster = trio();
    cluster.isolate(A);
    cluster.run_for(10);
    let outcome = cluster.ask(A, standby(B, true));
    assert!(
        matches!(&outcome, OperatorOutcome::Refused(text) if text.contains("ask again")),
        "{outcome:?}"
    );
}

#[test]
fn asking_twice_is_asking_once() {
    let mut cluster = trio();
    cluster.ask_done(A, standby(B, true));
    let version = cluster.state(A).version;
    let said = cluster.ask_done(A, standby(B, true));
    assert!(said.contains("it was so already"), "{said}");
    assert_eq!(cluster.state(A).version, version);
}

#[test]
fn maintenance_leaves_everything_alone() {
    let mut cluster = trio();
    cluster.ask_done(A, OperatorRequest::Maintenance { on: true });
    cluster.run_for(200);
    let since = cluster.now;
    let epoch = cluster.assignment(A, "db").epoch();
    cluster.agent_reports(A, "db", epoch, RunState::Failed);
    cluster.ask_done(A, standby(A, true));
    cluster.run_for(10_000);
    assert_eq!(cluster.orders(A, since), Vec::<String>::new());
    assert_eq!(cluster.orders(B, since), Vec::<String>::new());
    cluster.ask_done(A, OperatorRequest::Maintenance { on: false });
    cluster.run_until(3_000, "then what is due is done", |cluster| {
        cluster.runs_on("db") == [B] && cluster.runs_on("web") == [B]
    });
}

#[test]
fn agents_are_told_of_maintenance() {
    let mut cluster = trio();
    cluster.ask_done(A, OperatorRequest::Maintenance { on: true });
    cluster.run_for(200);
    for node in [A, B] {
        let told = cluster.done.iter().filter_map(|(_, at, effect)| match effect {
            Effect::Maintenance(on) if *at == node => Some(*on),
            _ => None,
        });
        assert_eq!(told.collect::<Vec<_>>().pop(), Some(true), "{node}");
    }
}

#[test]
fn a_disabled_group_is_stopped_until_it_is_enabled() {
    let mut cluster = trio();
    let enable = |enabled| OperatorRequest::Enable {
        group: "db".into(),
        enabled,
    };
    cluster.ask_done(A, enable(false));
    cluster.run_until(1_000, "it stops", |cluster| cluster.runs_on("db").is_empty());
    cluster.run_for(5_000);
    assert_eq!(cluster.runs_on("db"), []);
    let leader = cluster.lead();
    assert_eq!(cluster.node(leader).view(cluster.now).groups[0].state, "stopped");
    cluster.ask_done(leader, enable(true));
    cluster.run_until(2_000, "it runs", |cluster| cluster.runs_on("db").len() == 1);
}

#[test]
fn a_restart_reaches_the_owner_and_changes_nothing_that_is_agreed() {
    let mut cluster = trio();
    let version = cluster.state(A).version;
    let resource = Some("r".to_string());
    let group: holdfast_proto::ids::GroupName = "db".into();
    cluster.ask_done(B, OperatorRequest::Restart { group, resource });
    let restarted = cluster.done.iter().any(|(_, node, effect)| {
        *node == A && matches!(effect, Effect::RestartResource { resource: Some(name), .. } if name == "r")
    });
    assert!(restarted);
    assert_eq!(cluster.state(A).version, version);
}

#[test]
fn a_group_that_left_the_configuration_is_stopped_and_then_forgotten() {
    let mut cluster = trio();
    let config = config(2, true, &group("db", "fencing", ""));
    cluster.ask_done(A, OperatorRequest::ApplyConfig { config });
    cluster.run_until(2_000, "it is stopped", |cluster| {
        cluster.runs_on("web").is_empty()
    });
    cluster.run_until(2_000, "it is forgotten", |cluster| {
        !cluster.state(A).groups.contains_key("web")
    });
    assert_eq!(cluster.runs_on("db"), [A]);
}

#[test]
fn a_new_group_of_a_new_configuration_starts() {
    let mut cluster = trio();
    let groups = group("db", "fencing", "") + &group("web", "fencing", "") + &group("api", "lease", "");
    let config = config(2, true, &groups);
    cluster.ask_done(A, OperatorRequest::ApplyConfig { config });
    cluster.run_until(2_000, "it runs", |cluster| cluster.runs_on("api").len() == 1);
    cluster.run_for(200);
    for node in [A, B] {
        assert!(
            cluster.node(node).config().group("api").is_some(),
            "{node} follows it"
        );
    }
}

#[test]
fn the_configuration_of_another_cluster_is_refused() {
    let mut cluster = trio();
    let mut config = Config::clone(&cluster.config);
    config.cluster.id = holdfast_proto::ids::ClusterId(0xbb);
    let config = Arc::new(config);
    let said = cluster.ask_refused(A, OperatorRequest::ApplyConfig { config });
    assert!(said.contains("another cluster"), "{said}");
}

//! Where groups go and when they stay; outages as they are measured; requests that reach the node that can act on them.

use super::*;

/// Three nodes, `db` and `web` on node 1, which leads; `more` are keys of `web`.
fn trio(requires: &str, more: &str) -> Cluster {
    let groups = group("db", requires, "") + &group("web", requires, more);
    let mut cluster = Cluster::formed(3, false, &groups);
    cluster.run_for(500);
    assert_eq!((cluster.runs_on("db"), cluster.leader()), (vec![A], Some(A)));
    cluster
}

fn to(group: &str, to: Option<NodeId>) -> OperatorRequest {
    let group = group.into();
    OperatorRequest::Move { group, to }
}

fn standby(node: NodeId) -> OperatorRequest {
    OperatorRequest::Standby { node, on: true }
}

#[test]
fn a_group_follows_the_one_it_belongs_with() {
    let mut cluster = trio("fencing", "with = [\"db\"]");
    assert_eq!(cluster.runs_on("web"), [A]);
    cluster.run_for(1_000);
    let before = cluster.assignment(A, "web").epoch();
    cluster.ask_done(A, to("db", Some(C)));
    cluster.run_until(3_000, "both moved", |cluster| {
        cluster.runs_on("db") == [C] && cluster.runs_on("web") == [C]
    });
    let leader = cluster.lead();
    let after = cluster.assignment(leader, "web").epoch();
    assert!(after > before);
    cluster.run_for(2_000);
    let leader = cluster.lead();
    assert_eq!(
        cluster.assignment(leader, "web").epoch(),
        after,
        "and stays with it"
    );
}

#[test]
fn a_group_that_requires_nothing_stays_while_its_node_is_heard() {
    let mut cluster = trio("nothing", "");
    cluster.ask_done(A, to("web", Some(B)));
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("web") == [B]);
    let epoch = cluster.assignment(A, "web").epoch();
    cluster.run_for(2_000);
    assert_eq!(cluster.assignment(A, "web").epoch(), epoch);
}

#[test]
fn a_cluster_in_which_nothing_can_run_decides_nothing() {
    let mut cluster = trio("fencing", "");
    for node in [C, B, A] {
        let leader = cluster.lead();
        cluster.ask_done(leader, standby(node));
    }
    cluster.run_until(3_000, "all stopped", |cluster| cluster.runs_on("db").is_empty());
    cluster.run_for(500);
    let leader = cluster.lead();
    let version = cluster.state(leader).version;
    cluster.run_for(3_000);
    let leader = cluster.lead();
    assert_eq!(cluster.state(leader).version, version);
}

#[test]
fn a_move_goes_not_to_a_node_in_standby_nor_to_one_that_is_being_fenced() {
    let mut cluster = trio("fencing", "");
    cluster.ask_done(A, standby(B));
    cluster.ask_done(A, to("web", None));
    cluster.run_until(2_000, "it moved", |cluster| cluster.runs_on("web") == [C]);
    cluster.ask_done(A, OperatorRequest::Fence { node: C });
    let said = cluster.ask_refused(A, to("db", Some(C)));
    assert!(said.contains("n3"), "{said}");
    assert_eq!(cluster.runs_on("db"), [A]);
}

#[test]
fn a_group_starts_after_one_that_runs_on_another_node() {
    let groups = ["db", "one", "two"].map(|name| group(name, "fencing", ""));
    let web = group("web", "fencing", "after = [\"db\"]");
    let mut cluster = Cluster::formed(3, false, &(groups.concat() + &web));
    cluster.ask_done(A, to("db", Some(B)));
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("db") == [B]);
    assert_eq!(cluster.leader(), Some(A));
    let enable = |enabled| OperatorRequest::Enable {
        group: "web".into(),
        enabled,
    };
    cluster.ask_done(A, enable(false));
    cluster.run_until(1_000, "it stops", |cluster| cluster.runs_on("web").is_empty());
    assert_eq!(
        (cluster.leader(), cluster.runs_on("db")),
        (Some(A), vec![B]),
        "who decides has it from a report"
    );
    cluster.ask_done(A, enable(true));
    cluster.run_until(1_000, "it runs again", |cluster| {
        cluster.runs_on("web").len() == 1
    });
}

#[test]
fn groups_that_are_placed_in_one_decision_are_spread() {
    let groups = ["a", "b", "c", "d"].map(|name| group(name, "fencing", ""));
    let mut cluster = Cluster::formed(3, false, &groups.concat());
    for name in ["a", "b"] {
        let leader = cluster.lead();
        cluster.ask_done(leader, to(name, Some(B)));
        cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on(name) == [B]);
    }
    assert_eq!(cluster.runs_on("c"), [A]);
    let enable = |enabled| OperatorRequest::Enable {
        group: "d".into(),
        enabled,
    };
    let leader = cluster.lead();
    cluster.ask_done(leader, enable(false));
    cluster.run_for(500);
    let leader = cluster.lead();
    cluster.host_mut(B).stops_hang = true;
    cluster.ask_done(leader, to("a", Some(A)));
    cluster.run_for(100);
    // While the leader waits for its disk it plans nothing; what comes in meanwhile is one decision.
    cluster.host_mut(leader).disk_held = true;
    for (request, what) in [(901, standby(C)), (902, enable(true))] {
        let call = OperatorCall {
            request: what,
            who: "ann".into(),
            at: "noon".into(),
        };
        cluster.event(leader, Event::Operator { request, call });
        cluster.run_for(10);
    }
    let epoch = cluster.assignment(leader, "a").epoch();
    cluster.agent_reports(B, "a", epoch, RunState::Stopped);
    cluster.run_for(50);
    assert_eq!(cluster.owner(leader, "a"), Some(B), "not decided yet");
    cluster.host_mut(leader).disk_held = false;
    let since = cluster.state(leader).version;
    cluster.write_disk(leader);
    cluster.run_until(500, "both are placed", |cluster| {
        cluster.owner(leader, "a") == Some(A) && cluster.owner(leader, "d").is_some()
    });
    assert_eq!(cluster.state(leader).version, since + 2, "in one decision");
    assert_eq!(
        cluster.owner(leader, "d"),
        Some(B),
        "as a left it for node 1, which has two now"
    );
}

#[test]
fn a_proof_is_recorded_with_the_version_that_used_it() {
    let mut cluster = trio("fencing", "");
    cluster.isolate(A);
    cluster.run_until(5_000, "it is fenced", |cluster| {
        !cluster.asked_about(A).is_empty()
    });
    let ask = cluster.asked_about(A)[0];
    cluster.device_proves(ask);
    cluster.run_until(2_000, "it runs elsewhere", |cluster| {
        cluster.runs_on("db").len() == 1
    });
    let mut pair = Cluster::formed(2, false, &group("db", "fencing", ""));
    pair.cut_between(A, B);
    pair.run_until(5_000, "it is fenced", |cluster| {
        !cluster.asked_about(B).is_empty()
    });
    let ask = pair.asked_about(B)[0];
    pair.device_proves(ask);
    pair.run_until(20, "by its proof it leads at once", |cluster| {
        cluster.leader() == Some(A)
    });
    pair.run_until(2_000, "it votes alone", |cluster| {
        cluster.state(A).voters == voters(&[A])
    });
    for (cluster, dead) in [(&cluster, A), (&pair, B)] {
        let states = cluster.done.iter().filter_map(|(_, _, effect)| match effect {
            Effect::Persist { record, .. } => Some(&record.accepted),
            _ => None,
        });
        let mut recorded = states.filter(|state| state.nodes[&dead].proof.is_some());
        let first = recorded.next().expect("recorded");
        let proof = first.nodes[&dead].proof.as_ref().expect("recorded");
        assert_eq!(proof.version, first.version);
    }
}

#[test]
fn an_outage_is_measured_from_the_loss_to_the_start_elsewhere() {
    let mut cluster = trio("fencing", "");
    assert!(cluster.node(B).outage_since.is_empty() && cluster.node(B).last_outage.is_empty());
    cluster.ask_done(A, to("web", Some(B)));
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("web") == [B]);
    cluster.run_for(500);
    let since = cluster.now;
    cluster.isolate(A);
    cluster.run_until(5_000, "it is fenced", |cluster| {
        !cluster.asked_about(A).is_empty()
    });
    cluster.run_for(2_000);
    let ask = cluster.asked_about(A)[0];
    cluster.device_proves(ask);
    cluster.run_until(2_000, "it runs elsewhere", |cluster| {
        cluster.runs_on("db").len() == 1
    });
    let node = if cluster.runs_on("db") == [B] { C } else { B };
    cluster.run_for(100);
    let span = cluster.node(node).last_outage["db"];
    assert!(span >= Duration::from_secs(2) && span <= cluster.now.since(since));
    assert!(!cluster.node(node).outage_since.contains_key("db"), "it is over");
}

#[test]
fn a_member_that_left_the_configuration_votes_until_it_owns_nothing() {
    let mut cluster = trio("fencing", "");
    let rest = config(
        2,
        false,
        &(group("db", "fencing", "") + &group("web", "fencing", "")),
    );
    let mut two = Config::clone(&rest);
    two.cluster = cluster.config.cluster.clone();
    let config = Arc::new(two);
    cluster.ask_done(A, to("web", Some(C)));
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("web") == [C]);
    cluster.run_for(300);
    cluster.host_mut(C).stops_hang = true;
    cluster.ask_done(A, OperatorRequest::ApplyConfig { config });
    cluster.run_for(1_000);
    assert!(cluster.state(A).voters.contains(C), "it may be running something");
    let epoch = cluster.assignment(A, "web").epoch();
    cluster.agent_reports(C, "web", epoch, RunState::Stopped);
    cluster.run_until(3_000, "it votes no more", |cluster| {
        cluster.state(A).voters == voters(&[A, B])
    });
    assert_eq!(cluster.runs_on("web"), [B], "A has a group already");
}

#[test]
fn who_is_asked_to_fence_its_leader_does_it_and_for_others_asks_the_leader() {
    let mut cluster = trio("fencing", "");
    cluster.ask_done(B, OperatorRequest::Fence { node: C });
    cluster.ask_done(B, OperatorRequest::Fence { node: A });
    let by = |cluster: &Cluster, node| cluster.asked_about(node)[0].by;
    assert_eq!((by(&cluster, C), by(&cluster, A)), (A, B));
    let mut pair = Cluster::formed(2, false, &group("db", "fencing", ""));
    pair.cut_between(A, B);
    pair.run_for(1_200);
    pair.ask_done(B, OperatorRequest::Fence { node: A });
    assert_eq!(by(&pair, A), B, "nobody leads, and it may decide that by itself");
    let mut fresh = Cluster::of(all_vote(&config(2, false, &group("db", "fencing", ""))));
    fresh.boot(B);
    fresh.run_for(2_000);
    let said = fresh.ask_refused(B, OperatorRequest::Fence { node: A });
    assert!(said.contains("no leader"), "not synced: {said}");
}

#[test]
fn a_restart_of_a_group_whose_owner_is_not_heard_is_refused() {
    let mut cluster = trio("fencing", "");
    cluster.isolate(A);
    cluster.run_for(3_000);
    let (group, resource) = ("db".into(), None);
    let said = cluster.ask_refused(B, OperatorRequest::Restart { group, resource });
    assert!(said.contains("not heard"), "{said}");
}

#[test]
fn forced_quorum_makes_a_newer_version() {
    let mut cluster = Cluster::formed(2, false, &group("db", "fencing", ""));
    let version = cluster.state(B).version;
    cluster.power_off(A);
    cluster.power_off(B);
    cluster.boot(B);
    cluster.run_for(2_000);
    cluster.ask_done(B, OperatorRequest::QuorumForce);
    let first = cluster.done.iter().rev().find_map(|(_, _, effect)| match effect {
        Effect::Persist { record, .. } if record.accepted.voters == voters(&[B]) => {
            Some(record.accepted.version)
        }
        _ => None,
    });
    assert!(first.expect("written") > version);
    assert!(cluster.state(B).version > version);
}

#[test]
fn a_node_of_a_pair_that_ends_fences_nobody() {
    let mut cluster = Cluster::formed(2, false, &group("db", "fencing", ""));
    cluster.event(B, Event::Shutdown);
    cluster.cut_between(A, B);
    cluster.run_for(10_000);
    assert!(cluster.asked_about(A).is_empty());
}

#[test]
fn a_group_that_requires_fencing_goes_to_no_node_without_the_watchdog_it_needs() {
    let groups = group("db", "fencing", "prefer = [\"n1\"]") + &group("web", "lease", "prefer = [\"n1\"]");
    let config = config_with(3, false, "watchdog = \"required\"", &groups);
    let mut cluster = Cluster::of(all_vote(&config));
    for node in [B, C] {
        cluster.host_mut(node).watchdog = Some(Duration::from_secs(5));
    }
    for node in [A, B, C] {
        cluster.boot(node);
    }
    cluster.run_until(10_000, "both run", |cluster| {
        cluster.runs_on("db") == [B] && cluster.runs_on("web") == [A]
    });
    let leader = cluster.lead();
    let view = cluster.node(leader).view(cluster.now);
    let warned = |text: &&String| text.starts_with("n1 has no armed watchdog, which is required");
    assert_eq!(
        view.warnings.iter().filter(warned).count(),
        1,
        "{:?}",
        view.warnings
    );
    let why = view
        .groups
        .iter()
        .find(|group| &*group.name == "db")
        .expect("it is there");
    let (_, able, reason) = why
        .candidates
        .iter()
        .find(|(node, ..)| *node == A)
        .expect("judged");
    assert!(!able && reason.contains("has no armed watchdog"), "{reason}");
    let refused = cluster.ask_refused(leader, to("db", Some(A)));
    assert!(refused.contains("has no armed watchdog"), "{refused}");
}

#[test]
fn a_group_leaves_a_node_that_lost_its_watchdog_for_one_that_has_it_and_else_stays() {
    let config = config_with(
        2,
        true,
        "watchdog = \"required\"",
        &group("db", "fencing", "prefer = [\"n1\"]"),
    );
    let mut cluster = Cluster::of(all_vote(&config));
    for node in [A, B] {
        cluster.host_mut(node).watchdog = Some(Duration::from_secs(5));
    }
    for node in [A, B, W] {
        cluster.boot(node);
    }
    cluster.run_until(10_000, "it runs", |cluster| cluster.runs_on("db") == [A]);
    cluster.host_mut(A).watchdog = Some(Duration::from_millis(500));
    cluster.attach_agent(A);
    cluster.run_until(3_000, "it left", |cluster| cluster.runs_on("db") == [B]);
    cluster.host_mut(B).watchdog = None;
    cluster.attach_agent(B);
    cluster.run_for(3_000);
    assert_eq!(cluster.runs_on("db"), [B], "a stop would help nobody");
}

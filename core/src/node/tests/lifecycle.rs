//! The life of a group on its way through the cluster: commit before start, release after stop, failures,
//! the flap budget, restarts of `had`, a leader in trouble.

use super::*;

/// Two nodes and a witness, `db` on node 1, which leads.
fn trio() -> Cluster {
    let cluster = Cluster::formed(2, true, &group("db", "fencing", ""));
    assert_eq!((cluster.runs_on("db"), cluster.leader()), (vec![A], Some(A)));
    cluster
}

fn move_to(to: NodeId) -> OperatorRequest {
    OperatorRequest::Move {
        group: "db".into(),
        to: Some(to),
    }
}

#[test]
fn a_move_starts_the_group_only_after_its_stop_was_confirmed() {
    let mut cluster = trio();
    cluster.host_mut(A).stops_hang = true;
    let since = cluster.now;
    cluster.ask_done(A, move_to(B));
    cluster.run_for(5_000);
    assert_eq!(cluster.orders(A, since), ["-db"]);
    assert_eq!(cluster.orders(B, since), Vec::<String>::new());
    let Assignment::Releasing {
        owner, epoch, toward, ..
    } = *cluster.assignment(B, "db")
    else {
        panic!("not releasing: {:?}", cluster.assignment(B, "db"));
    };
    assert_eq!(
        (owner, toward),
        (A, Some(B)),
        "the register holds it for the old node"
    );
    cluster.agent_reports(A, "db", epoch, RunState::Stopped);
    cluster.run_until(500, "it runs there", |cluster| cluster.runs_on("db") == [B]);
}

#[test]
fn a_stop_confirmed_under_an_older_epoch_releases_nothing() {
    let mut cluster = trio();
    let old = cluster.assignment(A, "db").epoch();
    cluster.host_mut(A).stops_hang = true;
    cluster.ask_done(A, move_to(B));
    cluster.agent_reports(A, "db", old, RunState::Stopped);
    cluster.run_for(2_000);
    assert_eq!(cluster.owner(B, "db"), Some(A));
}

#[test]
fn groups_start_in_the_order_that_after_says() {
    let groups = group("app", "fencing", "after = [\"db\"]") + &group("db", "fencing", "");
    let mut cluster = Cluster::of(all_vote(&config(2, true, &groups)));
    for node in [A, B] {
        cluster.host_mut(node).starts_fail.insert("db".into());
    }
    for node in cluster.members() {
        cluster.boot(node);
    }
    cluster.run_for(5_000);
    let leader = cluster.lead();
    assert_eq!(cluster.owner(leader, "app"), None);
    let view = cluster.node(leader).view(cluster.now);
    let app = view
        .groups
        .iter()
        .find(|group| &*group.name == "app")
        .expect("shown");
    assert!(app.reason.contains("waits for db"), "{}", app.reason);
    for node in [A, B] {
        cluster.host_mut(node).starts_fail.clear();
    }
    cluster.ask_done(leader, OperatorRequest::Cleanup { group: None });
    cluster.run_until(2_000, "both run", |cluster| cluster.runs_on("app").len() == 1);
}

#[test]
fn a_group_that_failed_moves_and_does_not_come_back_before_cleanup() {
    let mut cluster = trio();
    let epoch = cluster.assignment(A, "db").epoch();
    cluster.agent_reports(A, "db", epoch, RunState::Failed);
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("db") == [B]);
    let failure = cluster.state(B).groups["db"].failures[&A].clone();
    assert_eq!((failure.count, failure.reason.as_str()), (1, "exit code 1"));
    let leader = cluster.lead();
    let said = cluster.ask_refused(leader, move_to(A));
    assert!(said.contains("failed it") && said.contains("cleanup"), "{said}");
    cluster.ask_done(
        leader,
        OperatorRequest::Cleanup {
            group: Some("db".into()),
        },
    );
    cluster.ask_done(leader, move_to(A));
    cluster.run_until(1_000, "it moved back", |cluster| cluster.runs_on("db") == [A]);
}

#[test]
fn a_group_that_failed_everywhere_stays_stopped_with_a_reason() {
    let mut cluster = trio();
    for node in [A, B] {
        cluster.host_mut(node).starts_fail.insert("db".into());
    }
    let epoch = cluster.assignment(A, "db").epoch();
    cluster.agent_reports(A, "db", epoch, RunState::Failed);
    cluster.run_for(1_000);
    let since = cluster.now;
    cluster.run_for(60_000);
    assert_eq!(
        cluster.orders(A, since).len() + cluster.orders(B, since).len(),
        0,
        "never a loop"
    );
    let leader = cluster.lead();
    let view = cluster.node(leader).view(cluster.now);
    assert_eq!(view.groups[0].state, "failed");
    let reason = &view.groups[0].reason;
    assert!(
        reason.contains("n1 failed it") && reason.contains("n2 failed it"),
        "{reason}"
    );
}

#[test]
fn a_failure_counts_for_the_flap_window_and_then_the_group_is_tried_again() {
    let mut cluster = Cluster::of(all_vote(&config_with(
        2,
        true,
        "flap_window = \"60s\"",
        &group("db", "fencing", ""),
    )));
    cluster.form();
    for node in [A, B] {
        cluster.host_mut(node).starts_fail.insert("db".into());
    }
    let epoch = cluster.assignment(A, "db").epoch();
    cluster.agent_reports(A, "db", epoch, RunState::Failed);
    cluster.run_for(2_000);
    assert!(cluster.runs_on("db").is_empty());
    for node in [A, B] {
        cluster.host_mut(node).starts_fail.clear();
    }
    cluster.run_for(50_000);
    assert!(cluster.runs_on("db").is_empty(), "the failures still count");
    cluster.run_until(20_000, "it was tried again", |cluster| {
        !cluster.runs_on("db").is_empty()
    });
    let leader = cluster.lead();
    assert!(!cluster.journal(leader, "failure-forgotten").is_empty());
}

#[test]
fn a_failure_of_a_boot_that_is_over_no_longer_counts() {
    let mut cluster = trio();
    let epoch = cluster.assignment(A, "db").epoch();
    cluster.agent_reports(A, "db", epoch, RunState::Failed);
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("db") == [B]);
    cluster.run_for(2_000);
    assert!(cluster.state(B).groups["db"].failures.contains_key(&A));
    cluster.power_off(A);
    cluster.run_for(2_000);
    cluster.boot(A);
    cluster.run_until(10_000, "the failure was forgotten", |cluster| {
        cluster.state(B).groups["db"].failures.is_empty()
    });
    assert_eq!(cluster.runs_on("db"), [B], "and nothing moves back for it");
}

#[test]
fn a_group_that_left_and_comes_back_is_not_held_for_what_it_did_before() {
    let of = |groups: &str| config_with(2, true, "flap_budget = 1", groups);
    let (with, without) = (of(&group("db", "fencing", "")), of(""));
    let mut cluster = Cluster::of(all_vote(&with));
    cluster.form();
    for node in [A, B] {
        cluster.host_mut(node).starts_fail.insert("db".into());
    }
    let epoch = cluster.assignment(A, "db").epoch();
    cluster.agent_reports(A, "db", epoch, RunState::Failed);
    cluster.run_for(2_000);
    let leader = cluster.lead();
    assert!(cluster.node(leader).is_flapping("db"));
    for node in [A, B] {
        cluster.host_mut(node).starts_fail.clear();
    }
    cluster.ask_done(leader, OperatorRequest::ApplyConfig { config: without });
    cluster.run_for(1_000);
    cluster.ask_done(leader, OperatorRequest::ApplyConfig { config: with });
    cluster.run_until(2_000, "it runs", |cluster| !cluster.runs_on("db").is_empty());
}

#[test]
fn a_group_that_keeps_moving_is_held_when_its_budget_is_used_up() {
    let more = "flap_budget = 2\nflap_window = \"1h\"";
    let mut cluster = Cluster::of(all_vote(&config_with(2, true, more, &group("web", "lease", ""))));
    cluster.form();
    let mut moves = 0;
    loop {
        let owner = cluster.runs_on("web")[0];
        cluster.isolate(owner);
        cluster.run_for(4_000);
        // The agent process stopped it when its permit lapsed.
        cluster.host_mut(owner).runs.clear();
        cluster.heal();
        cluster.run_for(4_000);
        if cluster.runs_on("web").is_empty() {
            break;
        }
        moves += 1;
        assert!(moves <= 2, "moved {moves} times");
    }
    let leader = cluster.lead();
    let view = cluster.node(leader).view(cluster.now);
    let reason = &view.groups[0].reason;
    assert!(reason.contains("too many automatic moves"), "{reason}");
    cluster.ask_done(leader, OperatorRequest::Cleanup { group: None });
    cluster.run_until(2_000, "it runs again", |cluster| {
        cluster.runs_on("web").len() == 1
    });
}

#[test]
fn moves_that_a_node_missed_are_not_counted_as_of_now() {
    let mut cluster = trio();
    let node = cluster.host_mut(B).node.as_mut().expect("it runs");
    let old = ClusterState::clone(node.committed().expect("formed"));
    let mut new = old.clone();
    let budget = node.config.cluster.flap_budget;
    new.groups.get_mut("db").expect("configured").automatic_moves += budget * 2;
    node.note_moves(&old, &new);
    assert!(!node.is_flapping("db"), "they may have been days apart");
    // And a count from elsewhere costs no memory.
    new.groups.get_mut("db").expect("configured").automatic_moves = u32::MAX;
    node.note_moves(&old, &new);
    assert!(node.moves["db"].len() <= budget as usize + 1);
}

#[test]
fn a_restart_of_had_leaves_what_runs_untouched() {
    let mut cluster = trio();
    let since = cluster.now;
    cluster.stop_had(A);
    cluster.run_for(60);
    cluster.start_had(A);
    cluster.run_for(5_000);
    assert_eq!(cluster.orders(A, since), Vec::<String>::new());
    assert_eq!(cluster.orders(B, since), Vec::<String>::new());
    assert_eq!(cluster.runs_on("db"), [A]);
    assert!(cluster.fences.is_empty());
}

#[test]
fn a_restarted_had_keeps_what_the_newest_commit_gave_to_it() {
    // The takeover was committed by this very node, whose disk then shows it as accepted only.
    let mut cluster = trio();
    cluster.isolate(A);
    cluster.run_until(5_000, "it is fenced", |cluster| {
        !cluster.asked_about(A).is_empty()
    });
    let ask = cluster.asked_about(A)[0];
    cluster.device_proves(ask);
    cluster.run_until(500, "it runs elsewhere", |cluster| cluster.runs_on("db") == [B]);
    cluster.run_for(100);
    let since = cluster.now;
    cluster.stop_had(B);
    cluster.run_for(60);
    cluster.start_had(B);
    cluster.run_for(5_000);
    assert_eq!(cluster.orders(B, since), Vec::<String>::new());
    assert_eq!(cluster.runs_on("db"), [B]);
}

#[test]
fn a_group_whose_permit_lapsed_on_its_own_node_starts_there_again() {
    let mut cluster = Cluster::formed(2, true, &group("web", "lease", ""));
    let owner = cluster.runs_on("web")[0];
    let epoch = cluster.assignment(owner, "web").epoch();
    // The agent process stopped it by itself, for want of a permit.
    cluster.agent_reports(owner, "web", epoch, RunState::Stopped);
    cluster.run_until(1_000, "it runs again", |cluster| {
        cluster.runs_on("web").len() == 1
    });
}

#[test]
fn word_from_before_a_start_says_nothing_about_the_start() {
    let mut cluster = trio();
    let old = cluster.assignment(A, "db").epoch();
    cluster.ask_done(A, move_to(B));
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("db") == [B]);
    cluster.run_for(1_000);
    let leader = cluster.lead();
    cluster.ask_done(leader, move_to(A));
    cluster.run_until(1_000, "it is ordered", |cluster| {
        cluster.started_at(A, "db", Time(cluster.now.0 - 1)).is_some()
    });
    let since = cluster.now;
    let event = Event::Agent(AgentEvent::Group(observation("db", old, RunState::Stopped)));
    cluster.event(A, event);
    cluster.run_for(2_000);
    assert_eq!(cluster.orders(A, since), ["+db"], "it is not started twice");
    assert_eq!(cluster.runs_on("db"), [A]);
}

#[test]
fn a_lease_group_leaves_an_owner_that_was_never_heard() {
    let mut state = all_vote(&config(2, true, &group("web", "lease", "")));
    state.groups.get_mut("web").expect("configured").assignment = Assignment::Owned {
        owner: A,
        boot: Some(BootId(77)),
        epoch: 1,
    };
    state.next_epoch = 2;
    let mut cluster = Cluster::of(state);
    let since = cluster.now;
    cluster.boot(B);
    cluster.boot(W);
    cluster.run_until(30_000, "it runs elsewhere", |cluster| {
        cluster.runs_on("web") == [B]
    });
    let started = cluster.started_at(B, "web", since).expect("started");
    assert!(
        started >= since + LEASE,
        "every permit of an earlier ballot lapsed"
    );
}

#[test]
fn a_leader_whose_own_agent_stays_away_gives_up_leading_and_is_fenced() {
    let mut cluster = trio();
    cluster.event(A, Event::Agent(AgentEvent::Detached));
    cluster.run_until(20_000, "another leads", |cluster| cluster.leader() == Some(B));
    cluster.run_until(20_000, "it is fenced", |cluster| {
        !cluster.asked_about(A).is_empty()
    });
    assert!(cluster.fences.iter().all(|ask| ask.by == B));
}

#[test]
fn a_leader_whose_disk_is_full_gives_up_leading() {
    let mut cluster = trio();
    cluster.host_mut(A).disk_held = true;
    cluster.event(A, Event::PersistFailed(PersistId(1_000), "no space left".into()));
    cluster.run_until(10_000, "another leads", |cluster| cluster.leader() == Some(B));
    cluster.run_for(20_000);
    assert_eq!(cluster.leaders(), [B]);
    assert_eq!(cluster.runs_on("db"), [A], "what runs goes on");
}

#[test]
fn a_daemon_that_ends_hands_leadership_over_first() {
    let mut cluster = trio();
    cluster.event(A, Event::Shutdown);
    cluster.run_until(500, "another leads", |cluster| cluster.leader() == Some(B));
    let ready = |cluster: &Cluster| {
        let ends = |done: &(Time, NodeId, Effect)| done.1 == A && matches!(done.2, Effect::ShutdownReady);
        cluster.done.iter().any(ends)
    };
    cluster.run_until(1_000, "it may end", ready);
    assert_eq!(cluster.runs_on("db"), [A]);
}

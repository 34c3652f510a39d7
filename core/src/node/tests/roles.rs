//! Which copies are whole, who says so, and who is promoted.

use super::super::roles::unseen;
use super::*;

fn accept_loss(to: NodeId) -> OperatorRequest {
    OperatorRequest::MoveAcceptingLoss {
        group: "db".into(),
        to,
    }
}

fn to(node: NodeId) -> OperatorRequest {
    OperatorRequest::Move {
        group: "db".into(),
        to: Some(node),
    }
}

#[test]
fn the_first_one_promoted_is_alone_in_the_set_and_every_node_is_told() {
    let cluster = Cluster::formed(2, true, &db(""));
    let owner = cluster.owner(A, "db").expect("promoted");
    for node in [A, B] {
        let told = cluster.told(node, "db").expect("told");
        assert!(told.wanted);
        assert_eq!(
            (told.primary, &told.in_sync),
            (Some(owner), &set(1, &[owner])),
            "{node}"
        );
        assert_eq!(told.epoch, cluster.assignment(A, "db").epoch());
    }
}

#[test]
fn the_first_copy_is_not_chosen_before_all_were_looked_at_and_then_by_what_it_has() {
    let mut cluster = Cluster::of(all_vote(&config(2, true, &db("prefer = [\"n1\"]"))));
    for node in cluster.members() {
        let begun = MemberReport {
            run: RunState::Starting,
            copy: None,
            detail: String::new(),
        };
        cluster.host_mut(node).members.insert("db".into(), begun);
        cluster.boot(node);
    }
    cluster.run_for(3_000);
    assert_eq!(cluster.owner(A, "db"), None);
    let why = cluster.why("db");
    assert!(why.contains("waits until the copy on n"), "{why}");
    for (node, position) in [(A, 5), (B, 9)] {
        cluster.member_is(node, "db", |member| {
            member.run = RunState::Running;
            member.copy = Some(copy(position));
        });
    }
    cluster.run_until(1_000, "it runs where there is more", |cluster| {
        cluster.runs_on("db") == [B]
    });
}

#[test]
fn a_copy_that_was_not_even_begun_to_be_looked_at_is_waited_for() {
    let mut cluster = Cluster::of(all_vote(&config(2, true, &db("prefer = [\"n1\"]"))));
    for (node, run, history) in [(A, RunState::Running, "one"), (B, RunState::Stopped, "")] {
        let seen = (!history.is_empty()).then(|| CopyReport {
            history: history.into(),
            ..copy(7)
        });
        let member = MemberReport {
            run,
            copy: seen,
            detail: String::new(),
        };
        cluster.host_mut(node).members.insert("db".into(), member);
    }
    for node in cluster.members() {
        cluster.boot(node);
    }
    cluster.run_for(3_000);
    assert_eq!(cluster.owner(A, "db"), None);
    let why = cluster.why("db");
    assert!(why.contains("waits until the copy on n2 was looked at"), "{why}");
    // It cannot be: that is all that will be known of it.
    cluster.member_is(B, "db", |member| member.run = RunState::Failed);
    cluster.run_until(1_000, "it runs on the other", |cluster| {
        cluster.runs_on("db") == [A]
    });
}

#[test]
fn of_different_histories_an_operator_names_the_one_to_keep() {
    let mut cluster = Cluster::of(all_vote(&config(2, true, &db(""))));
    for (node, history) in [(A, "one"), (B, "two"), (W, "")] {
        if !node.is_witness() {
            let member = MemberReport {
                run: RunState::Running,
                copy: Some(CopyReport {
                    history: history.into(),
                    ..copy(7)
                }),
                detail: String::new(),
            };
            cluster.host_mut(node).members.insert("db".into(), member);
        }
        cluster.boot(node);
    }
    cluster.run_for(3_000);
    assert_eq!(cluster.owner(A, "db"), None);
    let why = cluster.why("db");
    assert!(
        why.contains("n1 has other data (txn 7 of one) than n2 (txn 7 of two)")
            && why.contains("hactl move db n1 or n2"),
        "{why}"
    );
    let leader = cluster.lead();
    cluster.ask_done(leader, to(B));
    cluster.run_until(1_000, "it runs where it was told", |cluster| {
        cluster.runs_on("db") == [B]
    });
    assert_eq!(cluster.in_sync(B), set(1, &[B]));
}

#[test]
fn a_set_is_committed_on_the_word_of_the_promoted_node_alone_and_under_a_new_generation() {
    let mut cluster = Cluster::promoted(3, "");
    let unchanged = |cluster: &mut Cluster, what: &str| {
        cluster.run_for(500);
        assert_eq!(cluster.in_sync(A), set(2, &[A, B]), "{what}");
    };
    cluster.wishes(A, 2, &[A]);
    unchanged(&mut cluster, "a generation of before");
    cluster.wishes(A, 1, &[A]);
    unchanged(&mut cluster, "one that is older");
    cluster.wishes(B, 9, &[A, B, C]);
    unchanged(&mut cluster, "of a node that is not promoted");
    cluster.wishes(A, 9, &[B, C]);
    unchanged(&mut cluster, "without the promoted one");
    cluster.wishes(A, 9, &[A, NodeId(9)]);
    unchanged(&mut cluster, "with a node that there is not");
    let epoch = cluster.assignment(A, "db").epoch();
    let db = "db".into();
    assert_eq!(
        cluster.node(A).wish_of(A, &db, epoch),
        Some(set(9, &[A, NodeId(9)]))
    );
    assert_eq!(
        cluster.node(A).wish_of(A, &db, epoch + 1),
        None,
        "under another epoch"
    );
    cluster.wishes(A, 9, &[A, C]);
    cluster.run_until(500, "committed", |cluster| cluster.in_sync(A) == set(9, &[A, C]));
    cluster.run_for(200);
    let told = cluster.told(B, "db").expect("told");
    assert_eq!(told.in_sync, set(9, &[A, C]));
}

#[test]
fn a_wish_is_void_when_the_agent_process_that_stood_for_it_is_gone() {
    let seen = MemberReport {
        run: RunState::Running,
        copy: Some(CopyReport {
            wish: Some(set(5, &[A, B])),
            ..copy(7)
        }),
        detail: String::new(),
    };
    let left = unseen(&seen);
    let copy = left.copy.expect("where it was");
    assert_eq!(
        (copy.wish, copy.readable, copy.lag_ms, copy.position),
        (None, false, None, 7)
    );
    assert_eq!(left.run, RunState::Unknown);
    let mut cluster = Cluster::promoted(2, "");
    cluster.event(B, Event::Agent(AgentEvent::Detached));
    cluster.run_for(300);
    let known = cluster.node(A).members_on(B);
    assert_eq!(known["db"].run, RunState::Unknown);
}

#[test]
fn who_takes_over_by_a_proof_leaves_the_former_one_out_of_the_set() {
    let mut cluster = Cluster::promoted(3, "");
    cluster.wishes(A, 3, &[A, B, C]);
    cluster.run_for(300);
    cluster.copy_is(C, "db", |copy| copy.position = 8);
    cluster.copy_is(B, "db", |copy| copy.position = 7);
    cluster.run_for(300);
    cluster.loses_power(A);
    cluster.run_until(1_000, "it runs on the copy that has most", |cluster| {
        cluster.runs_on("db") == [C]
    });
    assert_eq!(cluster.in_sync(C), set(4, &[B, C]));
}

#[test]
fn a_copy_outside_the_set_is_promoted_only_when_an_operator_accepts_the_loss() {
    let mut cluster = Cluster::promoted(2, "");
    cluster.wishes(A, 3, &[A]);
    cluster.copy_is(B, "db", |copy| {
        copy.possible_loss = "at most 12 transactions".into()
    });
    cluster.run_for(300);
    let said = cluster.ask_refused(A, to(B));
    assert!(
        said.contains("n2 has a copy that may lack what was acknowledged; n1 has it: bring n1 back, or hactl move db n2 --accept-loss (loses at most 12 transactions)"),
        "{said}"
    );
    let said = cluster.ask_refused(A, accept_loss(B));
    assert!(
        said.contains("n1, which has everything, so nothing has to be lost"),
        "{said}"
    );
    cluster.loses_power(A);
    cluster.run_for(2_000);
    assert_eq!((cluster.owner(B, "db"), cluster.in_sync(B)), (None, set(3, &[A])));
    let why = cluster.why("db");
    assert!(why.contains("n1 has it: bring n1 back"), "{why}");
    let said = cluster.ask_refused(B, to(B));
    assert!(said.contains("--accept-loss"), "{said}");
    let said = cluster.ask_done(B, accept_loss(B));
    assert!(said.contains("at most 12 transactions"), "{said}");
    cluster.run_until(1_000, "it is promoted", |cluster| cluster.runs_on("db") == [B]);
    assert_eq!(cluster.in_sync(B), set(4, &[B]));
    let told = cluster.journal(B, "possible-loss");
    assert_eq!(told.len(), 1);
    let text = &told[0].text;
    assert!(
        text.contains("at most 12 transactions") && text.contains("ann accepted it at"),
        "{text}"
    );
    assert!(
        cluster.state(B).groups["db"].intent.is_none(),
        "it was good for once"
    );
}

#[test]
fn an_accepted_loss_is_not_needed_when_the_whole_copy_is_back_before_its_proof() {
    let mut cluster = Cluster::promoted(2, "");
    cluster.wishes(A, 3, &[A]);
    cluster.run_for(300);
    cluster.isolate(A);
    cluster.run_until(4_000, "the other leads", |cluster| cluster.leader() == Some(B));
    cluster.run_for(500);
    cluster.ask_done(B, accept_loss(B));
    cluster.heal();
    cluster.run_for(3_000);
    assert_eq!(cluster.owner(B, "db"), Some(A));
    assert_eq!(cluster.in_sync(B), set(3, &[A]));
    let entry = &cluster.state(B).groups["db"];
    assert!(entry.intent.is_none());
    assert!(
        entry.reason.contains("nothing has to be given up"),
        "{}",
        entry.reason
    );
}

#[test]
fn the_policy_promotes_what_there_is_when_no_whole_copy_can_come_back() {
    let mut cluster = Cluster::promoted(2, "on_possible_loss = \"promote\"");
    cluster.wishes(A, 3, &[A]);
    cluster.run_for(300);
    cluster.loses_power(A);
    cluster.run_until(2_000, "it is promoted", |cluster| cluster.runs_on("db") == [B]);
    assert_eq!(cluster.in_sync(B), set(4, &[B]));
    let text = &cluster.journal(B, "possible-loss")[0].text;
    assert!(
        text.contains("its copy is at txn 1 of h, n1 was last seen at txn 1 of h")
            && text.contains("on_possible_loss"),
        "{text}"
    );
}

#[test]
fn the_policy_waits_for_a_whole_copy_whose_node_is_only_late() {
    let mut cluster = Cluster::promoted(2, "on_possible_loss = \"promote\"");
    cluster.wishes(A, 3, &[A]);
    cluster.run_for(300);
    for node in [A, B, W] {
        cluster.power_off(node);
    }
    cluster.run_for(3_000);
    cluster.boot(W);
    cluster.boot(B);
    cluster.run_for(5_000);
    assert!(cluster.runs_on("db").is_empty(), "{}", cluster.journal_text());
    cluster.boot(A);
    cluster.run_until(3_000, "it is promoted where it is whole", |cluster| {
        cluster.runs_on("db") == [A]
    });
}

#[test]
fn a_copy_whose_agent_names_an_obstacle_is_not_promoted_whatever_is_committed() {
    let mut cluster = Cluster::promoted(2, "");
    cluster.copy_is(B, "db", |copy| copy.obstacle = "its disk is new".into());
    cluster.run_for(300);
    let said = cluster.ask_refused(A, to(B));
    assert!(
        said.contains("n2 has a copy that cannot be promoted: its disk is new"),
        "{said}"
    );
    cluster.loses_power(A);
    cluster.run_for(1_000);
    assert_eq!(cluster.owner(B, "db"), None);
    let said = cluster.ask_refused(B, accept_loss(B));
    assert!(said.contains("its disk is new"), "{said}");
    cluster.copy_is(B, "db", |copy| copy.obstacle = String::new());
    cluster.run_until(1_000, "it is promoted", |cluster| cluster.runs_on("db") == [B]);
}

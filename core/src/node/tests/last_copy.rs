//! The last whole copy that can be promoted failed: it is tried again soon, because waiting would help nobody.

use super::*;

/// `db` is promoted on node 1, whose copy is the only whole one.
fn alone(more: &str) -> Cluster {
    let mut cluster = Cluster::promoted(2, more);
    cluster.wishes(A, 3, &[A]);
    cluster.run_until(500, "it is alone in the set", |cluster| {
        cluster.in_sync(B) == set(3, &[A])
    });
    cluster
}

/// The promoted one says that the group failed.
fn says_it_failed(cluster: &mut Cluster, node: NodeId) {
    let epoch = cluster.assignment(node, "db").epoch();
    cluster.agent_reports(node, "db", epoch, RunState::Failed);
}

fn fails_and_moves(cluster: &mut Cluster) {
    says_it_failed(cluster, A);
    cluster.run_until(1_000, "it moved", |cluster| cluster.runs_on("db") == [B]);
}

/// The group fails where it is promoted, and nobody takes it.
fn fails(cluster: &mut Cluster, node: NodeId) {
    says_it_failed(cluster, node);
    cluster.run_until(1_000, "it was taken from it", |cluster| {
        cluster.owner(node, "db").is_none()
    });
}

#[test]
fn the_last_whole_copy_is_tried_again_soon_and_each_time_later() {
    let mut cluster = alone("");
    for (count, wait_ms) in [(1, 30_000), (2, 60_000), (3, 120_000)] {
        fails(&mut cluster, A);
        cluster.run_for(wait_ms - 2_000);
        assert_eq!(cluster.owner(A, "db"), None, "failure {count}");
        let why = cluster.why("db");
        let expected = format!(
            "n1 failed it (exit code 1); no other whole copy can be promoted, so it is tried again after {} s; hactl resource \
             cleanup db tries it now",
            wait_ms / 1000
        );
        assert!(why.contains(&expected), "{why}");
        cluster.run_until(3_000, "it is tried again", |cluster| cluster.runs_on("db") == [A]);
        let entry = &cluster.state(A).groups["db"];
        assert!(
            entry.reason.contains("no other whole copy can be promoted"),
            "{}",
            entry.reason
        );
        assert_eq!(entry.failures[&A].count, count, "so that the next wait is longer");
    }
}

#[test]
fn it_is_not_tried_more_often_than_the_budget_of_moves_allows() {
    let mut cluster = alone("");
    for wait_ms in [31_000, 61_000, 121_000] {
        fails(&mut cluster, A);
        cluster.run_until(wait_ms, "it is tried again", |cluster| {
            cluster.runs_on("db") == [A]
        });
    }
    fails(&mut cluster, A);
    cluster.run_for(300_000);
    assert_eq!(cluster.owner(A, "db"), None);
    let why = cluster.why("db");
    assert!(why.contains("held after too many automatic moves"), "{why}");
    cluster.run_until(120_000, "moves grew old", |cluster| cluster.runs_on("db") == [A]);
}

#[test]
fn while_another_whole_copy_can_be_promoted_a_failure_counts_as_everywhere() {
    let mut cluster = Cluster::promoted(2, "");
    cluster.copy_is(A, "db", |copy| copy.readable = false);
    fails_and_moves(&mut cluster);
    cluster.run_for(60_000);
    assert_eq!(cluster.owner(A, "db"), Some(B));
    // The other one fails too: the one that failed longer ago is tried at once.
    says_it_failed(&mut cluster, B);
    cluster.run_until(1_000, "it is tried where it failed first", |cluster| {
        cluster.runs_on("db") == [A]
    });
}

#[test]
fn a_copy_outside_of_the_set_that_failed_is_not_tried_again() {
    let mut cluster = alone("on_possible_loss = \"promote\"");
    fails_and_moves(&mut cluster);
    assert_eq!(cluster.in_sync(B), set(4, &[B]), "the policy allowed it");
    // What the first one has is worthless now, however often the only whole copy fails.
    cluster.run_for(40_000);
    fails(&mut cluster, B);
    cluster.run_until(31_000, "the whole one is tried again", |cluster| {
        cluster.runs_on("db") == [B]
    });
}

#[test]
fn what_else_is_wrong_with_the_last_whole_copy_still_counts() {
    let mut cluster = alone("");
    fails(&mut cluster, A);
    cluster.copy_is(A, "db", |copy| copy.obstacle = "its disk is gone".into());
    cluster.run_for(40_000);
    assert_eq!(cluster.owner(A, "db"), None);
    cluster.copy_is(A, "db", |copy| copy.obstacle = String::new());
    cluster.run_until(1_000, "it is tried again", |cluster| cluster.runs_on("db") == [A]);
}

#[test]
fn the_wait_never_exceeds_the_window_in_which_failures_count() {
    use crate::placement::last_copy_wait;
    let window = Duration::from_secs(600);
    let waits = [1, 2, 3, 4, 5, 6, 7, u32::MAX].map(|count| last_copy_wait(count, window).as_secs());
    assert_eq!(waits, [30, 60, 120, 240, 480, 600, 600, 600]);
    assert_eq!(last_copy_wait(1, Duration::from_secs(5)), Duration::from_secs(5));
}

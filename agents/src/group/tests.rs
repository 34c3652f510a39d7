//! The group's task with an agent that keeps a record of what it is asked.

mod bed;

use std::time::Duration;

use holdfast_proto::agent::GroupSpec;
use holdfast_proto::time::Time;

use crate::agent::PermitView;
use crate::permits::saved::SavedPermits;
use crate::roles::CopyStatus;
use bed::Bed;
pub(crate) use bed::scripted;

#[tokio::test]
async fn what_has_roles_runs_unpromoted_and_is_promoted_in_its_place_in_the_order() {
    let mut bed = Bed::new("order");
    bed.roles(1, true, "");
    bed.until_member("running").await;
    assert_eq!(bed.newest.run, "stopped");
    assert_eq!(bed.newest.resources[1].run, "unpromoted");
    assert_eq!(bed.log(), ["db start"]);
    bed.start(2);
    bed.until_run("running").await;
    assert_eq!(bed.log(), ["fs start", "db promote", "vip start"]);
    bed.stop(3, Some("db2"));
    bed.until_run("stopped").await;
    assert_eq!(bed.log(), ["vip stop", "db demote toward db2", "fs stop"]);
    assert_eq!(bed.newest.member.as_ref().unwrap().run, "running");
    // And once more, with the same agents.
    bed.start(4);
    bed.until_run("running").await;
    assert_eq!(bed.log(), ["fs start", "db promote", "vip start"]);
}

#[tokio::test]
async fn a_node_where_it_is_not_wanted_any_more_stops_it_after_it_was_demoted() {
    let mut bed = Bed::new("unwanted");
    bed.roles(1, true, "db1");
    bed.start(2);
    bed.until_run("running").await;
    bed.log();
    bed.stop(3, Some("db2"));
    bed.roles(4, false, "db2");
    bed.until_member("stopped").await;
    assert_eq!(
        bed.log(),
        ["vip stop", "db demote toward db2", "fs stop", "db stop"]
    );
    // An older word than that changes nothing.
    bed.roles(3, true, "db2");
    bed.roles(5, false, "db2");
    bed.until_member("stopped").await;
    assert!(bed.log().is_empty());
}

#[tokio::test]
async fn a_demotion_that_fails_ends_in_a_kill_and_a_new_start() {
    let mut bed = Bed::new("stubborn");
    bed.roles(1, true, "db1");
    bed.start(2);
    bed.until_run("running").await;
    bed.log();
    bed.fail(&["db demote"]);
    bed.stop(3, None);
    bed.until_run("stopped").await;
    bed.until_member("running").await;
    assert_eq!(
        bed.log(),
        ["vip stop", "db demote", "db kill", "fs stop", "db start"]
    );
}

#[tokio::test]
async fn each_attempt_to_end_what_survived_is_given_more_time() {
    let mut bed = Bed::new("slow");
    bed.start(2);
    bed.until_run("running").await;
    bed.log();
    bed.fail(&["fs stop"]);
    bed.slow("fs kill", Duration::from_millis(2500));
    bed.stop(3, None);
    bed.until_run("unknown").await;
    bed.until_run("stopped").await;
    assert_eq!(
        bed.log(),
        ["vip stop", "db stop", "fs stop", "fs kill", "fs stop", "fs kill"]
    );
}

#[tokio::test]
async fn what_fails_unpromoted_is_stopped_whole_and_tried_again_for_ever() {
    let mut bed = Bed::new("follower");
    bed.roles(1, true, "db2");
    bed.until_member("running").await;
    bed.log();
    bed.fail(&["db start"]);
    bed.context("db").events.failed("it crashed");
    bed.until_member("failed").await;
    assert!(bed.newest.member.as_ref().unwrap().detail.contains("it crashed"));
    bed.until("another attempt", |status| {
        status
            .member
            .as_ref()
            .is_some_and(|member| member.detail.contains("tried again in 4 s"))
    })
    .await;
    bed.fail(&[]);
    bed.until_member("running").await;
    assert_eq!(bed.newest.run, "stopped");
    assert!(bed.log().starts_with(&["db stop".into(), "db start".into()]));
}

#[tokio::test]
async fn what_fails_without_a_permit_is_said_before_its_stop_which_may_take_long() {
    let mut bed = Bed::new("hung");
    bed.roles(1, true, "db2");
    bed.until_member("running").await;
    bed.log();
    bed.context("db").events.failed("no answer");
    bed.until_member("stopping").await;
    assert!(bed.newest.member.as_ref().unwrap().detail.contains("no answer"));
    bed.until_member("failed").await;
    bed.until_member("running").await;
    assert_eq!(bed.log(), ["db stop", "db start"]);
}

#[tokio::test]
async fn a_promoted_resource_that_fails_is_stopped_whole_started_and_promoted_again() {
    let mut bed = Bed::new("crash");
    bed.roles(1, true, "db1");
    bed.start(2);
    bed.until_run("running").await;
    bed.log();
    bed.context("db").events.failed("it crashed");
    bed.until("restarted", |status| {
        status.run == "running" && status.restarts == 1 && !status.detail.is_empty()
    })
    .await;
    assert_eq!(
        bed.log(),
        ["vip stop", "db stop", "db start", "db promote", "vip start"]
    );
    // Once more than is allowed: given up here, and it follows again.
    bed.context("db").events.failed("it crashed again");
    bed.until_run("failed").await;
    bed.until_member("running").await;
    assert_eq!(bed.log(), ["vip stop", "db stop", "fs stop", "db start"]);
}

#[tokio::test]
async fn a_promoted_resource_that_gives_way_is_demoted_and_nothing_is_tried_in_place() {
    let mut bed = Bed::new("way");
    bed.roles(1, true, "db1");
    bed.start(2);
    bed.until_run("running").await;
    bed.log();
    bed.context("db").events.give_way("its disk is full");
    bed.until_run("failed").await;
    assert!(
        bed.newest.detail.contains("its disk is full"),
        "{}",
        bed.newest.detail
    );
    assert_eq!(bed.newest.restarts, 0);
    assert_eq!(bed.log(), ["vip stop", "db demote", "fs stop"]);
    assert_eq!(bed.newest.member.as_ref().unwrap().run, "running");
    bed.start(3);
    bed.until_run("running").await;
    assert_eq!(bed.log(), ["fs start", "db promote", "vip start"]);
}

#[tokio::test]
async fn agents_see_at_once_what_is_committed_and_what_they_see_is_told() {
    let mut bed = Bed::new("view");
    bed.roles(1, true, "db2");
    bed.until_member("running").await;
    let context = bed.context("db");
    assert_eq!(
        context.roles.borrow().remote_primary().unwrap().addresses[0].to_string(),
        "10.0.0.2"
    );
    bed.roles(2, true, "db1");
    assert_eq!(context.roles.borrow().primary.as_deref(), Some("db1"));
    assert!(!context.roles.borrow().waits_for_others());
    context.copy.tell(CopyStatus {
        position: 7,
        ..CopyStatus::default()
    });
    bed.until("the copy", |status| {
        let copy = status.member.as_ref().and_then(|member| member.copy.as_ref());
        copy.is_some_and(|copy| copy.position == 7)
    })
    .await;
}

#[tokio::test]
async fn after_a_restart_of_the_process_a_follower_is_taken_over_and_made_sure_of() {
    let mut bed = Bed::new("resume");
    bed.roles(1, true, "db2");
    bed.until_member("running").await;
    bed.log();
    bed.restart();
    bed.roles(2, true, "db2");
    bed.until_member("running").await;
    assert_eq!(bed.log(), ["db adopt", "db demote"]);
    // What was promoted is taken over as it is.
    bed.start(3);
    bed.until_run("running").await;
    bed.log();
    // As the guard keeps it.
    let permit = PermitView {
        epoch: 3,
        until: Time(u64::MAX),
    };
    let mut permits = SavedPermits::new(bed.folder.path().into());
    permits.record(&bed.name, permit).unwrap();
    bed.restart();
    bed.until_run("running").await;
    let log = bed.log();
    assert!(
        log.contains(&"db adopt".into()) && !log.contains(&"db demote".into()),
        "{log:?}"
    );
}

#[tokio::test]
async fn a_group_on_every_node_runs_whole_and_without_a_permit() {
    let mut bed = Bed::new("everywhere");
    let spec = GroupSpec {
        every_node: true,
        requires: "nothing".into(),
        ..bed.spec()
    };
    bed.roles_of(1, true, "", spec.clone());
    bed.until_member("running").await;
    assert_eq!(bed.log(), ["fs start", "db start", "vip start"]);
    bed.context("fs").events.failed("it broke");
    bed.until_member("failed").await;
    bed.until_member("running").await;
    assert_eq!(bed.log(), ["fs stop", "fs start"]);
    bed.roles_of(2, false, "", spec);
    bed.until_member("stopped").await;
    assert_eq!(bed.log(), ["vip stop", "db stop", "fs stop"]);
}

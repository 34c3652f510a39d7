//! Jobs: an occurrence begins once, where it may, and what becomes of it is agreed.

use holdfast_proto::job::{JobOutcome, JobPhase, JobState};
use holdfast_proto::peer::{CopyReport, MemberReport};

use super::*;
use crate::event::{Due, DueVerdict};
use crate::node::jobs::ATTEMPTS_MAX;

/// A job "backup" of the group "db".
fn job(keys: &str) -> String {
    format!(
        "{}\n[[job]]\nname = \"backup\"\ngroup = \"db\"\ncalendar = \"0 2 * * *\"\ncommand = [\"/bin/backup\"]\n{keys}\n",
        group("db", "fencing", "")
    )
}

/// The cluster runs, and the calendar is followed from 1000 on.
fn with_job(keys: &str) -> Cluster {
    let mut cluster = Cluster::formed(3, false, &job(keys));
    due(&mut cluster, 1000, DueVerdict::First);
    cluster.run_until(2_000, "the calendar is followed", |cluster| {
        cluster
            .leader()
            .is_some_and(|leader| !cluster.state(leader).jobs.is_empty())
    });
    cluster
}

/// Every node's clock says so; only a leader heeds it.
fn due(cluster: &mut Cluster, occurrence: i64, verdict: DueVerdict) {
    for node in cluster.members() {
        let due = Due {
            job: "backup".into(),
            occurrence,
            verdict: verdict.clone(),
        };
        cluster.event(node, Event::Due(due));
    }
}

fn state_of(cluster: &Cluster) -> Option<JobState> {
    let leader = cluster.leader()?;
    cluster.state(leader).jobs.get("backup").cloned()
}

#[track_caller]
fn becomes(cluster: &mut Cluster, phase: JobPhase) -> JobState {
    cluster.run_until(20_000, phase.as_str(), |cluster| {
        state_of(cluster).is_some_and(|job| job.phase == phase)
    });
    state_of(cluster).expect("a state")
}

fn owner(cluster: &Cluster) -> NodeId {
    cluster.runs_on("db")[0]
}

#[test]
fn a_calendar_is_followed_from_when_it_was_first_seen() {
    let mut cluster = with_job("");
    assert_eq!(
        state_of(&cluster).map(|job| (job.due, job.phase)),
        Some((1000, JobPhase::New))
    );
    due(&mut cluster, 900, DueVerdict::Begin);
    cluster.run_for(2_000);
    assert_eq!(cluster.begun, []);
}

#[test]
fn an_occurrence_begins_once_on_the_primary_and_its_end_is_agreed() {
    let mut cluster = with_job("");
    let primary = owner(&cluster);
    for _ in 0..3 {
        due(&mut cluster, 2000, DueVerdict::Begin);
        cluster.run_for(500);
    }
    assert_eq!(cluster.begun, [(primary, 2000)]);
    cluster.job_ends(primary, "backup", JobOutcome::Done);
    let done = becomes(&mut cluster, JobPhase::Done);
    assert_eq!((done.took_ms, done.occurrence, done.attempt), (7, 2000, 1));
    due(&mut cluster, 2000, DueVerdict::Begin);
    due(&mut cluster, 1500, DueVerdict::Begin);
    cluster.run_for(1_000);
    assert_eq!(
        cluster.begun.len(),
        1,
        "neither again, nor what a clock that was put back says"
    );
    for node in cluster.members() {
        assert_eq!(
            cluster.journal(node, "job-begun").len(),
            1,
            "every node keeps the history"
        );
        assert_eq!(cluster.journal(node, "job-done").len(), 1);
    }
}

#[test]
fn a_new_leader_whose_clock_is_behind_repeats_nothing() {
    let mut cluster = with_job("on = \"any\"");
    due(&mut cluster, 2000, DueVerdict::Begin);
    let begun = becomes(&mut cluster, JobPhase::Started);
    let leader = cluster.leader().expect("a leader");
    cluster.stop_had(leader);
    cluster.run_until(20_000, "another leads", |cluster| {
        cluster.leader().is_some_and(|now| now != leader)
    });
    due(&mut cluster, 2000, DueVerdict::Begin);
    due(&mut cluster, 1990, DueVerdict::Begin);
    cluster.run_for(1_000);
    assert_eq!(cluster.begun.len(), 1);
    assert_eq!(state_of(&cluster).map(|job| job.run), Some(begun.run));
}

#[test]
fn a_restart_of_had_or_of_its_agent_process_begins_nothing_twice() {
    let mut cluster = with_job("");
    due(&mut cluster, 2000, DueVerdict::Begin);
    becomes(&mut cluster, JobPhase::Started);
    cluster.run_for(500);
    let primary = owner(&cluster);
    cluster.attach_agent(primary);
    cluster.run_for(500);
    cluster.stop_had(primary);
    cluster.run_for(100);
    cluster.start_had(primary);
    cluster.run_for(5_000);
    assert_eq!(cluster.begun, [(primary, 2000)]);
    cluster.job_ends(primary, "backup", JobOutcome::Done);
    becomes(&mut cluster, JobPhase::Done);
}

#[test]
fn a_run_on_a_node_that_is_lost_is_interrupted_and_not_repeated() {
    let mut cluster = with_job("on = \"any\"");
    due(&mut cluster, 2000, DueVerdict::Begin);
    let started = becomes(&mut cluster, JobPhase::Started);
    let (node, _) = started.place.expect("a place");
    cluster.run_for(500);
    cluster.power_off(node);
    let interrupted = becomes(&mut cluster, JobPhase::Interrupted);
    assert_eq!(interrupted.run, started.run);
    cluster.boot(node);
    cluster.run_for(5_000);
    assert_eq!(cluster.begun.len(), 1);
    assert_eq!(
        state_of(&cluster).map(|job| job.phase),
        Some(JobPhase::Interrupted)
    );
    due(&mut cluster, 3000, DueVerdict::Begin);
    becomes(&mut cluster, JobPhase::Started);
}

#[test]
fn an_interrupted_run_is_begun_again_if_that_is_wanted_but_not_for_ever() {
    let mut cluster = with_job("on = \"any\"\non_interrupt = \"rerun\"");
    due(&mut cluster, 2000, DueVerdict::Begin);
    for attempt in 1..=ATTEMPTS_MAX {
        cluster.run_until(20_000, "it begins", |cluster| {
            cluster.begun.len() == attempt as usize
        });
        let job = state_of(&cluster).expect("a state");
        assert_eq!((job.attempt, job.occurrence), (attempt, 2000));
        let (node, _) = job.place.expect("a place");
        cluster.power_off(node);
        cluster.boot(node);
        cluster.run_for(4_000);
    }
    cluster.run_for(10_000);
    assert_eq!(cluster.begun.len(), ATTEMPTS_MAX as usize);
    becomes(&mut cluster, JobPhase::Interrupted);
}

#[test]
fn a_node_that_was_not_heard_for_a_while_says_how_it_ended() {
    let mut cluster = with_job("on = \"any\"");
    due(&mut cluster, 2000, DueVerdict::Begin);
    let (node, _) = becomes(&mut cluster, JobPhase::Started).place.expect("a place");
    cluster.run_for(500);
    let others: Vec<NodeId> = cluster
        .members()
        .into_iter()
        .filter(|other| *other != node)
        .collect();
    for other in &others {
        cluster.cut.extend([(node, *other), (*other, node)]);
    }
    becomes(&mut cluster, JobPhase::Interrupted);
    cluster.cut.clear();
    becomes(&mut cluster, JobPhase::Started);
    cluster.job_ends(node, "backup", JobOutcome::Failed);
    becomes(&mut cluster, JobPhase::Failed);
    assert_eq!(cluster.begun.len(), 1);
}

#[test]
fn what_is_due_while_a_run_goes_on_is_left_out() {
    let mut cluster = with_job("");
    due(&mut cluster, 2000, DueVerdict::Begin);
    let started = becomes(&mut cluster, JobPhase::Started);
    due(&mut cluster, 3000, DueVerdict::Begin);
    cluster.run_until(2_000, "it is dealt with", |cluster| {
        state_of(cluster).is_some_and(|job| job.due == 3000)
    });
    let job = state_of(&cluster).expect("a state");
    assert_eq!(
        (job.run, job.occurrence, job.phase),
        (started.run, 2000, JobPhase::Started)
    );
    assert!(
        cluster
            .members()
            .iter()
            .any(|node| !cluster.journal(*node, "job-overrun").is_empty())
    );
}

#[test]
fn what_cannot_begin_waits_and_is_left_out_when_it_is_too_late() {
    let mut cluster = with_job("");
    let call = OperatorCall {
        request: OperatorRequest::Maintenance { on: true },
        who: "root".into(),
        at: "now".into(),
    };
    let leader = cluster.leader().expect("a leader");
    cluster.event(leader, Event::Operator { request: 1, call });
    cluster.run_for(1_000);
    due(&mut cluster, 2000, DueVerdict::Begin);
    cluster.run_for(1_000);
    assert_eq!(
        state_of(&cluster).map(|job| job.due),
        Some(1000),
        "it may still begin"
    );
    due(&mut cluster, 2000, DueVerdict::Missed("it is too late".into()));
    let skipped = becomes(&mut cluster, JobPhase::Skipped);
    assert_eq!(
        skipped.detail,
        "it is too late: maintenance is on: nothing is started"
    );
    assert_eq!((skipped.due, cluster.begun.len()), (2000, 0));
}

#[test]
fn a_run_that_never_began_because_its_group_left_is_given_to_the_new_primary() {
    let mut cluster = with_job("");
    let primary = owner(&cluster);
    // The order is lost with the agent process, which comes back when the group has left.
    cluster.event(primary, Event::Agent(AgentEvent::Detached));
    due(&mut cluster, 2000, DueVerdict::Begin);
    cluster.run_for(200);
    assert_eq!(
        state_of(&cluster).map(|job| job.phase),
        Some(JobPhase::New),
        "its agent process is away"
    );
    cluster.attach_agent(primary);
    cluster.run_for(500);
    due(&mut cluster, 2000, DueVerdict::Begin);
    becomes(&mut cluster, JobPhase::Started);
}

#[test]
fn a_run_on_the_primary_ends_with_a_move_if_that_is_wanted() {
    for (keys, outcome) in [
        ("", JobOutcome::Running),
        ("on_move = \"kill\"", JobOutcome::Failed),
    ] {
        let mut cluster = with_job(keys);
        due(&mut cluster, 2000, DueVerdict::Begin);
        becomes(&mut cluster, JobPhase::Started);
        cluster.run_for(500);
        let primary = owner(&cluster);
        let call = OperatorCall {
            request: OperatorRequest::Move {
                group: "db".into(),
                to: None,
            },
            who: "root".into(),
            at: "now".into(),
        };
        let leader = cluster.leader().expect("a leader");
        cluster.event(leader, Event::Operator { request: 1, call });
        cluster.run_until(5_000, "it moved", |cluster| {
            let on = cluster.runs_on("db");
            on.len() == 1 && on[0] != primary
        });
        cluster.run_for(500);
        assert_eq!(cluster.host(primary).jobs["backup"].1, outcome, "{keys}");
    }
}

#[test]
fn an_operator_runs_a_job_beside_its_calendar_and_mends_a_clock_that_was_ahead() {
    let mut cluster = with_job("");
    // The clock of a leader was years ahead.
    due(&mut cluster, 9_000_000, DueVerdict::Missed("late".into()));
    becomes(&mut cluster, JobPhase::Skipped);
    due(&mut cluster, 2000, DueVerdict::Begin);
    cluster.run_for(500);
    assert_eq!(cluster.begun, []);
    let leader = cluster.leader().expect("a leader");
    let call = OperatorCall {
        request: OperatorRequest::RunJob {
            job: "backup".into(),
            at: 2500,
        },
        who: "root".into(),
        at: "now".into(),
    };
    cluster.event(
        leader,
        Event::Operator {
            request: 1,
            call: call.clone(),
        },
    );
    let job = becomes(&mut cluster, JobPhase::Started);
    assert_eq!((job.due, job.occurrence, job.who.as_str()), (2500, 2500, "root"));
    cluster.event(leader, Event::Operator { request: 2, call });
    cluster.run_for(500);
    assert_eq!(cluster.begun.len(), 1, "it runs already");
    let primary = owner(&cluster);
    cluster.job_ends(primary, "backup", JobOutcome::Done);
    becomes(&mut cluster, JobPhase::Done);
    due(&mut cluster, 3000, DueVerdict::Begin);
    cluster.run_for(500);
    assert_eq!(cluster.begun.len(), 2);
}

/// The agent process of `node` says how old its copy is.
fn has_copy(cluster: &mut Cluster, node: NodeId, lag_ms: Option<u64>) {
    let mut seen = observation("db", 0, RunState::Stopped);
    seen.member = Some(Arc::new(MemberReport {
        run: RunState::Running,
        copy: Some(CopyReport {
            readable: true,
            lag_ms,
            ..CopyReport::default()
        }),
        detail: String::new(),
    }));
    cluster.event(node, Event::Agent(AgentEvent::Group(seen)));
}

/// A group with roles, whose replica is as old as `lag_ms` says.
fn with_replica(keys: &str, lag_ms: Option<u64>) -> Cluster {
    let groups = format!(
        "[[group]]\nname = \"db\"\n[[group.resource]]\nname = \"r\"\ntype = \"ocf:heartbeat:Stateful\"\npromotable = true\n\
         [[job]]\nname = \"backup\"\ngroup = \"db\"\non = \"replica\"\ncalendar = \"0 2 * * *\"\n\
         command = [\"/bin/backup\"]\n{keys}\n"
    );
    let mut cluster = Cluster::of(all_vote(&config(2, true, &groups)));
    for node in cluster.members() {
        cluster.boot(node);
    }
    for node in [A, B] {
        has_copy(&mut cluster, node, lag_ms);
    }
    cluster.run_until(20_000, "it is promoted", |cluster| {
        cluster.runs_on("db").len() == 1
    });
    cluster.run_for(1_000);
    let replica = if owner(&cluster) == A { B } else { A };
    has_copy(&mut cluster, replica, lag_ms);
    due(&mut cluster, 1000, DueVerdict::First);
    cluster.run_for(1_000);
    due(&mut cluster, 2000, DueVerdict::Begin);
    cluster.run_for(1_000);
    cluster
}

#[test]
fn a_replica_is_fit_when_its_data_is_young_enough() {
    let primary = owner(&with_replica("", None));
    let replica = if primary == A { B } else { A };
    assert_eq!(
        with_replica("max_lag = \"5s\"", Some(5_000)).begun,
        [(replica, 2000)]
    );
    assert_eq!(with_replica("max_lag = \"5s\"", Some(5_001)).begun, []);
    assert_eq!(with_replica("max_lag = \"5s\"", None).begun, []);
    let keys = "max_lag = \"5s\"\nfallback = \"primary\"";
    assert_eq!(with_replica(keys, Some(5_001)).begun, [(primary, 2000)]);
}

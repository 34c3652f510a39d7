//! A real had-agentd with real jobs.

#![allow(missing_docs)]

mod common;

use common::*;
use holdfast_proto::agent::agent_report::Body as Report;
use holdfast_proto::agent::agent_request::Body as Ask;
use holdfast_proto::agent::{JobOrder, JobSpec, JobStatus};

/// A run of a shell script that may take `timeout_ms`.
fn run(number: u64, timeout_ms: u32, script: &str) -> Ask {
    Ask::Job(JobOrder {
        job: "backup".into(),
        run: number,
        begin: true,
        spec: Some(JobSpec {
            command: format!("/bin/sh\n-c\n{script}"),
            user: String::new(),
            cwd: "/".into(),
            env: "MODE=full".into(),
            timeout_ms,
            group: "db".into(),
        }),
        reason: String::new(),
        occurrence: 1_790_000_000,
        attempt: 1,
        cluster_id: 7,
    })
}

fn end(number: u64) -> Ask {
    Ask::Job(JobOrder {
        job: "backup".into(),
        run: number,
        begin: false,
        reason: "the group leaves".into(),
        cluster_id: 7,
        ..JobOrder::default()
    })
}

/// Waits until the run stands so.
fn stands(had: &mut Had, number: u64, outcome: &str) -> JobStatus {
    had.until(|report| match report {
        Report::Job(status) if status.run == number && status.outcome == outcome => Some(status.clone()),
        _ => None,
    })
}

/// A script that adds a line to a file, so that each time it runs can be counted.
fn counting(agentd: &Agentd, then: &str) -> String {
    format!(
        "echo $HOLDFAST_JOB $HOLDFAST_GROUP $HOLDFAST_JOB_OCCURRENCE $HOLDFAST_JOB_ATTEMPT $MODE >> {}; {then}",
        agentd.file("ran").display()
    )
}

fn times(agentd: &Agentd) -> usize {
    let text = std::fs::read_to_string(agentd.file("ran")).unwrap_or_default();
    text.lines().count()
}

/// A script that goes on until the file `go` is there.
fn until_go(agentd: &Agentd) -> String {
    let go = agentd.file("go").display().to_string();
    counting(
        agentd,
        &format!("while [ ! -e {go} ]; do sleep 0.02; done; echo all saved"),
    )
}

#[test]
fn a_run_begins_once_and_its_end_is_told() {
    for start in Agentd::both_kinds() {
        let agentd = start();
        let mut had = agentd.attach();
        let script = counting(&agentd, "exit 0");
        had.ask(run(5, 60_000, &script));
        let done = stands(&mut had, 5, "done");
        assert_eq!(done.detail, "it ended well");
        had.ask(run(5, 60_000, &script));
        stands(&mut had, 5, "done");
        had.ask(run(4, 60_000, &script));
        stands(&mut had, 5, "done");
        assert_eq!(times(&agentd), 1);
        let text = std::fs::read_to_string(agentd.file("ran")).unwrap();
        assert_eq!(text, "backup db 1790000000 1 full\n");
        had.ask(run(
            6,
            60_000,
            &counting(&agentd, "echo no room on the store >&2; exit 3"),
        ));
        let failed = stands(&mut had, 6, "failed");
        assert_eq!(
            failed.detail,
            "it ended with status 3; it said: no room on the store"
        );
        assert_eq!(times(&agentd), 2);
    }
}

#[test]
fn a_run_survives_a_restart_of_had_agentd_and_its_end_is_seen() {
    for start in Agentd::both_kinds() {
        let mut agentd = start();
        let mut had = agentd.attach();
        let script = until_go(&agentd);
        had.ask(run(5, 60_000, &script));
        stands(&mut had, 5, "running");
        wait_for("the program to begin", || times(&agentd) == 1);
        agentd.crash_and_restart();
        let mut had = agentd.attach();
        stands(&mut had, 5, "running");
        // had orders it again, because it does not know better.
        had.ask(run(5, 60_000, &script));
        stands(&mut had, 5, "running");
        std::fs::write(agentd.file("go"), "").unwrap();
        stands(&mut had, 5, "done");
        assert_eq!(times(&agentd), 1);
    }
}

#[test]
fn a_run_that_ended_while_had_agentd_was_away_is_told() {
    let mut agentd = Agentd::start();
    let mut had = agentd.attach();
    had.ask(run(5, 60_000, &until_go(&agentd)));
    wait_for("the program to begin", || times(&agentd) == 1);
    agentd.crash();
    std::fs::write(agentd.file("go"), "").unwrap();
    wait_for("its end to be written down", || {
        agentd.state_file("backup.ended").exists()
    });
    agentd.restart();
    let mut had = agentd.attach();
    stands(&mut had, 5, "done");
}

#[test]
fn a_run_that_was_ended_with_its_keeper_is_interrupted_and_not_repeated() {
    let mut agentd = Agentd::start();
    let mut had = agentd.attach();
    let script = until_go(&agentd);
    had.ask(run(5, 60_000, &script));
    wait_for("the program to begin", || times(&agentd) == 1);
    agentd.crash();
    let go = agentd.file("go").display().to_string();
    let spec = agentd.state_file("backup.run").display().to_string();
    for text in [spec, go] {
        for pid in pids_with(&text) {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        wait_for("it to be gone", || pids_with(&text).is_empty());
    }
    agentd.restart();
    let mut had = agentd.attach();
    stands(&mut had, 5, "interrupted");
    had.ask(run(5, 60_000, &script));
    stands(&mut had, 5, "interrupted");
    assert_eq!(times(&agentd), 1);
}

#[test]
fn a_run_that_takes_too_long_or_is_to_end_is_stopped() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    had.ask(run(5, 1000, &until_go(&agentd)));
    let late = stands(&mut had, 5, "failed");
    assert_eq!(late.detail, "it took longer than 1 s and was stopped");
    had.ask(run(6, 60_000, &until_go(&agentd)));
    wait_for("the program to begin", || times(&agentd) == 2);
    had.ask(end(6));
    let ended = stands(&mut had, 6, "failed");
    assert_eq!(ended.detail, "it was ended: the group leaves");
    // What was called off never begins.
    had.ask(end(7));
    stands(&mut had, 7, "not-begun");
    had.ask(run(7, 60_000, &until_go(&agentd)));
    stands(&mut had, 7, "not-begun");
    assert_eq!(times(&agentd), 2);
}

#[test]
fn what_a_program_leaves_behind_is_ended_and_what_cannot_begin_is_said() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let stays = format!(
        "setsid sleep 1000 {} >/dev/null 2>&1 & echo $! > {}",
        "",
        agentd.file("left").display()
    );
    had.ask(run(5, 60_000, &stays));
    let done = stands(&mut had, 5, "done");
    let left: i32 = std::fs::read_to_string(agentd.file("left"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    wait_for("what it left to end", || !lives(left));
    assert!(done.detail.contains("which was ended"), "{}", done.detail);
    let Ask::Job(mut order) = run(6, 60_000, "true") else {
        unreachable!()
    };
    order.spec.as_mut().unwrap().command = "/no/such/program".into();
    had.ask(Ask::Job(order));
    let failed = stands(&mut had, 6, "failed");
    assert!(
        failed.detail.contains("cannot run /no/such/program"),
        "{}",
        failed.detail
    );
}

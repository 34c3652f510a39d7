//! A real had-agentd with real programs.

#![allow(missing_docs)]

mod common;

use std::time::Duration;

use common::*;
use holdfast_proto::agent::agent_report::Body as Report;
use holdfast_proto::agent::agent_request::Body as Ask;
use holdfast_proto::agent::{Attach, Maintenance, ProbeSpec, SbdDisks};

#[test]
fn a_lapsed_permit_stops_the_group_without_had() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let pid = pid_of(&had.run_until_lapse(Duration::from_millis(700), &shell("sleep 1000; true")));
    assert!(lives(pid));
    drop(had);
    wait_for("the program to end", || !lives(pid));
    let mut had = agentd.attach();
    assert!(had.attached.groups.is_empty() || had.group("stopped").detail.contains("lapsed"));
}

#[test]
fn renewals_keep_it_running_and_lapse_is_told() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let pid = pid_of(&had.run_until_lapse(Duration::from_millis(500), &shell("exec sleep 1000")));
    had.permit("web", 2, Duration::from_millis(900));
    let note = had.note("permit-lapsed");
    assert!(note.text.contains("epoch 2"), "{}", note.text);
    assert!(!lives(pid) || had.group("stopped").run == "stopped");
}

#[test]
fn a_program_gets_nothing_of_what_agentd_protects_itself_with() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let seen = agentd.file("seen");
    let script = format!(
        "(cat /proc/self/stat; cat /proc/self/oom_score_adj; umask; grep SigIgn /proc/self/status; echo done) > {}",
        seen.display()
    );
    had.start(1, LONG, &shell(&format!("{script}; exec sleep 1000")));
    had.group("running");
    let read = || std::fs::read_to_string(&seen).unwrap_or_default();
    wait_for("the program to look at itself", || read().ends_with("done\n"));
    let text = read();
    let lines: Vec<_> = text.lines().collect();
    let stat: Vec<_> = lines[0].rsplit(')').next().unwrap().split_whitespace().collect();
    // Nice value, real-time priority and policy.
    assert_eq!((stat[16], stat[37], stat[38]), ("0", "0", "0"), "{text}");
    assert_eq!((lines[1], lines[2]), ("0", "0022"), "{text}");
    let ignored = u64::from_str_radix(lines[3].split_whitespace().last().unwrap(), 16).unwrap();
    assert_eq!(ignored & (1 << 12), 0, "SIGPIPE: {text}");
}

#[test]
fn permits_are_answered_with_signs_of_life_of_both_threads() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let mut first = None;
    wait_for("the agents' thread to answer anew", || {
        had.permit("none", 1, LONG);
        let (at, agents_at) = had.until(|report| match report {
            Report::Alive(alive) => Some((alive.at_us, alive.agents_at_us)),
            _ => None,
        });
        assert!(at >= agents_at);
        agents_at > *first.get_or_insert(agents_at)
    });
}

#[test]
fn an_older_epoch_is_refused() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    had.start(5, LONG, &shell("exec sleep 1000"));
    let pid = pid_of(&had.group("running"));
    had.stop("web", 4);
    assert!(had.note("epoch-refused").text.contains("epoch 4 is older than 5"));
    had.start(4, LONG, &shell("exec sleep 2000"));
    had.note("epoch-refused");
    assert!(lives(pid));
    had.stop("web", 5);
    assert_eq!(had.group("stopped").epoch, 5);
    assert!(!lives(pid));
}

#[test]
fn a_start_under_a_lapsed_permit_is_refused() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    had.start(1, Duration::ZERO, &shell("exec sleep 1000"));
    let refused = had.group("stopped");
    assert_eq!(refused.epoch, 1, "word of that order, so that it is given again");
    assert!(refused.detail.contains("lapsed already"), "{}", refused.detail);
    had.start(1, LONG, &shell("exec sleep 1000"));
    had.group("running");
    had.stop("web", 1);
    had.group("stopped");
}

#[test]
fn a_program_that_ignores_sigterm_is_killed_with_its_children() {
    for start in Agentd::both_kinds() {
        let agentd = start();
        let mut had = agentd.attach();
        let mut spec = shell(
            "trap '' TERM; setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & while :; do sleep 1; done",
        );
        spec.resources[0].stop_timeout_ms = 100;
        had.start(1, LONG, &spec);
        let pid = pid_of(&had.group("running"));
        wait_for("the child", || pids_with("trap \"\" TERM; while").len() > 1);
        had.stop("web", 1);
        had.group("stopped");
        assert!(!lives(pid));
        assert!(had.note("stop-escalated").text.contains("killing it"));
        let left = pids_with("HOLDFAST_RESOURCE=web/program");
        let own: Vec<_> = left
            .into_iter()
            .filter(|pid| lives(*pid) && comes_from(*pid, &agentd))
            .collect();
        assert!(own.is_empty(), "{own:?}");
    }
}

fn comes_from(pid: i32, agentd: &Agentd) -> bool {
    std::fs::read_link(format!("/proc/{pid}/fd/1")).is_ok_and(|path| path.starts_with(agentd.folder()))
}

#[test]
fn a_program_that_floods_its_output_never_blocks() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let done = agentd.file("done");
    let script = format!(
        "head -c 20000000 /dev/zero | tr '\\0' x; echo; echo last; touch {}; exit 3",
        done.display()
    );
    let mut spec = shell(&script);
    spec.max_restarts = 0;
    had.start(1, LONG, &spec);
    let failed = had.group("failed");
    assert!(done.exists());
    assert!(
        failed.detail.contains("exited with status 3"),
        "{}",
        failed.detail
    );
}

#[test]
fn a_program_that_prints_garbage_shows_as_one_bounded_line() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let mut spec = shell("head -c 3000000 /dev/urandom | tr -d '\\n'; printf '\\033[2J\\007'; exit 3");
    spec.max_restarts = 0;
    had.start(1, LONG, &spec);
    let detail = had.group("failed").detail;
    assert!(detail.contains("exited with status 3"), "{detail}");
    assert!(
        !detail.contains(char::is_control) && detail.len() < 2000,
        "{detail:?}"
    );
}

#[test]
fn a_restarted_agentd_takes_over_without_touching() {
    for start in Agentd::both_kinds() {
        let mut agentd = start();
        let mut had = agentd.attach();
        let counter = agentd.file("counter");
        let script = format!(
            "while :; do echo tick; echo . >> {}; sleep 0.01; done",
            counter.display()
        );
        had.start(3, LONG, &shell(&script));
        let pid = pid_of(&had.group("running"));
        agentd.crash_and_restart();
        let mut had = agentd.attach();
        // Named from the first answer on: what is not named counts as stopped.
        assert_eq!(had.attached.groups[0].run, "running");
        let status = match had.attached.groups[0].clone() {
            looked_at if !looked_at.resources.is_empty() => looked_at,
            _ => had.group("running"),
        };
        assert_eq!(
            (pid_of(&status), status.epoch, status.run.as_str()),
            (pid, 3, "running")
        );
        had.permit("web", 3, LONG);
        let before = std::fs::metadata(&counter).unwrap().len();
        wait_for("the program to go on", || {
            std::fs::metadata(&counter).unwrap().len() > before + 10
        });
        // Its end is noticed although it is not our child.
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        assert!(had.note("resource-failed").text.contains("the program ended"));
        had.stop("web", 3);
        had.group("stopped");
    }
}

#[test]
fn a_program_that_dies_is_restarted_in_place_and_then_given_up() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    had.start(1, LONG, &shell("exec sleep 1000"));
    let first = pid_of(&had.group("running"));
    let kill =
        |pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    kill(first).unwrap();
    let second = had.until(|report| match report {
        Report::Group(status)
            if status.run == "running" && status.resources[0].run == "running" && status.restarts == 1 =>
        {
            Some(pid_of(status))
        }
        _ => None,
    });
    assert_ne!(first, second);
    kill(second).unwrap();
    let failed = had.group("failed");
    assert!(
        failed
            .detail
            .contains("ended by signal 9; restarted in place 1 times"),
        "{}",
        failed.detail
    );
}

#[test]
fn a_stop_cancels_a_start() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let mut spec = shell("exec sleep 1000");
    let target = "/bin/false".to_owned();
    let probe = ProbeSpec {
        kind: "exec".into(),
        target,
        interval_ms: 10,
        timeout_ms: 1000,
        failures: 1,
        of: 1,
        ..ProbeSpec::default()
    };
    spec.resources[0].probes.push(probe);
    spec.resources[0].start_timeout_ms = 600_000;
    had.start(1, LONG, &spec);
    had.group("starting");
    had.stop("web", 1);
    had.group("stopped");
}

#[test]
fn a_probe_that_fails_n_of_m_times_fails_the_group() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let healthy = agentd.file("healthy");
    std::fs::write(&healthy, "").unwrap();
    let mut spec = shell("exec sleep 1000");
    let target = format!("/usr/bin/test\n-e\n{}", healthy.display());
    let probe = ProbeSpec {
        kind: "exec".into(),
        target,
        interval_ms: 10,
        timeout_ms: 5000,
        failures: 3,
        of: 5,
        ..ProbeSpec::default()
    };
    spec.resources[0].probes.push(probe);
    spec.max_restarts = 0;
    had.start(1, LONG, &spec);
    had.group("running");
    std::fs::remove_file(&healthy).unwrap();
    let failed = had.group("failed");
    assert!(failed.detail.contains("3 of the last"), "{}", failed.detail);
}

#[test]
fn nothing_is_done_in_maintenance() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let pid = pid_of(&had.run_until_lapse(Duration::from_millis(1500), &shell("exec sleep 1000")));
    had.ask(Ask::Maintenance(Maintenance { on: true }));
    std::thread::sleep(Duration::from_millis(1600));
    assert!(lives(pid));
    had.ask(Ask::Maintenance(Maintenance { on: false }));
    had.note("permit-lapsed");
    wait_for("the program to end", || !lives(pid));
}

#[test]
fn a_wrong_definition_fails_the_start_with_its_reason() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let mut spec = shell("true");
    spec.resources[0].kind = "exce".into();
    had.start(1, LONG, &spec);
    let failed = had.group("failed");
    assert!(
        failed.detail.contains("there is no agent \"exce\""),
        "{}",
        failed.detail
    );
    spec.resources[0].kind = "exec".into();
    spec.resources[0]
        .params
        .insert("command".into(), "/nowhere/program".into());
    had.start(2, LONG, &spec);
    let failed = had.group("failed");
    assert!(
        failed.detail.contains("cannot run /nowhere/program"),
        "{}",
        failed.detail
    );
}

#[test]
fn disks_are_not_watched_without_a_watchdog_and_that_is_told() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    had.ask(Ask::Attach(Attach {
        node: "a".into(),
        cluster: "test".into(),
        lease_ms: 1000,
        sbd: Some(SbdDisks {
            devices: vec![agentd.file("disk").display().to_string()],
            io_timeout_ms: 500,
            boot: "7".into(),
            ..SbdDisks::default()
        }),
    }));
    let note = had.note("sbd-no-watchdog");
    assert!(note.text.contains("had-agentd --watchdog"), "{}", note.text);
}

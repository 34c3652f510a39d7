//! What a real had-agentd does when a permit lapses: how it stops groups, whatever state it is in itself.

#![allow(missing_docs)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::*;
use holdfast_agents::clock;
use holdfast_agents::permits::saved;
use holdfast_proto::agent::GroupSpec;
use holdfast_proto::agent::agent_report::Body as Report;

const SOON: Duration = Duration::from_millis(400);

/// A group whose program notes in `asked` that it was asked to end, and does not.
fn stubborn(asked: &Path, requires: &str) -> GroupSpec {
    let script = format!(
        "trap 'echo asked >> {0}' TERM; : > {0}.ready; while :; do sleep 0.02; done",
        asked.display()
    );
    GroupSpec {
        requires: requires.into(),
        ..shell(&script)
    }
}

/// Starts it, and waits until nothing but a kill ends it; its pid.
fn run_ready(had: &mut Had, asked: &Path, spec: &GroupSpec) -> i32 {
    had.start(1, LONG, spec);
    let pid = pid_of(&had.group("running"));
    let ready = asked.with_extension("ready");
    wait_for("the program to hold out", || ready.exists());
    pid
}

#[test]
fn where_the_successor_waits_for_a_margin_nobody_is_asked() {
    for start in Agentd::both_kinds() {
        for requires in ["lease", "nothing", ""] {
            let agentd = start();
            let mut had = agentd.attach_with(LONG);
            let asked = agentd.file("asked");
            let pid = pid_of(&had.run_until_lapse(SOON, &stubborn(&asked, requires)));
            assert!(had.group("stopped").detail.contains("lapsed"));
            assert!(!lives(pid));
            assert!(!asked.exists(), "{requires:?}: asked to end");
        }
    }
}

#[test]
fn where_the_successor_waits_for_a_proof_the_program_is_asked_for_one_lease() {
    let agentd = Agentd::start();
    let mut had = agentd.attach_with(Duration::from_millis(500));
    let asked = agentd.file("asked");
    let spec = stubborn(&asked, "fencing");
    let pid = run_ready(&mut had, &asked, &spec);
    had.start(2, SOON, &spec);
    had.group("stopped");
    assert!(!lives(pid));
    assert!(asked.exists());
    assert!(had.note("stop-escalated").text.contains("killing it"));
}

#[test]
fn a_lapse_ends_a_polite_stop_that_is_under_way() {
    let agentd = Agentd::start();
    let mut had = agentd.attach_with(LONG);
    let asked = agentd.file("asked");
    let mut spec = stubborn(&asked, "lease");
    spec.resources[0].stop_timeout_ms = 3_600_000;
    let pid = run_ready(&mut had, &asked, &spec);
    had.start(2, Duration::from_secs(4), &spec);
    had.stop("web", 2);
    wait_for("the program to be asked", || asked.exists());
    had.group("stopped");
    assert!(!lives(pid));
}

#[test]
fn the_guard_ends_programs_while_the_agents_thread_hangs() {
    for start in Agentd::both_kinds() {
        let agentd = start();
        let mut had = agentd.attach();
        let spec = GroupSpec {
            requires: "lease".into(),
            ..shell(
                "trap '' TERM; setsid sh -c 'while :; do sleep 0.02; done' & while :; do sleep 0.02; done",
            )
        };
        // Time enough for a busy machine to set the trap before the permit ends.
        let pid = pid_of(&had.run_until_lapse(Duration::from_secs(4), &spec));
        // The agents' thread saves the group's state before it stops it, and hangs on a pipe that nobody reads.
        let trap = agentd.state_file("web.new");
        nix::unistd::mkfifo(&trap, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let note = had.note("permit-lapsed");
        wait_for("had to see that only the guard answers", || {
            let (at, agents_at) = agents_alive(&mut had);
            at > agents_at + 1_500_000
        });
        assert!(
            note.text.ends_with("stopping it without word from had"),
            "{}",
            note.text
        );
        wait_for("the program to end", || !lives(pid));
        wait_for("its child to end", || {
            let marked = pids_with("HOLDFAST_RESOURCE=web/program");
            !marked
                .into_iter()
                .any(|pid| lives(pid) && comes_from(pid, &agentd))
        });
    }
}

/// What the answer to permits says of the two threads.
fn agents_alive(had: &mut Had) -> (u64, u64) {
    had.permit("none", 1, LONG);
    had.until(|report| match report {
        Report::Alive(alive) => Some((alive.at_us, alive.agents_at_us)),
        _ => None,
    })
}

/// True if the process prints to a pipe of this had-agentd.
fn comes_from(pid: i32, agentd: &Agentd) -> bool {
    std::fs::read_link(format!("/proc/{pid}/fd/1")).is_ok_and(|path| path.starts_with(agentd.folder()))
}

#[test]
fn a_restart_adds_nothing_to_the_permit() {
    let mut agentd = Agentd::start();
    // A grace of a lease from the restart would be an hour.
    let mut had = agentd.attach_with(LONG);
    let asked = agentd.file("asked");
    let pid = pid_of(&had.run_until_lapse(Duration::from_secs(1), &stubborn(&asked, "lease")));
    had.permit("web", 2, Duration::from_secs(2));
    let until = clock::now() + Duration::from_secs(2);
    let state = agentd.state_file("");
    wait_for("the renewal to be recorded", || {
        saved::read(&state, "web").is_some_and(|permit| permit.epoch == 2 && permit.until + SOON > until)
    });
    agentd.crash_and_restart();
    let mut had = agentd.attach_with(LONG);
    assert_eq!(had.attached.groups[0].run, "running");
    assert!(had.note("permit-lapsed").text.contains("epoch 2"));
    had.group("stopped");
    assert!(!lives(pid) && !asked.exists());
    assert_eq!(saved::read(&state, "web"), None);
}

#[test]
fn what_lapsed_during_a_restart_is_stopped_at_once() {
    let mut agentd = Agentd::start();
    let mut had = agentd.attach_with(LONG);
    let asked = agentd.file("asked");
    let pid = pid_of(&had.run_until_lapse(Duration::from_secs(2), &stubborn(&asked, "lease")));
    let recorded = || saved::read(&agentd.state_file(""), "web").filter(|permit| permit.epoch == 2);
    wait_for("the permit to be recorded", || recorded().is_some());
    let until = recorded().unwrap().until;
    agentd.crash();
    wait_for("the permit to lapse", || clock::now() > until);
    assert!(lives(pid));
    agentd.restart();
    let mut had = agentd.attach_with(LONG);
    // Stopped already, or told when it is.
    if !had.attached.groups.is_empty() {
        had.group("stopped");
    }
    assert!(!lives(pid) && !asked.exists());
}

#[test]
fn without_a_record_of_its_permit_a_group_is_stopped() {
    let mut agentd = Agentd::start();
    let mut had = agentd.attach();
    had.start(3, LONG, &shell("exec sleep 1000"));
    let pid = pid_of(&had.group("running"));
    agentd.crash();
    std::fs::write(agentd.state_file("web.permit"), "damaged").unwrap();
    agentd.restart();
    wait_for("the program to end", || !lives(pid));
}

#[test]
fn a_group_whose_state_is_damaged_has_a_permit_that_ends() {
    let mut agentd = Agentd::start();
    let mut had = agentd.attach();
    had.start(3, LONG, &shell("exec sleep 1000"));
    let pid = pid_of(&had.group("running"));
    agentd.crash();
    for file in ["web.group", "web.permit"] {
        std::fs::write(agentd.state_file(file), "damaged").unwrap();
    }
    agentd.restart();
    let mut had = agentd.attach();
    let text = had.note("permit-lapsed").text;
    assert!(lives(pid), "how to stop it is not known");
    assert!(text.contains("stopping it without word from had"), "{text}");
}

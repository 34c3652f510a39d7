//! The disk is full: the node says so and acknowledges nothing, and goes on when there is room again.

mod bench;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use bench::Bench;
use holdfast_proto::control::{Switch, control_reply, control_request};

/// Runs `command` with a file system of its own on `folder`, which is small and vanishes with the process.
fn on_small_disk(command: &Command, folder: &Path) -> Command {
    let script = r#"cp -a "$1" "$1.before" && mount -t tmpfs -o size=256k,mode=0700 tmpfs "$1" && cp -a "$1.before/." "$1"
        shift && exec "$@""#;
    let mut wrapped = Command::new("unshare");
    wrapped
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(folder)
        .arg(command.get_program())
        .args(command.get_args())
        .env_remove("NOTIFY_SOCKET");
    wrapped
}

fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).expect("file");
    while file.write_all(&[0; 512]).is_ok() {}
}

fn maintenance(bench: &Bench, on: bool) -> Vec<control_reply::Body> {
    bench.ask("db1", control_request::Body::Maintenance(Switch { on }))
}

#[test]
fn a_full_disk_is_said_costs_nothing_acknowledged_and_is_recovered_from() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: only root can mount a small disk");
        return;
    }
    let bench = Bench::new();
    bench.had("db1", "init");
    let state = bench.dir("db1", "state");
    let daemon = bench.spawn("db1", on_small_disk(&bench.command("db1", "run"), &state));
    bench.until("db1", "a leader", |view| view.leader == "db1");
    let inside = PathBuf::from(format!("/proc/{}/root", daemon.pid()))
        .join(state.strip_prefix("/").expect("absolute"));
    fill(&inside.join("fill"));

    std::thread::scope(|scope| {
        let answer = scope.spawn(|| maintenance(&bench, true));
        let view = bench.until("db1", "word of the disk", |view| {
            view.warnings
                .iter()
                .any(|warning| warning.contains("cannot be written"))
        });
        assert!(
            view.warnings
                .iter()
                .any(|warning| warning.contains("Free space there")),
            "{:?}",
            view.warnings
        );
        assert!(!view.maintenance, "not acknowledged, so not in force");
        std::fs::remove_file(inside.join("fill")).expect("room again");
        let replies = answer.join().expect("answer");
        assert!(
            matches!(replies.last(), Some(control_reply::Body::Done(_))),
            "{replies:?}"
        );
    });
    let view = bench.until("db1", "no word of the disk", |view| {
        view.maintenance
            && !view
                .warnings
                .iter()
                .any(|warning| warning.contains("cannot be written"))
    });
    let events = bench.events("db1");
    let count = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
    assert_eq!(
        (count("disk-failed"), count("disk-recovered")),
        (1, 1),
        "{events:#?}"
    );
    assert_eq!(view.leader, "db1");
}

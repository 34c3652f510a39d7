//! Commands that look: rendering, JSON, colour, pipes.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::Stdio;

use crate::support::{FakeHad, code, err, hactl, healthy, json, out, with_group};
use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::{EventView, LinkView, WhyView};
use nix::pty::{Winsize, openpty};

/// What `hactl WORDS` prints on a terminal of 60 columns.
fn on_a_phone(had: &FakeHad, words: &[&str], no_color: bool) -> String {
    let size = Winsize {
        ws_row: 40,
        ws_col: 60,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let terminal = openpty(Some(&size), None).expect("a pseudo terminal");
    let slave: OwnedFd = terminal.slave;
    let mut command = hactl();
    command
        .arg("--socket")
        .arg(had.socket())
        .args(words)
        .stdout(Stdio::from(slave));
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let mut child = command.spawn().expect("hactl runs");
    // The command holds the slave too; without it the end of the output would not show.
    drop(command);
    let mut bytes = Vec::new();
    // A terminal whose other side is gone reads as an I/O error.
    let _ = File::from(terminal.master).read_to_end(&mut bytes);
    assert!(child.wait().expect("wait").success());
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn the_status_starts_with_the_summary() {
    let output = FakeHad::with_status(healthy()).hactl(&["status"]);
    let text = out(&output);
    assert!(text.starts_with("OK shop-db: healthy\n"), "{text}");
    assert!(text.contains("mysql   running   on db1"), "{text}");
    assert!(!text.contains('\x1b'), "no colour in a pipe");
}

#[test]
fn trouble_comes_first_and_links_that_are_down_are_named() {
    let mut view = with_group(&healthy(), "waiting", "", 8, 0);
    view.health = "down".into();
    view.summary = "no quorum: 1 of 3 voters answers".into();
    view.leader.clear();
    view.nodes[1].state = "lost".into();
    view.nodes[1].links = vec![LinkView {
        address: "10.0.0.2".into(),
        state: "down".into(),
        rtt_us: 0,
        lost_percent: 100,
    }];
    view.warnings = vec!["had on db1 runs without real-time scheduling".into()];
    let had = FakeHad::with_status(view);
    let text = out(&had.hactl(&["status"]));
    assert!(
        text.starts_with("DOWN shop-db: no quorum: 1 of 3 voters answers\n"),
        "{text}"
    );
    assert!(text.contains("link 10.0.0.2 is down"), "{text}");
    assert!(text.contains("! had on db1 runs without"), "{text}");
    assert_eq!(code(&had.hactl(&["status", "--check"])), 4);
}

#[test]
fn a_phone_sees_colour_and_no_long_lines() {
    let mut view = healthy();
    view.nodes[1].detail = "a long sentence about this node that has to be wrapped on a narrow screen".into();
    let had = FakeHad::with_status(view);
    let coloured = on_a_phone(&had, &["status"], false);
    assert!(coloured.contains("\x1b[32mOK\x1b[0m"), "{coloured}");
    let plain = on_a_phone(&had, &["status"], true);
    assert!(!plain.contains('\x1b'), "{plain}");
    assert!(
        plain.lines().all(|line| line.trim_end().chars().count() <= 60),
        "{plain}"
    );
}

#[test]
fn json_is_the_view_itself() {
    let document = json(&FakeHad::with_status(healthy()).hactl(&["status", "--json"]));
    assert_eq!(document["cluster"], "shop-db");
    assert_eq!(document["groups"][0]["requires"], "fencing");
}

#[test]
fn names_cannot_move_the_cursor() {
    let mut view = healthy();
    view.groups[0].reason = "agent said \x1b[2J".into();
    let text = out(&FakeHad::with_status(view).hactl(&["status"]));
    assert!(!text.contains('\x1b'), "{text:?}");
}

#[test]
fn watching_through_a_pipe_prints_changes() {
    let had = FakeHad::with_status(healthy());
    let mut child = hactl()
        .arg("--socket")
        .arg(had.socket())
        .args(["status", "--watch"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("hactl runs");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    assert_eq!(
        lines.next().expect("a line").expect("text"),
        "OK shop-db: healthy"
    );
    had.show(with_group(&healthy(), "starting", "db2", 8, 0));
    let change = lines
        .map(|line| line.expect("text"))
        .find(|line| line.contains("->"))
        .expect("a change");
    assert!(
        change.contains("mysql: running on db1 -> starting on db2"),
        "{change}"
    );
    child.kill().expect("kill");
    child.wait().expect("wait");
}

#[test]
fn events_end_quietly_when_the_reader_leaves() {
    let event = |id: u64| EventView {
        id,
        at: "2026-01-02T03:04:05.123456Z".into(),
        node: "db1".into(),
        kind: "peer-lost".into(),
        level: "warn".into(),
        text: "db2 has not been heard for 1000 ms".into(),
        ..EventView::default()
    };
    let had = FakeHad::new(healthy(), move |_, _| {
        let mut replies: Vec<Reply> = (0..20_000).map(|id| Reply::Event(event(id))).collect();
        replies.push(Reply::Done(String::new()));
        (Vec::new(), replies)
    });
    let mut child = hactl()
        .arg("--socket")
        .arg(had.socket())
        .args(["events", "--last", "20000", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hactl runs");
    let mut reader = BufReader::new(child.stdout.take().expect("stdout"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    let first: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(first["kind"], "peer-lost");
    drop(reader);
    let output = child.wait_with_output().expect("wait");
    assert_eq!((code(&output), err(&output).as_str()), (0, ""));
}

#[test]
fn why_says_the_sentence_first() {
    let had = FakeHad::new(healthy(), |_, _| {
        let view = WhyView {
            group: "mysql".into(),
            sentence: "mysql runs on db1 because it is preferred.".into(),
            candidates: vec![
                "db1: can run it".into(),
                "db2: can run it, is not preferred".into(),
            ],
            history: Vec::new(),
        };
        (Vec::new(), vec![Reply::Why(view), Reply::Done(String::new())])
    });
    let text = out(&had.hactl(&["why", "mysql"]));
    assert!(
        text.starts_with("mysql runs on db1 because it is preferred.\n\nNodes\n  db1: can run it\n"),
        "{text}"
    );
}

#[test]
fn without_had_it_says_how_to_look() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let output = hactl()
        .arg("--socket")
        .arg(folder.path().join("none"))
        .arg("status")
        .output()
        .expect("hactl runs");
    assert_eq!(code(&output), 5);
    assert!(err(&output).contains("systemctl status had"), "{}", err(&output));
    let output = hactl().arg("dance").output().expect("hactl runs");
    assert_eq!(code(&output), 2);
}

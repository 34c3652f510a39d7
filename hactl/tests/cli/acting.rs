//! Commands that change something: progress, outcome, measured outage, exit codes.

use crate::support::{FakeHad, code, err, error, healthy, json, out, with_group};
use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;

/// A cluster that moves the group to where it is asked to, away for 38 ms.
fn moving() -> FakeHad {
    FakeHad::new(healthy(), |request, now| match request {
        Request::Move(request) => {
            let to = if request.to.is_empty() { "db2" } else { &request.to };
            let views = vec![
                with_group(now, "stopping", "db1", 8, 0),
                with_group(now, "starting", to, 9, 0),
                with_group(now, "running", to, 9, 38),
            ];
            (
                views,
                vec![Reply::Progress("committing".into()), Reply::Done("agreed".into())],
            )
        }
        _ => (Vec::new(), vec![error("internal", "not scripted")]),
    })
}

#[test]
fn a_move_ends_with_the_place_and_the_measured_outage() {
    let output = moving().hactl(&["move", "mysql", "db2"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(out(&output), "done: mysql runs on db2; it was away 38 ms\n");
    assert!(
        err(&output).contains("mysql is starting on db2"),
        "{}",
        err(&output)
    );
    assert!(!err(&output).contains('\r'), "plain lines when piped");
}

#[test]
fn a_failover_as_json_is_one_document() {
    let document = json(&moving().hactl(&["failover", "mysql", "--json"]));
    assert_eq!(document["ok"], true);
    assert_eq!(document["outcome"], "mysql runs on db2; it was away 38 ms");
    assert_eq!(document["groups"][0]["node"], "db2");
    assert_eq!(document["groups"][0]["outage_ms"], 38);
    assert_eq!(document["groups"][0]["measured_by"], "leader");
}

#[test]
fn no_wait_returns_with_the_agreement() {
    let output = moving().hactl(&["move", "mysql", "--no-wait"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "done: agreed\n"));
}

#[test]
fn a_group_that_comes_back_to_its_old_node_is_a_failure() {
    let had = FakeHad::new(healthy(), |_, now| {
        let mut back = with_group(now, "running", "db1", 11, 90);
        back.groups[0].reason = "it failed to start on db2".into();
        (
            vec![with_group(now, "stopping", "db1", 8, 0), back],
            vec![Reply::Done("agreed".into())],
        )
    });
    let output = had.hactl(&["move", "mysql", "db2"]);
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).contains("mysql runs on db1 instead: it failed to start on db2"),
        "{}",
        err(&output)
    );
}

#[test]
fn each_kind_of_error_has_its_exit_code() {
    let cases = [
        ("refused", 3),
        ("denied", 3),
        ("no-quorum", 4),
        ("not-found", 2),
        ("invalid", 6),
        ("internal", 1),
    ];
    for (word, wanted) in cases {
        let had = FakeHad::new(healthy(), move |_, _| (Vec::new(), vec![error(word, "because")]));
        let output = had.hactl(&["move", "mysql"]);
        assert_eq!(code(&output), wanted, "{word}");
        assert!(err(&output).contains("error: because"), "{}", err(&output));
        let document = json(&had.hactl(&["maintenance", "on", "--json"]));
        assert_eq!(document["ok"], false);
        assert_eq!(document["error"]["code"], word);
        assert_eq!(document["exit"], wanted);
    }
}

#[test]
fn time_over_says_what_it_hung_on() {
    let had = FakeHad::new(healthy(), |_, now| {
        (
            vec![with_group(now, "starting", "db2", 9, 0)],
            vec![Reply::Done("agreed".into())],
        )
    });
    let output = had.hactl(&["move", "mysql", "--timeout", "1"]);
    assert_eq!(code(&output), 7);
    assert!(
        err(&output).contains("not done after 1 s: mysql is starting on db2"),
        "{}",
        err(&output)
    );
}

#[test]
fn had_that_closes_before_it_answers_is_unreachable() {
    let had = FakeHad::new(healthy(), |_, _| (Vec::new(), Vec::new()));
    let output = had.hactl(&["maintenance", "on"]);
    assert_eq!(code(&output), 5);
    assert!(
        err(&output).contains("before it had answered"),
        "{}",
        err(&output)
    );
}

#[test]
fn standby_waits_until_the_groups_run_elsewhere() {
    let had = FakeHad::new(healthy(), |request, now| {
        assert!(matches!(request, Request::Standby(asked) if asked.on && asked.node == "db1"));
        let mut end = with_group(now, "running", "db2", 9, 51);
        end.nodes[0].state = "standby".into();
        (
            vec![with_group(now, "moving", "db2", 8, 0), end],
            vec![Reply::Done("agreed".into())],
        )
    });
    let output = had.hactl(&["standby", "db1"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(
        out(&output),
        "done: db1 is in standby\nmysql runs on db2; it was away 51 ms\n"
    );
}

#[test]
fn fencing_waits_for_the_proof_and_the_takeover() {
    let had = FakeHad::new(healthy(), |_, now| {
        let mut fencing = with_group(now, "waiting", "db1", 7, 0);
        fencing.nodes[0].state = "fencing".into();
        let mut taken = with_group(now, "starting", "db2", 9, 0);
        taken.nodes[0].state = "fenced".into();
        let mut end = with_group(&taken, "running", "db2", 9, 1200);
        end.leader = "db2".into();
        (vec![fencing, taken, end], vec![Reply::Done("agreed".into())])
    });
    let output = had.hactl(&["fence", "db1"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(
        out(&output),
        "done: db1 was fenced\nmysql runs on db2; it was away 1200 ms\n"
    );
}

#[test]
fn the_operators_word_is_asked_for() {
    let had = FakeHad::new(healthy(), |_, _| {
        (Vec::new(), vec![Reply::Done("recorded".into())])
    });
    let output = had.hactl(&["fence", "confirm", "db1"]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("--yes"), "{}", err(&output));
    let output = had.hactl(&["fence", "confirm", "db1", "--reason", "unplugged", "--yes"]);
    assert_eq!((code(&output), out(&output).as_str()), (0, "done: recorded\n"));
}

#[test]
fn restart_of_a_resource_is_sent_with_both_names() {
    let had = FakeHad::new(healthy(), |request, now| {
        assert!(matches!(request, Request::Resource(asked)
            if (asked.action.as_str(), asked.group.as_str(), asked.resource.as_str()) == ("restart", "mysql", "db")));
        (
            vec![with_group(now, "running", "db1", 7, 12)],
            vec![Reply::Done("agreed".into())],
        )
    });
    let output = had.hactl(&["resource", "restart", "mysql/db"]);
    assert_eq!(out(&output), "done: mysql runs on db1; it was away 12 ms\n");
    let output = had.hactl(&["resource", "disable", "mysql/db"]);
    assert_eq!(code(&output), 2);
}

#[test]
fn forcing_a_quorum_takes_two_steps() {
    let had = FakeHad::new(healthy(), |request, _| {
        let Request::QuorumForce(asked) = request else {
            panic!("{request:?}")
        };
        let text = if asked.token.is_empty() {
            "could be lost: much\ntoken abcd"
        } else {
            "forced"
        };
        (Vec::new(), vec![Reply::Done(text.into())])
    });
    assert_eq!(
        out(&had.hactl(&["quorum", "force"])),
        "could be lost: much\ntoken abcd\n"
    );
    assert_eq!(out(&had.hactl(&["quorum", "force", "abcd"])), "forced\n");
    let document = json(&had.hactl(&["quorum", "force", "--token", "abcd", "--json"]));
    assert_eq!(
        (document["forced"].as_bool(), document["text"].as_str()),
        (Some(true), Some("forced"))
    );
}

#[test]
fn what_is_so_already_is_not_waited_for() {
    let had = FakeHad::new(healthy(), |_, _| {
        (Vec::new(), vec![Reply::Done("already there".into())])
    });
    let output = had.hactl(&["move", "mysql", "db1"]);
    assert_eq!(
        (code(&output), out(&output).as_str()),
        (0, "done: mysql runs on db1\n"),
        "{}",
        err(&output)
    );
    let output = had.hactl(&["standby", "db2"]);
    assert_eq!(
        (code(&output), out(&output).as_str()),
        (0, "done: db2 is in standby\n"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_group_without_another_node_ends_the_wait_for_standby() {
    let had = FakeHad::new(healthy(), |_, now| {
        (
            vec![with_group(now, "waiting", "", 8, 0)],
            vec![Reply::Done("agreed".into())],
        )
    });
    let output = had.hactl(&["standby", "db1"]);
    assert_eq!(
        (code(&output), out(&output).as_str()),
        (0, "done: db1 is in standby\nmysql is waiting\n"),
        "{}",
        err(&output)
    );
}

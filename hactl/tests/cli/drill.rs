//! `hactl drill` and `hactl fence test`.

use crate::support::{FakeHad, code, err, error, healthy, json, out};
use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{FenceDeviceView, FenceTestView, StatusView};

fn tested(state: &str) -> Reply {
    Reply::FenceTest(FenceTestView {
        node: "db2".into(),
        from: "db1".into(),
        ok: state == "proven",
        devices: vec![FenceDeviceView {
            agent: "fence_ipmilan".into(),
            level: 1,
            state: state.into(),
            detail: "no route to host".into(),
            ..FenceDeviceView::default()
        }],
    })
}

/// db2 is fenced and comes back; its device shows `state` when tested.
fn drilled(state: &'static str) -> FakeHad {
    FakeHad::new(healthy(), move |request, now| match request {
        Request::FenceTest(_) => (Vec::new(), vec![tested(state), Reply::Done(String::new())]),
        Request::Drill(_) => {
            let with = |node_state: &str, health: &str| {
                let mut view: StatusView = now.clone();
                let db2 = view
                    .nodes
                    .iter_mut()
                    .find(|node| node.name == "db2")
                    .expect("db2");
                db2.state = node_state.into();
                view.health = health.into();
                view
            };
            let views = vec![
                with("fencing", "degraded"),
                with("fenced", "degraded"),
                with("online", "ok"),
            ];
            (views, vec![Reply::Done("db2 is being fenced, as a drill".into())])
        }
        _ => (Vec::new(), vec![error("internal", "not scripted")]),
    })
}

#[test]
fn a_drill_reports_the_times() {
    let output = drilled("proven").hactl(&["drill", "db2", "--yes"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let said = out(&output);
    assert!(
        said.starts_with("done: db2 was proven off after ") && said.contains("heard again after"),
        "{said}"
    );
    let document = json(&drilled("proven").hactl(&["drill", "db2", "--yes", "--json"]));
    let measured = &document["measured_ms"];
    let times = ["proven_off", "heard_again", "whole_again"].map(|what| measured[what].as_u64().expect(what));
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_drill_is_not_begun_with_a_device_that_fails_or_a_cluster_that_is_not_well() {
    let output = drilled("failing").hactl(&["drill", "db2", "--yes"]);
    assert_eq!(code(&output), 3);
    assert!(err(&output).contains("no route to host"), "{}", err(&output));
    let mut sick = healthy();
    sick.health = "degraded".into();
    sick.summary = "link 2 is down".into();
    let had = FakeHad::with_status(sick);
    let output = had.hactl(&["drill", "db2", "--yes"]);
    assert_eq!(code(&output), 3);
    assert!(err(&output).contains("link 2 is down"), "{}", err(&output));
    let output = had.hactl(&["drill", "db2"]);
    assert_eq!(code(&output), 2, "nobody is there to be asked");
    let output = had.hactl(&["drill", "db2", "--window", "2-4", "--yes"]);
    assert!(err(&output).contains("02:00-04:00"), "{}", err(&output));
}

#[test]
fn a_fence_test_ends_with_1_if_a_device_fails() {
    let output = drilled("failing").hactl(&["fence", "test", "db2"]);
    assert_eq!(code(&output), 1);
    assert!(
        out(&output).contains("could NOT rely on this"),
        "{}",
        out(&output)
    );
    let output = drilled("proven").hactl(&["fence", "test", "db2", "--json"]);
    assert_eq!((code(&output), json(&output)["ok"].as_bool()), (0, Some(true)));
}

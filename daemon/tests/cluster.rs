//! Two daemons and a witness, as processes, over real sockets.

mod bench;

use bench::{Bench, NAMES};
use holdfast_proto::control::{
    ConfigRequest, Empty, MoveRequest, StatusView, control_reply, control_request,
};

fn runs_on(view: &StatusView, node: &str) -> bool {
    view.groups
        .iter()
        .any(|group| group.name == "web" && group.state == "running" && group.node == node)
}

fn all_vote(view: &StatusView) -> bool {
    view.voters.len() == NAMES.len()
        && view
            .nodes
            .iter()
            .all(|node| node.synced && node.state == "online")
}

/// Formation, takeover, restart, move, configuration: one story, because forming a cluster is what takes time.
#[test]
fn a_cluster_forms_fails_over_and_is_operated() {
    let bench = Bench::new();
    let (first, second) = (bench.agentd("db1"), bench.agentd("db2"));
    bench.had("db1", "init");
    let mut db1 = bench.start("db1");
    let _db2 = bench.start("db2");
    let _witness = bench.start("witness");
    let formed = bench.until_formed();
    assert_eq!(first.running(), ["web"]);
    assert!(second.running().is_empty());
    assert!(
        formed
            .nodes
            .iter()
            .filter(|node| node.name != "db1")
            .all(|node| node.links.iter().any(|link| link.state == "up"))
    );

    // A planned end of the daemon touches nothing that runs, and the next run takes it over as it is.
    assert_eq!(db1.terminate(), Some(0));
    assert_eq!(first.running(), ["web"]);
    let mut db1 = bench.start("db1");
    bench.until("db1", "its group again", |view| {
        all_vote(view) && runs_on(view, "db1")
    });
    assert_eq!(first.running(), ["web"]);
    assert!(second.running().is_empty());

    operate(&bench);

    // The daemon is gone for good: the permit lapses, the group goes on elsewhere, and the status says so.
    db1.kill();
    let view = bench.until("db2", "a takeover", |view| runs_on(view, "db2"));
    assert_eq!(second.running(), ["web"]);
    assert_eq!(view.health, "degraded", "{}", view.summary);
    assert!(
        view.summary.contains("web runs on db2; db1 is"),
        "{}",
        view.summary
    );
}

fn operate(bench: &Bench) {
    // Asked at the node that does not lead as well: it passes the request on.
    for (name, to) in [("db1", "db2"), ("db2", "db1")] {
        let request = MoveRequest {
            accept_loss: false,
            group: "web".into(),
            to: to.into(),
        };
        let replies = bench.ask(name, control_request::Body::Move(request));
        assert!(
            matches!(replies.last(), Some(control_reply::Body::Done(_))),
            "{replies:?}"
        );
        bench.until(to, "the move", |view| runs_on(view, to));
    }

    let show = bench.ask("db2", control_request::Body::ConfigShow(Empty {}));
    let Some(control_reply::Body::Done(text)) = show.last() else {
        panic!("{show:?}")
    };
    let wrong = ConfigRequest {
        text: text.replace("prefer", "perfer"),
        dry_run: false,
    };
    let replies = bench.ask("db2", control_request::Body::ConfigApply(wrong));
    assert!(
        matches!(replies.last(), Some(control_reply::Body::Error(error)) if error.message.contains("prefer")),
        "{replies:?}"
    );
    let slower = text.replace("detection = \"1s\"", "detection = \"1200ms\"");
    let request = ConfigRequest {
        text: slower,
        dry_run: false,
    };
    let replies = bench.ask("db2", control_request::Body::ConfigApply(request));
    assert!(
        matches!(replies.last(), Some(control_reply::Body::Done(_))),
        "{replies:?}"
    );
    for name in NAMES {
        bench.until(name, "the new configuration", |view| view.lease_ms == 1200);
    }

    let events = bench.events("db1");
    let mut ids = events.iter().map(|event| event.id);
    assert_eq!(ids.next(), Some(1));
    assert!(
        ids.zip(2..).all(|(id, expected)| id == expected),
        "numbers go on over the restart"
    );
}

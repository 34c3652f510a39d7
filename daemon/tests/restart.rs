//! The daemon is restarted, and its agent process hangs: nothing that runs is touched, and everybody is told.

mod bench;

use bench::Bench;
use bench::agentd::Agentd;

fn runs_untouched(bench: &Bench, agents: &[Agentd; 2]) {
    bench.until_formed();
    assert_eq!(agents[0].running(), ["web"]);
    assert!(agents[1].running().is_empty());
    assert!(agents.iter().all(|agent| agent.take_orders().is_empty()));
}

/// A detection time that a loaded machine does not exceed.
const DETECTION: &str = "3s";

#[test]
fn a_restart_of_had_is_seen_as_one_and_touches_nothing() {
    let bench = Bench::at(&std::env::temp_dir(), DETECTION);
    let agents = [bench.agentd("db1"), bench.agentd("db2")];
    bench.had("db1", "init");
    let mut db1 = bench.start("db1");
    let _others = [bench.start("db2"), bench.start("witness")];
    bench.until_formed();
    agents.iter().for_each(|agent| drop(agent.take_orders()));

    // Asked to end, the leader first sees to it that another leads.
    let view = bench.until("db2", "word of the leader", |view| !view.leader.is_empty());
    assert_eq!(view.leader, "db1", "leadership is where the group is");
    assert_eq!(db1.terminate(), Some(0));
    let view = bench.status("db2").expect("status");
    assert_ne!(view.leader, "db1", "{}", bench.logs());
    let mut db1 = bench.start("db1");
    runs_untouched(&bench, &agents);

    // Killed, it says nothing: the next run's reset of the old connections does.
    db1.kill();
    let _db1 = bench.start("db1");
    bench.until("db2", "the new run", |view| {
        view.nodes.iter().all(|node| node.state == "online")
    });
    runs_untouched(&bench, &agents);
    let lost: Vec<_> = bench
        .events("db2")
        .into_iter()
        .filter(|event| event.kind == "peer-lost")
        .collect();
    assert!(lost.is_empty(), "{lost:#?}");
    let restarts = bench
        .events("db2")
        .into_iter()
        .filter(|event| event.kind == "link-down" && event.text.contains("db1"))
        .map(|event| event.text);
    let restarts: Vec<_> = restarts.collect();
    assert!(restarts[0].contains("goodbye"), "{restarts:?}");
    assert!(
        restarts[1..].iter().any(|text| text.contains("restarted")),
        "{restarts:?}"
    );
}

#[test]
fn an_agent_process_that_hangs_is_told_and_taken_back_as_it_is() {
    let bench = Bench::at(&std::env::temp_dir(), "1s");
    let agents = [bench.agentd("db1"), bench.agentd("db2")];
    bench.had("db1", "init");
    let _running = bench::NAMES.map(|name| bench.start(name));
    bench.until_formed();
    // The node that runs nothing, so that nobody has to be fenced.
    agents[1].hang(true);
    let view = bench.until("db2", "word of the silence", |view| {
        view.warnings
            .iter()
            .any(|warning| warning.contains("had-agentd is not attached"))
    });
    let own = view.nodes.iter().find(|node| node.name == "db2").expect("itself");
    assert!(own.detail.contains("had-agentd"), "{}", own.detail);
    agents[1].hang(false);
    bench.until("db2", "its agent process again", |view| {
        !view.warnings.iter().any(|warning| warning.contains("had-agentd"))
    });
    let kinds: Vec<_> = bench
        .events("db2")
        .into_iter()
        .filter(|event| event.kind == "agent-lost" || event.kind == "agent-attached")
        .map(|event| event.text)
        .collect();
    assert!(
        kinds.iter().any(|text| text.contains("no sign of life")),
        "{kinds:#?}"
    );
    assert!(
        kinds.last().is_some_and(|text| text.contains("attached")),
        "{kinds:#?}"
    );
    assert_eq!(agents[0].running(), ["web"]);
}

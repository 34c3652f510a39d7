//! The rabbitmq agent with a real broker: one at a time, of two agents that stand for two nodes with shared storage.

#![allow(missing_docs)]

#[path = "rabbitmq/stage.rs"]
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, Instant};

use holdfast_agents::agent::{AgentContext, AgentEvent, EventSink, PermitView, Presence, ResourceAgent};
use holdfast_agents::clock;
use holdfast_agents::roles::{CopySink, RolesView};
use holdfast_proto::time::Time;
use stage::Stage;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::{mpsc, watch};

/// Far beyond anything that is waited for: reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(180);
const PYTHON: &str = "/usr/bin/python3";

/// A broker's storage, and what ends everything that uses it.
struct Storage {
    stage: Stage,
    port: u16,
    params: BTreeMap<String, String>,
}

impl Storage {
    fn new() -> Option<Storage> {
        let stage = Stage::new()?;
        let (port, mut params) = stage.broker("shop", "");
        let own = [("node_name", "shop@localhost"), ("probe_timeout_ms", "2000")];
        params.extend(own.map(|(key, value)| (key.into(), value.into())));
        Some(Storage { stage, port, params })
    }

    /// One of the nodes that may run the broker.
    fn node(&self, more: &[(&str, &str)]) -> Node {
        let mut params = self.params.clone();
        params.extend(more.iter().map(|(key, value)| ((*key).into(), (*value).into())));
        let (notes, _) = mpsc::channel(100);
        let (failures, failed) = mpsc::unbounded_channel();
        let context = AgentContext {
            group: "queue".into(),
            resource: "broker".into(),
            params,
            lease: Duration::from_secs(1),
            permit: watch::channel(PermitView {
                epoch: 1,
                until: Time(u64::MAX),
            })
            .1,
            events: EventSink::new(0, notes, failures),
            saved: String::new(),
            state_dir: self.stage.folder.path().into(),
            roles: watch::channel(RolesView::default()).1,
            copy: CopySink::default(),
            gate: None,
        };
        let agent = holdfast_agents::registry::build("rabbitmq", context.clone()).unwrap();
        Node {
            agent,
            failed,
            context,
        }
    }
}

struct Node {
    agent: Box<dyn ResourceAgent>,
    failed: mpsc::UnboundedReceiver<(usize, AgentEvent)>,
    context: AgentContext,
}

impl Node {
    async fn failure(&mut self) -> String {
        let event = tokio::time::timeout(PATIENCE, self.failed.recv()).await;
        match event.expect("a failure").expect("a sender").1 {
            AgentEvent::Failed(reason) => reason,
            other => panic!("no failure: {other:?}"),
        }
    }
}

fn soon() -> Time {
    clock::now() + PATIENCE
}

/// The client with publisher confirms.
struct Publisher {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    confirmed: BTreeSet<String>,
}

fn client(storage: &Storage, what: &str) -> Child {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rabbitmq/client.py");
    let mut command = Command::new(PYTHON);
    command.args([script, what, &storage.port.to_string()]);
    command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

impl Publisher {
    fn new(storage: &Storage) -> Option<Publisher> {
        let probe = std::process::Command::new(PYTHON)
            .args(["-c", "import pika"])
            .output();
        if !probe.is_ok_and(|output| output.status.success()) {
            eprintln!("not run: python3-pika is not installed");
            return None;
        }
        let mut child = client(storage, "publish");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Some(Publisher {
            child,
            lines,
            confirmed: BTreeSet::new(),
        })
    }

    /// Until so many more are confirmed.
    async fn more(&mut self, count: usize) {
        for _ in 0..count {
            let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
            self.confirmed
                .insert(line.expect("a confirm").unwrap().expect("a line"));
        }
    }

    /// What was confirmed, the last ones too.
    async fn end(mut self) -> BTreeSet<String> {
        self.child.start_kill().unwrap();
        while let Ok(Some(line)) = self.lines.next_line().await {
            // The last line may be half of one: then that confirm was not told.
            self.confirmed.insert(line);
        }
        self.child.wait().await.unwrap();
        self.confirmed
    }
}

/// Everything that is in the queues.
async fn drained(storage: &Storage) -> BTreeSet<String> {
    let output = tokio::time::timeout(PATIENCE, client(storage, "drain").wait_with_output()).await;
    let output = output.expect("the queues are read").unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn no_confirmed_message_is_lost_when_the_broker_is_killed_and_started_elsewhere() {
    let Some(storage) = Storage::new() else { return };
    let mut nodes = [storage.node(&[]), storage.node(&[])];
    nodes[0].agent.start(soon()).await.unwrap();
    assert_eq!(nodes[0].agent.probe().await, Presence::Active);
    let Some(mut publisher) = Publisher::new(&storage) else {
        return;
    };
    let mut down = Duration::ZERO;
    for round in 0..2 {
        publisher.more(60).await;
        let [one, two] = &mut nodes;
        let (from, to) = if round % 2 == 0 { (one, two) } else { (two, one) };
        let begun = Instant::now();
        if round == 0 {
            from.agent.kill(soon()).await.unwrap();
        } else {
            from.agent.stop(soon()).await.unwrap();
        }
        assert_eq!(from.agent.probe().await, Presence::Inactive);
        to.agent.start(soon()).await.unwrap();
        down = down.max(begun.elapsed());
    }
    publisher.more(60).await;
    let confirmed = publisher.end().await;
    let found = drained(&storage).await;
    let lost: Vec<&String> = confirmed.difference(&found).collect();
    assert!(lost.is_empty(), "confirmed and lost: {lost:?}");
    eprintln!(
        "figure: {} messages confirmed over a kill and a move, longest way {down:?}",
        confirmed.len()
    );
    nodes[0].agent.stop(soon()).await.unwrap();
    nodes[0].agent.stop(soon()).await.unwrap();
    assert_eq!(nodes[0].agent.probe().await, Presence::Inactive);
}

#[tokio::test]
async fn one_that_hangs_or_ends_is_noticed_and_agentd_may_be_restarted() {
    let Some(storage) = Storage::new() else { return };
    let mut node = storage.node(&[]);
    node.agent.start(soon()).await.unwrap();
    // had-agentd is restarted: what runs goes on.
    node.context.saved = node.agent.saved();
    node.agent = holdfast_agents::registry::build("rabbitmq", node.context.clone()).unwrap();
    assert_eq!(node.agent.probe().await, Presence::Active);
    node.agent.adopt().await.unwrap();
    storage.stage.signal(nix::sys::signal::Signal::SIGSTOP);
    let reason = node.failure().await;
    assert!(reason.contains("failed 3 of its last 5 looks"), "{reason}");
    node.agent.kill(soon()).await.unwrap();
    assert_eq!(node.agent.probe().await, Presence::Inactive);
}

#[tokio::test]
async fn what_would_start_an_empty_broker_is_refused() {
    let Some(storage) = Storage::new() else { return };
    std::fs::create_dir_all(storage.stage.file("shop/rabbit@db1")).unwrap();
    let refused = storage.node(&[]).agent.start(soon()).await.unwrap_err().0;
    assert!(
        refused.contains("a database of rabbit@db1 and none of shop@localhost"),
        "{refused}"
    );
    assert!(
        storage.stage.file("shop/rabbit@db1").exists(),
        "nothing is removed"
    );
    let mut lost = storage.node(&[("node_name", "shop@no-such-name.invalid")]);
    assert!(
        lost.agent
            .start(soon())
            .await
            .unwrap_err()
            .0
            .contains("/etc/hosts")
    );
    assert!(storage.stage.processes().is_empty(), "nothing was started");
}

#[tokio::test]
async fn a_broker_that_ends_while_it_starts_is_told_at_once() {
    let Some(storage) = Storage::new() else { return };
    std::fs::write(storage.stage.file("shop.conf"), "no.such.key = 1\n").unwrap();
    let refused = storage.node(&[]).agent.start(soon()).await.unwrap_err().0;
    assert!(refused.contains("ended while it started"), "{refused}");
}

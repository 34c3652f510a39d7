//! The galera agent with real servers: two MariaDB members on loopback addresses. Needs root, mariadb-server, galera-4 and
//! rsync; says what is missing and skips.

#![allow(missing_docs)]

#[path = "mysqld/server.rs"]
#[allow(dead_code)]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use holdfast_agents::agent::{AgentContext, AgentEvent, EventSink, PermitView, Presence, ResourceAgent};
use holdfast_agents::mysqld::client::Client;
use holdfast_agents::roles::{Copies, CopySink, CopyStatus, InSync, Peer, RolesView};
use holdfast_agents::{clock, galera};
use holdfast_proto::time::Time;
use nix::sys::signal::Signal;
use server::{Instance, Kind, USER, free_port, kinds};
use tokio::sync::{mpsc, watch};

/// Far beyond anything that is waited for: reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(120);
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";

fn mariadb() -> Option<Kind> {
    for (needed, package) in [(PROVIDER, "galera-4"), ("/usr/bin/rsync", "rsync")] {
        if !Path::new(needed).exists() {
            eprintln!("not run: {needed} is missing (package {package})");
            return None;
        }
    }
    kinds().into_iter().find(|kind| kind.mariadb)
}

/// One node: an agent with its server, and what the runner would know.
struct Node {
    name: &'static str,
    agent: Box<dyn ResourceAgent>,
    server: Instance,
    roles: watch::Sender<RolesView>,
    copies: watch::Receiver<Copies>,
    _permit: watch::Sender<PermitView>,
    _notes: mpsc::Receiver<(usize, AgentEvent)>,
    failures: mpsc::UnboundedReceiver<(usize, AgentEvent)>,
    _state: tempfile::TempDir,
}

fn peer(name: &str, address: IpAddr) -> Peer {
    Peer {
        name: name.into(),
        addresses: vec![address],
        ..Peer::default()
    }
}

impl Node {
    fn new(kind: &Kind, own: (&'static str, IpAddr), other: (&str, IpAddr), ports: [u16; 2]) -> Node {
        let [port, group] = ports;
        let (name, address) = own;
        let options = [
            format!("--wsrep-provider={PROVIDER}"),
            "--binlog-format=ROW".into(),
            "--wsrep-cluster-name=shop".into(),
            "--wsrep-sst-method=rsync".into(),
            format!("--wsrep-sst-receive-address={address}"),
            format!("--wsrep-node-address={address}:{group}"),
            format!("--wsrep-provider-options=gmcast.listen_addr=tcp://{address}:{group};gcache.size=16M"),
        ];
        let server = Instance::new(kind, address, port, &options);
        // What the server reads, in the place of no file at all.
        fs::write(server.file("my.cnf"), "[mysqld]\nwsrep_on=ON\n").unwrap();
        let mut command = server.command();
        for word in &mut command {
            if word == "--no-defaults" {
                *word = format!("--defaults-file={}", server.file("my.cnf").display());
            }
        }
        let state = tempfile::tempdir().unwrap();
        let params = BTreeMap::from([
            ("command".to_owned(), command.join("\n")),
            ("user".to_owned(), USER.to_owned()),
            ("socket".to_owned(), server.file("sock").display().to_string()),
            ("datadir".to_owned(), server.file("data").display().to_string()),
            ("port".to_owned(), group.to_string()),
            ("probe_interval_ms".to_owned(), "200".to_owned()),
        ]);
        let (note_sender, notes) = mpsc::channel(256);
        let (failure_sender, failures) = mpsc::unbounded_channel();
        let (permit, permit_view) = watch::channel(PermitView {
            epoch: 1,
            until: Time(u64::MAX),
        });
        let (roles, roles_view) = watch::channel(RolesView {
            own: peer(name, address),
            others: vec![peer(other.0, other.1)],
            ..RolesView::default()
        });
        let copies = watch::Sender::default();
        let context = AgentContext {
            group: "shop".into(),
            resource: format!("db-{name}"),
            params,
            lease: Duration::from_secs(1),
            permit: permit_view,
            events: EventSink::new(0, note_sender, failure_sender),
            saved: String::new(),
            state_dir: state.path().to_owned(),
            roles: roles_view,
            copy: CopySink::new(0, copies.clone()),
            gate: None,
        };
        Node {
            name,
            agent: galera::build(context).unwrap(),
            server,
            roles,
            copies: copies.subscribe(),
            _permit: permit,
            _notes: notes,
            failures,
            _state: state,
        }
    }

    fn lives(&self) -> bool {
        self.server
            .pid()
            .is_some_and(|pid| nix::sys::signal::kill(pid, None).is_ok())
    }

    /// What the register says.
    fn committed(&self, primary: &str, generation: u64, nodes: &[&str]) {
        self.roles.send_modify(|roles| {
            roles.primary = Some(primary.into());
            roles.in_sync = InSync {
                generation,
                nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
            };
        });
    }

    async fn start(&mut self) -> Result<(), String> {
        let deadline = clock::now() + PATIENCE;
        self.agent.start(deadline).await.map_err(|error| error.0)
    }

    async fn promote(&mut self) {
        let deadline = clock::now() + PATIENCE;
        let done = tokio::time::timeout(PATIENCE, self.agent.promote(deadline)).await;
        if let Err(error) = done.expect("promoted in time") {
            panic!("{}: {error}\n{}", self.name, self.server.log());
        }
    }

    async fn stop(&mut self) {
        self.agent.stop(clock::now() + PATIENCE).await.unwrap();
    }

    async fn root(&self) -> Client {
        let limit = Duration::from_secs(5);
        Client::local(&self.server.file("sock"), limit).await.unwrap()
    }

    async fn run(&self, statement: &str) {
        self.root().await.run(statement).await.unwrap();
    }

    /// Read after everything that was written before, wherever that was: Galera calls a member synced while up to
    /// `gcs.fc_limit` transactions still wait to be applied.
    async fn value(&self, statement: &str) -> String {
        let mut client = self.root().await;
        client.run("SET SESSION wsrep_sync_wait = 1").await.unwrap();
        client.value(statement).await.unwrap()
    }

    /// Waits until what it says of its copy is as it should be.
    async fn until(&mut self, what: &str, good: impl Fn(&CopyStatus) -> bool) -> CopyStatus {
        let begun = Instant::now();
        loop {
            let copy = self
                .copies
                .borrow_and_update()
                .get(&0)
                .cloned()
                .unwrap_or_default();
            if good(&copy) {
                return copy;
            }
            let late = begun.elapsed() > PATIENCE;
            assert!(
                !late,
                "{}: {what}: {copy:?}, {}\n{}",
                self.name,
                self.agent.detail(),
                self.server.log()
            );
            let _ = tokio::time::timeout(Duration::from_millis(200), self.copies.changed()).await;
        }
    }

    async fn synced(&mut self) -> CopyStatus {
        self.until("in step", |copy| copy.readable).await
    }
}

/// State transfers have a port of their own, so each test has its own addresses.
fn pair(kind: &Kind, first: u8) -> (Node, Node) {
    let addresses = [first, first + 1].map(|last| IpAddr::from([127, 0, 0, last]));
    let ports = [free_port(&addresses), free_port(&addresses)];
    let [one, two] = addresses;
    let first = Node::new(kind, ("db1", one), ("db2", two), ports);
    (first, Node::new(kind, ("db2", two), ("db1", one), ports))
}

/// Both run, db1 promoted, with a table.
async fn cluster(kind: &Kind, address: u8) -> (Node, Node) {
    let (mut first, mut second) = pair(kind, address);
    first.start().await.unwrap();
    second.start().await.unwrap();
    // Nobody was promoted: nobody founds anything.
    assert!(!first.lives() && !second.lives());
    assert_eq!(first.agent.probe().await, Presence::Inactive);
    for node in [&first, &second] {
        node.committed("db1", 1, &["db1"]);
    }
    first.promote().await;
    second.synced().await;
    let both = |copy: &CopyStatus| copy.wish.as_ref().is_some_and(|wish| wish.nodes.len() == 2);
    let wish = first.until("both are whole", both).await.wish.unwrap();
    assert!(wish.generation > 2, "an agent before it may have wished some");
    for node in [&first, &second] {
        node.committed("db1", wish.generation, &["db1", "db2"]);
    }
    first.run("CREATE DATABASE shop").await;
    first
        .run("CREATE TABLE shop.t (n INT PRIMARY KEY) ENGINE=InnoDB")
        .await;
    first.run("INSERT INTO shop.t VALUES (1)").await;
    (first, second)
}

#[tokio::test]
async fn a_node_whose_configuration_was_overwritten_with_an_empty_gcomm_is_refused() {
    let Some(kind) = mariadb() else {
        return;
    };
    let (mut first, mut second) = cluster(&kind, 31).await;
    // A push, and a restart.
    second.stop().await;
    let pushed = "[mysqld]\nwsrep_on=ON\nwsrep_cluster_address=gcomm://\n";
    fs::write(second.server.file("my.cnf"), pushed).unwrap();
    let refused = second.start().await.unwrap_err();
    assert!(
        refused.contains("my.cnf:3 says wsrep_cluster_address = \"gcomm://\""),
        "{refused}"
    );
    assert!(refused.contains("founds a cluster of its own"), "{refused}");
    assert!(!second.lives(), "nothing was started");
    // The cluster went on, and the node joins it when its file is right again.
    first.run("INSERT INTO shop.t VALUES (2)").await;
    let right = "[mysqld]\nwsrep_on=ON\nwsrep_cluster_address=gcomm://127.0.0.31,127.0.0.32\n";
    fs::write(second.server.file("my.cnf"), right).unwrap();
    second.start().await.unwrap();
    second.synced().await;
    assert_eq!(second.value("SELECT COUNT(*) FROM shop.t").await, "2");
    let uuid = |node: &Node| {
        let path = node.server.file("data/grastate.dat");
        fs::read_to_string(path)
            .unwrap()
            .lines()
            .find(|line| line.starts_with("uuid"))
            .map(str::to_owned)
    };
    assert_eq!(uuid(&first), uuid(&second));
    second.stop().await;
    first.stop().await;
}

#[tokio::test]
async fn a_pair_goes_on_alone_only_when_the_register_says_so_and_is_founded_once_from_the_right_copy() {
    let Some(kind) = mariadb() else {
        return;
    };
    let (mut first, mut second) = cluster(&kind, 33).await;
    // db2 crashes: db1 stands still, wishes that only its copy counts, and goes on when that is committed.
    second.server.signal(Signal::SIGKILL);
    assert!(second.failures.recv().await.is_some());
    second.stop().await;
    let alone = |copy: &CopyStatus| copy.wish.as_ref().is_some_and(|wish| wish.nodes.len() == 1);
    let wish = first.until("only db1 is whole", alone).await.wish.unwrap();
    assert!(
        first
            .root()
            .await
            .run("INSERT INTO shop.t VALUES (2)")
            .await
            .is_err(),
        "it stands still"
    );
    for node in [&first, &second] {
        node.committed("db1", wish.generation, &["db1"]);
    }
    first.synced().await;
    first.run("INSERT INTO shop.t VALUES (2)").await;
    second.start().await.unwrap();
    second.synced().await;
    assert_eq!(second.value("SELECT COUNT(*) FROM shop.t").await, "2");
    let both = |copy: &CopyStatus| copy.wish.as_ref().is_some_and(|wish| wish.nodes.len() == 2);
    let generation = first.until("both are whole", both).await.wish.unwrap().generation;
    for node in [&first, &second] {
        node.committed("db1", generation, &["db1", "db2"]);
    }
    // db1 loses power, and is proven off: db2 is promoted and goes on.
    first.server.signal(Signal::SIGKILL);
    assert!(first.failures.recv().await.is_some());
    first.stop().await;
    second
        .until("db1 is missed", |copy| !copy.readable && copy.obstacle.is_empty())
        .await;
    for node in [&first, &second] {
        node.committed("db2", generation + 1, &["db2"]);
    }
    second.promote().await;
    second.run("INSERT INTO shop.t VALUES (3)").await;
    first.start().await.unwrap();
    first.synced().await;
    assert_eq!(first.value("SELECT COUNT(*) FROM shop.t").await, "3");
    for node in [&first, &second] {
        node.committed("db2", generation + 2, &["db1", "db2"]);
    }
    // Everything is stopped, db1 first: it may not be gone on from, and db2 founds the same cluster again.
    first.stop().await;
    second.run("INSERT INTO shop.t VALUES (4)").await;
    second.stop().await;
    first.start().await.unwrap();
    second.start().await.unwrap();
    let left = first
        .until("it left first", |copy| !copy.obstacle.is_empty())
        .await;
    assert!(
        left.obstacle.contains("left while another member went on"),
        "{left:?}"
    );
    let last = second
        .until("it left last", |copy| {
            copy.obstacle.is_empty() && copy.position > 0
        })
        .await;
    assert!(
        last.position > left.position && last.history == left.history,
        "{last:?} {left:?}"
    );
    let refused = first.agent.promote(clock::now() + PATIENCE).await.unwrap_err();
    assert!(refused.0.contains("not founded from the copy"), "{refused}");
    second.promote().await;
    first.start().await.unwrap();
    first.synced().await;
    assert_eq!(first.value("SELECT COUNT(*) FROM shop.t").await, "4");
    first.stop().await;
    second.stop().await;
}

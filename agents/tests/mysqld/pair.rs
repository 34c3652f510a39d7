//! Two nodes, and what stands in for the register: it commits what primaries wish.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_agents::agent::AgentError;
use holdfast_agents::mysqld::client::{Client, SqlError};
use holdfast_agents::roles::{Copies, InSync, Peer, RolesView};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::certificates::Certificates;
use crate::node::{LEASE, Node, PATIENCE, deadline, until};
use crate::server::{Kind, free_port};

/// What is committed.
#[derive(Default)]
struct Agreed {
    primary: Option<&'static str>,
    epoch: u64,
    in_sync: InSync,
    /// Wishes are committed.
    listens: bool,
    /// This node hears nothing of what is committed.
    deaf: Option<&'static str>,
}

pub struct Pair {
    pub a: Node,
    pub b: Node,
    agreed: Arc<Mutex<Agreed>>,
    register: JoinHandle<()>,
    seed_port: u16,
}

fn peer(name: &str, id: u32, address: &str) -> Peer {
    // Connections over loopback come from 127.0.0.1, whatever address they go to.
    let addresses = [address, "127.0.0.1"].map(|text| text.parse().unwrap());
    Peer {
        name: name.into(),
        id,
        addresses: addresses.to_vec(),
    }
}

const A: &str = "127.0.0.2";
const B: &str = "127.0.0.3";

fn options(kind: &Kind) -> Vec<String> {
    let common = ["--log-bin=binlog", "--relay-log=relay", "--binlog-format=ROW"];
    let own: &[&str] = if kind.mariadb {
        &["--log-slave-updates=ON"]
    } else {
        &["--gtid-mode=ON", "--enforce-gtid-consistency=ON"]
    };
    common.iter().chain(own).map(|text| (*text).to_owned()).collect()
}

impl Pair {
    pub fn new(kind: &Kind, params: &[(&str, &str)]) -> Pair {
        Self::with(kind, params, &[], &[])
    }

    /// The disk of `a` is the one of this folder.
    pub fn with_disk_of_a(kind: &Kind, folder: &str) -> Pair {
        Self::with(kind, &[("private_link", "true")], &[], &[("datadir", folder)])
    }

    pub fn with_certificates(kind: &Kind, certificates: &Certificates) -> Pair {
        let [ca, cert, key] = ["ca.pem", "node.pem", "node.key"].map(|name| certificates.file(name));
        let options = [
            format!("--ssl-ca={ca}"),
            format!("--ssl-cert={cert}"),
            format!("--ssl-key={key}"),
        ];
        let params = [("tls_ca", &*ca), ("tls_cert", &*cert), ("tls_key", &*key)];
        Self::with(kind, &params, &options, &[])
    }

    fn with(kind: &Kind, params: &[(&str, &str)], more: &[String], of_a: &[(&str, &str)]) -> Pair {
        let addresses: [IpAddr; 2] = [A, B].map(|text| text.parse().unwrap());
        let port = free_port(&addresses);
        let seed_port = free_port(&addresses);
        let seed_text = seed_port.to_string();
        let mut all = vec![
            ("mode", "replication"),
            ("probe_interval_ms", "500"),
            ("seed_port", &*seed_text),
        ];
        all.extend(params);
        let options = [&options(kind)[..], more].concat();
        let b = Node::new("b", kind, addresses[1], port, &options, &all);
        all.extend(of_a);
        let a = Node::new("a", kind, addresses[0], port, &options, &all);
        let agreed = Arc::new(Mutex::new(Agreed {
            listens: true,
            ..Agreed::default()
        }));
        let parts = [&a, &b].map(|node| (node.name, node.roles.clone(), node.copies()));
        let register = tokio::spawn(serve(Arc::clone(&agreed), parts));
        Pair {
            a,
            b,
            agreed,
            register,
            seed_port,
        }
    }

    /// Commits a promotion. `former_gone`: it was fenced, so its copy is not counted on any more.
    pub fn agree(&self, primary: &'static str, former_gone: bool) {
        let mut agreed = self.agreed.lock().unwrap();
        agreed.primary = Some(primary);
        agreed.epoch += 1;
        agreed.in_sync.generation += 1;
        if former_gone || agreed.in_sync.nodes.is_empty() {
            agreed.in_sync.nodes = BTreeSet::from([primary.to_owned()]);
        }
        assert!(
            agreed.in_sync.nodes.contains(primary),
            "only a whole copy is promoted"
        );
    }

    pub fn listen(&self, yes: bool) {
        self.agreed.lock().unwrap().listens = yes;
    }

    /// From here on `name` hears nothing of what is committed, until what is returned is called.
    pub fn deafen(&self, name: &'static str) -> impl FnOnce() + use<> {
        self.agreed.lock().unwrap().deaf = Some(name);
        let agreed = Arc::clone(&self.agreed);
        move || agreed.lock().unwrap().deaf = None
    }

    pub fn in_sync(&self) -> Vec<String> {
        let agreed = self.agreed.lock().unwrap();
        agreed.in_sync.nodes.iter().cloned().collect()
    }

    pub async fn until_in_sync(&mut self, names: &[&str]) {
        let begun = Instant::now();
        while self.in_sync() != names {
            assert!(
                begun.elapsed() < PATIENCE,
                "{names:?} are not in sync but {:?}\na: {:?} {}\nb: {:?} {}\n{:?}\n{:?}",
                self.in_sync(),
                self.a.copy(),
                self.a.agent.detail(),
                self.b.copy(),
                self.b.agent.detail(),
                self.a.take_notes(),
                self.b.take_notes(),
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub fn node(&mut self, name: &str) -> &mut Node {
        if name == "a" { &mut self.a } else { &mut self.b }
    }

    pub fn other(name: &str) -> &'static str {
        if name == "a" { "b" } else { "a" }
    }

    pub fn peer(name: &str) -> Peer {
        if name == "a" {
            peer("a", 1, A)
        } else {
            peer("b", 2, B)
        }
    }

    /// Promotes `name` after it was agreed.
    pub async fn promote(&mut self, name: &'static str, former_gone: bool) -> Result<(), AgentError> {
        self.agree(name, former_gone);
        self.node(Self::other(name)).lapse();
        let epoch = self.agreed.lock().unwrap().epoch;
        let node = self.node(name);
        node.permit(epoch);
        let told = node.roles.subscribe();
        until("the agent knows", async || {
            told.borrow().primary.as_deref() == Some(name)
        })
        .await;
        node.agent.promote(deadline(PATIENCE)).await
    }

    /// Starts both, promotes `a`, makes a table and an account for clients, waits until both copies count.
    pub async fn begin(&mut self) {
        self.a.start().await.unwrap();
        self.b.start().await.unwrap();
        self.promote("a", false).await.unwrap();
        self.fill().await;
        self.until_in_sync(&["a", "b"]).await;
    }

    /// Makes a table and an account for clients, on `a`.
    pub async fn fill(&mut self) {
        let mut root = self.a.root().await;
        for statement in [
            "CREATE DATABASE shop",
            "CREATE TABLE shop.t (n BIGINT PRIMARY KEY) ENGINE=InnoDB",
            "CREATE USER 'app'@'127.0.0.1'",
            "GRANT ALL ON shop.* TO 'app'@'127.0.0.1'",
        ] {
            root.run(statement).await.unwrap();
        }
    }

    /// A client's connection to the server of `name`.
    pub async fn app(&mut self, name: &str) -> Result<Client, SqlError> {
        let server = &self.node(name).server;
        app(SocketAddr::new(server.address, server.port)).await
    }

    /// Where `name` gives its data to a node that is to be seeded.
    pub fn seed_address(&mut self, name: &str) -> SocketAddr {
        let port = self.seed_port;
        SocketAddr::new(self.node(name).server.address, port)
    }

    pub fn socket_of(&mut self, name: &str) -> SocketAddr {
        let server = &self.node(name).server;
        SocketAddr::new(server.address, server.port)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.register.abort();
    }
}

pub async fn app(address: SocketAddr) -> Result<Client, SqlError> {
    Client::remote(address, "app", None, Duration::from_secs(60)).await
}

type Part = (&'static str, watch::Sender<RolesView>, watch::Receiver<Copies>);

async fn serve(agreed: Arc<Mutex<Agreed>>, parts: [Part; 2]) {
    loop {
        {
            let mut agreed = agreed.lock().unwrap();
            for (name, _, copies) in &parts {
                let wish = copies.borrow().get(&0).and_then(|copy| copy.wish.clone());
                if let Some(wish) = wish.filter(|_| agreed.listens && agreed.primary == Some(name))
                    && wish.generation > agreed.in_sync.generation
                {
                    agreed.in_sync = wish;
                }
            }
            for (name, roles, _) in parts.iter().filter(|(name, ..)| agreed.deaf != Some(name)) {
                let view = RolesView {
                    own: Pair::peer(name),
                    others: vec![Pair::peer(Pair::other(name))],
                    primary: agreed.primary.map(str::to_owned),
                    epoch: agreed.epoch,
                    in_sync: agreed.in_sync.clone(),
                };
                roles.send_if_modified(|told| {
                    let changed = *told != view;
                    *told = view;
                    changed
                });
            }
        }
        tokio::time::sleep(LEASE / 50).await;
    }
}

/// Writes ever larger numbers to one server after the other, and remembers which were acknowledged.
pub struct Load {
    target: watch::Sender<SocketAddr>,
    acknowledged: Arc<Mutex<Vec<(u64, Instant)>>>,
    task: JoinHandle<()>,
}

impl Load {
    pub fn new(first: SocketAddr) -> Load {
        let (target, at) = watch::channel(first);
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let done = Arc::clone(&acknowledged);
        let task = tokio::spawn(async move {
            let mut number = 0;
            let mut client = None;
            loop {
                if client.is_none() {
                    let address = *at.borrow();
                    client = app(address).await.ok();
                }
                let Some(open) = &mut client else {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    continue;
                };
                number += 1;
                match open.run(&format!("INSERT INTO shop.t VALUES ({number})")).await {
                    Ok(()) => done.lock().unwrap().push((number, Instant::now())),
                    Err(_) => {
                        client = None;
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
            }
        });
        Load {
            target,
            acknowledged,
            task,
        }
    }

    pub fn aim(&self, address: SocketAddr) {
        self.target.send_replace(address);
    }

    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    pub async fn until_more(&self, more: usize) {
        let before = self.count();
        until("more writes are acknowledged", async || {
            self.count() >= before + more
        })
        .await;
    }

    /// The longest pause between two acknowledged writes since the first `from` of them.
    pub fn longest_pause(&self, from: usize) -> Duration {
        let all = self.acknowledged.lock().unwrap();
        let pairs = all[from.saturating_sub(1)..].windows(2);
        pairs.map(|pair| pair[1].1 - pair[0].1).max().unwrap_or_default()
    }

    pub fn stop(self) -> Vec<u64> {
        self.task.abort();
        let all = self.acknowledged.lock().unwrap();
        all.iter().map(|(number, _)| *number).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Which of `numbers` a server lacks.
pub async fn lacks(node: &Node, numbers: &[u64]) -> Vec<u64> {
    let rows = node.root().await.rows("SELECT n FROM shop.t").await.unwrap();
    let there: BTreeSet<u64> = rows.iter().filter_map(|row| row.at(0).parse().ok()).collect();
    numbers
        .iter()
        .copied()
        .filter(|number| !there.contains(number))
        .collect()
}

/// Starts it again, as often as it ends by itself: after a clone it does.
pub async fn come_back(pair: &mut Pair, name: &str) -> Vec<(String, String)> {
    let mut told = Vec::new();
    let node = pair.node(name);
    node.agent.stop(deadline(PATIENCE)).await.unwrap();
    node.start().await.unwrap();
    let begun = Instant::now();
    loop {
        let node = pair.node(name);
        for (kind, text) in node.take_notes() {
            eprintln!("{name}: {kind}: {text}");
            told.push((kind, text));
        }
        if node.copy().readable {
            return told;
        }
        if node.has_failed().is_some() {
            node.agent.stop(deadline(PATIENCE)).await.unwrap();
            node.start().await.unwrap();
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{:?} {}",
            node.copy(),
            node.agent.detail()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

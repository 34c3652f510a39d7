//! Against an etcd as a program of its own, if one is installed (Debian: `etcd-server`), and against nobody.

mod login;

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use holdfast_core::witness::record::{Head, Record, States, Writer};
use holdfast_core::witness::{CallId, Op};
use holdfast_proto::config::{Config, parse};
use holdfast_proto::ids::{Ballot, BootId, Incarnation, NodeId};
use holdfast_proto::state::genesis;

use serde_json::json;

use super::*;

/// A running etcd; it ends, and what it wrote is removed, when this is dropped.
struct Server {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed() -> Option<PathBuf> {
    let found = ["/usr/bin/etcd", "/usr/local/bin/etcd"].map(PathBuf::from);
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        eprintln!("skipped: no etcd is installed (apt-get install etcd-server)");
    }
    found
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

fn server() -> Option<Server> {
    let dir = tempfile::tempdir().expect("folder");
    server_with(dir, "http", &[])
}

fn server_with(dir: tempfile::TempDir, scheme: &str, more: &[&str]) -> Option<Server> {
    let program = installed()?;
    let (port, peers) = (free_port(), free_port());
    let url = |port: u16| format!("{scheme}://127.0.0.1:{port}");
    let peer_url = format!("http://127.0.0.1:{peers}");
    let child = Command::new(program)
        .arg("--data-dir")
        .arg(dir.path().join("etcd"))
        .args([
            "--listen-client-urls",
            &url(port),
            "--advertise-client-urls",
            &url(port),
        ])
        .args([
            "--listen-peer-urls",
            &peer_url,
            "--initial-advertise-peer-urls",
            &peer_url,
        ])
        .args(["--initial-cluster", &format!("default={peer_url}")])
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd starts");
    Some(Server { child, port, dir })
}

pub(super) fn config(endpoints: &str) -> Config {
    config_with(endpoints, "")
}

fn config_with(endpoints: &str, more: &str) -> Config {
    let text = format!(
        "[cluster]\nname = \"t\"\nid = \"00000000000000aa\"\n[[node]]\nname = \"n1\"\nlinks = [\"10.0.0.1\"]\n\
         [[node]]\nname = \"n2\"\nlinks = [\"10.0.0.2\"]\n[witness]\netcd = [{endpoints}]\n{more}"
    );
    parse(&text, "t.toml").expect("valid")
}

/// Asks until etcd is up.
async fn answer(link: &mut RegisterLink, id: u64, op: Op) -> Outcome {
    loop {
        link.submit(Call {
            id: CallId(id),
            op: op.clone(),
        });
        let answer = link.next().await.expect("the thread lives");
        match answer.outcome {
            Outcome::Failed(why) => {
                assert_eq!(answer.picture.trouble, why);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            outcome => return outcome,
        }
    }
}

pub(super) fn record(write: u64, config: &Config) -> Record {
    let by = Writer {
        node: NodeId(1),
        run: Incarnation(2),
        attempt: write,
    };
    let state = Arc::new(genesis(Arc::new(config.clone()), NodeId(1)));
    Record {
        head: Head {
            register: BootId(7),
            write,
            by,
            promised: Ballot { round: 3, node: 1 },
            backing: Ballot::ZERO,
            backed: 0,
            body: write,
            body_by: by,
        },
        states: Some(States {
            accepted_ballot: Ballot { round: 2, node: 1 },
            accepted: Arc::clone(&state),
            committed: state,
        }),
    }
}

pub(super) fn swap(expect: Option<Head>, write: &Record) -> Op {
    Op::Swap {
        expect,
        write: Box::new(write.clone()),
    }
}

#[tokio::test]
async fn a_swap_is_carried_out_only_on_the_head_that_was_seen() {
    let Some(server) = server() else { return };
    let config = config(&format!("\"127.0.0.1:{}\"", server.port));
    let mut link = RegisterLink::start().expect("a thread");
    link.follow(&config);
    assert_eq!(answer(&mut link, 1, Op::Read).await, Outcome::Content(None));
    let first = record(1, &config);
    assert_eq!(answer(&mut link, 2, swap(None, &first)).await, Outcome::Swapped);
    let found = Outcome::Content(Some(first.clone()));
    assert_eq!(
        answer(&mut link, 3, swap(None, &record(2, &config))).await,
        found,
        "not empty"
    );
    assert_eq!(answer(&mut link, 4, Op::Read).await, found);
    let mut backed = first.clone();
    (backed.head.write, backed.head.backed) = (2, 2);
    assert_eq!(
        answer(&mut link, 5, swap(Some(first.head), &backed)).await,
        Outcome::Swapped
    );
    let mut other = RegisterLink::start().expect("a thread");
    other.follow(&config);
    let found = Outcome::Content(Some(backed.clone()));
    assert_eq!(
        answer(&mut other, 1, Op::Read).await,
        found,
        "the head changed and the body did not"
    );
    assert_eq!(
        answer(&mut other, 2, swap(Some(first.head), &record(3, &config))).await,
        found,
        "another head than the one seen"
    );
}

#[tokio::test]
async fn the_next_member_is_asked_when_one_does_not_answer() {
    let Some(server) = server() else { return };
    let config = config(&format!(
        "\"127.0.0.1:{}\", \"127.0.0.1:{}\"",
        free_port(),
        server.port
    ));
    let mut link = RegisterLink::start().expect("a thread");
    link.follow(&config);
    assert_eq!(answer(&mut link, 1, Op::Read).await, Outcome::Content(None));
}

#[tokio::test]
async fn without_an_answer_it_says_who_was_asked_and_what_is_wrong() {
    let port = free_port();
    let mut link = RegisterLink::start().expect("a thread");
    link.follow(&config(&format!("\"127.0.0.1:{port}\"")));
    link.submit(Call {
        id: CallId(1),
        op: Op::Read,
    });
    let answer = link.next().await.expect("the thread lives");
    let Outcome::Failed(why) = answer.outcome else {
        panic!("nobody is there: {:?}", answer.outcome)
    };
    assert!(
        why.starts_with(&format!("127.0.0.1:{port}: cannot connect: ")),
        "{why}"
    );
}

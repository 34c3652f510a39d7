//! The redis agent with real servers: two of them, and the test in the place of the cluster.

#![allow(missing_docs)]

#[path = "redis/damage.rs"]
mod damage;
#[path = "redis/pair.rs"]
mod pair;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pair::{Client, PATIENCE, Pair, server, soon, wait_for};

/// Without persistence: what is wiped is gone.
const FORGETFUL: &str = "save \"\"\nappendonly no";
const APPENDING: &str = "appendonly yes\nappendfsync everysec";

#[tokio::test]
async fn nothing_takes_writes_until_it_is_promoted_and_the_other_follows() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.start().await;
    for index in 0..2 {
        let mut client = pair.client(index).await;
        assert!(client.ask("SET a 1").await.unwrap().contains("READONLY"));
        // By somebody's hand: a master, and still no writes.
        assert_eq!(client.ask("REPLICAOF NO ONE").await.unwrap(), "+OK");
        assert!(client.ask("SET a 1").await.unwrap().contains("NOREPLICAS"));
    }
    pair.promote(0).await.unwrap();
    pair.until_in_sync(&["db1", "db2"]).await;
    let mut client = pair.client(0).await;
    assert_eq!(client.ask("SET a 2").await.unwrap(), "+OK");
    assert_eq!(client.ask("WAIT 1 20000").await.unwrap(), ":1");
    let mut replica = pair.client(1).await;
    assert_eq!(replica.ask("GET a").await.unwrap(), "2");
    assert!(replica.ask("SET a 3").await.unwrap().contains("READONLY"));
    let other = &pair.nodes[1];
    wait_for("the replica to be up to date", || {
        let copy = other.copy();
        copy.readable && copy.lag_ms == Some(0) && copy.possible_loss.is_empty() && copy.obstacle.is_empty()
    })
    .await;
    wait_for("both to be as far", || {
        let (one, two) = (pair.nodes[0].copy(), pair.nodes[1].copy());
        one.position == two.position && one.history == two.history && one.position > 0
    })
    .await;
    pair.nodes[0].agent.promote(soon()).await.unwrap();
    assert!(pair.nodes[0].agent.detail().contains("primary"));
    assert!(pair.nodes[1].agent.detail().contains("replica of"));
}

/// A client that writes with WAIT 1 and remembers what was acknowledged.
struct Writer {
    acknowledged: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<(Vec<usize>, Duration)>,
}

impl Writer {
    fn new(pair: &Pair) -> Writer {
        let places: Vec<_> = pair.nodes.iter().map(|node| node.address).collect();
        let (port, committed) = (pair.port, Arc::clone(&pair.committed));
        let (acknowledged, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ended) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let (mut all, mut longest, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
            let mut client: Option<Client> = None;
            for number in 0.. {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                let primary = committed.lock().unwrap().primary.unwrap_or_default();
                if client.is_none() {
                    client = Client::connect(places[primary], port).await;
                }
                if written(client.as_mut(), number).await {
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                    all.push(number);
                    count.store(all.len(), Ordering::Relaxed);
                } else {
                    client = None;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            (all, longest)
        });
        Writer {
            acknowledged,
            stop,
            task,
        }
    }

    /// Until so many more are acknowledged.
    async fn more(&self, count: usize) {
        let goal = self.acknowledged.load(Ordering::Relaxed) + count;
        wait_for("writes to be acknowledged", || {
            self.acknowledged.load(Ordering::Relaxed) >= goal
        })
        .await;
    }

    /// What was acknowledged, and the longest time without.
    async fn end(self) -> (Vec<usize>, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("the writer ends")
            .unwrap()
    }
}

async fn written(client: Option<&mut Client>, number: usize) -> bool {
    let Some(client) = client else { return false };
    let attempt = async {
        let set = client.ask(&format!("SET k{number} {number}")).await?;
        if set != "+OK" {
            return None;
        }
        client.ask("WAIT 1 1000").await
    };
    // A client that gets no answer does not know, and counts it as not acknowledged.
    let answer = tokio::time::timeout(Duration::from_secs(2), attempt).await;
    answer.ok().flatten().as_deref() == Some(":1")
}

/// Every number that was acknowledged is there.
async fn check(pair: &Pair, index: usize, acknowledged: &[usize]) {
    let mut client = pair.client(index).await;
    for number in acknowledged {
        let value = client.ask(&format!("GET k{number}")).await.unwrap();
        assert_eq!(value, number.to_string(), "an acknowledged write is lost");
    }
}

#[tokio::test]
async fn a_planned_change_loses_nothing_that_was_acknowledged() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.up().await;
    let writer = Writer::new(&pair);
    writer.more(200).await;
    for to in [1, 0, 1] {
        pair.switch_over(to).await;
        writer.more(200).await;
        pair.until_in_sync(&["db1", "db2"]).await;
    }
    let (acknowledged, longest) = writer.end().await;
    check(&pair, 1, &acknowledged).await;
    eprintln!(
        "figure: {} writes acknowledged over 3 planned changes, longest pause {longest:?}",
        acknowledged.len()
    );
    let mut old = pair.client(0).await;
    assert!(old.ask("SET x 1").await.unwrap().contains("READONLY"));
}

#[tokio::test]
async fn a_demotion_with_nobody_to_promote_ends_all_writing() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.up().await;
    let mut client = pair.client(0).await;
    assert_eq!(client.ask("SET a 1").await.unwrap(), "+OK");
    pair.nodes[0].agent.demote(None, soon()).await.unwrap();
    assert_eq!(client.ask("SET a 2").await, None, "its clients are ended");
    let mut other = pair.client(1).await;
    assert_eq!(other.ask("GET a").await.unwrap(), "1", "the other got it before");
    let mut client = pair.client(0).await;
    assert!(client.ask("SET a 2").await.unwrap().contains("READONLY"));
    pair.nodes[0].agent.demote(None, soon()).await.unwrap();
    // And it may be promoted again.
    pair.promote(0).await.unwrap();
    pair.until_in_sync(&["db1", "db2"]).await;
}

#[tokio::test]
async fn after_a_crash_the_other_has_all_that_was_acknowledged_and_the_old_one_follows() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.up().await;
    let writer = Writer::new(&pair);
    writer.more(300).await;
    pair.nodes[0].kill();
    let reason = pair.nodes[0].failure().await;
    assert!(reason.contains("signal"), "{reason}");
    pair.nodes[0].agent.stop(soon()).await.unwrap();
    pair.promote(1).await.unwrap();
    writer_waits_for_the_smaller_set(&pair).await;
    pair.nodes[0].agent.start(soon()).await.unwrap();
    pair.until_in_sync(&["db1", "db2"]).await;
    writer.more(100).await;
    let (acknowledged, longest) = writer.end().await;
    for index in 0..2 {
        check(&pair, index, &acknowledged).await;
    }
    eprintln!(
        "figure: {} writes acknowledged over a crash, longest pause {longest:?}",
        acknowledged.len()
    );
}

async fn writer_waits_for_the_smaller_set(pair: &Pair) {
    pair.until_in_sync(&["db2"]).await;
    let mut client = pair.client(1).await;
    let mut answer = String::new();
    let begun = Instant::now();
    while answer != "+OK" && begun.elapsed() < PATIENCE {
        answer = client.ask("SET alone 1").await.unwrap();
    }
    assert_eq!(answer, "+OK", "alone it takes writes");
}

/// Found by counted failovers: the power of both nodes went, and the group stood still because each copy was assigned, refused and
/// barred.
#[tokio::test]
async fn copies_that_were_all_restarted_can_be_promoted_once_it_was_told_what_that_may_have_cost() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.up().await;
    let mut client = pair.client(0).await;
    assert_eq!(client.ask("SET kept 1").await.unwrap(), "+OK");
    for node in &mut pair.nodes {
        node.kill();
        node.failure().await;
    }
    pair.commit(None);
    for node in &mut pair.nodes {
        node.restart().await;
    }
    let first = &pair.nodes[0];
    wait_for("it to be promotable, at some cost", || {
        let copy = first.copy();
        copy.obstacle.is_empty() && copy.possible_loss.contains("last second")
    })
    .await;
    pair.promote(0)
        .await
        .expect("the cluster could know what it may have lost");
    let mut client = pair.client(0).await;
    assert_eq!(client.ask("EXISTS kept").await.unwrap(), ":1");
}

#[tokio::test]
async fn a_primary_that_comes_back_empty_wipes_nobody() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, FORGETFUL, &[]);
    pair.up().await;
    let mut client = pair.client(0).await;
    for number in 0..50 {
        client.ask(&format!("SET k{number} {number}")).await.unwrap();
    }
    assert_eq!(client.ask("WAIT 1 20000").await.unwrap(), ":1");
    pair.nodes[0].kill();
    pair.nodes[0].failure().await;
    pair.nodes[0].restart().await;
    let empty = &pair.nodes[0];
    wait_for("the empty one to say so", || {
        empty
            .copy()
            .obstacle
            .contains("came up empty, and db2 has 50 keys")
    })
    .await;
    let refused = pair.promote(0).await.unwrap_err().0;
    assert!(refused.contains("it would wipe them"), "{refused}");
    // Its replica tries to connect all the time, and gets nothing.
    let mut other = pair.client(1).await;
    assert_eq!(other.ask("DBSIZE").await.unwrap(), ":50");
    pair.promote(1).await.unwrap();
    let back = &pair.nodes[0];
    wait_for("the empty one to get a copy", || {
        let copy = back.copy();
        copy.readable && copy.obstacle.is_empty() && copy.possible_loss.is_empty()
    })
    .await;
    let mut back = pair.client(0).await;
    assert_eq!(back.ask("DBSIZE").await.unwrap(), ":50");
}

#[tokio::test]
async fn a_replica_holds_back_from_a_primary_that_is_empty_and_of_another_history() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.up().await;
    let mut client = pair.client(0).await;
    client.ask("SET a 1").await.unwrap();
    assert_eq!(client.ask("WAIT 1 20000").await.unwrap(), ":1");
    // Its data is on the disk before it is killed.
    let other = pair.dir(1).join("appendonlydir");
    wait_for("the write to be on the disk of the replica", || {
        let files = std::fs::read_dir(&other).unwrap();
        files
            .filter_map(|file| std::fs::metadata(file.unwrap().path()).ok())
            .any(|file| file.len() > 50)
    })
    .await;
    for node in &mut pair.nodes {
        node.kill();
        node.failure().await;
        node.agent.stop(soon()).await.unwrap();
    }
    std::fs::remove_dir_all(pair.dir(0)).unwrap();
    std::fs::create_dir(pair.dir(0)).unwrap();
    pair.configure(0);
    pair.nodes[0].agent.start(soon()).await.unwrap();
    let lost = &pair.nodes[0];
    wait_for("what is lost to be told", || {
        lost.copy().possible_loss.starts_with("everything")
    })
    .await;
    // By an operator's word, given without having seen the other: refused until the cluster can have heard what is lost.
    let early = pair.promote(0).await.unwrap_err().0;
    assert!(early.contains("it decides anew"), "{early}");
    let begun = Instant::now();
    let mut promoted = Err(holdfast_agents::agent::AgentError::new("not tried"));
    while promoted.is_err() && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(50)).await;
        promoted = pair.promote(0).await;
    }
    promoted.unwrap();
    pair.nodes[1].agent.start(soon()).await.unwrap();
    let said = pair.nodes[1].note("redis-held-back").await;
    assert!(
        said.contains("does not follow db1") && said.contains("1 keys here"),
        "{said}"
    );
    let mut client = pair.client(1).await;
    assert_eq!(client.ask("GET a").await.unwrap(), "1");
}

#[tokio::test]
async fn a_replica_that_lost_its_primary_is_held_and_follows_again() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.up().await;
    pair.nodes[0].kill();
    pair.nodes[0].failure().await;
    let other = &pair.nodes[1];
    wait_for("the replica to be held", || other.agent.detail().contains("held")).await;
    assert_eq!(other.copy().possible_loss, "", "it has all that was acknowledged");
    pair.nodes[0].restart().await;
    // Restarted with what its disk had: the other has as much or more.
    let refused = pair.promote(0).await.unwrap_err().0;
    assert!(refused.contains("it decides anew"), "{refused}");
    pair.promote(1).await.unwrap();
    let back = &pair.nodes[0];
    wait_for("the old primary to follow", || {
        back.copy().readable && back.copy().possible_loss.is_empty()
    })
    .await;
    assert!(back.agent.detail().contains("connected"));
}

#[tokio::test]
async fn a_primary_waits_for_its_replica_until_the_smaller_set_is_committed() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.up().await;
    pair.deaf(true);
    pair.nodes[1].kill();
    pair.nodes[1].failure().await;
    let mut client = pair.client(0).await;
    let begun = Instant::now();
    while client.ask("SET a 1").await.unwrap() == "+OK" && begun.elapsed() < PATIENCE {}
    let primary = &pair.nodes[0];
    wait_for("the smaller set to be wished", || {
        primary.copy().wish.is_some_and(|wish| wish.nodes.len() == 1)
    })
    .await;
    assert!(
        client.ask("SET a 1").await.unwrap().contains("NOREPLICAS"),
        "wished is not committed"
    );
    pair.deaf(false);
    pair.until_in_sync(&["db1"]).await;
    let begun = Instant::now();
    while client.ask("SET a 1").await.unwrap() != "+OK" && begun.elapsed() < PATIENCE {}
    assert_eq!(client.ask("SET a 1").await.unwrap(), "+OK");
    pair.nodes[1].restart().await;
    pair.until_in_sync(&["db1", "db2"]).await;
    assert_eq!(
        client.ask("CONFIG GET min-replicas-to-write").await.unwrap(),
        "*2"
    );
}

#[tokio::test]
async fn a_restart_of_agentd_touches_nothing() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.up().await;
    let writer = Writer::new(&pair);
    writer.more(50).await;
    let pids: Vec<i32> = pair.nodes.iter().map(pair::Node::pid).collect();
    for node in &mut pair.nodes {
        node.succeed().await;
    }
    writer.more(50).await;
    assert_eq!(pids, pair.nodes.iter().map(pair::Node::pid).collect::<Vec<_>>());
    let other = &pair.nodes[1];
    wait_for("the replica to be whole still", || {
        let copy = other.copy();
        copy.possible_loss.is_empty() && copy.lag_ms == Some(0)
    })
    .await;
    pair.switch_over(1).await;
    writer.more(50).await;
    let (acknowledged, _) = writer.end().await;
    check(&pair, 1, &acknowledged).await;
}

#[tokio::test]
async fn a_password_is_used_between_all_of_them() {
    let Some(program) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "correct-horse\n").unwrap();
    let path = file.display().to_string();
    let mut pair = Pair::new(program, "requirepass correct-horse", &[("password_file", &path)]);
    pair.up().await;
    let mut client = pair.client(1).await;
    assert!(client.ask("GET a").await.unwrap().contains("NOAUTH"));
    pair.switch_over(1).await;
    pair.until_in_sync(&["db1", "db2"]).await;
    std::fs::write(&file, "wrong\n").unwrap();
    pair.nodes[0].agent.stop(soon()).await.unwrap();
    let refused = pair.nodes[0].agent.start(soon()).await.unwrap_err().0;
    assert!(
        refused.contains("refuses us") && !refused.contains("wrong\n"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_client_of_sentinel_follows_the_switch_unchanged() {
    let Some(program) = server() else { return };
    let python = std::path::Path::new("/usr/bin/python3");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis/sentinel_client.py");
    let probe = std::process::Command::new(python)
        .args(["-c", "import redis.sentinel"])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("not run: python3-redis is not installed");
        return;
    }
    let mut pair = Pair::new(program, APPENDING, &[("sentinel_name", "shop")]);
    pair.up().await;
    let addresses: Vec<String> = pair.nodes.iter().map(|node| node.address.to_string()).collect();
    let mut client = tokio::process::Command::new(python)
        .arg(script)
        .args(&addresses)
        .arg(pair.sentinel_port.to_string())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(client.stdout.take().unwrap()));
    let first = said(&mut lines).await;
    assert_eq!(first, format!("primary {}", addresses[0]));
    pair.switch_over(1).await;
    assert_eq!(
        said(&mut lines).await,
        format!("switched {} {}", addresses[0], addresses[1])
    );
    assert_eq!(said(&mut lines).await, format!("primary {}", addresses[1]));
    assert_eq!(said(&mut lines).await, "replica reads 2");
    drop(client.stdin.take());
    assert!(client.wait().await.unwrap().success());
}

async fn said(lines: &mut tokio::io::Lines<tokio::io::BufReader<tokio::process::ChildStdout>>) -> String {
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
    line.expect("a line in time").unwrap().expect("a line")
}

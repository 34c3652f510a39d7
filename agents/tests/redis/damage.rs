//! Disks that become full, and data that cannot be read at a start.

use std::path::PathBuf;
use std::time::Instant;

use super::pair::{Client, PATIENCE, Pair, server, soon, wait_for};
use super::{APPENDING, FORGETFUL, Writer, check};

/// What was set aside on a node, by name.
fn aside(pair: &Pair, index: usize) -> Vec<String> {
    let entries = std::fs::read_dir(pair.dir(index)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = names.filter(|name| name.contains(".damaged-")).collect();
    found.sort();
    found
}

/// The newest file of commands on a node.
fn commands(pair: &Pair, index: usize) -> Option<PathBuf> {
    let entries = std::fs::read_dir(pair.dir(index).join("appendonlydir")).ok()?;
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(".incr.aof"));
    found.sort();
    found.pop()
}

/// Zeros in the middle, as a full disk leaves them.
fn damage(pair: &Pair, index: usize) {
    let file = commands(pair, index).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes.splice(middle..middle, [0; 40]);
    std::fs::write(&file, bytes).unwrap();
}

/// Ends the process on a node, as the runner does it.
async fn crash(pair: &mut Pair, index: usize) {
    pair.nodes[index].kill();
    pair.nodes[index].failure().await;
    pair.nodes[index].agent.stop(soon()).await.unwrap();
}

/// Until its copy has all, and both are in the set.
async fn until_whole(pair: &Pair, index: usize) {
    let node = &pair.nodes[index];
    wait_for("a whole copy", || {
        let copy = node.copy();
        copy.readable && copy.obstacle.is_empty() && copy.possible_loss.is_empty() && copy.lag_ms == Some(0)
    })
    .await;
    pair.until_in_sync(&["db1", "db2"]).await;
}

async fn fill(pair: &Pair, index: usize, from: usize) {
    let mut client = pair.client(index).await;
    for number in from..from + 50 {
        assert_eq!(
            client.ask(&format!("SET k{number} {number}")).await.unwrap(),
            "+OK"
        );
    }
    assert_eq!(client.ask("WAIT 1 20000").await.unwrap(), ":1");
}

#[tokio::test]
async fn a_damaged_copy_is_set_aside_while_another_is_promoted() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.up().await;
    for round in 1..=3 {
        let (old, new) = ((round + 1) % 2, round % 2);
        fill(&pair, old, round * 100).await;
        crash(&mut pair, old).await;
        damage(&pair, old);
        pair.promote(new).await.unwrap();
        pair.nodes[old].agent.start(soon()).await.unwrap();
        let copy = pair.nodes[old].copy();
        assert!(
            !copy.readable && !copy.obstacle.is_empty(),
            "said of the process before"
        );
        let said = pair.nodes[old].note("redis-set-aside").await;
        assert!(
            said.contains(".incr.aof is damaged at byte") && said.contains("was moved to"),
            "{said}"
        );
        until_whole(&pair, old).await;
        let mut client = pair.client(old).await;
        assert_eq!(client.ask("GET k101").await.unwrap(), "101");
    }
    assert_eq!(
        aside(&pair, 0),
        ["appendonlydir.damaged-1", "appendonlydir.damaged-2"]
    );
    assert_eq!(aside(&pair, 1), ["appendonlydir.damaged-1"]);
}

#[tokio::test]
async fn a_damaged_snapshot_is_set_aside_too() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, FORGETFUL, &[]);
    pair.up().await;
    fill(&pair, 0, 100).await;
    let mut client = pair.client(0).await;
    assert_eq!(client.ask("SAVE").await.unwrap(), "+OK");
    crash(&mut pair, 0).await;
    let file = pair.dir(0).join("dump.rdb");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0);
    std::fs::write(&file, bytes).unwrap();
    pair.promote(1).await.unwrap();
    pair.nodes[0].agent.start(soon()).await.unwrap();
    let said = pair.nodes[0].note("redis-set-aside").await;
    assert!(said.contains("dump.rdb"), "{said}");
    until_whole(&pair, 0).await;
    assert_eq!(aside(&pair, 0), ["dump.rdb.damaged-1"]);
}

#[tokio::test]
async fn a_damaged_copy_is_left_as_it_is_while_no_other_is_promoted() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.up().await;
    fill(&pair, 0, 100).await;
    crash(&mut pair, 0).await;
    damage(&pair, 0);
    let before = std::fs::read(commands(&pair, 0).unwrap()).unwrap();
    // The other node has all as well, but nobody said yet that it is the primary.
    let refused = pair.nodes[0].agent.start(soon()).await.unwrap_err().0;
    assert!(
        refused.contains("is damaged at byte")
            && refused.contains("left as it is")
            && refused.contains("bring back db2"),
        "{refused}"
    );
    // Said, and not done: it does not take writes.
    pair.commit(Some(1));
    let refused = pair.nodes[0].agent.start(soon()).await.unwrap_err().0;
    assert!(
        refused.contains("the redis of db2 does not answer as the primary"),
        "{refused}"
    );
    assert!(aside(&pair, 0).is_empty());
    assert_eq!(std::fs::read(commands(&pair, 0).unwrap()).unwrap(), before);
    pair.nodes[0].agent.stop(soon()).await.unwrap();
    pair.promote(1).await.unwrap();
    pair.nodes[0].agent.start(soon()).await.unwrap();
    until_whole(&pair, 0).await;
}

#[tokio::test]
async fn the_only_whole_copy_is_left_as_it_is_and_what_to_do_is_told() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.up().await;
    fill(&pair, 0, 100).await;
    crash(&mut pair, 1).await;
    pair.until_in_sync(&["db1"]).await;
    crash(&mut pair, 0).await;
    damage(&pair, 0);
    pair.nodes[1].agent.start(soon()).await.unwrap();
    let refused = pair.nodes[0].agent.start(soon()).await.unwrap_err().0;
    assert!(
        refused.contains("redis-check-aof --fix") && !refused.contains("bring back"),
        "{refused}"
    );
    assert!(aside(&pair, 0).is_empty());
    // Not even when the other is said to be the primary: its copy is not known to be whole.
    pair.commit(Some(1));
    let refused = pair.nodes[0].agent.start(soon()).await.unwrap_err().0;
    assert!(refused.contains("not known to be whole"), "{refused}");
    assert!(aside(&pair, 0).is_empty());
}

#[tokio::test]
async fn a_start_that_fails_for_another_reason_moves_nothing() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    pair.up().await;
    fill(&pair, 0, 100).await;
    crash(&mut pair, 0).await;
    pair.promote(1).await.unwrap();
    let config = pair.dir(0).join("redis.conf");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{text}\nno-such-word yes\n")).unwrap();
    let refused = pair.nodes[0].agent.start(soon()).await.unwrap_err().0;
    assert!(!refused.contains("damaged"), "{refused}");
    assert!(aside(&pair, 0).is_empty());
    pair.nodes[0].agent.stop(soon()).await.unwrap();
    pair.configure(0);
    pair.nodes[0].agent.start(soon()).await.unwrap();
    until_whole(&pair, 0).await;
}

#[tokio::test]
async fn a_primary_whose_disk_is_full_gives_way_and_its_file_is_written_anew() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, &format!("{APPENDING}\nsave 3600 1"), &[]);
    if !pair.small_disk(0, 8 << 20) {
        return;
    }
    pair.up().await;
    let mut client = pair.client(0).await;
    // What a rewrite begins is not opened for appending: that is where holes come from.
    client.ask("BGREWRITEAOF").await.unwrap();
    wait_for("the rewrite", || {
        commands(&pair, 0).is_some_and(|file| file.to_string_lossy().contains(".2.incr"))
    })
    .await;
    let writer = Writer::new(&pair);
    writer.more(100).await;
    let (ballast, begun) = (pair.dir(0).join("ballast"), Instant::now());
    let mut answer = String::new();
    while !answer.contains("MISCONF") && begun.elapsed() < PATIENCE {
        let _ = std::fs::write(&ballast, vec![1; 16 << 20]); // As much as fits.
        answer = client
            .ask(&format!("SET pad {}", "x".repeat(5000)))
            .await
            .unwrap();
    }
    let reason = pair.nodes[0].giving_way().await;
    assert!(reason.contains("cannot be written: the disk is full"), "{reason}");
    pair.nodes[0].agent.demote(None, soon()).await.unwrap();
    // Nobody is sent here any more. Who was sent before that looks for the primary when there is one.
    let (address, port) = (pair.nodes[0].address, pair.sentinel_port);
    let mut face = Client::connect(address, port).await.unwrap();
    let primary = face.ask("SENTINEL get-master-addr-by-name mymaster").await;
    assert_eq!(primary.unwrap(), "*-1");
    let mut misled = pair.client(0).await;
    assert!(misled.ask("SET a 1").await.unwrap().contains("MISCONF"));
    pair.promote(1).await.unwrap();
    let ended = async { while misled.ask("SET a 1").await.is_some() {} };
    assert!(
        tokio::time::timeout(PATIENCE, ended).await.is_ok(),
        "it stays with a replica"
    );
    // It goes on in memory: what is acknowledged is on two nodes.
    pair.until_in_sync(&["db1", "db2"]).await;
    writer.more(100).await;
    let full = &pair.nodes[0];
    wait_for("it to say that it cannot be promoted", || {
        full.copy().obstacle.contains("disk is full")
    })
    .await;
    std::fs::remove_file(&ballast).unwrap();
    pair.nodes[0].note("redis-rewrite").await;
    let full = &pair.nodes[0];
    wait_for("it to be well again", || full.copy().obstacle.is_empty()).await;
    wait_for("the rewrite", || {
        commands(&pair, 0).is_some_and(|file| file.to_string_lossy().contains(".3.incr"))
    })
    .await;
    writer.more(100).await;
    let (acknowledged, longest) = writer.end().await;
    wait_for("the rewrite to be complete", || {
        let entries = std::fs::read_dir(pair.dir(0).join("appendonlydir")).unwrap();
        entries.count() == 3
    })
    .await;
    crash(&mut pair, 0).await;
    pair.nodes[0].agent.start(soon()).await.unwrap();
    until_whole(&pair, 0).await;
    assert!(aside(&pair, 0).is_empty());
    for index in 0..2 {
        check(&pair, index, &acknowledged).await;
    }
    eprintln!("figure: longest pause {longest:?} over a full disk");
}

#[tokio::test]
async fn a_primary_whose_disk_is_full_stays_while_nobody_else_could() {
    let Some(program) = server() else { return };
    let mut pair = Pair::new(program, APPENDING, &[]);
    if !pair.small_disk(0, 8 << 20) {
        return;
    }
    pair.up().await;
    crash(&mut pair, 1).await;
    pair.until_in_sync(&["db1"]).await;
    let mut client = pair.client(0).await;
    let (ballast, begun) = (pair.dir(0).join("ballast"), Instant::now());
    let mut answer = String::new();
    while !answer.contains("MISCONF") && begun.elapsed() < PATIENCE {
        let _ = std::fs::write(&ballast, vec![1; 16 << 20]);
        answer = client
            .ask(&format!("SET pad {}", "x".repeat(5000)))
            .await
            .unwrap();
    }
    let said = pair.nodes[0].note("redis-stays").await;
    assert!(said.contains("stays the primary"), "{said}");
    assert!(pair.nodes[0].failures.try_recv().is_err(), "it does not give way");
    std::fs::remove_file(&ballast).unwrap();
    pair.nodes[0].note("redis-rewrite").await;
    let begun = Instant::now();
    while client.ask("SET a 1").await.unwrap() != "+OK" && begun.elapsed() < PATIENCE {}
    assert_eq!(client.ask("SET a 1").await.unwrap(), "+OK");
}

//! Replication mode: a pair of real servers.

use std::time::{Duration, Instant};

use holdfast_agents::agent::Presence;
use holdfast_agents::mysqld::client::Client;
use nix::sys::signal::Signal;

use crate::certificates::Certificates;
use crate::node::{LEASE, PATIENCE, deadline, until};
use crate::pair::{Load, Pair, come_back, lacks};
use crate::server::kinds;
use crate::storage::Mount;

const NONE: [u64; 0] = [];
const PRIVATE: &[(&str, &str)] = &[("private_link", "true")];

#[tokio::test]
async fn an_unpromoted_server_takes_no_writes_and_follows() {
    for kind in kinds() {
        let mut pair = Pair::new(&kind, PRIVATE);
        pair.begin().await;
        let mut app = pair.app("a").await.unwrap();
        app.run("INSERT INTO shop.t VALUES (1)").await.unwrap();
        until("it is there", async || {
            pair.b.value("SELECT COUNT(*) FROM shop.t").await == "1"
        })
        .await;
        let copy = pair.b.until_copy("it can be read", |copy| copy.readable).await;
        assert_eq!(copy.obstacle, "");
        assert!(copy.lag_ms.is_some() && copy.position > 0, "{copy:?}");
        let mut app = pair.app("b").await.unwrap();
        let refused = app.run("INSERT INTO shop.t VALUES (2)").await.unwrap_err();
        assert_eq!(refused.code(), Some(1290), "{refused}");
        if !kind.mariadb {
            let mut root = pair.b.root().await;
            let refused = root.run("INSERT INTO shop.t VALUES (2)").await.unwrap_err();
            assert_eq!(refused.code(), Some(1290), "{refused}");
        }
        // Somebody opens it by hand: it is closed again.
        pair.b.root().await.run("SET GLOBAL read_only=OFF").await.unwrap();
        until("it is read-only again", async || {
            pair.b.value("SELECT @@GLOBAL.read_only").await == "1"
        })
        .await;
        pair.b.stop().await;
        assert!(!pair.b.server.file("data/holdfast.follows").exists());
        pair.until_in_sync(&["a"]).await;
        pair.b.start().await.unwrap();
        pair.until_in_sync(&["a", "b"]).await;
    }
}

#[tokio::test]
async fn commits_wait_for_a_frozen_replica_until_the_smaller_set_is_committed() {
    for kind in kinds() {
        let mut pair = Pair::new(&kind, PRIVATE);
        pair.begin().await;
        pair.listen(false);
        pair.b.server.signal(Signal::SIGSTOP);
        let mut app = pair.app("a").await.unwrap();
        let write = tokio::spawn(async move { app.run("INSERT INTO shop.t VALUES (1)").await });
        pair.a
            .until_copy("it wishes to be alone", |copy| {
                copy.wish.as_ref().is_some_and(|wish| wish.nodes.len() == 1)
            })
            .await;
        // The wish alone changes nothing.
        tokio::time::sleep(LEASE * 2).await;
        assert!(!write.is_finished());
        pair.listen(true);
        write.await.unwrap().unwrap();
        assert_eq!(pair.in_sync(), ["a"]);
        pair.b.server.signal(Signal::SIGCONT);
        pair.until_in_sync(&["a", "b"]).await;
        assert_eq!(lacks(&pair.b, &[1]).await, NONE);
    }
}

#[tokio::test]
async fn a_switchover_under_load_loses_nothing_and_blocks_writes_briefly() {
    for kind in kinds() {
        let mut pair = Pair::new(&kind, PRIVATE);
        pair.begin().await;
        let load = Load::new(pair.socket_of("a"));
        load.until_more(50).await;
        let (mut from, mut pauses) = ("a", Vec::new());
        for _ in 0..5 {
            let to = Pair::other(from);
            let before = load.count();
            let begun = Instant::now();
            let toward = Pair::peer(to);
            pair.node(from)
                .agent
                .demote(Some(&toward), deadline(PATIENCE))
                .await
                .unwrap();
            let demoted = begun.elapsed();
            pair.promote(to, false).await.unwrap();
            let promoted = begun.elapsed();
            load.aim(pair.socket_of(to));
            load.until_more(20).await;
            let pause = load.longest_pause(before);
            eprintln!(
                "{}: {from} to {to}: demoted after {demoted:?}, promoted after {promoted:?}, writes paused {pause:?}",
                kind.name
            );
            pauses.push(pause);
            pair.until_in_sync(&["a", "b"]).await;
            from = to;
        }
        pauses.sort_unstable();
        eprintln!(
            "{}: median pause of a switchover {:?}",
            kind.name,
            pauses[pauses.len() / 2]
        );
        let acknowledged = load.stop();
        assert_eq!(lacks(pair.node(from), &acknowledged).await, NONE);
    }
}

#[tokio::test]
async fn a_crash_of_the_primary_loses_nothing_and_the_old_one_comes_back() {
    for kind in kinds() {
        let mut pair = Pair::new(&kind, PRIVATE);
        pair.begin().await;
        let load = Load::new(pair.socket_of("a"));
        let mut primary = "a";
        for _ in 0..3 {
            load.until_more(50).await;
            let next = Pair::other(primary);
            pair.node(primary).server.signal(Signal::SIGKILL);
            pair.node(primary).failure().await;
            pair.promote(next, true).await.unwrap();
            load.aim(pair.socket_of(next));
            load.until_more(20).await;
            // What the runner does with one that failed.
            come_back(&mut pair, primary).await;
            pair.until_in_sync(&["a", "b"]).await;
            primary = next;
        }
        let acknowledged = load.stop();
        assert_eq!(lacks(pair.node(primary), &acknowledged).await, NONE);
        let other = Pair::other(primary);
        until("the other has them too", async || {
            lacks(pair.node(other), &acknowledged).await.is_empty()
        })
        .await;
    }
}

async fn awaits_replica(root: &mut Client) -> bool {
    let rows = root.rows("SHOW PROCESSLIST").await.unwrap();
    rows.iter()
        .any(|row| row.text(&["State"]).starts_with("Waiting for semi-sync ACK"))
}

/// A primary that has a transaction which nobody else received and nobody was told is safe.
async fn with_a_tail(pair: &mut Pair) {
    pair.begin().await;
    with_a_tail_after_the_begin(pair).await;
}

async fn with_a_tail_after_the_begin(pair: &mut Pair) {
    pair.listen(false);
    pair.b.server.signal(Signal::SIGKILL);
    pair.b.failure().await;
    let mut app = pair.app("a").await.unwrap();
    let write = tokio::spawn(async move { app.run("INSERT INTO shop.t VALUES (7)").await });
    let mut root = pair.a.root().await;
    until("the commit waits", async || awaits_replica(&mut root).await).await;
    drop(root);
    pair.a.server.signal(Signal::SIGKILL);
    pair.a.failure().await;
    assert!(write.await.unwrap().is_err());
    pair.b.stop().await;
    pair.b.start().await.unwrap();
    // Its relay log may have held more than was applied.
    let copy = pair
        .b
        .until_copy("it says that it may lack something", |copy| {
            !copy.obstacle.is_empty()
        })
        .await;
    assert!(copy.obstacle.contains("has not caught up"), "{}", copy.obstacle);
    let refused = pair.b.agent.promote(deadline(PATIENCE)).await.unwrap_err();
    assert!(refused.0.contains("has not caught up"), "{refused}");
    std::fs::remove_file(pair.b.server.file("data/holdfast.follows")).unwrap();
    pair.b
        .until_copy("the loss is accepted", |copy| {
            copy.obstacle.is_empty() && copy.position > 0
        })
        .await;
    pair.promote("b", true).await.unwrap();
    pair.listen(true);
    let mut app = pair.app("b").await.unwrap();
    app.run("INSERT INTO shop.t VALUES (8)").await.unwrap();
}

#[tokio::test]
async fn what_only_an_old_primary_has_is_taken_back_and_told() {
    for kind in kinds() {
        let mut pair = Pair::new(&kind, PRIVATE);
        with_a_tail(&mut pair).await;
        let told = come_back(&mut pair, "a").await;
        pair.until_in_sync(&["a", "b"]).await;
        assert_eq!(pair.a.value("SELECT GROUP_CONCAT(n) FROM shop.t").await, "8");
        if kind.mariadb {
            let text = &told.iter().find(|(kind, _)| kind == "mysqld-rewound").unwrap().1;
            assert!(text.contains("1 of them, 0-1-"), "{text}");
            let kept = text.rsplit_once("kept in ").unwrap().1;
            let events = std::fs::read_to_string(kept).unwrap();
            assert!(events.contains("Write_rows"), "{events}");
        } else {
            let text = &told.iter().find(|(kind, _)| kind == "mysqld-reclone").unwrap().1;
            assert!(text.starts_with("1 transactions are here that b lacks"), "{text}");
        }
        let copy = pair.a.until_copy("it follows", |copy| copy.readable).await;
        assert_eq!(copy.possible_loss, "");
    }
}

/// `a` is not started for `still`, then hears who the primary is, and follows it without what nobody else has.
async fn starts_when_it_hears(pair: &mut Pair, still: Duration, hear: impl FnOnce()) {
    let mut start = pair.a.agent.start(deadline(PATIENCE));
    let waits = tokio::time::timeout(still, &mut start).await;
    assert!(waits.is_err(), "{waits:?}");
    hear();
    start.await.unwrap();
    pair.until_in_sync(&["a", "b"]).await;
    assert_eq!(pair.a.value("SELECT GROUP_CONCAT(n) FROM shop.t").await, "8");
}

#[tokio::test]
async fn an_old_primary_that_has_not_heard_yet_who_is_commits_nothing_at_its_start() {
    for kind in kinds().into_iter().filter(|kind| kind.mariadb) {
        let mut pair = Pair::new(&kind, PRIVATE);
        pair.begin().await;
        // It boots while its cable is still out.
        let hear = pair.deafen("a");
        with_a_tail_after_the_begin(&mut pair).await;
        pair.a.stop().await;
        let refused = pair.a.agent.start(deadline(LEASE)).await.unwrap_err();
        assert!(refused.0.contains("has not heard since who is"), "{refused}");
        assert_eq!(pair.a.agent.probe().await, Presence::Inactive);
        // The cable is back a moment later, in the middle of the next attempt.
        starts_when_it_hears(&mut pair, LEASE / 2, hear).await;
    }
}

#[tokio::test]
async fn an_old_primary_that_knows_of_none_waits_a_moment_for_one() {
    for kind in kinds().into_iter().filter(|kind| kind.mariadb) {
        let mut pair = Pair::new(&kind, PRIVATE);
        pair.begin().await;
        let hear = pair.deafen("a");
        with_a_tail_after_the_begin(&mut pair).await;
        pair.a.stop().await;
        // It was assigned in the instant before its power went: that did not reach its disk.
        pair.a.roles.send_modify(|roles| roles.primary = None);
        starts_when_it_hears(&mut pair, LEASE / 4, hear).await;
        assert!(
            pair.a
                .take_notes()
                .iter()
                .any(|(kind, _)| kind == "mysqld-rewound")
        );
    }
}

#[tokio::test]
async fn a_primary_that_is_restarted_in_place_waits_for_nobody() {
    for kind in kinds() {
        let mut pair = Pair::new(&kind, PRIVATE);
        pair.begin().await;
        pair.a.server.signal(Signal::SIGKILL);
        pair.a.failure().await;
        pair.a.stop().await;
        pair.a.start().await.unwrap();
        pair.a.agent.promote(deadline(PATIENCE)).await.unwrap();
        pair.until_in_sync(&["a", "b"]).await;
    }
}

#[tokio::test]
async fn a_primary_without_room_gives_way_and_comes_back_when_there_is_some() {
    for kind in kinds() {
        let Some(mount) = Mount::new() else {
            eprintln!("not run: nothing can be mounted here");
            return;
        };
        let mut pair = Pair::with_disk_of_a(&kind, &mount.0.path().display().to_string());
        pair.begin().await;
        let ballast = mount.0.path().join("full");
        std::fs::write(&ballast, vec![0; 7 << 19]).unwrap();
        let reason = pair.a.gives_way().await;
        assert!(reason.starts_with("the disk is full"), "{reason}");
        // What the runner does with a demotion that fails.
        let refused = pair.a.agent.demote(None, deadline(PATIENCE)).await.unwrap_err();
        assert!(refused.0.contains("the disk is full"), "{refused}");
        pair.a.agent.kill(deadline(PATIENCE)).await.unwrap();
        pair.promote("b", true).await.unwrap();
        let refused = pair.a.start().await.unwrap_err();
        assert!(refused.0.contains("the disk is full"), "{refused}");
        std::fs::remove_file(ballast).unwrap();
        pair.a.start().await.unwrap();
        pair.until_in_sync(&["a", "b"]).await;
    }
}

#[tokio::test]
async fn a_demotion_that_cannot_hand_over_fails_and_the_server_can_be_killed() {
    for kind in kinds() {
        let mut pair = Pair::new(&kind, PRIVATE);
        pair.begin().await;
        pair.listen(false);
        pair.b.server.signal(Signal::SIGSTOP);
        let mut app = pair.app("a").await.unwrap();
        let write = tokio::spawn(async move { app.run("INSERT INTO shop.t VALUES (1)").await });
        let mut root = pair.a.root().await;
        until("the commit waits", async || awaits_replica(&mut root).await).await;
        let toward = Pair::peer("b");
        let soon = deadline(LEASE);
        let failed = pair.a.agent.demote(Some(&toward), soon).await.unwrap_err();
        assert!(
            !write.is_finished(),
            "a commit that nobody received is acknowledged: {failed}"
        );
        pair.a.agent.kill(deadline(PATIENCE)).await.unwrap();
        assert!(write.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn with_certificates_replication_is_encrypted_and_the_account_asks_for_one() {
    for kind in kinds() {
        let Some(certificates) = Certificates::new() else {
            eprintln!("not run: openssl is missing");
            return;
        };
        let mut pair = Pair::with_certificates(&kind, &certificates);
        pair.begin().await;
        let status = pair.b.root().await.rows("SHOW REPLICA STATUS").await.unwrap();
        let row = status.first().unwrap();
        assert_eq!(row.text(&["Source_SSL_Allowed", "Master_SSL_Allowed"]), "Yes");
        let who = "SELECT DISTINCT ssl_type FROM mysql.user WHERE user='holdfast'";
        assert_eq!(pair.b.value(who).await, "X509");
        // Without a certificate the account is of no use.
        let address = pair.socket_of("a");
        let refused = Client::remote(address, "holdfast", None, LEASE).await;
        assert_eq!(refused.err().and_then(|error| error.code()), Some(1045));
    }
}

#[tokio::test]
async fn with_manual_rejoin_the_operator_is_told_and_nothing_is_touched() {
    for kind in kinds() {
        let mut pair = Pair::new(&kind, &[("private_link", "true"), ("rejoin", "manual")]);
        pair.begin().await;
        // An errant transaction: written on the replica alone, as an administrator by hand.
        let mut root = pair.b.root().await;
        let off = if kind.mariadb {
            "SELECT 1"
        } else {
            "SET GLOBAL super_read_only=OFF"
        };
        root.run(off).await.unwrap();
        root.run("INSERT INTO shop.t VALUES (99)").await.unwrap();
        pair.b.stop().await;
        pair.b.start().await.unwrap();
        let copy = pair
            .b
            .until_copy("it says what it has", |copy| !copy.obstacle.is_empty())
            .await;
        assert!(
            copy.obstacle.contains("1 transactions are here that a lacks"),
            "{}",
            copy.obstacle
        );
        assert!(!copy.readable);
        assert_eq!(lacks(&pair.b, &[99]).await, NONE);
    }
}

#[tokio::test]
async fn another_had_agentd_takes_a_promoted_server_over() {
    for kind in kinds() {
        let mut pair = Pair::new(&kind, PRIVATE);
        pair.begin().await;
        let before = pair.a.server.pid();
        pair.a.restart_agent().await;
        pair.a.until_copy("it leads on", |copy| copy.readable).await;
        assert_eq!(pair.a.server.pid(), before);
        let mut app = pair.app("a").await.unwrap();
        app.run("INSERT INTO shop.t VALUES (1)").await.unwrap();
        pair.b.server.signal(Signal::SIGKILL);
        pair.until_in_sync(&["a"]).await;
        app.run("INSERT INTO shop.t VALUES (2)").await.unwrap();
    }
}

/// Connects again and again until the server is there, and keeps that connection.
async fn first_at(address: std::net::SocketAddr) -> Client {
    loop {
        if let Ok(client) = crate::pair::app(address).await {
            return client;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_a_session_from_the_first_moment_writes_reaches_the_replica() {
    for kind in kinds() {
        let mut pair = Pair::new(&kind, PRIVATE);
        pair.begin().await;
        pair.b.stop().await;
        pair.until_in_sync(&["a"]).await;
        // Sessions keep the server's number of their first moment, and `a` drops what comes under its own.
        let address = pair.socket_of("b");
        let early = tokio::spawn(first_at(address));
        pair.b.start().await.unwrap();
        pair.until_in_sync(&["a", "b"]).await;
        let mut early = early.await.unwrap();
        pair.a.stop().await;
        pair.promote("b", true).await.unwrap();
        pair.a.start().await.unwrap();
        pair.until_in_sync(&["a", "b"]).await;
        if early.run("INSERT INTO shop.t VALUES (1)").await.is_err() {
            let mut late = pair.app("b").await.unwrap();
            late.run("INSERT INTO shop.t VALUES (1)").await.unwrap();
        }
        until("it is there", async || lacks(&pair.a, &[1]).await == NONE).await;
    }
}

//! Data that is fetched anew from the primary, with real servers and a real `mariadb-backup`.

use std::path::PathBuf;

use holdfast_agents::agent::AgentError;

use crate::certificates::Certificates;
use crate::node::{PATIENCE, deadline, until};
use crate::pair::{Pair, come_back, lacks};
use crate::server::{Instance, kinds};

const NONE: [u64; 0] = [];
const PRIVATE: &[(&str, &str)] = &[("private_link", "true")];

/// Something that only `b` has.
async fn write_by_hand(pair: &mut Pair, statement: &str) {
    let mut root = pair.b.root().await;
    if !pair.b.server.kind.mariadb {
        root.run("SET GLOBAL super_read_only=OFF").await.unwrap();
    }
    root.run(statement).await.unwrap();
}

/// Folders of data that was replaced.
fn replaced(server: &Instance) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(server.file("data")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_one = |path: &PathBuf| path.display().to_string().contains("/holdfast.replaced-");
    paths.filter(is_one).collect()
}

fn has_tools() -> bool {
    let found = ["/usr/bin/mariadb-backup", "/usr/bin/mbstream"]
        .iter()
        .all(|path| std::path::Path::new(path).exists());
    if !found {
        eprintln!("not run: mariadb-backup is missing (package mariadb-backup)");
    }
    found
}

#[tokio::test]
async fn what_mariadb_committed_on_an_old_primary_alone_is_moved_aside() {
    for kind in kinds().into_iter().filter(|kind| kind.mariadb) {
        let (Some(certificates), true) = (Certificates::new(), has_tools()) else {
            eprintln!("not run: openssl or mariadb-backup is missing");
            return;
        };
        let mut pair = Pair::with_certificates(&kind, &certificates);
        pair.begin().await;
        // Both were primary: what either of them wrote must count as being in the copy.
        for (from, to) in [("a", "b"), ("b", "a")] {
            hand_over(&mut pair, from, to).await;
        }
        let mut app = pair.app("a").await.unwrap();
        app.run("INSERT INTO shop.t VALUES (1)").await.unwrap();
        write_by_hand(&mut pair, "INSERT INTO shop.t VALUES (99)").await;
        pair.b.stop().await;
        pair.until_in_sync(&["a"]).await;
        app.run("INSERT INTO shop.t VALUES (2)").await.unwrap();
        pair.b.start().await.unwrap();
        let told = come_back(&mut pair, "b").await;
        pair.until_in_sync(&["a", "b"]).await;
        app.run("INSERT INTO shop.t VALUES (3)").await.unwrap();
        until("it follows", async || lacks(&pair.b, &[1, 2, 3]).await == NONE).await;
        assert_eq!(lacks(&pair.b, &[99]).await, [99]);
        let kept = replaced(&pair.b.server);
        assert_eq!(kept.len(), 1);
        assert!(kept[0].join("shop/t.ibd").exists());
        assert!(!pair.b.server.file("data/holdfast.seed").exists());
        assert!(told.iter().any(|(kind, _)| kind == "mysqld-seeded"), "{told:?}");
        // Nobody is left out: the primary gives its data to nobody any more.
        let at = pair.seed_address("a");
        until("the port is closed", async || {
            tokio::net::TcpStream::connect(at).await.is_err()
        })
        .await;
        // And the new copy can lead.
        promote_b(&mut pair).await.unwrap();
        let mut app = pair.app("b").await.unwrap();
        app.run("INSERT INTO shop.t VALUES (4)").await.unwrap();
    }
}

/// A planned move, and a write after it.
async fn hand_over(pair: &mut Pair, from: &str, to: &'static str) {
    let toward = Pair::peer(to);
    let former = &mut pair.node(from).agent;
    former.demote(Some(&toward), deadline(PATIENCE)).await.unwrap();
    pair.promote(to, false).await.unwrap();
    pair.until_in_sync(&["a", "b"]).await;
    let mut app = pair.app(to).await.unwrap();
    app.run("CREATE OR REPLACE TABLE shop.moved (n INT)")
        .await
        .unwrap();
}

async fn promote_b(pair: &mut Pair) -> Result<(), AgentError> {
    pair.a.stop().await;
    pair.promote("b", true).await
}

#[tokio::test]
async fn an_operator_has_other_data_replaced_but_never_a_copy_that_counts() {
    for kind in kinds() {
        if kind.mariadb && !has_tools() {
            continue;
        }
        let mut pair = Pair::new(&kind, PRIVATE);
        pair.a.start().await.unwrap();
        pair.b.start().await.unwrap();
        write_by_hand(&mut pair, "CREATE DATABASE toys").await;
        pair.promote("a", false).await.unwrap();
        pair.fill().await;
        let copy = pair.b.until_copy("it says why not", |copy| {
            copy.obstacle.contains("never had anything in common")
        });
        copy.await;
        std::fs::write(pair.b.seed_request(), "").unwrap();
        come_back(&mut pair, "b").await;
        pair.until_in_sync(&["a", "b"]).await;
        let toys = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name='toys'";
        assert_eq!(pair.b.value(toys).await, "0");
        // Now it counts.
        let before = pair.b.server.pid();
        std::fs::write(pair.b.seed_request(), "").unwrap();
        let refusal = pair.b.seed_refusal();
        until("it is refused", async || refusal.exists()).await;
        let text = std::fs::read_to_string(refusal).unwrap();
        assert!(text.contains("counts on the copy of this node"), "{text}");
        assert!(!pair.b.seed_request().exists());
        assert_eq!(pair.b.server.pid(), before);
        pair.b.until_copy("it follows", |copy| copy.readable).await;
    }
}

//! Storage mode: one server.

use std::net::IpAddr;

use holdfast_agents::agent::Presence;
use nix::sys::signal::Signal;

use crate::node::{Node, deadline, until};
use crate::server::{Kind, free_port, kinds};

fn node(kind: &Kind, params: &[(&str, &str)]) -> Node {
    let address: IpAddr = "127.0.0.1".parse().unwrap();
    Node::new("a", kind, address, free_port(&[address]), &[], params)
}

#[tokio::test]
async fn a_server_is_started_watched_recovered_and_stopped() {
    for kind in kinds() {
        let mut node = node(&kind, &[]);
        assert_eq!(node.agent.probe().await, Presence::Inactive, "{}", kind.name);
        node.start().await.unwrap();
        assert_eq!(node.agent.probe().await, Presence::Active);
        assert!(node.agent.detail().contains(kind.name), "{}", node.agent.detail());
        let mut root = node.root().await;
        root.run("CREATE DATABASE shop").await.unwrap();
        root.run("CREATE TABLE shop.t (n INT PRIMARY KEY) ENGINE=InnoDB")
            .await
            .unwrap();
        root.run("INSERT INTO shop.t VALUES (7)").await.unwrap();
        // The end of the process is told at once, and what was committed is there after recovery.
        node.server.signal(Signal::SIGKILL);
        let reason = node.failure().await;
        assert!(reason.contains("signal"), "{reason}");
        node.agent.stop(deadline(crate::node::PATIENCE)).await.unwrap();
        node.start().await.unwrap();
        assert_eq!(node.value("SELECT n FROM shop.t").await, "7");
        // Another had-agentd takes it over without touching it.
        let before = node.server.pid();
        node.restart_agent().await;
        assert_eq!(node.server.pid(), before);
        node.stop().await;
        assert_eq!(node.agent.probe().await, Presence::Inactive);
        assert!(node.has_failed().is_none());
    }
}

#[tokio::test]
async fn a_server_that_hangs_fails_and_one_that_is_full_does_not() {
    for kind in kinds() {
        let quick = [("probe_interval_ms", "100"), ("probe_timeout_ms", "1500")];
        let mut node = node(&kind, &quick);
        node.start().await.unwrap();
        let mut root = node.root().await;
        root.run("SET GLOBAL max_connections=10").await.unwrap();
        let mut others = Vec::new();
        while let Ok(client) =
            holdfast_agents::mysqld::client::Client::local(&node.server.file("sock"), crate::node::LEASE)
                .await
        {
            others.push(client);
        }
        // Each of these probes goes over the connection that the agent keeps.
        let mut selects = async || {
            let rows = root.rows("SHOW GLOBAL STATUS LIKE 'Com_select'").await.unwrap();
            rows.first().unwrap().number(&["Value"]).unwrap()
        };
        let before = selects().await;
        until("six probes", async || selects().await >= before + 6).await;
        assert!(node.has_failed().is_none());
        drop(others);
        node.server.signal(Signal::SIGSTOP);
        let reason = node.failure().await;
        assert!(reason.contains("does not answer"), "{reason}");
        node.agent.kill(deadline(crate::node::PATIENCE)).await.unwrap();
        assert_eq!(node.agent.probe().await, Presence::Inactive);
    }
}

#[tokio::test]
async fn a_start_that_cannot_work_says_why() {
    for kind in kinds() {
        let address: IpAddr = "127.0.0.1".parse().unwrap();
        let options = ["--no-such-option=1".to_owned()];
        let mut node = Node::new("a", &kind, address, free_port(&[address]), &options, &[]);
        let error = node.start().await.unwrap_err();
        assert!(error.0.contains("exited"), "{error}");
        assert!(
            error.0.contains("no-such-option") || error.0.contains("Aborting"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_may_not_run_any_more_is_halted_at_once() {
    for kind in kinds() {
        let mut node = node(&kind, &[]);
        let halter = node.agent.halter().expect("a process can be halted");
        node.start().await.unwrap();
        halter().unwrap();
        let reason = node.failure().await;
        assert!(reason.contains("signal"), "{reason}");
    }
}

/// A small file system of its own.
pub struct Mount(pub tempfile::TempDir);

impl Mount {
    pub fn new() -> Option<Mount> {
        let folder = tempfile::tempdir().unwrap();
        let options = nix::mount::MsFlags::empty();
        nix::mount::mount(
            Some("tmpfs"),
            folder.path(),
            Some("tmpfs"),
            options,
            Some("size=4m"),
        )
        .ok()?;
        Some(Mount(folder))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_is_a_failure_with_its_reason() {
    for kind in kinds() {
        let Some(mount) = Mount::new() else {
            eprintln!("not run: nothing can be mounted here");
            return;
        };
        let folder = mount.0.path().display().to_string();
        let mut node = node(&kind, &[("datadir", &folder), ("probe_interval_ms", "100")]);
        node.start().await.unwrap();
        std::fs::write(mount.0.path().join("full"), vec![0; 7 << 19]).unwrap();
        let reason = node.failure().await;
        assert!(reason.starts_with("the disk is full"), "{reason}");
        node.stop().await;
        // Nothing is started on it as long as that is so: MySQL would wait for room, and its group with it.
        let error = node.start().await.unwrap_err();
        assert!(error.0.starts_with("the disk is full"), "{error}");
        assert_eq!(node.server.pid(), None);
        // What the stop gave back would be gone at once: a disk that was full has to have more than a little room.
        std::fs::write(mount.0.path().join("full"), vec![0; 1 << 20]).unwrap();
        let error = node.start().await.unwrap_err();
        assert!(error.0.starts_with("the disk was full"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_waits_for_room_is_killed_when_it_is_to_stop() {
    for kind in kinds() {
        let Some(mount) = Mount::new() else {
            eprintln!("not run: nothing can be mounted here");
            return;
        };
        let folder = mount.0.path().display().to_string();
        let mut node = node(&kind, &[("datadir", &folder)]);
        node.start().await.unwrap();
        std::fs::write(mount.0.path().join("full"), vec![0; 7 << 19]).unwrap();
        // As one that waits for room: it does not end by SIGTERM.
        node.server.signal(Signal::SIGSTOP);
        node.stop().await;
        assert_eq!(node.agent.probe().await, Presence::Inactive);
    }
}

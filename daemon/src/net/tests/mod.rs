//! Several transports in one process, each on loopback addresses of its own.

mod identity;
mod traffic;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::event::Identity;
use holdfast_proto::config::{self, Config, KeyPin};
use holdfast_proto::ids::{Ballot, BootId, Incarnation, NodeId};
use holdfast_proto::peer::{Beat, Heartbeat, Message};
use holdfast_proto::time::Time;
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{NetConfig, NetError, NetEvent, NetHandle, start};
use crate::join::JoinTokens;
use crate::keys::NodeKeys;

pub const CLUSTER: &str = "00000000000000aa";
/// No test waits for as long as this unless it fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Loopback address of `node` on `link`: all of 127.0.0.0/8 is local, and tests of two runs must not meet.
pub fn address(test: u8, node: u8, link: u8) -> IpAddr {
    let run = (std::process::id() % 120) as u8;
    IpAddr::from([127, 100 + run, test, 10 * link + node + 1])
}

/// A member to be, with keys of its own.
pub struct Member {
    pub id: u8,
    pub dir: TempDir,
    pub keys: Arc<NodeKeys>,
}

impl Member {
    pub fn new(id: u8) -> Member {
        let dir = tempfile::tempdir().expect("dir");
        let keys = Arc::new(NodeKeys::load_or_create(dir.path()).expect("keys"));
        Member { id, dir, keys }
    }

    pub async fn up(&self, config: &Arc<Config>, incarnation: u64) -> Running {
        self.up_with(config, incarnation, &Arc::new(JoinTokens::default()))
            .await
    }

    pub async fn up_with(&self, config: &Arc<Config>, incarnation: u64, joins: &Arc<JoinTokens>) -> Running {
        let me = Identity {
            node: NodeId(self.id),
            boot: BootId(1000 + u128::from(self.id)),
            incarnation: Incarnation(incarnation),
        };
        let start_with = NetConfig {
            me,
            config: Arc::clone(config),
            keys: Arc::new(NodeKeys::load_or_create(self.dir.path()).expect("keys")),
            joins: Arc::clone(joins),
        };
        // The sockets of an earlier run go when its last task has noticed its end.
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            match start(start_with.clone()) {
                Ok((net, events)) => return Running { net, events },
                Err(NetError::Bind { .. }) if std::time::Instant::now() < deadline => {
                    tokio::task::yield_now().await
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// A transport that runs.
pub struct Running {
    pub net: NetHandle,
    pub events: mpsc::Receiver<NetEvent>,
}

impl Running {
    /// The first event that `pick` takes.
    pub async fn until<T>(&mut self, what: &str, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the transport runs");
                if let Some(picked) = pick(event) {
                    return picked;
                }
            }
        };
        tokio::time::timeout(PATIENCE, search)
            .await
            .unwrap_or_else(|_| panic!("{what} did not happen"))
    }

    pub async fn up(&mut self, peer: u8, link: usize) -> Incarnation {
        self.until("a link up", |event| match event {
            NetEvent::LinkUp {
                peer: from, link: on, ..
            } if from.node.0 == peer && on == link => Some(from.incarnation),
            _ => None,
        })
        .await
    }

    pub async fn refused(&mut self) -> String {
        self.until("a refusal", |event| match event {
            NetEvent::Refused { sentence, .. } => Some(sentence),
            _ => None,
        })
        .await
    }

    /// Sends until the peer's `receiver` reports it: a message may be lost while links come up.
    pub async fn delivers(&self, to: &mut Running, node: u8, round: u64) {
        let message = Message::PreVote {
            ballot: Ballot { round, node: 1 },
        };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.net.send(NodeId(node), &message);
            let tick = tokio::time::sleep(Duration::from_millis(20));
            tokio::pin!(tick);
            loop {
                tokio::select! {
                    event = to.events.recv() => match event.expect("the transport runs") {
                        NetEvent::Message { message: got, .. } if got == message => return,
                        _ => {}
                    },
                    () = &mut tick => break,
                }
            }
            assert!(tokio::time::Instant::now() < deadline, "a message did not arrive");
        }
    }
}

/// A configuration of `members` with `links` links each.
pub fn config_of(test: u8, cluster: &str, members: &[(u8, Vec<KeyPin>)], links: u8) -> Arc<Config> {
    let mut text = format!("[cluster]\nname = \"t\"\nid = \"{cluster}\"\nprofile = \"fast\"\nport = 7947\n");
    for (id, pins) in members {
        let pins = pins
            .iter()
            .map(|pin| format!("\"{pin}\""))
            .collect::<Vec<_>>()
            .join(", ");
        if *id == 0 {
            let address = address(test, 0, 0);
            text.push_str(&format!(
                "\n[witness]\naddress = \"{address}\"\nkeys = [{pins}]\n"
            ));
        } else {
            let own = (0..links)
                .map(|link| format!("\"{}\"", address(test, *id, link)))
                .collect::<Vec<_>>()
                .join(", ");
            text.push_str(&format!(
                "\n[[node]]\nname = \"db{id}\"\nid = {id}\nlinks = [{own}]\nkeys = [{pins}]\n"
            ));
        }
    }
    Arc::new(config::parse(&text, "test").unwrap_or_else(|wrong| panic!("{}\n{text}", wrong.render(false))))
}

/// A configuration with the members' own keys.
pub fn config(test: u8, members: &[&Member], links: u8) -> Arc<Config> {
    let pins: Vec<_> = members
        .iter()
        .map(|member| (member.id, vec![member.keys.pin()]))
        .collect();
    config_of(test, CLUSTER, &pins, links)
}

pub fn heartbeat(seq: u64) -> Beat {
    Beat::Heartbeat(Heartbeat {
        seq,
        sent_at: Time(seq),
        lateness: Duration::ZERO,
        ballot: Ballot::ZERO,
        leading: false,
        committed: 1,
        synced: true,
        blank: false,
        survivor: NodeId(1),
        watchdog: None,
        agent_ready: true,
    })
}

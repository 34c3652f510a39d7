//! What every part of the transport shares: the peers, the endpoints, and the way to the deciding thread.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holdfast_core::event::Identity;
use holdfast_proto::ALPN_VERSIONS;
use holdfast_proto::frame::{self, Frame};
use holdfast_proto::ids::NodeId;
use holdfast_proto::peer::{Beat, Message, Sender};
use holdfast_proto::wire::{self, Purpose, Refusal};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use tokio::sync::mpsc;

use super::directory::Directory;
use super::gate::Gate;
use super::hello::Greeted;
use super::peers::{Link, Peer};
use super::refusal::{CODE_GOODBYE, Repeats};
use super::tls::{Judge, tls_client, tls_server};
use super::{LinkStatus, NetConfig, NetError, NetEvent, endpoint, lane};
use crate::join::{self, JoinTokens};
use crate::keys::NodeKeys;

/// Longest wait for the goodbyes to be sent.
const GOODBYE: Duration = Duration::from_millis(500);

/// An endpoint of an own link.
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    pub(super) endpoint: Endpoint,
}

/// The transport's state.
pub(crate) struct Shared {
    pub me: Identity,
    pub directory: Arc<Directory>,
    pub joins: Arc<JoinTokens>,
    pub(super) keys: Arc<NodeKeys>,
    events: mpsc::Sender<NetEvent>,
    pub(super) peers: Mutex<BTreeMap<NodeId, Peer>>,
    pub(super) endpoints: Mutex<Vec<Listening>>,
    /// Of members and of strangers, who can make up as many sentences as they like.
    repeats: Mutex<[Repeats; 2]>,
    beats_client: ClientConfig,
    messages_client: ClientConfig,
    pub(super) server: ServerConfig,
}

impl Shared {
    pub fn new(start: NetConfig, events: mpsc::Sender<NetEvent>) -> Result<Arc<Shared>, NetError> {
        let directory = Arc::new(Directory::new(start.config));
        let judge: Arc<dyn Judge> = Arc::new(Gate {
            directory: Arc::clone(&directory),
            joins: Arc::clone(&start.joins),
        });
        let mut served = ALPN_VERSIONS.to_vec();
        served.push(join::ALPN);
        let tls = |error: rustls::Error| NetError::Tls(error.to_string());
        let client = tls_client(&start.keys, Arc::clone(&judge), &ALPN_VERSIONS).map_err(tls)?;
        let server = tls_server(&start.keys, judge, &served).map_err(tls)?;
        Ok(Arc::new(Shared {
            me: start.me,
            directory,
            joins: start.joins,
            keys: start.keys,
            events,
            peers: Mutex::default(),
            endpoints: Mutex::default(),
            repeats: Mutex::default(),
            beats_client: endpoint::client_config(client.clone(), false).map_err(NetError::Tls)?,
            messages_client: endpoint::client_config(client, true).map_err(NetError::Tls)?,
            server: endpoint::server_config(server).map_err(NetError::Tls)?,
        }))
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(tokio::spawn(task));
    }

    pub fn myself(&self) -> Sender {
        Sender {
            node: self.me.node,
            boot: self.me.boot,
            incarnation: self.me.incarnation,
        }
    }

    pub fn name(&self, node: NodeId) -> String {
        self.directory.config().name_of(node)
    }

    /// Whoever is at `address`, for people.
    pub fn name_at(&self, address: IpAddr) -> String {
        match self.directory.member_at(address) {
            Some(member) => format!("{} at {address}", self.name(member)),
            None => format!("a stranger at {address}"),
        }
    }

    /// How long a dialler waits for an answer.
    pub fn patience(&self) -> Duration {
        let lease = self.directory.config().timers().lease;
        (lease / 2).clamp(Duration::from_millis(400), Duration::from_secs(2))
    }

    pub fn client(&self, purpose: Purpose) -> ClientConfig {
        match purpose {
            Purpose::Beats => self.beats_client.clone(),
            Purpose::Messages => self.messages_client.clone(),
        }
    }

    /// The endpoint and the address to dial for `link` to `peer`.
    pub fn route_to(&self, peer: NodeId, link: usize) -> Option<(Endpoint, SocketAddr)> {
        let (index, address) = {
            let peers = lock(&self.peers);
            let link = peers.get(&peer)?.links.get(&link)?;
            (link.endpoint, link.address)
        };
        Some((lock(&self.endpoints).get(index)?.endpoint.clone(), address))
    }

    /// True if `peer` may come on `link`, over the endpoint of own link `endpoint`.
    pub fn has_link(&self, peer: NodeId, link: usize, endpoint: usize) -> bool {
        let peers = lock(&self.peers);
        peers
            .get(&peer)
            .and_then(|peer| peer.links.get(&link))
            .is_some_and(|link| link.endpoint == endpoint)
    }

    /// Puts a connection in its place after the hello.
    pub fn install(
        &self,
        greeted: &Greeted,
        connection: &Connection,
    ) -> Result<mpsc::Receiver<Vec<u8>>, (Refusal, String)> {
        let node = greeted.from.node;
        let installed = match lock(&self.peers).get_mut(&node) {
            Some(peer) => peer.install(greeted, connection, Instant::now()),
            None => Err((
                Refusal::UnknownNode,
                format!("{} is not a member any more", self.name(node)),
            )),
        };
        let installed = installed?;
        self.restarted(node, installed.ended);
        if installed.link_came_up {
            self.link_up(greeted);
        }
        Ok(installed.outbox)
    }

    fn link_up(&self, greeted: &Greeted) {
        let version = greeted.version.clone();
        self.emit(NetEvent::LinkUp {
            peer: greeted.from,
            link: greeted.link,
            version,
        });
    }

    /// Takes a connection out after its end.
    pub fn remove(&self, greeted: &Greeted, connection: &Connection, why: &str) {
        let node = greeted.from.node;
        let went_down = lock(&self.peers)
            .get_mut(&node)
            .is_some_and(|peer| peer.remove(greeted, connection, why));
        if went_down {
            self.emit(NetEvent::LinkDown {
                peer: node,
                link: greeted.link,
                why: why.to_owned(),
            });
        }
    }

    /// One connection learned that the run behind it is over: so are the others.
    pub fn forget_run(&self, run: Sender) {
        let ended = lock(&self.peers)
            .get_mut(&run.node)
            .map(|peer| peer.end_run(run))
            .unwrap_or_default();
        self.restarted(run.node, ended);
    }

    fn restarted(&self, node: NodeId, links: Vec<usize>) {
        for link in links {
            let why = format!("{} has restarted", self.name(node));
            self.emit(NetEvent::LinkDown {
                peer: node,
                link,
                why,
            });
        }
    }

    /// Notes why `peer` is not reached, for status output.
    pub fn unreachable(&self, peer: NodeId, link: usize, why: String) {
        if let Some(link) = lock(&self.peers)
            .get_mut(&peer)
            .and_then(|peer| peer.links.get_mut(&link))
            && link.beats.is_none()
        {
            link.down(&why);
        }
    }

    pub fn send(&self, to: NodeId, message: &Message) {
        let bytes = wire::encode(message);
        let Some(packed) = lock(&self.peers)
            .get_mut(&to)
            .map(|peer| lane::pack(peer.next_seq(), &bytes))
        else {
            return;
        };
        self.route(to, packed);
    }

    /// Hands a packed message to the best connection; drops it if there is none.
    pub fn route(&self, to: NodeId, packed: Vec<u8>) {
        let sent = lock(&self.peers)
            .get_mut(&to)
            .is_some_and(|peer| peer.route(packed));
        if !sent {
            tracing::debug!(peer = %to, "a message was dropped: no connection takes it");
        }
    }

    /// True when a link to `peer` is up.
    pub fn is_heard(&self, peer: NodeId) -> bool {
        lock(&self.peers)
            .get(&peer)
            .is_some_and(|peer| peer.links.values().any(Link::is_up))
    }

    pub fn send_beat(&self, to: NodeId, beat: Beat) {
        let config = self.directory.config();
        let (cluster, well) = (config.cluster.id, config.timers().heartbeat * 5 / 2);
        let bytes = bytes::Bytes::from(frame::encode(&Frame {
            cluster,
            to,
            from: self.myself(),
            beat,
        }));
        let seq = match beat {
            Beat::Heartbeat(heartbeat) => heartbeat.seq,
            Beat::Ack(ack) => ack.seq,
        };
        if let Some(peer) = lock(&self.peers).get(&to) {
            for connection in peer.lanes_for_beat(seq, well, Instant::now()) {
                // A connection that just ended refuses; its dialler knows.
                drop(connection.send_datagram(bytes.clone()));
            }
        }
    }

    /// Takes in a beat that came on `greeted`'s connection.
    pub fn take_beat(&self, greeted: &Greeted, frame: &Frame) {
        let cluster = self.directory.config().cluster.id;
        if frame.from != greeted.from || frame.to != self.me.node || frame.cluster != cluster {
            let name = self.name(greeted.from.node);
            let sentence = format!(
                "{name} sends heartbeats in the name of {}",
                self.name(frame.from.node)
            );
            return self.refused(greeted.link, Some(greeted.from.node), sentence);
        }
        let node = greeted.from.node;
        let arrival = match lock(&self.peers).get_mut(&node) {
            Some(peer) => peer.take_beat(node, greeted.link, &frame.beat, Instant::now()),
            None => return,
        };
        if arrival.link_came_up {
            self.link_up(greeted);
        }
        if arrival.fresh {
            self.emit(NetEvent::Beat {
                from: frame.from,
                beat: frame.beat,
            });
        }
    }

    /// Takes in a message. Waits while the deciding thread is busy, and the peer waits with it.
    pub async fn take_message(&self, greeted: &Greeted, seq: u64, message: Message) {
        let fresh = lock(&self.peers)
            .get_mut(&greeted.from.node)
            .is_some_and(|peer| peer.take_message(greeted.from, seq));
        if fresh {
            self.emit_waiting(NetEvent::Message {
                from: greeted.from,
                message,
            })
            .await;
        }
    }

    /// Tells the journal of a refusal, once a minute.
    pub fn refused(&self, link: usize, peer: Option<NodeId>, sentence: String) {
        let stranger = usize::from(peer.is_none());
        if lock(&self.repeats)[stranger].tell(&sentence, Instant::now()) {
            self.emit(NetEvent::Refused { link, peer, sentence });
        }
    }

    pub fn emit(&self, event: NetEvent) {
        if self.events.try_send(event).is_err() {
            tracing::debug!("an event of the transport was dropped: the deciding thread is behind");
        }
    }

    pub async fn emit_waiting(&self, event: NetEvent) {
        // The receiver is gone only when the process ends.
        drop(self.events.send(event).await);
    }

    /// True when nobody takes events any more.
    pub fn closed(&self) -> bool {
        self.events.is_closed()
    }

    pub fn links(&self) -> Vec<LinkStatus> {
        lock(&self.peers)
            .iter()
            .flat_map(|(node, peer)| peer.status(*node))
            .collect()
    }

    pub async fn close(&self, reason: &str) {
        for peer in lock(&self.peers).values_mut() {
            peer.links
                .values_mut()
                .for_each(|link| link.end(CODE_GOODBYE, reason));
        }
        let endpoints: Vec<_> = lock(&self.endpoints)
            .iter()
            .map(|listening| listening.endpoint.clone())
            .collect();
        endpoints
            .iter()
            .for_each(|endpoint| endpoint.close(CODE_GOODBYE, reason.as_bytes()));
        let idle = async {
            for endpoint in &endpoints {
                endpoint.wait_idle().await;
            }
        };
        drop(tokio::time::timeout(GOODBYE, idle).await);
        // The sockets go with the last handle.
        lock(&self.endpoints).clear();
    }

    fn mark_silent(&self) {
        let limit = self.directory.config().timers().link_silence;
        let now = Instant::now();
        let mut silent = Vec::new();
        for (node, peer) in lock(&self.peers).iter_mut() {
            for (index, link) in &mut peer.links {
                let Some(silence) = link.silence(now).filter(|silence| *silence > limit) else {
                    continue;
                };
                let why = format!("no heartbeat for {} ms", silence.as_millis());
                link.down(&why);
                silent.push((*node, *index, why));
            }
        }
        for (peer, link, why) in silent {
            self.emit(NetEvent::LinkDown { peer, link, why });
        }
    }
}

/// Notices links that carry nothing although their connection has not timed out yet.
pub(crate) async fn watch_silence(shared: Arc<Shared>) {
    while !shared.closed() {
        let limit = shared.directory.config().timers().link_silence;
        let asleep = Instant::now();
        tokio::time::sleep(limit / 4).await;
        // After a stall of this process the heartbeats lie in its sockets: they are read first, nobody is blamed.
        if asleep.elapsed() < limit / 2 {
            shared.mark_silent();
        }
    }
}

/// Locks; nothing that holds one of these locks waits or panics with a half-made change.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! QUIC between members: heartbeats on datagrams, messages on streams, on every link that is configured.
//!
//! One endpoint per own link address. To each peer and link two connections: `beats` carries datagrams only, so that
//! nothing queues before a heartbeat, and `messages` carries one long-lived stream each way. The member with the
//! higher number dials (so everybody dials the witness). Nothing counts as up before the application hello.
//!
//! Everything here runs on the deciding thread's runtime: no call blocks, every queue is bounded, and what one peer
//! may cost per second is bounded too ([`budget`]).

mod accept;
mod budget;
mod carrier;
mod dial;
mod directory;
mod endpoint;
mod follow;
mod gate;
mod health;
mod hello;
mod lane;
mod peers;
mod refusal;
mod routing;
mod tls;
mod window;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use holdfast_core::event::{Identity, NetworkHealth};
use holdfast_proto::config::Config;
use holdfast_proto::ids::NodeId;
use holdfast_proto::peer::{Beat, Message, Sender};
use tokio::sync::mpsc;

use crate::join::{JoinRequest, JoinTokens};
use crate::keys::NodeKeys;

pub use directory::own_addresses;
pub use endpoint::{client_config, open as open_endpoint};
pub use refusal::{clean, explain};
pub(crate) use routing::Shared;
pub use tls::{Judge, server_name, tls_client};

pub(crate) use tls::proven_pin;

/// Events that may wait for the deciding thread. A full queue drops beats and holds messages back.
const EVENTS_MAX: usize = 1024;

/// What the transport needs to know when it starts.
#[derive(Clone)]
pub struct NetConfig {
    /// Who this is.
    pub me: Identity,
    /// The configuration in force: links, peers, key pins.
    pub config: Arc<Config>,
    /// This node's keys.
    pub keys: Arc<NodeKeys>,
    /// Join tokens that the control socket gave out.
    pub joins: Arc<JoinTokens>,
}

/// From the transport.
#[derive(Debug)]
pub enum NetEvent {
    /// A message.
    Message {
        /// Who sent it, as its hello established.
        from: Sender,
        /// The message.
        message: Message,
    },
    /// A heartbeat or an answer, for the first time on any link.
    Beat {
        /// Who sent it.
        from: Sender,
        /// The frame.
        beat: Beat,
    },
    /// A link to a peer carries heartbeats.
    LinkUp {
        /// The peer, as its hello established.
        peer: Sender,
        /// Index of the link.
        link: usize,
        /// Version of the peer's `had`.
        version: String,
    },
    /// A link to a peer carries none any more.
    LinkDown {
        /// The peer.
        peer: NodeId,
        /// Index of the link.
        link: usize,
        /// Why, in words.
        why: String,
    },
    /// A connection was refused, by us or by the other side. The same sentence is told once a minute.
    Refused {
        /// Index of the own link it happened on.
        link: usize,
        /// The peer, if it is known who that was.
        peer: Option<NodeId>,
        /// What happened and what to do.
        sentence: String,
    },
    /// This node's own network changed. The first one follows the start.
    Network(NetworkHealth),
    /// Something about the transport that an operator should mend.
    Warning(String),
    /// Somebody with a valid token wants to join. Answer on its `reply`.
    Join(JoinRequest),
}

/// One link to one peer, for status output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    /// The peer.
    pub peer: NodeId,
    /// Index of the link.
    pub link: usize,
    /// The peer's address on it.
    pub address: SocketAddr,
    /// Heartbeats arrive.
    pub up: bool,
    /// Why not, if not.
    pub why: String,
    /// Smoothed round trip in microseconds; 0 if unknown.
    pub rtt_us: u32,
    /// Beats lost among the last 100 that the peer sent on it.
    pub lost_percent: u32,
    /// Version of the peer's `had`; empty if unknown.
    pub version: String,
}

/// Why the transport cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// This node is not in the configuration.
    #[error("{0} is not in the configuration: name it in a [[node]] section, or in [witness]")]
    NotAMember(NodeId),
    /// The socket of a link cannot be had.
    #[error("cannot listen on {address} (UDP): {source}")]
    Bind {
        /// The link's address.
        address: SocketAddr,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The key is not accepted by the TLS library.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// The transport. Cheap to clone.
#[derive(Clone)]
pub struct NetHandle {
    shared: Arc<routing::Shared>,
}

/// Starts the transport inside the current tokio runtime.
///
/// # Errors
/// When this node is not in the configuration or a link's socket cannot be had.
pub fn start(start: NetConfig) -> Result<(NetHandle, mpsc::Receiver<NetEvent>), NetError> {
    let (events, receiver) = mpsc::channel(EVENTS_MAX);
    let shared = routing::Shared::new(start, events)?;
    shared.follow()?;
    shared.spawn(health::watch(Arc::clone(&shared)));
    shared.spawn(routing::watch_silence(Arc::clone(&shared)));
    Ok((NetHandle { shared }, receiver))
}

impl NetHandle {
    /// Sends on the best link. The message is dropped if no link is up: the core sends again what matters.
    pub fn send(&self, to: NodeId, message: &Message) {
        self.shared.send(to, message);
    }

    /// Sends on every link.
    pub fn send_beat(&self, to: NodeId, beat: Beat) {
        self.shared.send_beat(to, beat);
    }

    /// Follows a new configuration: links, peers and pins. A connection whose key is pinned no more is closed.
    pub fn reconfigure(&self, config: Arc<Config>) {
        self.shared.directory.replace(config);
        if let Err(error) = self.shared.follow() {
            self.shared.emit(NetEvent::Warning(error.to_string()));
        }
    }

    /// Every link to every peer.
    #[must_use]
    pub fn links(&self) -> Vec<LinkStatus> {
        self.shared.links()
    }

    /// Says goodbye on every connection and waits until that was sent, so that peers see a planned stop at once.
    pub async fn close(&self, reason: &str) {
        self.shared.close(reason).await;
    }
}

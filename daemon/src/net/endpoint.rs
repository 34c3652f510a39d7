//! Sockets and QUIC parameters. The reasons for the numbers are measurements, not taste.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::congestion::{Controller, ControllerFactory};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};

use crate::keys::NodeKeys;

/// Silence after which a connection is cleaned up. Detection does not wait for it.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(2);
/// Keeps a `messages` connection alive, on which nothing may be said for hours.
pub const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// Handshakes of one endpoint that are waiting to be looked at.
const INCOMING_MAX: usize = 64;
/// A few heartbeats: stale ones are dropped, not queued.
const DATAGRAM_SEND_BYTES: usize = 2 << 10;
const DATAGRAM_RECEIVE_BYTES: usize = 64 << 10;
/// Two seconds of heartbeats and answers at the fastest setting, or a few cluster states.
const WINDOW_BYTES: u64 = 128 << 10;

/// A constant congestion window. A controller that adapts would be down to two packets after a short cut, both of them
/// in flight and lost, and heartbeats would wait for a probe timeout that had doubled several times. What members
/// exchange is a few KB a second: too little to congest anything, so losing some of it is no reason to say less.
#[derive(Clone)]
struct Constant;

impl ControllerFactory for Constant {
    fn build(self: Arc<Self>, _now: Instant, _mtu: u16) -> Box<dyn Controller> {
        Box::new(Constant)
    }
}

impl Controller for Constant {
    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, _persistent: bool, _lost_bytes: u64) {}

    fn on_mtu_update(&mut self, _mtu: u16) {}

    fn window(&self) -> u64 {
        WINDOW_BYTES
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(Constant)
    }

    fn initial_window(&self) -> u64 {
        WINDOW_BYTES
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Parameters of every connection; `keep_alive` for the dialler of one that may be silent.
fn transport(keep_alive: Option<Duration>) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    let idle_ms = VarInt::from_u32(IDLE_TIMEOUT.as_millis() as u32);
    transport
        .max_idle_timeout(Some(IdleTimeout::from(idle_ms)))
        .keep_alive_interval(keep_alive)
        // The default of 333 ms would make a lost first packet cost a second.
        .initial_rtt(Duration::from_millis(10))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(1))
        .stream_receive_window(VarInt::from_u32(1 << 20))
        .receive_window(VarInt::from_u32(2 << 20))
        .send_window(2 << 20)
        .datagram_send_buffer_size(DATAGRAM_SEND_BYTES)
        .datagram_receive_buffer_size(Some(DATAGRAM_RECEIVE_BYTES))
        .congestion_controller_factory(Arc::new(Constant));
    Arc::new(transport)
}

/// Parameters for dialling; `silent` if nothing may be said on the connection for long.
///
/// # Errors
/// When the TLS configuration lacks the cipher that QUIC begins with.
pub fn client_config(tls: rustls::ClientConfig, silent: bool) -> Result<ClientConfig, String> {
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport(silent.then_some(KEEP_ALIVE)));
    Ok(config)
}

/// Parameters for being dialled.
///
/// # Errors
/// When the TLS configuration lacks the cipher that QUIC begins with.
pub fn server_config(tls: rustls::ServerConfig) -> Result<ServerConfig, String> {
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(transport(None))
        .migration(false)
        .max_incoming(INCOMING_MAX);
    Ok(config)
}

/// The endpoint of a link. Both keys come from files: with them, a peer that still sends to the run before this one
/// gets a stateless reset, and knows within a heartbeat.
pub fn open(address: SocketAddr, keys: &NodeKeys, server: Option<ServerConfig>) -> std::io::Result<Endpoint> {
    let reset = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, keys.reset_key());
    let mut config = EndpointConfig::new(Arc::new(reset));
    let cid = keys.cid_key();
    config.cid_generator(move || Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(cid)));
    // Resets are the way a restart is noticed: do not space them out.
    config.min_reset_interval(Duration::from_millis(1));
    Endpoint::new(config, server, socket(address)?, Arc::new(quinn::TokioRuntime))
}

/// A bound socket. The address need not be there yet: at boot the network may come up after this service.
fn socket(address: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

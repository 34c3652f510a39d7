//! This node's own view of its network: carrier on its links, and answers of the ping targets. A node whose own cable
//! is out must not take a peer's silence for the peer's death.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_core::event::NetworkHealth;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::NetEvent;
use super::carrier::{self, Changes};
use super::directory::own_addresses;
use super::routing::Shared;

const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;
/// Answers read per round.
const ANSWERS_MAX: usize = 64;

/// Looks when the kernel says that an interface changed, and several times per lease where targets are pinged; tells when
/// something changed. Ends with the transport.
pub async fn watch(shared: Arc<Shared>) {
    let mut told = None;
    let mut pinger = Pinger::default();
    let changes = Changes::subscribe();
    let mut look_at = Instant::now();
    let mut any_link_up = true;
    loop {
        let config = shared.directory.config();
        let lease = config.timers().lease;
        let round = (lease / 4).clamp(Duration::from_millis(50), Duration::from_millis(500));
        if Instant::now() >= look_at {
            let own: Vec<_> = own_addresses(&config, shared.me.node)
                .iter()
                .map(SocketAddr::ip)
                .collect();
            any_link_up = carrier::any(&own);
            look_at = Instant::now() + changes.pause(round);
        }
        let ping_answers = pinger.round(&shared, &config.cluster.ping, lease);
        let health = NetworkHealth {
            any_link_up,
            ping_answers,
        };
        if told != Some(health) {
            told = Some(health);
            shared.emit_waiting(NetEvent::Network(health)).await;
        }
        if shared.closed() {
            return;
        }
        let pause = if config.cluster.ping.is_empty() {
            changes.pause(round)
        } else {
            round
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = changes.next() => look_at = Instant::now(),
        }
    }
}

/// Sends echo requests over the kernel's unprivileged ping sockets.
#[derive(Default)]
struct Pinger {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
    seq: u16,
    asked_since: Option<Instant>,
    answered: Option<Instant>,
    unusable: bool,
}

impl Pinger {
    /// One round; true while a target answers, or none is configured, or pinging is not possible at all.
    fn round(&mut self, shared: &Shared, targets: &[IpAddr], lease: Duration) -> bool {
        let now = Instant::now();
        if targets.is_empty() {
            *self = Pinger::default();
            return true;
        }
        if self.unusable {
            return true;
        }
        self.collect(targets, now);
        self.seq = self.seq.wrapping_add(1);
        for target in targets {
            if let Err(error) = self.ask(*target) {
                let denied =
                    error.kind() == std::io::ErrorKind::PermissionDenied && self.socket(*target).is_none();
                if denied {
                    self.unusable = true;
                    shared.emit(NetEvent::Warning(format!(
                        "the ping targets are not used: the kernel does not let this user ping ({error}). Set the sysctl \
                         net.ipv4.ping_group_range to include the group of had, and restart had. Until then a node that \
                         lost its network cannot tell, and may fence its peer"
                    )));
                    return true;
                }
            }
        }
        let since = *self.asked_since.get_or_insert(now);
        now.saturating_duration_since(self.answered.unwrap_or(since)) <= lease.max(Duration::from_millis(200))
    }

    fn socket(&self, target: IpAddr) -> Option<&UdpSocket> {
        if target.is_ipv4() {
            self.v4.as_ref()
        } else {
            self.v6.as_ref()
        }
    }

    fn ask(&mut self, target: IpAddr) -> std::io::Result<()> {
        let slot = if target.is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        };
        if slot.is_none() {
            *slot = Some(ping_socket(target)?);
        }
        let Some(socket) = slot else { return Ok(()) };
        let kind = if target.is_ipv4() {
            ECHO_REQUEST_V4
        } else {
            ECHO_REQUEST_V6
        };
        let [high, low] = self.seq.to_be_bytes();
        // The kernel fills in the identifier and the checksum.
        let request = [
            kind, 0, 0, 0, 0, 0, high, low, b'h', b'o', b'l', b'd', b'f', b'a', b's', b't',
        ];
        socket.try_send_to(&request, SocketAddr::new(target, 0)).map(drop)
    }

    fn collect(&mut self, targets: &[IpAddr], now: Instant) {
        let mut buffer = [0u8; 128];
        for socket in self.v4.iter().chain(&self.v6) {
            for _ in 0..ANSWERS_MAX {
                // The kernel hands over echo replies to our own identifier only.
                match socket.try_io(Interest::READABLE, || receive(socket, &mut buffer)) {
                    Ok(from) if targets.contains(&from) => self.answered = Some(now),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> std::io::Result<IpAddr> {
    use std::os::fd::AsRawFd;
    let (_, from) =
        nix::sys::socket::recvfrom::<nix::sys::socket::SockaddrStorage>(socket.as_raw_fd(), buffer)?;
    let from = from.ok_or(std::io::ErrorKind::InvalidData)?;
    let v4 = from.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    let v6 = from.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
    v4.or(v6).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// A datagram ICMP socket, which needs no capability where `ping_group_range` allows the group. tokio's `UdpSocket`
/// serves for it: it only ever polls, sends and receives.
fn ping_socket(target: IpAddr) -> std::io::Result<UdpSocket> {
    let (domain, protocol) = if target.is_ipv4() {
        (socket2::Domain::IPV4, socket2::Protocol::ICMPV4)
    } else {
        (socket2::Domain::IPV6, socket2::Protocol::ICMPV6)
    };
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

//! Sends and hears the frames of [`super::packet`] on one interface.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::MsgFlags;
use socket2::{Domain, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::filter;
use super::netlink::Link;
use super::packet::{self, Mac};
use crate::clock;

/// Claims handed out at once.
const CLAIMS_MAX: usize = 1024;

/// A packet socket on the interface `index` for what passes `filter` of the frames of one Ethernet type; with type 0
/// for sending only.
fn packet_socket(index: u32, ether_type: i32, filter: &[SockFilter]) -> io::Result<OwnedFd> {
    // Made without a protocol and given it by bind: one that changes its protocol waits as one that is closed.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    if !filter.is_empty() {
        socket.attach_filter(filter)?;
    }
    socket.bind(&crate::sys::link_address(index, ether_type as u16)?)?;
    Ok(socket.into())
}

/// The sockets of a [`Wire`].
#[derive(Debug)]
struct Sockets {
    /// Receives nothing, so it costs nothing while it is open.
    sender: OwnedFd,
    arp: Option<AsyncFd<OwnedFd>>,
    advertisements: Option<AsyncFd<OwnedFd>>,
}

/// The link-layer side of some addresses on one interface.
#[derive(Debug)]
pub struct Wire {
    mac: Mac,
    ips: Vec<IpAddr>,
    /// Present until it is dropped.
    sockets: Option<Sockets>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        let Some(sockets) = self.sockets.take() else {
            return;
        };
        let listeners = [sockets.arp, sockets.advertisements];
        let plain: Vec<_> = listeners.into_iter().flatten().map(AsyncFd::into_inner).collect();
        // Closed on a thread of its own: the kernel waits some ten milliseconds for other processors in it. Without a
        // thread they are closed here.
        let _ = std::thread::Builder::new()
            .name("close".to_owned())
            .spawn(move || drop((plain, sockets.sender)));
    }
}

impl Wire {
    /// Opens the wire of `ips` on `link`. From now on it hears who else claims one of them.
    ///
    /// # Errors
    /// The interface is gone, or is no Ethernet (then there is nobody to announce to).
    pub fn open(link: &Link, ips: Vec<IpAddr>) -> io::Result<Self> {
        let not_ethernet = || {
            io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{} is not Ethernet", link.name),
            )
        };
        let mac = link.mac.ok_or_else(not_ethernet)?;
        let listen = |wanted: bool, ether_type, filter: fn(&[IpAddr]) -> Vec<SockFilter>| {
            let open = || crate::sys::watch_readable(packet_socket(link.index, ether_type, &filter(&ips))?);
            wanted.then(open).transpose()
        };
        let sockets = Sockets {
            sender: packet_socket(link.index, 0, &[])?,
            arp: listen(ips.iter().any(IpAddr::is_ipv4), libc::ETH_P_ARP, filter::arp)?,
            advertisements: listen(
                ips.iter().any(IpAddr::is_ipv6),
                libc::ETH_P_IPV6,
                filter::advertisement,
            )?,
        };
        Ok(Wire {
            mac,
            ips,
            sockets: Some(sockets),
        })
    }

    /// The interface has another Ethernet address now (a bond that changed its port).
    pub fn set_mac(&mut self, mac: Mac) {
        self.mac = mac;
    }

    /// Announces `ips` once. Frames that do not fit the queue are left to the next announcement.
    ///
    /// # Errors
    /// Nothing could be sent.
    pub fn announce(&self, ips: impl IntoIterator<Item = IpAddr>) -> io::Result<()> {
        ips.into_iter()
            .flat_map(|ip| packet::announcement(self.mac, ip))
            .try_for_each(|frame| self.send(&frame))
    }

    /// Asks whether somebody else has one of our addresses. [`Wire::hear`] hears the answers.
    ///
    /// # Errors
    /// Nothing could be sent.
    pub fn ask(&self) -> io::Result<()> {
        self.ips
            .iter()
            .try_for_each(|ip| self.send(&packet::probe(self.mac, *ip)))
    }

    /// Asks whether somebody else has one of our addresses, and listens for `wait`. Returns the first answer.
    ///
    /// # Errors
    /// The question could not be sent.
    pub async fn find_duplicate(&self, wait: Duration) -> io::Result<Option<(Mac, IpAddr)>> {
        self.ask()?;
        let until = clock::now() + wait;
        tokio::select! {
            biased;
            claims = self.hear() => Ok(claims?.first().copied()),
            waited = clock::sleep_exactly_until(until) => waited.map(|()| None),
        }
    }

    /// Waits for claims of others on our addresses. Cancel safe.
    ///
    /// # Errors
    /// A socket failed: the interface is gone or down.
    pub async fn hear(&self) -> io::Result<Vec<(Mac, IpAddr)>> {
        let sockets = self.sockets.as_ref();
        tokio::select! {
            claims = self.hear_on(sockets.and_then(|sockets| sockets.arp.as_ref())) => claims,
            claims = self.hear_on(sockets.and_then(|sockets| sockets.advertisements.as_ref())) => claims,
        }
    }

    /// Waits for ever when there is no socket to listen on.
    async fn hear_on(&self, socket: Option<&AsyncFd<OwnedFd>>) -> io::Result<Vec<(Mac, IpAddr)>> {
        let Some(socket) = socket else {
            return std::future::pending().await;
        };
        let mut buffer = [0; 2048];
        loop {
            let mut ready = socket.readable().await?;
            let mut claims = Vec::new();
            while claims.len() < CLAIMS_MAX {
                match nix::unistd::read(socket, &mut buffer) {
                    Ok(length) => {
                        claims.extend(packet::claim(&buffer[..length]).filter(|claim| self.is_foreign(claim)))
                    }
                    Err(Errno::EINTR) => {}
                    Err(Errno::EAGAIN) => {
                        ready.clear_ready();
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if !claims.is_empty() {
                return Ok(claims);
            }
        }
    }

    fn is_foreign(&self, (mac, ip): &(Mac, IpAddr)) -> bool {
        *mac != self.mac && self.ips.contains(ip)
    }

    /// Sends one frame; a full queue is not an error, since everything sent here is sent again.
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let Some(sockets) = &self.sockets else {
            return Ok(());
        };
        match nix::sys::socket::send(sockets.sender.as_raw_fd(), frame, MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

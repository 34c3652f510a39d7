//! Sends and hears the frames of [`super::packet`] on one interface.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{LinkAddr, MsgFlags, bind};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::packet::{self, Mac};

/// The link-layer side of one interface.
#[derive(Clone, Copy, Debug)]
pub struct Wire {
    link: LinkAddr,
    mac: Mac,
}

impl Wire {
    /// Looks the interface up.
    ///
    /// # Errors
    /// It is gone, or has no Ethernet address (then there is nobody to announce to).
    pub fn open(name: &str) -> io::Result<Self> {
        let mut found = getifaddrs()?.filter(|entry| entry.interface_name == name);
        let link = found.find_map(|entry| entry.address?.as_link_addr().copied());
        let link =
            link.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no interface {name}")))?;
        let mac = link.addr().filter(|_| link.halen() == 6).map(Mac);
        let mac =
            mac.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, format!("{name} is not Ethernet")))?;
        Ok(Wire { link, mac })
    }

    /// Its Ethernet address.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// A packet socket on this interface for frames of one Ethernet type.
    fn socket(&self, ether_type: i32) -> io::Result<OwnedFd> {
        let protocol = Protocol::from(i32::from((ether_type as u16).to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        // The address carries no protocol of its own, so the socket keeps the one it was made with.
        bind(socket.as_raw_fd(), &self.link)?;
        Ok(socket.into())
    }

    /// Announces all `ips` once. Frames that do not fit the queue are left to the next announcement.
    ///
    /// # Errors
    /// Nothing could be sent.
    pub fn announce(&self, ips: impl IntoIterator<Item = IpAddr>) -> io::Result<()> {
        // Protocol 0: this socket receives nothing, so it costs nothing while it is open.
        let socket = self.socket(0)?;
        for ip in ips {
            for frame in packet::announcement(self.mac, ip) {
                send(&socket, &frame)?;
            }
        }
        Ok(())
    }

    /// Asks whether somebody else has one of `ips`, and listens for `wait`. Returns the first answer.
    ///
    /// # Errors
    /// The question could not be sent.
    pub async fn find_duplicate(&self, ips: &[IpAddr], wait: Duration) -> io::Result<Option<(Mac, IpAddr)>> {
        let four = self.listen(libc::ETH_P_ARP, ips.iter().any(IpAddr::is_ipv4))?;
        let six = self.listen(libc::ETH_P_IPV6, ips.iter().any(IpAddr::is_ipv6))?;
        for ip in ips {
            let socket = if ip.is_ipv4() { &four } else { &six };
            if let Some(socket) = socket {
                send(socket.get_ref(), &packet::probe(self.mac, *ip))?;
            }
        }
        let heard = async {
            tokio::select! {
                claim = self.hear(four.as_ref(), ips) => claim,
                claim = self.hear(six.as_ref(), ips) => claim,
            }
        };
        tokio::time::timeout(wait, heard).await.unwrap_or(Ok(None))
    }

    fn listen(&self, ether_type: i32, wanted: bool) -> io::Result<Option<AsyncFd<OwnedFd>>> {
        if !wanted {
            return Ok(None);
        }
        Ok(Some(crate::sys::watch_readable(self.socket(ether_type)?)?))
    }

    /// Waits until a foreign claim on one of `ips` is heard; for ever when there is no socket to listen on.
    async fn hear(
        &self,
        socket: Option<&AsyncFd<OwnedFd>>,
        ips: &[IpAddr],
    ) -> io::Result<Option<(Mac, IpAddr)>> {
        let Some(socket) = socket else {
            return std::future::pending().await;
        };
        let mut buffer = [0; 2048];
        loop {
            let mut ready = socket.readable().await?;
            let received = ready.try_io(|socket| Ok(nix::unistd::read(socket.get_ref(), &mut buffer)?));
            let Ok(length) = received else { continue };
            let claim = packet::claim(&buffer[..length?.min(buffer.len())]);
            if let Some((mac, ip)) = claim.filter(|(mac, ip)| *mac != self.mac && ips.contains(ip)) {
                return Ok(Some((mac, ip)));
            }
        }
    }
}

/// Sends one frame; a full queue is not an error, since everything sent here is sent again.
fn send(socket: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    match nix::sys::socket::send(socket.as_raw_fd(), frame, MsgFlags::empty()) {
        Ok(_) | Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

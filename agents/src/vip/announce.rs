//! Sends and hears the frames of [`super::packet`] on one interface.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::MsgFlags;
use socket2::{Domain, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::packet::{self, Mac};

/// Closes a packet socket on a thread of its own: the kernel waits some ten milliseconds for other processors in it.
fn close_aside(fd: OwnedFd) {
    // Without a thread it is closed here.
    let _ = std::thread::Builder::new()
        .name("close".to_owned())
        .spawn(move || drop(fd));
}

/// A packet socket on the interface `index`, for frames of one Ethernet type; 0 for sending only.
fn packet_socket(index: u32, ether_type: u16) -> io::Result<OwnedFd> {
    // Made without a protocol and given it by bind: one that changes its protocol waits as one that is closed.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&crate::sys::link_address(index, ether_type)?)?;
    Ok(socket.into())
}

/// Sends frames.
#[derive(Debug)]
struct Sender(Option<OwnedFd>);

impl Drop for Sender {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take() {
            close_aside(fd);
        }
    }
}

/// Hears frames of one Ethernet type, or none if there is no need to.
struct Listener(Option<AsyncFd<OwnedFd>>);

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(fd) = self.0.take() {
            close_aside(fd.into_inner());
        }
    }
}

/// The link-layer side of one interface.
#[derive(Debug)]
pub struct Wire {
    index: u32,
    mac: Mac,
    sender: Sender,
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
        let index = u32::try_from(link.ifindex()).unwrap_or_default();
        // Protocol 0: this socket receives nothing, so it costs nothing while it is open.
        let sender = Sender(Some(packet_socket(index, 0)?));
        Ok(Wire { index, mac, sender })
    }

    /// Its Ethernet address.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Announces all `ips` once. Frames that do not fit the queue are left to the next announcement.
    ///
    /// # Errors
    /// Nothing could be sent.
    pub fn announce(&self, ips: impl IntoIterator<Item = IpAddr>) -> io::Result<()> {
        ips.into_iter()
            .flat_map(|ip| packet::announcement(self.mac, ip))
            .try_for_each(|frame| self.send(&frame))
    }

    /// Asks whether somebody else has one of `ips`, and listens for `wait`. Returns the first answer.
    ///
    /// # Errors
    /// The question could not be sent.
    pub async fn find_duplicate(&self, ips: &[IpAddr], wait: Duration) -> io::Result<Option<(Mac, IpAddr)>> {
        let four = self.listen(libc::ETH_P_ARP, ips.iter().any(IpAddr::is_ipv4))?;
        let six = self.listen(libc::ETH_P_IPV6, ips.iter().any(IpAddr::is_ipv6))?;
        for ip in ips {
            self.send(&packet::probe(self.mac, *ip))?;
        }
        let heard = async {
            tokio::select! {
                claim = self.hear(&four, ips) => claim,
                claim = self.hear(&six, ips) => claim,
            }
        };
        tokio::time::timeout(wait, heard).await.unwrap_or(Ok(None))
    }

    fn listen(&self, ether_type: i32, wanted: bool) -> io::Result<Listener> {
        if !wanted {
            return Ok(Listener(None));
        }
        let socket = packet_socket(self.index, ether_type as u16)?;
        Ok(Listener(Some(crate::sys::watch_readable(socket)?)))
    }

    /// Waits until a foreign claim on one of `ips` is heard; for ever when there is no socket to listen on.
    async fn hear(&self, listener: &Listener, ips: &[IpAddr]) -> io::Result<Option<(Mac, IpAddr)>> {
        let Some(socket) = &listener.0 else {
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

    /// Sends one frame; a full queue is not an error, since everything sent here is sent again.
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let Some(socket) = &self.sender.0 else {
            return Ok(());
        };
        match nix::sys::socket::send(socket.as_raw_fd(), frame, MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

//! Whether one of this node's links has a carrier: asked when the kernel says that an interface changed, and now and then.

use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Changes that come closer than this are looked at together.
const SETTLE: Duration = Duration::from_millis(10);
/// Longest time between two looks: addresses are not subscribed to, because virtual ones are renewed all the time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The kernel's word that an interface changed.
pub struct Changes {
    /// None where the kernel refuses the subscription: then the looks alone have to do.
    socket: Option<UdpSocket>,
}

impl Changes {
    /// Subscribes. Must be called inside a tokio runtime.
    pub fn subscribe() -> Changes {
        let socket = open().inspect_err(|error| tracing::debug!(%error, "no word of interface changes"));
        Changes { socket: socket.ok() }
    }

    /// Time between two looks, `often` where there is no word of changes.
    pub fn pause(&self, often: Duration) -> Duration {
        if self.socket.is_some() { LOOK_EVERY } else { often }
    }

    /// Returns when an interface changed.
    pub async fn next(&self) {
        let Some(socket) = &self.socket else {
            return std::future::pending().await;
        };
        if socket.readable().await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(SETTLE).await;
        let mut ignored = [0u8; 4096];
        // What changed does not matter, nor that some of it was lost (ENOBUFS): everything is looked at anew.
        while socket
            .try_io(Interest::READABLE, || {
                match recv(
                    socket.as_raw_fd(),
                    &mut ignored,
                    nix::sys::socket::MsgFlags::empty(),
                ) {
                    Err(nix::errno::Errno::ENOBUFS) => Ok(0),
                    other => other.map_err(std::io::Error::from),
                }
            })
            .is_ok()
        {}
    }
}

/// tokio's `UdpSocket` serves for it, as it only polls.
fn open() -> std::io::Result<UdpSocket> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags,
        SockProtocol::NetlinkRoute,
    )?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, libc::RTMGRP_LINK as u32))?;
    UdpSocket::from_std(fd.into())
}

/// True if an interface that has one of `own` is up with a carrier. The flags are asked of the kernel and not read in
/// /sys, which may show another network namespace.
pub fn any(own: &[IpAddr]) -> bool {
    let Ok(interfaces) = getifaddrs() else { return true };
    let running = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    interfaces
        .filter(|interface| interface.flags.contains(running))
        .any(|interface| {
            let Some(address) = interface.address else {
                return false;
            };
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            let v6 = address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
            let loopback = interface.flags.contains(InterfaceFlags::IFF_LOOPBACK);
            v4.or(v6)
                .is_some_and(|ip| own.contains(&ip) || loopback && own.iter().any(IpAddr::is_loopback))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_has_a_carrier_and_an_absent_address_has_none() {
        let loopback: IpAddr = "127.200.0.1".parse().expect("address");
        let absent: IpAddr = "192.0.2.77".parse().expect("address");
        assert!(any(&[loopback]) && any(&[absent, loopback]));
        assert!(!any(&[absent]));
    }

    /// In a network namespace of this thread alone, so that nothing of the machine is touched.
    #[test]
    fn the_kernel_tells_of_a_change() {
        if !nix::unistd::Uid::effective().is_root()
            || nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err()
        {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        runtime.block_on(async {
            let changes = Changes::subscribe();
            assert!(changes.socket.is_some());
            let up = std::process::Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status();
            assert!(up.expect("ip").success());
            tokio::time::timeout(Duration::from_secs(30), changes.next())
                .await
                .expect("word of the change");
            let silence = tokio::time::timeout(Duration::from_millis(50), changes.next()).await;
            assert!(silence.is_err(), "told once");
        });
    }
}

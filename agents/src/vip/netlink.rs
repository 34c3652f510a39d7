//! Route netlink, the part that virtual addresses need: batches of address changes, dumps, and events.
//!
//! Requests are synchronous on purpose. The kernel works a batch off before `send` returns, tens of microseconds for
//! an address, and the thread that enforces permits has to be able to do it without a runtime.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::address::Vip;
use super::codec::{
    Message, decode_address, decode_event, decode_link, decode_neighbour, encode_change, error_code, message,
    messages,
};
use super::packet::Mac;

/// Largest datagram the kernel makes for us (dumps use at most 32 KiB).
const RECV_BYTES: usize = 64 << 10;
/// Messages in one `send`: their acknowledgements have to fit the default receive buffer.
const BATCH_MESSAGES: usize = 100;
/// Events handed out at once.
const EVENTS_MAX: usize = 1024;
/// Lifetime that never ends.
pub const FOREVER: u32 = u32::MAX;

const RTMGRP_LINK: u32 = 0x1;
const RTMGRP_IPV4_IFADDR: u32 = 0x10;
const RTMGRP_IPV6_IFADDR: u32 = 0x100;

/// An address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// Interface index.
    pub index: u32,
    /// Address and prefix length.
    pub vip: Vip,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// IFF_ flags.
    pub flags: u32,
    /// Its Ethernet address, if it is Ethernet.
    pub mac: Option<Mac>,
}

impl Link {
    /// Set up by the operator.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.flags & libc::IFF_UP as u32 != 0
    }

    /// The cable (or what stands for it) is in.
    #[must_use]
    pub fn has_carrier(&self) -> bool {
        self.flags & libc::IFF_LOWER_UP as u32 != 0
    }

    /// Neighbours on it are found by ARP or neighbour discovery.
    #[must_use]
    pub fn resolves_neighbours(&self) -> bool {
        self.flags & (libc::IFF_NOARP | libc::IFF_LOOPBACK) as u32 == 0
    }
}

/// What the kernel tells subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An address was removed (by hand, by the end of its lifetime, or with its link).
    AddressRemoved(Assigned),
    /// A link was added or changed.
    Link(Link),
    /// A link was removed.
    LinkRemoved(u32),
    /// Events were lost: look at everything again.
    Overrun,
}

/// A change of one address.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Add it, or renew its lifetime.
    Set {
        /// Seconds until the kernel removes it; [`FOREVER`] for never.
        lifetime_s: u32,
        /// Whether the prefix gets a route (not when the interface already has one from its own address: the kernel
        /// would let that route expire together with ours).
        prefix_route: bool,
    },
    /// Remove it.
    Remove,
}

fn open(groups: u32, flags: SockFlag) -> nix::Result<OwnedFd> {
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        flags | SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(fd)
}

/// Receives one datagram of the kernel; datagrams of anybody else are dropped.
fn receive<'a>(fd: &impl AsFd, buffer: &'a mut [u8]) -> nix::Result<&'a [u8]> {
    loop {
        match recvfrom::<NetlinkAddr>(fd.as_fd().as_raw_fd(), buffer) {
            Ok((length, Some(from))) if from.pid() == 0 => return Ok(&buffer[..length.min(RECV_BYTES)]),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Applies `change` to all `targets`, in as few system calls as the kernel's buffers allow. Removing an address (or
/// its interface) that is not there is a success, and so is setting one that is there.
///
/// # Errors
/// The first address that the kernel refused, after all of them were tried.
pub fn apply(targets: &[Assigned], change: Change) -> Result<(), (Vip, io::Error)> {
    let Some(first) = targets.first() else {
        return Ok(());
    };
    let fd = open_request().map_err(|error| (first.vip, error))?;
    let mut failure = None;
    for batch in targets.chunks(BATCH_MESSAGES) {
        let answers = apply_batch(&fd, batch, change).map_err(|error| (batch[0].vip, error))?;
        for (target, code) in batch.iter().zip(answers) {
            let gone = matches!(change, Change::Remove)
                && matches!(code, libc::EADDRNOTAVAIL | libc::ENODEV | libc::ENXIO);
            if code != 0 && !gone {
                failure.get_or_insert((target.vip, io::Error::from_raw_os_error(code)));
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

fn open_request() -> io::Result<OwnedFd> {
    let fd = open(0, SockFlag::empty())?;
    // The kernel answers before `send` returns; the limit is for a kernel that does not.
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(2, 0))?;
    Ok(fd)
}

/// Sends one batch and returns the error number of each message, 0 for success.
fn apply_batch(fd: &OwnedFd, batch: &[Assigned], change: Change) -> io::Result<Vec<i32>> {
    let bytes: Vec<u8> = (1u32..)
        .zip(batch)
        .flat_map(|(seq, target)| encode_change(*target, change, seq))
        .collect();
    send(fd.as_raw_fd(), &bytes, MsgFlags::empty())?;
    let mut answers = vec![None; batch.len()];
    let mut buffer = vec![0; RECV_BYTES];
    while answers.contains(&None) {
        for message in messages(receive(fd, &mut buffer)?) {
            let slot = (message.seq as usize)
                .checked_sub(1)
                .and_then(|slot| answers.get_mut(slot));
            if let (true, Some(slot)) = (i32::from(message.kind) == libc::NLMSG_ERROR, slot) {
                *slot = Some(error_code(&message).unwrap_or(-libc::EPROTO).saturating_neg());
            }
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// Sends one request that asks for an acknowledgement under the number 1, and returns when the kernel did it.
///
/// # Errors
/// What the kernel says against it.
pub(crate) fn request(bytes: &[u8]) -> io::Result<()> {
    let fd = open_request()?;
    send(fd.as_raw_fd(), bytes, MsgFlags::empty())?;
    let mut buffer = vec![0; RECV_BYTES];
    loop {
        let mut answers = messages(receive(&fd, &mut buffer)?);
        let answer = answers.find(|message| message.seq == 1 && i32::from(message.kind) == libc::NLMSG_ERROR);
        if let Some(answer) = answer {
            return match error_code(&answer).unwrap_or(-libc::EPROTO).saturating_neg() {
                0 => Ok(()),
                code => Err(io::Error::from_raw_os_error(code)),
            };
        }
    }
}

/// Asks for a dump and feeds each message to `each`.
pub(crate) fn dump(kind: u16, body_bytes: usize, mut each: impl FnMut(&Message<'_>)) -> io::Result<()> {
    let fd = open_request()?;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    send(
        fd.as_raw_fd(),
        &message(kind, flags, 1, |out| out.resize(out.len() + body_bytes, 0)),
        MsgFlags::empty(),
    )?;
    let mut buffer = vec![0; RECV_BYTES];
    loop {
        for message in messages(receive(&fd, &mut buffer)?).filter(|message| message.seq == 1) {
            match i32::from(message.kind) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => {
                    let code = error_code(&message).unwrap_or(-libc::EPROTO).saturating_neg();
                    return Err(io::Error::from_raw_os_error(code));
                }
                _ => each(&message),
            }
        }
    }
}

/// All addresses of this network namespace.
///
/// # Errors
/// The kernel refused the dump.
pub fn addresses() -> io::Result<Vec<Assigned>> {
    let mut found = Vec::new();
    dump(libc::RTM_GETADDR, 8, |message| {
        found.extend(decode_address(message.payload))
    })?;
    Ok(found)
}

/// All links of this network namespace.
///
/// # Errors
/// The kernel refused the dump.
pub fn links() -> io::Result<Vec<Link>> {
    let mut found = Vec::new();
    dump(libc::RTM_GETLINK, 16, |message| {
        found.extend(decode_link(message.payload))
    })?;
    Ok(found)
}

/// All neighbours that the kernel knows, by Ethernet address.
///
/// # Errors
/// The kernel refused the dump.
pub fn neighbours() -> io::Result<Vec<(Mac, IpAddr)>> {
    let mut found = Vec::new();
    dump(libc::RTM_GETNEIGH, 12, |message| {
        found.extend(decode_neighbour(message.payload))
    })?;
    Ok(found)
}

/// A subscription to address and link events.
#[derive(Debug)]
pub struct Subscription {
    fd: tokio::io::unix::AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
}

impl Subscription {
    /// Subscribes. Must be called within the runtime.
    ///
    /// # Errors
    /// No netlink socket could be had.
    pub fn open() -> io::Result<Self> {
        let fd = open(
            RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR,
            SockFlag::SOCK_NONBLOCK,
        )?;
        // Best effort: a bigger buffer loses events later; lost ones are noticed as `Overrun`.
        let _ = setsockopt(&fd, sockopt::RcvBuf, &(1 << 20));
        Ok(Subscription {
            fd: crate::sys::watch_readable(fd)?,
            buffer: vec![0; RECV_BYTES],
        })
    }

    /// Waits for the next events. Cancel safe.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn next(&mut self) -> io::Result<Vec<Event>> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut events = Vec::new();
            // All that is there, so that a hundred addresses deleted in one go are put back in one go.
            while events.len() < EVENTS_MAX {
                match receive(self.fd.get_ref(), &mut self.buffer) {
                    Ok(datagram) => events.extend(messages(datagram).filter_map(|m| decode_event(&m))),
                    Err(Errno::ENOBUFS) => events.push(Event::Overrun),
                    Err(Errno::EAGAIN) => {
                        ready.clear_ready();
                        break;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
    }
}

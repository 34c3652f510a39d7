//! Route netlink, the part that virtual addresses need: batches of address changes, dumps, and events.
//!
//! Requests are synchronous on purpose. The kernel works a batch off before `send` returns, tens of microseconds for
//! an address, and the thread that enforces permits has to be able to do it without a runtime.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::address::Vip;

const HEADER_BYTES: usize = 16;
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

/// One message of a netlink datagram, checked against the datagram's length.
struct Message<'a> {
    kind: u16,
    seq: u32,
    payload: &'a [u8],
}

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

fn put_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = 4 + value.len() as u16;
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn message(kind: u16, flags: i32, seq: u32, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(kind.to_ne_bytes());
    out.extend((flags as u16).to_ne_bytes());
    out.extend(seq.to_ne_bytes());
    out.extend(0u32.to_ne_bytes());
    body(&mut out);
    let length = out.len() as u32;
    out[..4].copy_from_slice(&length.to_ne_bytes());
    out
}

fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() {
        libc::AF_INET as u8
    } else {
        libc::AF_INET6 as u8
    }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn encode_change(target: Assigned, change: Change, seq: u32) -> Vec<u8> {
    let ack = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
    let (kind, flags) = match change {
        Change::Set { .. } => (libc::RTM_NEWADDR, ack | libc::NLM_F_CREATE | libc::NLM_F_REPLACE),
        Change::Remove => (libc::RTM_DELADDR, ack),
    };
    let Assigned { index, vip } = target;
    message(kind, flags, seq, |out| {
        out.extend([family(vip.ip), vip.prefix, 0, 0]);
        out.extend(index.to_ne_bytes());
        put_attribute(out, libc::IFA_LOCAL, &octets(vip.ip));
        let Change::Set {
            lifetime_s,
            prefix_route,
        } = change
        else {
            // Without IFA_ADDRESS the kernel removes an IPv4 address whatever prefix length it was given.
            return;
        };
        put_attribute(out, libc::IFA_ADDRESS, &octets(vip.ip));
        let mut flags = if prefix_route {
            0
        } else {
            libc::IFA_F_NOPREFIXROUTE
        };
        if vip.ip.is_ipv6() {
            // The duplicate check was done by us, faster: the kernel's would keep the address unusable for a second.
            flags |= libc::IFA_F_NODAD;
        } else if let (IpAddr::V4(v4), 1..31) = (vip.ip, vip.prefix) {
            let broadcast = u32::from(v4) | (u32::MAX >> vip.prefix);
            put_attribute(out, libc::IFA_BROADCAST, &broadcast.to_be_bytes());
        }
        put_attribute(out, libc::IFA_FLAGS, &flags.to_ne_bytes());
        let mut cache = Vec::with_capacity(16);
        cache.extend(lifetime_s.to_ne_bytes());
        cache.extend(lifetime_s.to_ne_bytes());
        cache.extend([0; 8]);
        put_attribute(out, libc::IFA_CACHEINFO, &cache);
    })
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

/// Splits a datagram into messages. Stops at the first whose length is impossible.
fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let header = rest.get(..HEADER_BYTES)?;
        let length = u32::from_ne_bytes(header[0..4].try_into().ok()?) as usize;
        let payload = rest.get(HEADER_BYTES..length)?;
        let kind = u16::from_ne_bytes(header[4..6].try_into().ok()?);
        let seq = u32::from_ne_bytes(header[8..12].try_into().ok()?);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Message { kind, seq, payload })
    })
}

/// Splits attributes. Stops at the first whose length is impossible.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.get(..4)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & libc::NLA_TYPE_MASK as u16;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

fn decode_ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        libc::AF_INET6 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn decode_address(payload: &[u8]) -> Option<Assigned> {
    let header = payload.get(..8)?;
    let (family, prefix) = (header[0], header[1]);
    let index = u32::from_ne_bytes(header[4..8].try_into().ok()?);
    let (mut local, mut address) = (None, None);
    for (kind, value) in attributes(&payload[8..]) {
        match kind {
            libc::IFA_LOCAL => local = decode_ip(family, value),
            libc::IFA_ADDRESS => address = decode_ip(family, value),
            _ => {}
        }
    }
    // IFA_ADDRESS is the peer on a point-to-point link; IFA_LOCAL is missing for IPv6.
    Some(Assigned {
        index,
        vip: Vip {
            ip: local.or(address)?,
            prefix,
        },
    })
}

fn decode_link(payload: &[u8]) -> Option<Link> {
    let header = payload.get(..16)?;
    let index = u32::from_ne_bytes(header[4..8].try_into().ok()?);
    let flags = u32::from_ne_bytes(header[8..12].try_into().ok()?);
    let name = attributes(&payload[16..])
        .find(|(kind, _)| *kind == libc::IFLA_IFNAME)?
        .1;
    let name = name.split(|byte| *byte == 0).next()?;
    Some(Link {
        index,
        name: String::from_utf8_lossy(name).into_owned(),
        flags,
    })
}

fn decode_event(message: &Message<'_>) -> Option<Event> {
    match message.kind {
        libc::RTM_DELADDR => decode_address(message.payload).map(Event::AddressRemoved),
        libc::RTM_NEWLINK => decode_link(message.payload).map(Event::Link),
        libc::RTM_DELLINK => decode_link(message.payload).map(|link| Event::LinkRemoved(link.index)),
        _ => None,
    }
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

fn error_code(message: &Message<'_>) -> Option<i32> {
    message
        .payload
        .get(..4)
        .and_then(|code| code.try_into().ok())
        .map(i32::from_ne_bytes)
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

/// Asks for a dump and feeds each message to `each`.
fn dump(kind: u16, body_bytes: usize, mut each: impl FnMut(&Message<'_>)) -> io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_survived() {
        // Every truncation and every single-byte corruption of a real message, and noise: no panic, no endless loop.
        let target = Assigned {
            index: 7,
            vip: "10.0.0.9/24".parse().unwrap(),
        };
        let good = encode_change(
            target,
            Change::Set {
                lifetime_s: 2,
                prefix_route: true,
            },
            1,
        );
        let decode = |bytes: &[u8]| {
            messages(bytes)
                .filter_map(|m| decode_event(&m).or(decode_address(m.payload).map(Event::AddressRemoved)))
                .count()
                + messages(bytes).filter_map(|m| decode_link(m.payload)).count()
        };
        for end in 0..good.len() {
            decode(&good[..end]);
        }
        for at in 0..good.len() {
            for value in [0, 1, 3, 4, 5, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                decode(&bad);
            }
        }
        let mut noise = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..96)
                .map(|_| {
                    noise ^= noise << 13;
                    noise ^= noise >> 7;
                    noise ^= noise << 17;
                    noise as u8
                })
                .collect();
            decode(&bytes);
        }
    }

    #[test]
    fn an_address_survives_the_round_trip() {
        for text in ["10.0.0.9/24", "fd00::9/64"] {
            let target = Assigned {
                index: 7,
                vip: text.parse().unwrap(),
            };
            let bytes = encode_change(target, Change::Remove, 3);
            let all: Vec<_> = messages(&bytes).collect();
            assert_eq!(all.len(), 1);
            assert_eq!(decode_event(&all[0]), Some(Event::AddressRemoved(target)));
        }
    }
}

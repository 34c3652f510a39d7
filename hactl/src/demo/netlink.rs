//! Route netlink, as much of it as switches and address monitors need.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType};
use nix::sys::socket::{bind, recv, send, socket};

/// Multicast group of IPv4 address changes.
pub const GROUP_IPV4_ADDRESS: u32 = 1 << (libc::RTNLGRP_IPV4_IFADDR - 1);

/// Nested attribute.
const NESTED: u16 = libc::NLA_F_NESTED as u16;
const HEADER_LEN: usize = 16;

/// A request under construction.
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// A request of type `kind`. NLM_F_REQUEST is added to `flags`.
    pub fn new(kind: u16, flags: i32) -> Request {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        Request { bytes }
    }

    /// Appends the fixed header of a request about an IPv4 neighbour that stays (`struct ndmsg`).
    pub fn neighbour(mut self, index: u32) -> Request {
        self.bytes.extend_from_slice(&[libc::AF_INET as u8, 0, 0, 0]);
        self.bytes.extend_from_slice(&index.to_ne_bytes());
        self.bytes.extend_from_slice(&libc::NUD_PERMANENT.to_ne_bytes());
        self.bytes.extend_from_slice(&[0, 0]);
        self
    }

    /// Appends the fixed header of a link request (`struct ifinfomsg`).
    pub fn link(mut self, family: i32, index: u32, flags: u32, change: u32) -> Request {
        self.bytes.extend_from_slice(&[family as u8, 0, 0, 0]);
        self.bytes.extend_from_slice(&index.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&change.to_ne_bytes());
        self
    }

    /// Appends the fixed header of an address request (`struct ifaddrmsg`).
    pub fn address(mut self, prefix: u8, index: u32) -> Request {
        self.bytes.extend_from_slice(&[libc::AF_INET as u8, prefix, 0, 0]);
        self.bytes.extend_from_slice(&index.to_ne_bytes());
        self
    }

    /// Appends an attribute.
    pub fn attr(mut self, kind: u16, value: &[u8]) -> Request {
        let length = (4 + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Appends a name as an attribute.
    pub fn name(self, kind: u16, name: &str) -> Request {
        let mut value = name.as_bytes().to_vec();
        value.push(0);
        self.attr(kind, &value)
    }

    /// Appends an attribute that holds what `fill` appends.
    pub fn nest(mut self, kind: u16, fill: impl FnOnce(Request) -> Request) -> Request {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        let mut filled = fill(self);
        let length = (filled.bytes.len() - start) as u16;
        filled.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[0..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// A netlink socket in the network namespace of the thread that opened it.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Netlink {
    /// Opens a socket that hears `groups`.
    pub fn open(groups: u32) -> io::Result<Netlink> {
        let flags = if groups == 0 {
            SockFlag::SOCK_CLOEXEC
        } else {
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK
        };
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Sends a request and waits for the kernel's verdict.
    pub fn apply(&mut self, request: Request) -> io::Result<()> {
        self.sequence += 1;
        let bytes = request.finish(self.sequence);
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let mut buffer = vec![0; 8192];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for message in Messages(&buffer[..length]) {
                if message.kind != libc::NLMSG_ERROR as u16 || message.sequence != self.sequence {
                    continue;
                }
                return match message.word(0) {
                    0 => Ok(()),
                    code => Err(Errno::from_raw(-(code as i32)).into()),
                };
            }
        }
    }

    /// Reads what arrived; returns nothing when there is nothing.
    pub fn changes(&self, buffer: &mut [u8]) -> io::Result<Vec<AddressChange>> {
        match recv(self.socket.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(length) => Ok(Messages(&buffer[..length])
                .filter_map(|message| message.address_change())
                .collect()),
            Err(Errno::EAGAIN) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

/// An IPv4 address came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressChange {
    /// The address.
    pub address: Ipv4Addr,
    /// True when it came.
    pub present: bool,
}

struct Messages<'a>(&'a [u8]);

struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let bytes = self.0;
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let length = word(0)? as usize;
        let sequence = word(8)?;
        let body = bytes.get(HEADER_LEN..length)?;
        let kind = u16::from_ne_bytes(bytes[4..6].try_into().ok()?);
        self.0 = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, sequence, body })
    }
}

impl Message<'_> {
    fn word(&self, at: usize) -> u32 {
        self.body
            .get(at..at + 4)
            .and_then(|word| word.try_into().ok())
            .map_or(0, u32::from_ne_bytes)
    }

    fn address_change(&self) -> Option<AddressChange> {
        let present = match self.kind {
            libc::RTM_NEWADDR => true,
            libc::RTM_DELADDR => false,
            _ => return None,
        };
        let mut attributes = self.body.get(8..)?;
        while attributes.len() >= 4 {
            let length = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
            let kind = u16::from_ne_bytes([attributes[2], attributes[3]]);
            let value = attributes.get(4..length)?;
            if let (libc::IFA_LOCAL, Ok(octets)) = (kind, <[u8; 4]>::try_from(value)) {
                return Some(AddressChange {
                    address: octets.into(),
                    present,
                });
            }
            attributes = attributes.get(length.next_multiple_of(4)..)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_attributes_carry_their_length() {
        let request = Request::new(libc::RTM_NEWLINK, 0)
            .link(0, 0, 0, 0)
            .nest(libc::IFLA_LINKINFO, |inner| {
                inner.name(libc::IFLA_INFO_KIND, "veth")
            })
            .finish(7);
        assert_eq!(request.len(), 16 + 16 + 4 + 4 + 8);
        assert_eq!(u16::from_ne_bytes([request[32], request[33]]), 16);
        assert_eq!(&request[40..45], b"veth\0");
    }

    #[test]
    fn an_address_message_is_read_and_a_torn_one_is_not() {
        let bytes = Request::new(libc::RTM_NEWADDR, 0)
            .address(24, 2)
            .attr(libc::IFA_LOCAL, &[10, 0, 0, 9])
            .finish(1);
        let change = AddressChange {
            address: Ipv4Addr::new(10, 0, 0, 9),
            present: true,
        };
        assert_eq!(
            Messages(&bytes)
                .next()
                .and_then(|message| message.address_change()),
            Some(change)
        );
        assert!(Messages(&bytes[..30]).next().is_none());
    }
}

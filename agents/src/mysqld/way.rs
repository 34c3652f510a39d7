//! The way to the old primary, shut while its successor is promoted.
//!
//! A server of MariaDB whose replication ends connects to its primary once more, to end its connection there, and the statement
//! that ends replication waits for that. A primary without power does not answer: the promotion would stand for a second, the
//! shortest time that the server can be told to wait. So for this moment the kernel refuses every packet from here to that
//! server (a rule of the routing, `ip rule`): the connection fails at once.
//!
//! **Why nothing is lost by it.** A promotion runs under a permit: the old primary has given the group up, or is proven to run
//! it no more. What it acknowledged was received here before, or this copy would not be in the committed set. What it might
//! still send was acknowledged to nobody; and should it live all the same, no acknowledgement reaches it any more that was given
//! after the promotion began.
//!
//! The rule ends with the promotion, also with one that is dropped. A had-agentd that was killed meanwhile leaves it: so the next
//! one looks for it before it starts or takes over a server ([`open_all`]).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::vip::codec::{attributes, message, put_attribute};
use crate::vip::netlink;

/// Of the kernel's interface for rules of the routing (linux/fib_rules.h), what libc lacks.
const FRA_DST: u16 = 1;
const FRA_PRIORITY: u16 = 6;
const FRA_PROTOCOL: u16 = 21;
const FRA_IP_PROTO: u16 = 22;
const FRA_DPORT_RANGE: u16 = 24;
const FR_ACT_PROHIBIT: u8 = 8;
/// A rule's family, length of the destination, length of the source, type of service, table, two unused, action, flags.
const HEADER_BYTES: usize = 12;

/// Who made the rule: so ours are known. A number that no other program is known to use.
const PROTOCOL: u8 = 72;
/// Before all other rules but the one for the node's own addresses.
const PRIORITY: u32 = 1;

/// TCP to one port of one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    address: IpAddr,
    port: u16,
}

/// Shut until this is dropped.
#[derive(Debug)]
pub struct Shut(Way);

/// Shuts the way to the server at `address` and `port`, for everybody on this node.
///
/// # Errors
/// The kernel refused it.
pub fn shut(address: IpAddr, port: u16) -> io::Result<Shut> {
    let way = Way { address, port };
    let create = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    match netlink::request(&encode(way, libc::RTM_NEWRULE, create)) {
        // An earlier promotion that was not allowed to end: it is ours to open.
        Err(error) if error.raw_os_error() != Some(libc::EEXIST) => Err(error),
        _ => Ok(Shut(way)),
    }
}

impl Drop for Shut {
    fn drop(&mut self) {
        if let Err(error) = open(self.0) {
            let Way { address, port } = self.0;
            tracing::warn!(%address, port, "cannot remove the rule that shuts the way to a server: {error}");
        }
    }
}

fn open(way: Way) -> io::Result<()> {
    match netlink::request(&encode(way, libc::RTM_DELRULE, 0)) {
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(()),
    }
}

/// Opens what an earlier had-agentd left shut, to servers at `port`. How many ways that were.
///
/// # Errors
/// The kernel does not tell its rules, or one of them stays.
pub fn open_all(port: u16) -> io::Result<usize> {
    let mut left = Vec::new();
    netlink::dump(libc::RTM_GETRULE, HEADER_BYTES, |message| {
        left.extend(decode(message.payload).filter(|way| way.port == port));
    })?;
    left.iter().try_for_each(|way| open(*way))?;
    Ok(left.len())
}

fn encode(way: Way, kind: u16, flags: i32) -> Vec<u8> {
    let (family, address) = match way.address {
        IpAddr::V4(v4) => (libc::AF_INET as u8, v4.octets().to_vec()),
        IpAddr::V6(v6) => (libc::AF_INET6 as u8, v6.octets().to_vec()),
    };
    let bits = address.len() as u8 * 8;
    message(kind, libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags, 1, |out| {
        out.extend([family, bits, 0, 0, 0, 0, 0, FR_ACT_PROHIBIT]);
        out.extend(0u32.to_ne_bytes());
        put_attribute(out, FRA_DST, &address);
        put_attribute(out, FRA_PRIORITY, &PRIORITY.to_ne_bytes());
        put_attribute(out, FRA_PROTOCOL, &[PROTOCOL]);
        put_attribute(out, FRA_IP_PROTO, &[libc::IPPROTO_TCP as u8]);
        let port = way.port.to_ne_bytes();
        put_attribute(out, FRA_DPORT_RANGE, &[port, port].concat());
    })
}

/// A rule of ours. None: it is somebody else's.
fn decode(payload: &[u8]) -> Option<Way> {
    let header = payload.get(..HEADER_BYTES)?;
    let attribute = |wanted| {
        let mut found = attributes(&payload[HEADER_BYTES..]).filter(|(kind, _)| *kind == wanted);
        found.next().map(|(_, value)| value)
    };
    let ours = header[7] == FR_ACT_PROHIBIT && attribute(FRA_PROTOCOL)? == [PROTOCOL];
    let port = attribute(FRA_DPORT_RANGE)?.get(..2)?.try_into().ok()?;
    let address = attribute(FRA_DST)?;
    let address = match i32::from(header[0]) {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(address).ok()?).into(),
        _ => return None,
    };
    ours.then_some(Way {
        address,
        port: u16::from_ne_bytes(port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_rules_are_ours() {
        for address in ["10.0.0.1", "fd00::1"] {
            let way = Way {
                address: address.parse().unwrap(),
                port: 3306,
            };
            let rule = encode(way, libc::RTM_NEWRULE, 0);
            let payload = &rule[16..];
            assert_eq!(decode(payload), Some(way));
            for end in 0..payload.len() {
                assert_eq!(decode(&payload[..end]), None, "cut after {end} bytes");
            }
            let mut other = payload.to_vec();
            other[7] = 1;
            assert_eq!(decode(&other), None);
        }
    }
}

//! Route netlink messages: what is sent and what is read, as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::Vip;
use super::netlink::{Assigned, Change, Event, Link};
use super::packet::Mac;

const HEADER_BYTES: usize = 16;

/// One message of a netlink datagram, checked against the datagram's length.
pub(crate) struct Message<'a> {
    pub kind: u16,
    pub seq: u32,
    pub payload: &'a [u8],
}

pub(crate) fn put_attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = 4 + value.len() as u16;
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

pub(crate) fn message(kind: u16, flags: i32, seq: u32, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
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

pub(super) fn encode_change(target: Assigned, change: Change, seq: u32) -> Vec<u8> {
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

/// Splits a datagram into messages. Stops at the first whose length is impossible.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
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
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
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

pub(super) fn decode_address(payload: &[u8]) -> Option<Assigned> {
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

pub(super) fn decode_link(payload: &[u8]) -> Option<Link> {
    let header = payload.get(..16)?;
    let index = u32::from_ne_bytes(header[4..8].try_into().ok()?);
    let flags = u32::from_ne_bytes(header[8..12].try_into().ok()?);
    let attribute = |wanted| {
        let mut found = attributes(&payload[16..]).filter(|(kind, _)| *kind == wanted);
        found.next().map(|(_, value)| value)
    };
    let name = attribute(libc::IFLA_IFNAME)?.split(|byte| *byte == 0).next()?;
    let is_ethernet = u16::from_ne_bytes([header[2], header[3]]) == libc::ARPHRD_ETHER;
    let mac = attribute(libc::IFLA_ADDRESS).filter(|_| is_ethernet);
    Some(Link {
        index,
        name: String::from_utf8_lossy(name).into_owned(),
        flags,
        mac: mac.and_then(|mac| mac.try_into().ok()).map(Mac),
    })
}

pub(super) fn decode_neighbour(payload: &[u8]) -> Option<(Mac, IpAddr)> {
    let family = *payload.get(..12)?.first()?;
    let (mut mac, mut ip) = (None, None);
    for (kind, value) in attributes(&payload[12..]) {
        match kind {
            libc::NDA_DST => ip = decode_ip(family, value),
            libc::NDA_LLADDR => mac = value.try_into().ok().map(Mac),
            _ => {}
        }
    }
    Some((mac?, ip?))
}

pub(super) fn decode_event(message: &Message<'_>) -> Option<Event> {
    match message.kind {
        libc::RTM_DELADDR => decode_address(message.payload).map(Event::AddressRemoved),
        libc::RTM_NEWLINK => decode_link(message.payload).map(Event::Link),
        libc::RTM_DELLINK => decode_link(message.payload).map(|link| Event::LinkRemoved(link.index)),
        _ => None,
    }
}

pub(crate) fn error_code(message: &Message<'_>) -> Option<i32> {
    message
        .payload
        .get(..4)
        .and_then(|code| code.try_into().ok())
        .map(i32::from_ne_bytes)
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
                + messages(bytes)
                    .filter_map(|m| decode_neighbour(m.payload))
                    .count()
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

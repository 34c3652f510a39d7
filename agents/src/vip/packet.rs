//! The frames that ask for and announce an address: ARP for IPv4, neighbour discovery for IPv6.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everybody on the link.
    pub const BROADCAST: Mac = Mac([0xff; 6]);
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const ETHER_ARP: [u8; 2] = [0x08, 0x06];
const ETHER_IPV6: [u8; 2] = [0x86, 0xdd];
const ARP_REQUEST: u8 = 1;
const ARP_REPLY: u8 = 2;
const ICMP6: u8 = 58;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const FLAG_OVERRIDE: u8 = 0x20;
const OPTION_TARGET_MAC: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

fn ethernet(to: Mac, from: Mac, kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend(to.0);
    frame.extend(from.0);
    frame.extend(kind);
    frame.extend(payload);
    frame
}

fn arp(own: Mac, operation: u8, sender: Ipv4Addr, target_mac: Mac, target: Ipv4Addr) -> Vec<u8> {
    let mut payload = vec![0, 1, 0x08, 0, 6, 4, 0, operation];
    payload.extend(own.0);
    payload.extend(sender.octets());
    payload.extend(target_mac.0);
    payload.extend(target.octets());
    ethernet(Mac::BROADCAST, own, ETHER_ARP, &payload)
}

fn checksum(from: Ipv6Addr, to: Ipv6Addr, icmp: &[u8]) -> u16 {
    let pseudo = from
        .octets()
        .into_iter()
        .chain(to.octets())
        .chain((icmp.len() as u32).to_be_bytes());
    let all: Vec<u8> = pseudo
        .chain([0, 0, 0, ICMP6])
        .chain(icmp.iter().copied())
        .collect();
    let mut sum: u32 = all
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An ICMPv6 packet with hop limit 255 (receivers drop neighbour discovery that crossed a router) in a frame to the
/// multicast address's own MAC.
fn icmp6(own: Mac, from: Ipv6Addr, to: Ipv6Addr, mut icmp: Vec<u8>) -> Vec<u8> {
    let sum = checksum(from, to, &icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((icmp.len() as u16).to_be_bytes());
    packet.extend([ICMP6, 255]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(icmp);
    let [.., a, b, c, d] = to.octets();
    ethernet(Mac([0x33, 0x33, a, b, c, d]), own, ETHER_IPV6, &packet)
}

/// Asks the link whether anybody has `ip`, without claiming it: an ARP probe (RFC 5227) or the solicitation of
/// duplicate address detection (RFC 4862).
#[must_use]
pub fn probe(own: Mac, ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => arp(own, ARP_REQUEST, Ipv4Addr::UNSPECIFIED, Mac([0; 6]), ip),
        IpAddr::V6(ip) => {
            let [.., a, b, c] = ip.octets();
            let group = Ipv6Addr::new(
                0xff02,
                0,
                0,
                0,
                0,
                1,
                0xff00 | u16::from(a),
                u16::from(b) << 8 | u16::from(c),
            );
            let mut icmp = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
            icmp.extend(ip.octets());
            icmp6(own, Ipv6Addr::UNSPECIFIED, group, icmp)
        }
    }
}

/// Tells the link that `ip` is here now. IPv4 takes two frames: some hosts learn from requests only, some from
/// replies only.
#[must_use]
pub fn announcement(own: Mac, ip: IpAddr) -> Vec<Vec<u8>> {
    match ip {
        IpAddr::V4(ip) => vec![
            arp(own, ARP_REQUEST, ip, Mac([0; 6]), ip),
            arp(own, ARP_REPLY, ip, Mac::BROADCAST, ip),
        ],
        IpAddr::V6(ip) => {
            let mut icmp = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, FLAG_OVERRIDE, 0, 0, 0];
            icmp.extend(ip.octets());
            icmp.extend([OPTION_TARGET_MAC, 1]);
            icmp.extend(own.0);
            vec![icmp6(own, ip, ALL_NODES, icmp)]
        }
    }
}

/// Reads a frame: who claims which address in it. None for everything else, garbage included.
#[must_use]
pub fn claim(frame: &[u8]) -> Option<(Mac, IpAddr)> {
    let from = Mac(frame.get(6..12)?.try_into().ok()?);
    let payload = frame.get(14..)?;
    match frame.get(12..14)? {
        kind if kind == ETHER_ARP => {
            if payload.get(..6)? != [0, 1, 0x08, 0, 6, 4] {
                return None;
            }
            let mac = Mac(payload.get(8..14)?.try_into().ok()?);
            let sender = Ipv4Addr::from(<[u8; 4]>::try_from(payload.get(14..18)?).ok()?);
            (!sender.is_unspecified()).then_some((mac, sender.into()))
        }
        kind if kind == ETHER_IPV6 => {
            let (next, hops) = (*payload.get(6)?, *payload.get(7)?);
            let icmp = payload.get(40..)?;
            if next != ICMP6 || hops != 255 || *icmp.first()? != NEIGHBOUR_ADVERTISEMENT {
                return None;
            }
            let target = Ipv6Addr::from(<[u8; 16]>::try_from(icmp.get(8..24)?).ok()?);
            Some((from, target.into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn announcements_claim_and_probes_do_not() {
        for text in ["10.0.0.9", "fd00::9"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(claim(&probe(OWN, ip)), None);
            for frame in announcement(OWN, ip) {
                assert_eq!(claim(&frame), Some((OWN, ip)));
                for end in 0..frame.len() {
                    let _ = claim(&frame[..end]);
                }
            }
        }
    }

    #[test]
    fn gratuitous_arp_as_on_the_wire() {
        let frames = announcement(OWN, "10.0.0.9".parse().unwrap());
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].len(), 42);
        assert_eq!(frames[0][20..22], [0, 1], "request");
        assert_eq!(frames[1][20..22], [0, 2], "reply");
        assert_eq!(frames[0][28..32], frames[0][38..42], "sender is target");
    }

    #[test]
    fn advertisement_sums_to_zero() {
        let ip: Ipv6Addr = "fd00::9".parse().unwrap();
        let frame = announcement(OWN, ip.into()).remove(0);
        assert_eq!(frame[21], 255, "hop limit");
        // The sum over a packet with a right checksum is zero.
        assert_eq!(checksum(ip, ALL_NODES, &frame[54..]), 0);
    }
}

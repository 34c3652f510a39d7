//! The kernel's filter before a listening socket: without it every packet of a busy interface would wake this process.
//!
//! It passes more than [`super::packet::claim`] accepts (that one checks again), but hardly ever anything else.

use std::net::IpAddr;

use socket2::SockFilter;

const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const LOAD_WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
const WHOLE_FRAME: u32 = 0xffff;

/// Offsets in a frame that begins with its Ethernet header.
const ARP_SENDER: u32 = 14 + 14;
const IPV6_NEXT_HEADER: u32 = 14 + 6;
const ICMP6_TYPE: u32 = 14 + 40;
const NA_TARGET_END: u32 = 14 + 40 + 8 + 12;
const ICMP6: u32 = 58;
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;

fn load(what: u16, at: u32) -> SockFilter {
    SockFilter::new(what, 0, 0, at)
}

fn finish(bytes: u32) -> SockFilter {
    SockFilter::new(RETURN, 0, 0, bytes)
}

/// Drops the frame unless the byte at `at` is `value`.
fn demand(at: u32, value: u32) -> [SockFilter; 3] {
    [
        load(LOAD_BYTE, at),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, value),
        finish(0),
    ]
}

/// Passes the frame if the word that was loaded is one of `values`; drops it otherwise.
fn pass_any(values: impl Iterator<Item = u32>) -> Vec<SockFilter> {
    let one = |value| [SockFilter::new(JUMP_IF_EQUAL, 0, 1, value), finish(WHOLE_FRAME)];
    values.flat_map(one).chain([finish(0)]).collect()
}

/// ARP frames whose sender is one of `ips`.
pub fn arp(ips: &[IpAddr]) -> Vec<SockFilter> {
    let senders = ips.iter().filter_map(|ip| match ip {
        IpAddr::V4(ip) => Some(u32::from(*ip)),
        IpAddr::V6(_) => None,
    });
    [load(LOAD_WORD, ARP_SENDER)]
        .into_iter()
        .chain(pass_any(senders))
        .collect()
}

/// Neighbour advertisements whose target ends as one of `ips` does.
pub fn advertisement(ips: &[IpAddr]) -> Vec<SockFilter> {
    let targets = ips.iter().filter_map(|ip| match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => Some(u128::from(*ip) as u32),
    });
    demand(IPV6_NEXT_HEADER, ICMP6)
        .into_iter()
        .chain(demand(ICMP6_TYPE, NEIGHBOUR_ADVERTISEMENT))
        .chain([load(LOAD_WORD, NA_TARGET_END)])
        .chain(pass_any(targets))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vip::address::ADDRESSES_MAX;

    #[test]
    fn the_longest_filter_is_within_the_kernels_limit() {
        let ips: Vec<IpAddr> = (0..ADDRESSES_MAX as u128)
            .map(|n| IpAddr::from(n.to_be_bytes()))
            .collect();
        assert!(advertisement(&ips).len() <= libc::BPF_MAXINSNS as usize);
    }
}

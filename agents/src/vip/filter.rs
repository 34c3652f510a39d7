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

/// Most addresses that a filter names; of more, every frame of the right kind is passed. What the kernel makes of a
/// filter counts against net.core.optmem_max, which is 20 KiB where Debian 12 runs.
const NAMED_MAX: usize = 256;

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

/// Passes the frame if the word that was loaded is one of `values`, or they are too many to name; drops it otherwise.
fn pass_any(values: impl Iterator<Item = u32>) -> Vec<SockFilter> {
    let values: Vec<u32> = values.collect();
    if values.len() > NAMED_MAX {
        return vec![finish(WHOLE_FRAME)];
    }
    let one = |value| [SockFilter::new(JUMP_IF_EQUAL, 0, 1, value), finish(WHOLE_FRAME)];
    values.into_iter().flat_map(one).chain([finish(0)]).collect()
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

    #[test]
    fn filters_stay_small_however_many_addresses() {
        for count in [1, NAMED_MAX, NAMED_MAX + 1, crate::vip::address::ADDRESSES_MAX] {
            let ips: Vec<IpAddr> = (0..count as u128)
                .map(|n| IpAddr::from(n.to_be_bytes()))
                .collect();
            // A comparison takes up to four of the kernel's instructions, of eight bytes each.
            assert!(advertisement(&ips).len() * 2 * 8 < 20 << 10, "{count}");
        }
    }
}

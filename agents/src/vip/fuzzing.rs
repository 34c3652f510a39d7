//! What the fuzz targets reach of this agent. Built with `--cfg fuzzing` only.

use super::address::Vip;
use super::codec;
use super::gate::{self, codec::Family};
use super::netlink::{Assigned, Change, Event};

/// Reads a route netlink datagram in every way it can be read; the number of messages in it.
#[must_use]
pub fn read_netlink(datagram: &[u8]) -> usize {
    let mut count = 0;
    for message in codec::messages(datagram) {
        count += 1;
        let _ = codec::decode_event(&message);
        let _ = codec::decode_link(message.payload);
        let _ = codec::decode_address(message.payload);
        let _ = codec::decode_neighbour(message.payload);
        let _ = codec::error_code(&message);
        let _ = gate::codec::generation(message.payload);
        let _ = gate::codec::is_ours(message.payload);
    }
    count
}

/// The address in the request that removes it, read back.
#[must_use]
pub fn through_netlink(index: u32, vip: Vip) -> Option<(u32, Vip)> {
    let target = Assigned { index, vip };
    let bytes = codec::encode_change(target, Change::Remove, 1);
    let message = codec::messages(&bytes).next()?;
    match codec::decode_event(&message)? {
        Event::AddressRemoved(read) => Some((read.index, read.vip)),
        _ => None,
    }
}

/// A request that sets an address, as an example of what the kernel repeats in its answers.
#[must_use]
pub fn example(vip: Vip) -> Vec<u8> {
    let change = Change::Set {
        lifetime_s: 2,
        prefix_route: true,
    };
    codec::encode_change(Assigned { index: 7, vip }, change, 3)
}

/// A batch of nf_tables messages, which its answers resemble.
#[must_use]
pub fn example_batch() -> Vec<u8> {
    let structure = gate::rules::structure(Family::Inet);
    [
        gate::codec::begin(Some(9)),
        structure.concat(),
        gate::codec::end(),
    ]
    .concat()
}

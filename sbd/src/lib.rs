//! Disks in the format of SBD, so that a deployment of SBD can be read and joined: a header, and a slot with a mailbox
//! for each of up to 255 nodes.
//!
//! - [`layout`]: what is in the sectors. No I/O; bytes from a disk never panic it.
//! - [`disk`]: one sector at a time, past the page cache, each with a deadline, because a dead disk blocks for ever.
//! - [`volume`]: what is done with a disk: create, list, claim a slot, write an order and read it back.
//! - [`mark`]: what Holdfast adds to a slot, in bytes that SBD neither reads nor compares.
//! - [`register`]: behind all of that, a register in which the witness of a cluster can be kept.
//!
//! What stock SBD and this crate do differently: an order counts as written only when the whole sector was read back
//! and is the same. Stock SBD reads it back and then does not look at the result.

pub mod disk;
pub mod error;
pub mod layout;
pub mod mark;
mod random;
pub mod register;
mod sys;
pub mod volume;

pub use disk::Disk;
pub use error::{Error, Result};
pub use layout::{Command, Header, Mail, Slot, Timeouts};
pub use mark::Mark;
pub use random::random_id;
pub use volume::Volume;

/// On how many of `disks` an order has to stand.
#[must_use]
pub fn write_quorum(disks: usize) -> usize {
    disks / 2 + 1
}

/// How many of `disks` a node has to read its mailbox on, so that it meets every order that stands on enough of them:
/// one of one or two, two of three.
#[must_use]
pub fn read_quorum(disks: usize) -> usize {
    disks + 1 - write_quorum(disks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reads_enough_disks_meets_every_order() {
        let quorums: Vec<_> = (1..=3)
            .map(|disks| (write_quorum(disks), read_quorum(disks)))
            .collect();
        assert_eq!(quorums, [(1, 1), (2, 1), (2, 2)]);
        assert!((1..=3).all(|disks| write_quorum(disks) + read_quorum(disks) > disks));
    }
}

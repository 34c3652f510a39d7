//! Disks in the format of SBD, so that a deployment of SBD can be read and joined: a header, and a slot with a mailbox
//! for each of up to 255 nodes.
//!
//! - [`layout`]: what is in the sectors. No I/O; bytes from a disk never panic it.
//! - [`disk`]: one sector at a time, past the page cache, each with a deadline, because a dead disk blocks for ever.
//! - [`volume`]: what is done with a disk: create, list, claim a slot, write an order and read it back.
//! - [`mark`]: what Holdfast adds to a slot, in bytes that SBD neither reads nor compares.
//!
//! What stock SBD and this crate do differently: an order counts as written only when the whole sector was read back
//! and is the same. Stock SBD reads it back and then does not look at the result.

pub mod disk;
pub mod error;
pub mod layout;
pub mod mark;
mod sys;
pub mod volume;

pub use disk::Disk;
pub use error::{Error, Result};
pub use layout::{Command, Header, Mail, Slot, Timeouts};
pub use mark::Mark;
pub use volume::Volume;

/// Most disks of one cluster, as in SBD.
pub const DISKS_MAX: usize = 3;

/// How many of `disks` have to agree: any two sets of so many share a disk.
#[must_use]
pub fn majority(disks: usize) -> usize {
    disks / 2 + 1
}

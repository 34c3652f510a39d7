//! What must survive a power loss: the acceptor's record, in two generations, and two small markers.
//!
//! A record that was promised and then lost is a vote cast twice. So the files are written beside, synced and renamed,
//! carry a sequence number and checksums, and when the newest one cannot be read the older one is *not* used instead:
//! the node starts blank and its peers bring it up to date.

pub(crate) mod files;
pub mod format;
mod marker;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use holdfast_core::durable::Durable;

pub(crate) use files::write_synced;
pub use files::{Store, StoreError};
pub use marker::{mark_synced, next_incarnation, record_incarnation, synced_in};
pub use writer::{StoreReport, StoreWriter};

/// What the disk held at the start.
#[derive(Debug)]
pub enum Loaded {
    /// The newest record.
    Fresh(Durable),
    /// No record at all: a new node, or one whose disk was replaced.
    Blank,
    /// The newest record cannot be read. The files were kept aside as `*.damaged`; the node is to start blank.
    Damaged {
        /// Where the file that could not be used was put, or should have been.
        file: PathBuf,
        /// What is wrong, and what happens now, for the operator.
        why: String,
    },
}

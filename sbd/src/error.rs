//! What can go wrong with a disk, in words for operators: what happened, to which disk, what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::layout::Damage;

/// The result of work on a disk.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened.
    #[error("{} cannot be opened: {source}", path.display())]
    Open {
        /// The disk.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither a block device nor a regular file.
    #[error("{} is neither a block device nor a file", path.display())]
    NoDisk {
        /// The disk.
        path: PathBuf,
    },
    /// The device answered with an error.
    #[error("{}: {what} sector {sector} failed: {source}", path.display())]
    Io {
        /// The disk.
        path: PathBuf,
        /// `reading` or `writing`.
        what: &'static str,
        /// Where.
        sector: u64,
        /// Why.
        source: io::Error,
    },
    /// The device did not answer in time. What was asked may still happen later.
    #[error("{}: {what} took longer than {} ms", path.display(), after.as_millis())]
    Timeout {
        /// The disk.
        path: PathBuf,
        /// What was asked.
        what: &'static str,
        /// The time allowed.
        after: Duration,
    },
    /// What stands on it is not what SBD writes.
    #[error("{}: {damage}", path.display())]
    Damaged {
        /// The disk.
        path: PathBuf,
        /// In what way.
        damage: Damage,
    },
    /// It has fewer sectors than its slots need.
    #[error("{} has {sectors} sectors, {slots} slots need {needed}", path.display())]
    TooSmall {
        /// The disk.
        path: PathBuf,
        /// Sectors that it has.
        sectors: u64,
        /// Slots that its header names.
        slots: u8,
        /// Sectors that they need.
        needed: u64,
    },
    /// No slot carries the name.
    #[error("{} has no slot for {node}: its watcher never ran with this disk", path.display())]
    NoSlot {
        /// The disk.
        path: PathBuf,
        /// The node.
        node: String,
    },
    /// All slots are taken.
    #[error("{} has no free slot left", path.display())]
    Full {
        /// The disk.
        path: PathBuf,
    },
    /// Another node took every slot that was tried.
    #[error("{}: no slot could be claimed, another node was faster each time", path.display())]
    Contended {
        /// The disk.
        path: PathBuf,
    },
    /// It was written, and something else was read back.
    #[error("{}: the {what} of {node} was written, but it reads back differently: the disk does not keep what is written", path.display())]
    NotReadBack {
        /// The disk.
        path: PathBuf,
        /// What was written.
        what: &'static str,
        /// Whose.
        node: String,
    },
    /// The register on it cannot be used.
    #[error("{}: {fault}", path.display())]
    Register {
        /// The disk.
        path: PathBuf,
        /// Why.
        fault: String,
    },
    /// It is not what it was when the watch began.
    #[error("{}: its {what} changed under the watch", path.display())]
    Changed {
        /// The disk.
        path: PathBuf,
        /// Header or slot.
        what: &'static str,
    },
}

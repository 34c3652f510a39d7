//! A register on shared disks that nobody serves: it replaces its value if that is still the one that was seen. The record of
//! a witness can stand in it, as in an etcd.
//!
//! It is CASPaxos (Rystsov, 2018): each change is a ballot that adopts what was accepted last, and then writes what follows
//! from it. Promises and acceptances stand on dumb disks as in Disk Paxos (Gafni and Lamport, 2003): each *processor* owns one
//! [`Block`] on each of one or three disks and alone writes it, and each step is to write the own block on a majority of disks
//! and then to read all blocks there. docs/correctness.md has the argument.
//!
//! - [`processor`]: the algorithm. No I/O, no clock: [`Ask`] goes out, [`Done`] comes in.
//! - [`place`]: which block a boot takes over, and with what in it.
//! - [`layout`]: a block in its sectors. [`region`]: all of them on one disk, and their making.

pub mod layout;
mod place;
pub mod processor;
pub mod region;
mod stage;

pub use processor::{Me, Processor};
pub use region::{Region, Stored};

/// Blocks of each node: a boot takes the one that was used longest ago.
pub const RING: usize = 16;

/// What a register holds.
pub trait Value: Clone + std::fmt::Debug {
    /// What tells one value from all others: no two writes have the same.
    type Name: Clone + PartialEq + std::fmt::Debug;
    /// Its name.
    fn name(&self) -> Self::Name;
}

/// Number of an attempt. No two runs share one, because `run` is random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ballot {
    /// Grows with each attempt.
    pub round: u64,
    /// The run of the process that makes the attempt.
    pub run: u128,
}

impl Ballot {
    /// Below every attempt.
    pub const ZERO: Ballot = Ballot { round: 0, run: 0 };
}

/// What a processor has promised and accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block<V> {
    /// The boot that has it; 0 for none yet.
    pub boot: u128,
    /// Number of that boot among those of its node that had a block.
    pub boots: u64,
    /// The ballot that was begun last.
    pub begun: Ballot,
    /// The ballot under which `value` was written; zero for none.
    pub accepted: Ballot,
    /// What was written. Absent if it was not asked for.
    pub value: Option<V>,
}

impl<V> Block<V> {
    /// One that nobody has used.
    #[must_use]
    pub fn unused() -> Block<V> {
        Block {
            boot: 0,
            boots: 0,
            begun: Ballot::ZERO,
            accepted: Ballot::ZERO,
            value: None,
        }
    }
}

/// All blocks of a disk, each as it was at some moment of one reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot<V> {
    /// Which register: disks that were made together name the same.
    pub register: u128,
    /// [`RING`] of node 1, then those of node 2, and so on. Values are there for the highest `accepted`, and for the block that
    /// was asked for.
    pub blocks: Vec<Block<V>>,
}

/// What the algorithm asks of one disk. It asks the next thing when that has ended, well or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<V> {
    /// Number of the disk.
    pub disk: usize,
    /// What.
    pub work: Work<V>,
}

/// Work on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work<V> {
    /// Read all blocks.
    Read {
        /// A block whose value is wanted in any case.
        wanted: Option<usize>,
    },
    /// Write the own block.
    Write {
        /// The register that has to be there.
        register: u128,
        /// Its place.
        place: usize,
        /// The block.
        block: Block<V>,
    },
}

/// How work on a disk ended. What failed may have been done, but will not be done any more.
#[derive(Clone, Debug)]
pub enum Done<V> {
    /// The blocks.
    Read(Result<Snapshot<V>, String>),
    /// Nothing, or why it may not be written.
    Wrote(Result<(), String>),
}

/// What can be asked of the register.
#[derive(Clone, Debug)]
pub enum Op<V: Value> {
    /// What does it hold?
    Read,
    /// Hold `write` if it still holds `expect`.
    Swap {
        /// Name of what was seen; none for an empty register.
        expect: Option<V::Name>,
        /// What it is to hold.
        write: V,
    },
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<V> {
    /// The swap was carried out.
    Swapped,
    /// This is what it holds.
    Content(Option<V>),
    /// It is not known; a swap may have been carried out, or may yet be by whoever finds it.
    Failed(String),
}

#[cfg(test)]
mod tests;

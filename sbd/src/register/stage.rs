//! The steps of an attempt, and what each concludes from what a majority of disks said.

use super::{Ballot, Block, Outcome, Snapshot, Value};

/// What is being done on all disks.
#[derive(Clone, Debug)]
pub(super) enum Stage<V> {
    /// Read: which register is it, and which block is ours?
    Choose,
    /// Read our block, as it was left.
    Recover,
    /// Read twice: what does it hold, and is that chosen?
    Look,
    /// Write the ballot, then read what was accepted, and whether a higher one was begun.
    Prepare,
    /// Write the value under the ballot, then read whether a higher one was begun.
    Accept {
        /// What is said when it is chosen.
        answer: Outcome<V>,
    },
}

impl<V> Stage<V> {
    /// Works on each disk in this step: what is written goes before what is read.
    pub(super) fn writes(&self) -> bool {
        matches!(self, Stage::Prepare | Stage::Accept { .. })
    }

    /// How often each disk is read.
    pub(super) fn reads(&self) -> usize {
        match self {
            Stage::Look => 2,
            _ => 1,
        }
    }
}

/// How far one disk is in the present step.
#[derive(Clone, Debug)]
pub(super) struct Progress<V> {
    pub wrote: bool,
    pub read: Vec<Snapshot<V>>,
}

impl<V> Default for Progress<V> {
    fn default() -> Self {
        Progress {
            wrote: false,
            read: Vec::new(),
        }
    }
}

/// The block that was accepted under the highest ballot.
pub(super) fn newest<'a, V: 'a>(blocks: impl Iterator<Item = &'a Block<V>>) -> Option<&'a Block<V>> {
    blocks
        .filter(|block| block.accepted > Ballot::ZERO)
        .max_by_key(|block| (block.accepted, block.value.is_some()))
}

/// What two readings of enough disks show.
pub(super) enum Seen<V> {
    /// Nothing was ever chosen.
    Empty,
    /// This is chosen.
    Chosen(V),
    /// Something is under way.
    Unclear,
}

/// A value is chosen if its block stands with it on `quorum` disks in their first reading, and no higher ballot in their
/// second one: whoever begins a higher one writes that after our second reading, and then reads this block.
pub(super) fn look<V: Value>(disks: &[&Progress<V>], quorum: usize) -> Seen<V> {
    let all = || {
        disks
            .iter()
            .flat_map(|disk| &disk.read)
            .flat_map(|one| &one.blocks)
    };
    let Some(top) = newest(all()) else {
        return Seen::Empty;
    };
    let stands = |disk: &&&Progress<V>| {
        let [first, second] = disk.read.as_slice() else {
            return false;
        };
        let there = first.blocks.iter().any(|block| block.accepted == top.accepted);
        there && second.blocks.iter().all(|block| block.begun <= top.accepted)
    };
    match &top.value {
        Some(value) if disks.iter().filter(stands).count() >= quorum => Seen::Chosen(value.clone()),
        _ => Seen::Unclear,
    }
}

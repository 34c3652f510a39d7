//! Which block of its node's ring a boot uses. A write that was under way when a machine died may reach a disk long after, so
//! a boot takes the block that was used longest ago: such a write then is one of a slow processor that nobody is any more. What
//! stands in that block stays: it may be the only copy of what was chosen.

use super::{Block, RING, Snapshot};

/// A place in the ring, and the number of the boot that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub index: usize,
    pub boots: u64,
}

/// The place of `boot` by what a majority of disks holds: the one it has already, else the one used longest ago.
pub(super) fn choose<V>(snapshots: &[&Snapshot<V>], node: u8, boot: u128) -> Option<Place> {
    let first = usize::from(node.checked_sub(1)?) * RING;
    let numbers: Vec<(usize, u64, bool)> = (first..first + RING)
        .map(|index| {
            let seen = snapshots.iter().filter_map(|snapshot| snapshot.blocks.get(index));
            let newest = seen.max_by_key(|block| block.boots);
            newest.map(|block| (index, block.boots, block.boot == boot))
        })
        .collect::<Option<_>>()?;
    let own = numbers
        .iter()
        .filter(|(_, _, own)| *own)
        .max_by_key(|(_, boots, _)| *boots);
    if let Some((index, boots, _)) = own {
        return Some(Place {
            index: *index,
            boots: *boots,
        });
    }
    let newest = numbers.iter().map(|(_, boots, _)| *boots).max()?;
    let (index, _, _) = numbers.iter().min_by_key(|(_, boots, _)| *boots)?;
    Some(Place {
        index: *index,
        boots: newest + 1,
    })
}

/// The block at `place`, as its last owner left it: on a majority of disks, so what was chosen by it is among them.
pub(super) fn recover<V: Clone>(snapshots: &[&Snapshot<V>], place: Place, boot: u128) -> Option<Block<V>> {
    let found = snapshots
        .iter()
        .filter_map(|snapshot| snapshot.blocks.get(place.index));
    let newest = found.max_by_key(|block| (block.begun, block.accepted))?;
    Some(Block {
        boot,
        boots: place.boots,
        ..newest.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::super::Ballot;
    use super::*;

    fn disk(boots: &[(usize, u64, u128)]) -> Snapshot<u8> {
        let mut blocks = vec![Block::unused(); 2 * RING];
        for (index, boots, boot) in boots {
            (blocks[*index].boots, blocks[*index].boot) = (*boots, *boot);
        }
        Snapshot { register: 1, blocks }
    }

    #[test]
    fn a_boot_takes_the_place_that_was_used_longest_ago_and_finds_it_again() {
        let full: Vec<_> = (0..RING).map(|at| (RING + at, 40 + at as u64, 7)).collect();
        let (one, mut other) = (disk(&full), disk(&full));
        other.blocks[RING].boots = 90;
        let chosen = choose(&[&one, &other], 2, 8);
        assert_eq!(
            chosen,
            Some(Place {
                index: RING + 1,
                boots: 91
            }),
            "one disk is behind"
        );
        other.blocks[RING + 5].boot = 8;
        other.blocks[RING + 5].boots = 91;
        let index = RING + 5;
        assert_eq!(choose(&[&one, &other], 2, 8), Some(Place { index, boots: 91 }));
        assert_eq!(choose(&[&one], 1, 8), Some(Place { index: 0, boots: 1 }));
        assert_eq!(choose(&[&one], 3, 8), None, "no blocks of such a node");
    }

    #[test]
    fn what_stands_in_a_block_stays() {
        let ballot = |round| Ballot { round, run: 1 };
        let (mut one, mut other) = (disk(&[]), disk(&[]));
        (one.blocks[3].begun, one.blocks[3].accepted) = (ballot(5), ballot(2));
        (other.blocks[3].begun, other.blocks[3].accepted) = (ballot(5), ballot(5));
        other.blocks[3].value = Some(9);
        let place = Place { index: 3, boots: 1 };
        let block = recover(&[&one, &other], place, 8).expect("a block");
        assert_eq!((block.boot, block.boots), (8, 1));
        assert_eq!(
            (block.begun, block.accepted, block.value),
            (ballot(5), ballot(5), Some(9))
        );
    }
}

//! Processors on disks that do what disks do: slow, lost, late, half of one moment and half of another, dead. Whatever happens,
//! the calls have to look as if each had been carried out at one instant between its beginning and its end.

mod history;
mod world;

use super::*;
use history::History;
use world::{Plan, World};

/// A value that says which one it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Link {
    id: u32,
    after: Option<u32>,
}

impl Value for Link {
    type Name = u32;
    fn name(&self) -> u32 {
        self.id
    }
}

fn rage(seeds: u64, plan: Plan) -> (u64, u64) {
    let mut total = (0, 0);
    for seed in 1..=seeds {
        let mut world = World::new(seed, plan);
        world.rage(3_000);
        let (swapped, read) = world
            .history
            .check()
            .unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        total = (total.0 + swapped, total.1 + read);
    }
    total
}

#[test]
fn on_one_disk_calls_are_carried_out_one_after_the_other_whatever_is_late_or_dies() {
    let (swapped, read) = rage(300, Plan { disks: 1, nodes: 2 });
    assert!(swapped > 3_000 && read > 3_000, "{swapped} swaps, {read} reads");
}

#[test]
fn on_three_disks_of_which_one_may_be_dead_as_well() {
    let (swapped, read) = rage(300, Plan { disks: 3, nodes: 2 });
    assert!(swapped > 3_000 && read > 3_000, "{swapped} swaps, {read} reads");
}

#[test]
fn three_nodes_as_well() {
    let (swapped, read) = rage(100, Plan { disks: 3, nodes: 3 });
    assert!(swapped > 1_000 && read > 1_000, "{swapped} swaps, {read} reads");
}

#[test]
fn a_history_that_no_register_can_have_is_found_out() {
    let link = |id, after| Link { id, after };
    let mut lost = History::default();
    let (a, b) = (
        lost.begin(1, Some(link(1, None))),
        lost.begin(2, Some(link(2, None))),
    );
    lost.end(a, 3, Outcome::Swapped);
    lost.end(b, 4, Outcome::Swapped);
    assert!(lost.check().is_err(), "two follow the same");
    let mut stale = History::default();
    let a = stale.begin(1, Some(link(1, None)));
    stale.end(a, 2, Outcome::Swapped);
    let read = stale.begin(3, None);
    stale.end(read, 4, Outcome::Content(None));
    assert!(stale.check().is_err(), "read what was there before");
    let mut fine = History::default();
    let (a, read) = (fine.begin(1, Some(link(1, None))), fine.begin(2, None));
    fine.end(read, 3, Outcome::Content(None));
    fine.end(a, 4, Outcome::Failed("lost".into()));
    let read = fine.begin(5, None);
    fine.end(read, 6, Outcome::Content(Some(link(1, None))));
    assert_eq!(fine.check(), Ok((0, 2)));
}

#[test]
fn what_stands_on_a_majority_below_a_higher_ballot_is_not_chosen() {
    let ballot = |round, run| Ballot { round, run };
    let mut accepted: Vec<Block<Link>> = vec![Block::unused(); 2 * RING];
    let link = Link { id: 1, after: None };
    (accepted[0].begun, accepted[0].accepted, accepted[0].value) = (ballot(4, 1), ballot(4, 1), Some(link));
    let mut higher = accepted.clone();
    higher[RING].begun = ballot(5, 2);
    let disk = |first: &[Block<Link>], second: &[Block<Link>]| stage::Progress {
        wrote: false,
        read: [first, second]
            .map(|blocks| Snapshot {
                register: 7,
                blocks: blocks.to_vec(),
            })
            .to_vec(),
    };
    let clear = disk(&accepted, &accepted);
    let seen = |disks: &[&stage::Progress<Link>], quorum| stage::look(disks, quorum);
    assert!(matches!(seen(&[&clear], 1), stage::Seen::Chosen(found) if found == link));
    let overtaken = disk(&accepted, &higher);
    assert!(matches!(seen(&[&overtaken], 1), stage::Seen::Unclear));
    let empty = vec![Block::unused(); 2 * RING];
    let (behind, late) = (disk(&empty, &empty), disk(&empty, &accepted));
    for other in [&behind, &late, &overtaken] {
        assert!(matches!(seen(&[&clear, other], 2), stage::Seen::Unclear));
    }
    assert!(matches!(
        seen(&[&clear, &behind, &clear], 2),
        stage::Seen::Chosen(_)
    ));
    assert!(matches!(seen(&[&behind, &behind], 2), stage::Seen::Empty));
}

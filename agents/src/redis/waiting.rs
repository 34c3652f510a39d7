//! For whom the primary waits, and which set of whole copies it wishes to have committed.
//!
//! Redis acknowledges on its own; a client that cannot afford to lose a write asks `WAIT 1`, which tells when the replica
//! has it. So a copy in the committed set holds all that `WAIT` acknowledged, by this order of things:
//!
//! - A replica that is back is counted in `min-replicas-to-write` first. Then an offset is read, and when the replica has
//!   confirmed that offset the larger set is wished.
//! - A replica that is gone stays counted, so that nothing is written, until the smaller set is committed. What was wished
//!   before and is not committed yet counts as well: it might still be.
//!
//! Pure: the keeper feeds it what it sees, and does what it says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_proto::time::Time;

use crate::roles::InSync;

/// What is seen of the copy on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// It is connected, whole, and confirms within `max_lag`.
    pub good: bool,
    /// Up to here it has confirmed.
    pub offset: u64,
}

/// A replica on its way into the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joining {
    /// It is to be counted.
    Counted,
    /// It is counted, and this offset was read after that.
    UpTo(u64),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    wish: Option<InSync>,
    /// All nodes of the wishes that may still be committed, under the highest generation of them.
    pending: InSync,
    joining: BTreeMap<String, Joining>,
    gone_since: BTreeMap<String, Time>,
    /// `min-replicas-to-write` as it was last set.
    applied: Option<u32>,
}

/// What is seen in one look.
pub struct Look<'a> {
    /// When.
    pub now: Time,
    /// What is committed.
    pub committed: &'a InSync,
    /// This node.
    pub own: &'a str,
    /// The other nodes.
    pub others: &'a BTreeMap<String, Sight>,
    /// The primary's own offset, read together with the others.
    pub offset: u64,
    /// How long a copy must be gone before it is given up.
    pub patience: Duration,
}

impl Waiting {
    /// A new primary. `gone_since` is when the other nodes were last seen, `pending` what an agent before this one left:
    /// see [`Waiting::pending`].
    pub fn new(pending: InSync, gone_since: BTreeMap<String, Time>) -> Waiting {
        Waiting {
            pending,
            gone_since,
            ..Waiting::default()
        }
    }

    /// All nodes of the wishes that may still be committed, under the highest generation that was ever wished.
    pub fn pending(&self) -> &InSync {
        &self.pending
    }

    /// The set that is to be committed, if another than the committed one.
    pub fn wish(&self) -> Option<&InSync> {
        self.wish.as_ref()
    }

    /// Takes in what is seen. True when there is a new wish: it has to be kept before it is told.
    pub fn look(&mut self, look: &Look<'_>) -> bool {
        if self.pending.generation <= look.committed.generation {
            // None of them can be committed any more: generations only grow.
            self.wish = None;
            self.pending.nodes.clear();
        }
        let base = self.wish.as_ref().unwrap_or(look.committed).nodes.clone();
        self.see(look, &base);
        let mut nodes = base.clone();
        nodes.insert(look.own.to_owned());
        for (name, joining) in &self.joining {
            let sight = look.others.get(name);
            if let (Joining::UpTo(mark), Some(sight)) = (joining, sight)
                && sight.offset >= *mark
            {
                nodes.insert(name.clone());
            }
        }
        let gone = |name: &String| {
            self.gone_since
                .get(name)
                .is_some_and(|since| since.until(look.now) >= look.patience)
        };
        nodes.retain(|name| name == look.own || !gone(name));
        // What an agent before this one wished may still be committed: a newer wish puts an end to that.
        let unsettled = self.wish.is_none() && !self.pending.nodes.is_subset(&nodes);
        if nodes == base && !unsettled {
            return false;
        }
        self.joining.retain(|name, _| !nodes.contains(name));
        self.pending.generation = self.pending.generation.max(look.committed.generation) + 1;
        self.pending.nodes.extend(nodes.iter().cloned());
        self.wish = Some(InSync {
            generation: self.pending.generation,
            nodes,
        });
        true
    }

    /// Who comes, and who went.
    fn see(&mut self, look: &Look<'_>, base: &BTreeSet<String>) {
        for (name, sight) in look.others {
            if !sight.good {
                self.joining.remove(name);
                self.gone_since.entry(name.clone()).or_insert(look.now);
                continue;
            }
            self.gone_since.remove(name);
            if base.contains(name) {
                self.joining.remove(name);
            } else if self.joining.get(name) == Some(&Joining::Counted)
                && self.applied == Some(self.count(look))
            {
                // It was counted when this offset was read.
                self.joining.insert(name.clone(), Joining::UpTo(look.offset));
            } else {
                self.joining.entry(name.clone()).or_insert(Joining::Counted);
            }
        }
        // A node that is no member any more is gone as well.
        for name in base.iter().filter(|name| *name != look.own) {
            if !look.others.contains_key(name) {
                self.gone_since.entry(name.clone()).or_insert(look.now);
            }
        }
        self.joining.retain(|name, _| look.others.contains_key(name));
    }

    /// How many replicas a write must have.
    fn count(&self, look: &Look<'_>) -> u32 {
        let mut names: BTreeSet<&String> = look.committed.nodes.iter().collect();
        names.extend(&self.pending.nodes);
        names.extend(self.joining.keys());
        let others = names.iter().filter(|name| name.as_str() != look.own).count();
        u32::try_from(others).unwrap_or(u32::MAX)
    }

    /// `min-replicas-to-write` if it has to be set, and is set then: see [`Waiting::set`].
    pub fn to_set(&self, look: &Look<'_>) -> Option<u32> {
        let count = self.count(look);
        (self.applied != Some(count)).then_some(count)
    }

    /// It was set.
    pub fn set(&mut self, count: u32) {
        self.applied = Some(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    /// A primary `a`, its replica `b`, and the register.
    struct World {
        waiting: Waiting,
        committed: InSync,
        now: u64,
        offset: u64,
    }

    impl World {
        fn new(nodes: &[&str]) -> World {
            World {
                waiting: Waiting::default(),
                committed: set(1, nodes),
                now: 1_000_000,
                offset: 100,
            }
        }

        /// One look of the keeper a tenth of a second later: what `min-replicas-to-write` is now.
        fn round(&mut self, good: bool, offset: u64) -> u32 {
            self.now += 100_000;
            let others = BTreeMap::from([("b".to_owned(), Sight { good, offset })]);
            let look = Look {
                now: Time(self.now),
                committed: &self.committed,
                own: "a",
                others: &others,
                offset: self.offset,
                patience: PATIENCE,
            };
            self.waiting.look(&look);
            if let Some(count) = self.waiting.to_set(&look) {
                self.waiting.set(count);
            }
            self.waiting.applied.unwrap()
        }

        fn wish(&self) -> Option<(u64, Vec<&str>)> {
            let wish = self.waiting.wish()?;
            Some((wish.generation, wish.nodes.iter().map(String::as_str).collect()))
        }
    }

    fn set(generation: u64, nodes: &[&str]) -> InSync {
        InSync {
            generation,
            nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn a_replica_that_is_back_is_counted_before_it_is_wished_for() {
        let mut world = World::new(&["a"]);
        assert_eq!(world.round(false, 0), 0);
        assert_eq!(world.round(true, 100), 1, "counted");
        assert_eq!(world.wish(), None, "the offset was read before it was counted");
        world.offset = 120;
        world.round(true, 110);
        assert_eq!(
            world.wish(),
            None,
            "it has not reached the offset that was read after"
        );
        world.offset = 200;
        world.round(true, 120);
        assert_eq!(world.wish(), Some((2, vec!["a", "b"])));
        world.committed = set(2, &["a", "b"]);
        assert_eq!(world.round(true, 120), 1);
        assert_eq!(world.wish(), None);
    }

    #[test]
    fn a_replica_that_is_gone_is_counted_until_the_smaller_set_is_committed() {
        let mut world = World::new(&["a", "b"]);
        assert_eq!(world.round(true, 100), 1);
        for _ in 0..10 {
            assert_eq!(world.round(false, 0), 1);
            assert_eq!(world.wish(), None, "gone for less than a lease");
        }
        assert_eq!(world.round(false, 0), 1);
        assert_eq!(world.wish(), Some((2, vec!["a"])));
        assert_eq!(world.round(false, 0), 1, "not committed yet");
        world.committed = set(2, &["a"]);
        assert_eq!(world.round(false, 0), 0);
    }

    #[test]
    fn a_wish_that_may_still_be_committed_counts() {
        let mut world = World::new(&["a", "b"]);
        for _ in 0..12 {
            world.round(false, 0);
        }
        assert_eq!(world.wish(), Some((2, vec!["a"])));
        // Back before the smaller set was committed: a larger one is wished, and it goes again.
        for _ in 0..3 {
            world.round(true, 300);
        }
        assert_eq!(world.wish(), Some((3, vec!["a", "b"])));
        world.committed = set(2, &["a"]);
        assert_eq!(
            world.round(false, 0),
            1,
            "the set of generation 3 may still be committed"
        );
        for _ in 0..12 {
            assert_eq!(world.round(false, 0), 1);
        }
        assert_eq!(world.wish(), Some((4, vec!["a"])));
        world.committed = set(3, &["a", "b"]);
        assert_eq!(world.round(false, 0), 1);
        world.committed = set(4, &["a"]);
        assert_eq!(world.round(false, 0), 0);
    }

    #[test]
    fn a_short_absence_changes_nothing() {
        let mut world = World::new(&["a", "b"]);
        for good in [true, false, false, true, false, true] {
            assert_eq!(world.round(good, 100), 1);
            assert_eq!(world.wish(), None);
        }
    }

    #[test]
    fn the_first_primary_wishes_itself() {
        let mut world = World::new(&[]);
        world.committed.generation = 0;
        assert_eq!(world.round(false, 0), 0);
        assert_eq!(world.wish(), Some((1, vec!["a"])));
    }

    #[test]
    fn what_an_agent_before_this_one_wished_counts_and_is_topped() {
        let before = set(7, &["a", "b"]);
        let mut world = World::new(&["a"]);
        world.waiting = Waiting::new(before, BTreeMap::new());
        assert_eq!(world.round(false, 0), 1);
        assert_eq!(world.wish(), Some((8, vec!["a"])));
        world.committed = set(8, &["a"]);
        assert_eq!(world.round(false, 0), 0);
    }

    #[test]
    fn a_node_that_left_the_cluster_leaves_the_set() {
        let mut world = World::new(&["a", "b", "c"]);
        assert_eq!(world.round(true, 100), 2);
        for _ in 0..12 {
            world.round(true, 100);
        }
        assert_eq!(world.wish(), Some((2, vec!["a", "b"])));
    }
}

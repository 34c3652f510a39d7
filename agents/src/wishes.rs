//! Which set of whole copies a promoted node asks for, and when it may count on one.
//!
//! A generation is asked for once and never again with other nodes. So when a set is seen committed, every wish of a lower
//! generation is void.
//!
//! Two kinds, for two kinds of services:
//!
//! - [`Wishes`], in memory: the service goes on waiting whatever becomes of the agent (DRBD until it is told to give a peer up,
//!   Galera by its own quorum). An agent that finds it promoted begins with [`Wishes::resumed`], and lets nobody go before a
//!   fresh generation of its own is committed.
//! - [`written::Wishes`], in a file: a promotion, or an agent that is started anew, sets whom the service waits for
//!   (semi-synchronous replication, members of quorum queues), and has to know then, not a commit later, what may still be
//!   committed. A wish that cannot be written down is not made.
//!
//! Redis has its own (`redis::waiting`): it waits for a number of replicas, so the nodes of all wishes that may still be committed
//! are added up.

pub mod written;

use std::collections::{BTreeMap, BTreeSet};

use crate::roles::InSync;

/// So many generations may have been asked for since the committed one by an agent of which nothing is known any more.
pub(crate) const UNKNOWN: u64 = 1 << 16;

/// All that was asked for.
#[derive(Debug, Default)]
pub struct Wishes {
    /// The highest generation that was asked for.
    last: u64,
    current: Option<InSync>,
    /// The highest generation in which each node was asked for.
    with: BTreeMap<String, u64>,
    /// The highest generation that an agent before this one may have asked for, with whichever node.
    before: u64,
    restarted: bool,
}

impl Wishes {
    /// Those of an agent that found its resource promoted: what its predecessor asked for may still be committed.
    #[must_use]
    pub fn resumed() -> Wishes {
        Wishes {
            restarted: true,
            ..Wishes::default()
        }
    }

    /// What to ask for so that `nodes` becomes the committed set. None when it is, and nothing else can follow.
    pub fn ask(&mut self, committed: &InSync, nodes: BTreeSet<String>) -> Option<InSync> {
        if std::mem::take(&mut self.restarted) {
            self.before = committed.generation.saturating_add(UNKNOWN);
            self.last = self.before;
        }
        if committed.nodes == nodes && self.last <= committed.generation {
            self.current = None;
            return None;
        }
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.nodes != nodes || current.generation <= committed.generation)
        {
            let generation = self.last.max(committed.generation) + 1;
            self.last = generation;
            for node in &nodes {
                self.with.insert(node.clone(), generation);
            }
            self.current = Some(InSync { generation, nodes });
        }
        self.current.clone()
    }

    /// True when `node` is not in the committed set, and no wish that names it can be committed any more. From then on nobody
    /// will be promoted there before it is whole again, and so it need not be waited for.
    #[must_use]
    pub fn is_out(&self, committed: &InSync, node: &str) -> bool {
        let asked = self.with.get(node).copied().unwrap_or(0).max(self.before);
        !self.restarted
            && committed.generation > 0
            && !committed.nodes.contains(node)
            && asked <= committed.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(generation: u64, nodes: &[&str]) -> InSync {
        InSync {
            generation,
            nodes: names(nodes),
        }
    }

    fn names(nodes: &[&str]) -> BTreeSet<String> {
        nodes.iter().map(|node| (*node).to_owned()).collect()
    }

    #[test]
    fn what_is_committed_is_not_asked_for() {
        let mut wishes = Wishes::default();
        assert_eq!(wishes.ask(&set(3, &["a"]), names(&["a"])), None);
        assert!(wishes.is_out(&set(3, &["a"]), "b"));
        assert!(!wishes.is_out(&set(0, &[]), "b"));
        assert!(!wishes.is_out(&set(3, &["a", "b"]), "b"));
    }

    #[test]
    fn a_node_is_out_only_when_no_wish_with_it_can_follow() {
        let mut wishes = Wishes::default();
        let committed = set(3, &["a"]);
        // b became whole: asked for, not committed yet; then it was lost.
        assert_eq!(
            wishes.ask(&committed, names(&["a", "b"])),
            Some(set(4, &["a", "b"]))
        );
        let again = wishes.ask(&committed, names(&["a"]));
        assert_eq!(
            again,
            Some(set(5, &["a"])),
            "the set of before could still be replaced by generation 4"
        );
        assert!(!wishes.is_out(&committed, "b"));
        assert_eq!(wishes.ask(&committed, names(&["a"])), again);
        assert!(!wishes.is_out(&set(4, &["a", "b"]), "b"));
        assert!(wishes.is_out(&set(5, &["a"]), "b"));
        assert_eq!(wishes.ask(&set(5, &["a"]), names(&["a"])), None);
    }

    #[test]
    fn a_set_that_somebody_else_changed_is_asked_for_anew() {
        let mut wishes = Wishes::default();
        assert_eq!(
            wishes
                .ask(&set(3, &["a"]), names(&["a", "b"]))
                .unwrap()
                .generation,
            4
        );
        // A node left the configuration: generation 9 took the place of our wish.
        assert_eq!(
            wishes
                .ask(&set(9, &["a"]), names(&["a", "b"]))
                .unwrap()
                .generation,
            10
        );
    }

    #[test]
    fn after_a_restart_older_wishes_are_outnumbered() {
        let mut wishes = Wishes::resumed();
        let committed = set(7, &["a", "b"]);
        let wish = wishes.ask(&committed, names(&["a"])).unwrap();
        assert!(wish.generation > 7 + UNKNOWN);
        assert!(
            !wishes.is_out(&set(8, &["a"]), "b"),
            "generation 8 is of before, and so might be 9 with b"
        );
        assert!(wishes.is_out(&wish, "b"));
    }

    #[test]
    fn after_a_restart_a_node_that_only_an_older_wish_named_is_not_out_either() {
        let mut wishes = Wishes::resumed();
        // The agent before asked for generation 8 with b; b is gone, and the wish is on its way.
        let committed = set(7, &["a"]);
        let wish = wishes.ask(&committed, names(&["a"])).unwrap();
        assert!(!wishes.is_out(&committed, "b"), "generation 8 with b may follow");
        assert!(!wishes.is_out(&set(8, &["a", "b"]), "b"));
        assert!(wishes.is_out(&wish, "b"));
    }
}

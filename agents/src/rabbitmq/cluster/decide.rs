//! What follows from what is seen and what is committed. Nothing here asks or does anything.

use std::collections::BTreeSet;

use super::facts::Facts;
use crate::roles::RolesView;

/// What is seen of another broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// Not enough looks yet to say.
    #[default]
    Unsure,
    /// Nothing answers there.
    Gone,
    /// The Erlang VM answers, the broker in it does not run.
    Booting,
    /// It runs, and says this.
    Running(Facts),
}

/// Another broker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Other {
    /// The node of this cluster that it is on; empty for the third broker.
    pub node: String,
    /// Its name.
    pub broker: String,
    /// What is seen of it.
    pub sight: Sight,
    /// It was started anew since it was found whole. A member may have lost what it had written last, so that has to be found
    /// again.
    pub is_new: bool,
}

impl Other {
    /// The broker `facts` of this node and that one form one cluster just now.
    #[must_use]
    pub fn is_with(&self, facts: &Facts) -> bool {
        matches!(self.sight, Sight::Running(_))
            && facts.running.contains(&self.broker)
            && !facts.partitions.contains(&self.broker)
    }

    /// It serves nobody together with the broker of this node.
    #[must_use]
    pub fn is_lost(&self, facts: &Facts) -> bool {
        self.sight == Sight::Gone || !facts.running.contains(&self.broker)
    }

    /// Its quorum queues are as many as there are.
    #[must_use]
    pub fn is_filled(&self, facts: &Facts) -> bool {
        self.is_with(facts) && facts.has_all_queues(&self.broker)
    }
}

/// The nodes whose brokers have everything that was confirmed, as the promoted one sees it. `whole` are those found to have
/// caught up.
///
/// With a member on each of two brokers Raft confirms nothing that is not on both, so a node stays in the set until its broker is
/// lost or a queue turns up that it has no member of. With a third broker a majority confirms, and a majority elects: a node that
/// is behind is brought up by Raft before its queues serve, so the loss of a broker takes nobody out of the set.
#[must_use]
pub fn whole_nodes(
    view: &RolesView,
    facts: &Facts,
    others: &[Other],
    whole: &BTreeSet<String>,
    has_third: bool,
) -> BTreeSet<String> {
    let stays = |other: &Other| {
        let is_proven = !other.is_new || whole.contains(&other.broker);
        facts.has_all_queues(&other.broker) && (has_third || (!other.is_lost(facts) && is_proven))
    };
    let joins = |other: &Other| other.is_filled(facts) && whole.contains(&other.broker);
    let nodes = others.iter().filter(|other| !other.node.is_empty());
    let counted = nodes.filter(|other| {
        if view.in_sync.nodes.contains(&other.node) {
            stays(other)
        } else {
            joins(other)
        }
    });
    let own = std::iter::once(view.own.name.clone());
    counted.map(|other| other.node.clone()).chain(own).collect()
}

/// Brokers without which the quorum queues of this one have to go on.
///
/// The proof, which is the caller's to bring with `may_go_on`: this node is promoted under a permit that has not ended, and it is
/// committed that only its copy has everything, and no wish is under way that says otherwise. So no other node can be promoted
/// from here on, and of two members the other one is no majority: it can confirm nothing. It may be off, frozen or cut off; when
/// it is back its broker is started anew and gets members that are filled from here.
#[must_use]
pub fn to_shrink<'a>(facts: &Facts, others: &'a [Other], has_third: bool, may_go_on: bool) -> Vec<&'a Other> {
    if has_third || !may_go_on {
        return Vec::new();
    }
    let lost = others
        .iter()
        .filter(|other| other.is_lost(facts) && facts.queues_on(&other.broker) > 0);
    // One that starts has no members that run, but is not to be cut off in the middle of it.
    lost.filter(|other| other.sight == Sight::Gone).collect()
}

/// The broker of this node is the one that has to start anew: it and that of the primary both run, and not together.
#[must_use]
pub fn is_loser(own: &str, facts: &Facts, primary: &Other) -> bool {
    let Sight::Running(theirs) = &primary.sight else {
        return false;
    };
    let apart = facts.partitions.contains(&primary.broker)
        || theirs.partitions.contains(own)
        || !facts.running.contains(&primary.broker)
        || !theirs.running.contains(own);
    theirs.members.contains(own) && apart
}

/// The database of this node's broker belongs to another cluster than the primary's: that one does not know this broker.
///
/// Only then, and when the committed set names others and not this node, it may be put aside: a whole copy is elsewhere.
#[must_use]
pub fn is_stranger(own: &str, view: &RolesView, primary: &Other) -> bool {
    let set = &view.in_sync.nodes;
    let whole_elsewhere = !set.is_empty() && !set.contains(&view.own.name);
    matches!(&primary.sight, Sight::Running(theirs) if !theirs.members.contains(own)) && whole_elsewhere
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::{InSync, Peer};

    const A: &str = "rabbit@a";
    const B: &str = "rabbit@b";

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn view(nodes: &[&str]) -> RolesView {
        let own = Peer {
            name: "a".into(),
            ..Peer::default()
        };
        let in_sync = InSync {
            generation: 3,
            nodes: set(nodes),
        };
        RolesView {
            own,
            in_sync,
            ..RolesView::default()
        }
    }

    fn facts(running: &[&str], on_b: i64) -> Facts {
        Facts {
            members: set(&[A, B]),
            running: set(running),
            queues: 2,
            queues_at: [(A.to_owned(), 2), (B.to_owned(), on_b)].into(),
            can_shrink: true,
            ..Facts::default()
        }
    }

    fn other(sight: Sight) -> [Other; 1] {
        [Other {
            node: "b".into(),
            broker: B.into(),
            sight,
            is_new: false,
        }]
    }

    fn runs() -> Sight {
        Sight::Running(facts(&[A, B], 2))
    }

    #[test]
    fn a_node_leaves_the_set_when_its_broker_is_lost_or_a_queue_is_not_there() {
        let (both, one) = (view(&["a", "b"]), facts(&[A, B], 2));
        let none = set(&[]);
        let whole = |facts: &Facts, sight| whole_nodes(&both, facts, &other(sight), &none, false);
        assert_eq!(whole(&one, runs()), set(&["a", "b"]));
        assert_eq!(whole(&one, Sight::Unsure), set(&["a", "b"]));
        assert_eq!(whole(&one, Sight::Gone), set(&["a"]));
        assert_eq!(whole(&facts(&[A], 2), Sight::Booting), set(&["a"]));
        assert_eq!(whole(&facts(&[A, B], 1), runs()), set(&["a"]));
        let [again] = other(runs());
        let again = [Other {
            is_new: true,
            ..again
        }];
        assert_eq!(whole_nodes(&both, &one, &again, &none, false), set(&["a"]));
        assert_eq!(
            whole_nodes(&both, &one, &again, &set(&[B]), false),
            set(&["a", "b"])
        );
        let with_third = whole_nodes(&both, &one, &other(Sight::Gone), &none, true);
        assert_eq!(with_third, set(&["a", "b"]), "a majority goes on");
    }

    #[test]
    fn a_node_comes_into_the_set_when_all_its_members_have_caught_up() {
        let (alone, full) = (view(&["a"]), facts(&[A, B], 2));
        let whole = |facts: &Facts, caught_up: &[&str]| {
            whole_nodes(&alone, facts, &other(runs()), &set(caught_up), false)
        };
        assert_eq!(whole(&full, &[]), set(&["a"]));
        assert_eq!(whole(&full, &[B]), set(&["a", "b"]));
        assert_eq!(whole(&facts(&[A, B], 1), &[B]), set(&["a"]));
        let mut apart = full;
        apart.partitions = set(&[B]);
        assert_eq!(whole(&apart, &[B]), set(&["a"]));
    }

    #[test]
    fn queues_shrink_only_with_the_right_to_and_only_from_what_is_gone() {
        let facts = facts(&[A, B], 2);
        let count = |sight, third, right| to_shrink(&facts, &other(sight), third, right).len();
        assert_eq!(count(Sight::Gone, false, true), 1);
        assert_eq!(count(Sight::Gone, false, false), 0);
        assert_eq!(count(Sight::Gone, true, true), 0);
        assert_eq!(count(runs(), false, true), 0);
        assert_eq!(count(Sight::Booting, false, true), 0);
    }

    #[test]
    fn who_starts_anew_and_who_is_a_stranger() {
        let [mut primary] = other(runs());
        // Seen from b, with a as the primary.
        primary.broker = A.into();
        let together = facts(&[A, B], 2);
        assert!(!is_loser(B, &together, &primary));
        let mut apart = together.clone();
        apart.partitions = set(&[A]);
        assert!(is_loser(B, &apart, &primary));
        assert!(is_loser(B, &facts(&[B], 2), &primary));
        let mut strange = together.clone();
        strange.members = set(&[A]);
        primary.sight = Sight::Running(strange);
        assert!(!is_loser(B, &apart, &primary));
        let of_b = |nodes: &[&str]| {
            let mut view = view(nodes);
            view.own.name = "b".into();
            view
        };
        assert!(is_stranger(B, &of_b(&["a"]), &primary));
        assert!(!is_stranger(B, &of_b(&["a", "b"]), &primary));
        assert!(!is_stranger(B, &of_b(&[]), &primary));
        primary.sight = Sight::Gone;
        assert!(!is_stranger(B, &of_b(&["a"]), &primary));
    }
}

//! The configurations that are explored.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::ids::NodeId;

use crate::action::Action;
use crate::bounds::Budget;
use crate::model::Exploration;
use crate::setup::{Device, ORDER, POWER, Setup, Witness, cluster, settle};
use crate::world::World;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const W: NodeId = NodeId::WITNESS;

/// Names of all configurations, in the order in which they are run.
pub const NAMES: [&str; 12] = [
    "pair",
    "witness",
    "witness-lost",
    "voters",
    "returning",
    "readmitted",
    "cold-start",
    "three",
    "race",
    "register",
    "orders",
    "orders-witness",
];

/// One state in so many is healed.
const HEAL_EVERY: u64 = 16;

/// What the command line asks of the bounds.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// For hours.
    pub deep: bool,
    /// Deviations, instead of the configuration's own bound.
    pub total: Option<u8>,
    /// Only these kinds of them; all if empty.
    pub only: Vec<String>,
}

impl Bounds {
    fn budget(&self, name: &str) -> Budget {
        // Where deviations may end at any time from the beginning on (a link that heals, a machine that gets power), one
        // more of them makes many times as many states.
        let begins_hurt = !matches!(name, "pair" | "witness" | "three" | "register");
        if name == "race" && self.total.is_none() && self.only.is_empty() && !self.deep {
            // What a race is about, and a `had` that does not know any more whom it was to end.
            return Budget::any(2).only(&["fences", "kills"]);
        }
        if name == "orders-witness" && self.total.is_none() && self.only.is_empty() && !self.deep {
            // Who stands behind whom while an order stands.
            return Budget::any(1).only(&["links"]);
        }
        let total = match (begins_hurt, self.deep) {
            (true, false) => 1,
            (false, false) | (true, true) => 2,
            (false, true) => 3,
        };
        let budget = Budget::any(self.total.unwrap_or(total));
        let only: Vec<&str> = self.only.iter().map(String::as_str).collect();
        if only.is_empty() {
            budget
        } else {
            budget.only(&only)
        }
    }
}

/// Where the exploration of `name` begins, and its bounds.
#[must_use]
pub fn exploration(name: &str, bounds: &Bounds) -> Option<(Arc<Setup>, Exploration)> {
    let (budget, deep) = (bounds.budget(name), bounds.deep);
    let (setup, initial) = match name {
        "pair" => pair(budget, deep),
        "witness" => witness(budget, deep),
        "witness-lost" => witness_lost(budget, deep),
        "voters" => voters(budget, deep),
        "returning" => returning(budget, deep),
        "readmitted" => readmitted(budget, deep),
        "cold-start" => cold_start(budget, deep),
        "three" => three(budget, deep),
        "race" => race(budget, deep),
        "register" => register(budget, deep),
        "orders" => orders(budget, deep),
        "orders-witness" => orders_witness(budget, deep),
        _ => return None,
    };
    let initial = initial.into_iter().map(|mut world| {
        world.budget = setup.budget;
        world.run_to_choice();
        world.take_print();
        world
    });
    let exploration = Exploration {
        initial: initial.collect(),
        heal_every: HEAL_EVERY,
        ends_at: None,
    };
    Some((setup, exploration))
}

fn pair(budget: Budget, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        moves: true,
        odd_links: true,
        ..Setup::plain(
            "pair",
            "two nodes with fence devices, no witness",
            cluster(&[POWER, POWER], Witness::None, &[("db", "fencing", 1)]),
            budget,
            deep,
        )
    });
    let world = setup.formed();
    (setup, vec![world])
}

fn witness(budget: Budget, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        watchdogs: vec![A, B],
        moves: true,
        odd_links: true,
        ..Setup::plain(
            "witness",
            "two nodes and a witness; one group requires fencing, one a lease; both nodes have a watchdog",
            cluster(
                &[POWER, POWER],
                Witness::Had,
                &[("db", "fencing", 1), ("vip", "lease", 1)],
            ),
            budget,
            deep,
        )
    });
    let world = setup.formed();
    (setup, vec![world])
}

fn witness_lost(budget: Budget, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup::plain(
        "witness-lost",
        "two nodes and a witness that neither reaches any more, until each link to it heals",
        cluster(
            &[POWER, POWER],
            Witness::Had,
            &[("db", "fencing", 1), ("vip", "lease", 1)],
        ),
        budget,
        deep,
    ));
    let mut world = setup.formed();
    world.strike(Action::Cut(W, A));
    world.strike(Action::Cut(W, B));
    (setup, vec![world])
}

fn voters(budget: Budget, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        odd_links: true,
        ..Setup::plain(
            "voters",
            "a pair in which one node was fenced and voted out, and now comes back",
            cluster(&[POWER, POWER], Witness::None, &[("db", "fencing", 1)]),
            budget,
            deep,
        )
    });
    let mut world = voting_alone(&setup);
    world.strike(Action::PowerOn(B));
    (setup, vec![world])
}

fn returning(budget: Budget, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        odd_links: true,
        ..Setup::plain(
            "returning",
            "a pair in which one node lost power, and is back, unheard, before the other could write down its takeover",
            cluster(&[POWER, POWER], Witness::None, &[("db", "fencing", 1)]),
            budget,
            deep,
        )
    });
    let mut world = setup.formed();
    world.strike(Action::PowerOff(B));
    world.strike(Action::CutOneWay(B, A));
    let minute = Duration::from_secs(60);
    assert!(world.run_until(minute, |world| !world.asks.is_empty()));
    world.strike(Action::StallDisk(A));
    assert!(world.run_until(minute, |world| world.asks.is_empty()));
    world.strike(Action::PowerOn(B));
    (setup, vec![world])
}

fn readmitted(budget: Budget, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        odd_links: true,
        ..Setup::plain(
            "readmitted",
            "one node of a pair adds the other, which accepts that, unheard, and is cut off; and withdraws it on a slow disk",
            cluster(&[POWER, POWER], Witness::None, &[("db", "fencing", 1)]),
            budget,
            deep,
        )
    });
    let mut world = voting_alone(&setup);
    world.strike(Action::PowerOn(B));
    let accepts = |world: &World, node: NodeId| {
        let had = world.machines[world.number_of(node)].had.as_ref();
        let durable = had.and_then(|had| had.durable());
        durable.is_some_and(|durable| durable.accepted.voters != durable.committed.voters)
    };
    assert!(world.run_until(Duration::from_secs(60), |world| accepts(world, A)));
    world.strike(Action::CutOneWay(B, A));
    assert!(world.run_until(Duration::from_secs(60), |world| accepts(world, B)));
    world.strike(Action::Cut(A, B));
    // Just before it withdraws that.
    world.run_until(setup.config.timers().lease * 2, |_| false);
    world.strike(Action::StallDisk(A));
    (setup, vec![world])
}

/// A pair of which node 1 votes alone, because node 2 lost power.
fn voting_alone(setup: &Arc<Setup>) -> World {
    let mut world = setup.formed();
    world.strike(Action::PowerOff(B));
    settle(&mut world, "node1 votes alone", |world| {
        world
            .ghost
            .newest()
            .is_some_and(|state| !state.voters.contains(B))
    });
    world
}

fn cold_start(budget: Budget, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        odd_links: true,
        ..Setup::plain(
            "cold-start",
            "a pair without power: both nodes current, or the second one voted out; either may start first",
            cluster(&[POWER, POWER], Witness::None, &[("db", "fencing", 1)]),
            budget,
            deep,
        )
    });
    let mut both = setup.formed();
    both.strike(Action::PowerOff(A));
    both.strike(Action::PowerOff(B));
    let mut behind = voting_alone(&setup);
    behind.strike(Action::PowerOff(A));
    (setup, vec![both, behind])
}

fn three(budget: Budget, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup::plain(
        "three",
        "three data nodes; one group requires fencing, one a lease",
        cluster(
            &[POWER, POWER, POWER],
            Witness::None,
            &[("db", "fencing", 1), ("vip", "lease", 2)],
        ),
        budget,
        deep,
    ));
    let world = setup.formed();
    (setup, vec![world])
}

/// Methods that race: the board of a machine beside a strip that feeds it twice, or beside what cuts its storage off.
const BOARD_AND_STRIP: &[Device] = &[
    (Some("board"), "power"),
    (Some("strip"), "power"),
    (Some("strip"), "power"),
];
const BOARD_AND_FABRIC: &[Device] = &[(Some("board"), "power"), (Some("fabric"), "storage")];

fn race(budget: Budget, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup::plain(
        "race",
        "a pair whose nodes have lost contact; to fence one of them two methods race: board beside two outlets, board \
                beside storage",
        cluster(
            &[BOARD_AND_STRIP, BOARD_AND_FABRIC],
            Witness::None,
            &[("db", "fencing", 1)],
        ),
        budget,
        deep,
    ));
    let races = |number: usize| {
        let mut world = setup.formed();
        let lost = [B, A][number];
        world.strike(Action::PowerOff(lost));
        let begins = world.run_until(Duration::from_secs(60), |world| !world.asks.is_empty());
        assert!(begins, "{lost} is fenced");
        world
    };
    let mut cut = setup.formed();
    cut.strike(Action::Cut(A, B));
    (Arc::clone(&setup), vec![cut, races(0), races(1)])
}

fn register(budget: Budget, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup::plain(
        "register",
        "two nodes, the witness kept in etcd",
        cluster(&[POWER, POWER], Witness::Etcd, &[("db", "fencing", 1)]),
        budget,
        deep,
    ));
    let world = setup.formed();
    (setup, vec![world])
}

fn orders(budget: Budget, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        watchdogs: vec![A, B],
        ..Setup::plain(
            "orders",
            "a pair that only orders on a shared disk fence, with watchdogs; it lost contact, or a node its way to the disk",
            cluster(&[ORDER, ORDER], Witness::None, &[("db", "fencing", 1)]),
            budget,
            deep,
        )
    });
    let begins = |action: Action| {
        let mut world = setup.formed();
        world.strike(action);
        world
    };
    let lost = [
        Action::Cut(A, B),
        Action::LoseSharedDisk(A),
        Action::LoseSharedDisk(B),
    ];
    let worlds = lost.map(begins).into();
    (setup, worlds)
}

fn orders_witness(budget: Budget, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        watchdogs: vec![A, B],
        ..Setup::plain(
            "orders-witness",
            "two nodes and a witness; the owner of the group lost its way to the shared disk and the other node, which leads \
                and ordered it to end",
            cluster(&[ORDER, ORDER], Witness::Had, &[("db", "fencing", 1)]),
            budget,
            deep,
        )
    });
    let mut world = setup.formed();
    world.strike(Action::LoseSharedDisk(A));
    // Longer than any node goes on without its disk and without a quorum.
    world.run_until(Duration::from_secs(5), |_| false);
    world.strike(Action::Cut(A, B));
    world.strike(Action::Cut(A, W));
    let orders = |world: &World| world.asks.iter().any(|ask| ask.order.is_some());
    assert!(
        world.run_until(Duration::from_secs(60), orders),
        "it is ordered to end"
    );
    world.strike(Action::Heal(A, W));
    (setup, vec![world])
}

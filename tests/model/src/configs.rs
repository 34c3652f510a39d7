//! The configurations that are explored.

use std::sync::Arc;

use holdfast_proto::ids::NodeId;

use crate::action::Action;
use crate::bounds::Budget;
use crate::model::Exploration;
use crate::setup::{Setup, cluster, settle};
use crate::world::World;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const W: NodeId = NodeId::WITNESS;

/// Names of all configurations, in the order in which they are run.
pub const NAMES: [&str; 6] = ["pair", "witness", "witness-lost", "voters", "cold-start", "three"];

/// One state in so many is healed.
const HEAL_EVERY: u64 = 64;

/// Where the exploration of `name` begins, and its bounds: those of CI, or the deep ones.
#[must_use]
pub fn exploration(name: &str, deep: bool, total: Option<u8>) -> Option<(Arc<Setup>, Exploration)> {
    let total = |bounded: u8, large: u8| total.unwrap_or(if deep { large } else { bounded });
    let (setup, initial): (Arc<Setup>, Vec<World>) = match name {
        "pair" => pair(total(2, 3), deep),
        "witness" => witness(total(2, 3), deep),
        "witness-lost" => witness_lost(total(2, 3), deep),
        "voters" => voters(total(2, 3), deep),
        "cold-start" => cold_start(total(2, 4), deep),
        "three" => three(total(1, 2), deep),
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
    };
    Some((setup, exploration))
}

/// Every kind of deviation as often as `total` allows.
fn any(total: u8) -> Budget {
    Budget {
        total,
        packets: total,
        links: total,
        power: total,
        wiped: 1,
        kills: total,
        stalls: total,
        disks: 1,
        fences: total,
        stops: 1,
        operator: 1,
    }
}

fn pair(total: u8, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        name: "pair",
        title: "two nodes with fence devices, no witness",
        config: cluster(2, false, &[("db", "fencing", 1)]),
        watchdogs: vec![],
        moves: true,
        odd_links: true,
        fine_ends: deep,
        budget: any(total),
    });
    let world = setup.formed();
    (setup, vec![world])
}

fn witness(total: u8, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        name: "witness",
        title: "two nodes and a witness; one group requires fencing, one a lease; both nodes have a watchdog",
        config: cluster(2, true, &[("db", "fencing", 1), ("vip", "lease", 1)]),
        watchdogs: vec![A, B],
        moves: true,
        odd_links: true,
        fine_ends: deep,
        budget: any(total),
    });
    let world = setup.formed();
    (setup, vec![world])
}

fn witness_lost(total: u8, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        name: "witness-lost",
        title: "two nodes and a witness that neither reaches any more, until each link to it heals",
        config: cluster(2, true, &[("db", "fencing", 1), ("vip", "lease", 1)]),
        watchdogs: vec![],
        moves: false,
        odd_links: false,
        fine_ends: deep,
        budget: any(total),
    });
    let mut world = setup.formed();
    world.strike(Action::Cut(W, A));
    world.strike(Action::Cut(W, B));
    (setup, vec![world])
}

fn voters(total: u8, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        name: "voters",
        title: "a pair in which one node was fenced and voted out, and now comes back",
        config: cluster(2, false, &[("db", "fencing", 1)]),
        watchdogs: vec![],
        moves: false,
        odd_links: true,
        fine_ends: deep,
        budget: any(total),
    });
    let mut world = setup.formed();
    world.strike(Action::PowerOff(B));
    settle(&mut world, "node1 votes alone", |world| {
        world
            .ghost
            .newest()
            .is_some_and(|state| !state.voters.contains(B))
    });
    world.strike(Action::PowerOn(B));
    (setup, vec![world])
}

fn cold_start(total: u8, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        name: "cold-start",
        title: "a pair without power: both nodes current, or the second one voted out; either may start first",
        config: cluster(2, false, &[("db", "fencing", 1)]),
        watchdogs: vec![],
        moves: false,
        odd_links: true,
        fine_ends: deep,
        budget: any(total),
    });
    let mut both = setup.formed();
    let mut behind = both.clone();
    both.strike(Action::PowerOff(A));
    both.strike(Action::PowerOff(B));
    behind.strike(Action::PowerOff(B));
    settle(&mut behind, "node1 votes alone", |world| {
        world
            .ghost
            .newest()
            .is_some_and(|state| !state.voters.contains(B))
    });
    behind.strike(Action::PowerOff(A));
    (setup, vec![both, behind])
}

fn three(total: u8, deep: bool) -> (Arc<Setup>, Vec<World>) {
    let setup = Arc::new(Setup {
        name: "three",
        title: "three data nodes; one group requires fencing, one a lease",
        config: cluster(3, false, &[("db", "fencing", 1), ("vip", "lease", 2)]),
        watchdogs: vec![],
        moves: false,
        odd_links: false,
        fine_ends: deep,
        budget: any(total),
    });
    let world = setup.formed();
    (setup, vec![world])
}

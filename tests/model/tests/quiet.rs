//! Schedules meet: a cluster at which nothing is done comes back to a state that it was in.

use std::collections::BTreeSet;

use holdfast_model::action::Action;
use holdfast_model::configs::{self, Bounds};
use holdfast_model::model::Exploration;
use holdfast_model::world::World;

/// Looks at so many instants. Where a cut pair fences by orders, the pause between attempts has grown as far as it does only
/// after some of them, and each takes its time.
const PATIENCE: usize = 3_000;

fn bounded(total: u8) -> Bounds {
    Bounds {
        total: Some(total),
        ..Bounds::default()
    }
}

/// True if, with nothing done to it, `world` comes back to a state that it was in.
fn comes_to_rest(exploration: &Exploration, mut world: World) -> bool {
    let mut seen = BTreeSet::new();
    for _ in 0..PATIENCE {
        assert!(world.broken.is_none(), "{:?}", world.broken);
        if !seen.insert(world.print()) {
            return true;
        }
        world = exploration.after(&world, Action::Go);
    }
    false
}

#[test]
fn every_configuration_comes_to_rest() {
    for name in configs::NAMES {
        let (_, exploration) = configs::exploration(name, &bounded(0)).expect("it exists");
        for initial in &exploration.initial {
            assert!(
                comes_to_rest(&exploration, initial.clone()),
                "{name} does not come to rest"
            );
        }
    }
}

#[test]
fn one_deviation_of_each_kind_comes_to_rest() {
    for name in configs::NAMES {
        let (_, exploration) = configs::exploration(name, &bounded(1)).expect("it exists");
        for initial in &exploration.initial {
            for action in initial.choices() {
                let after = exploration.after(initial, action);
                assert!(
                    comes_to_rest(&exploration, after),
                    "{name} does not come to rest after: {action}"
                );
            }
        }
    }
}

//! The world as stateright's model.

use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use stateright::{Model, Property};

use crate::action::Action;
use crate::promises::{Broken, Promise};
use crate::world::World;

impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print().hash(state);
    }
}

impl PartialEq for World {
    fn eq(&self, other: &Self) -> bool {
        self.print() == other.print()
    }
}

/// An exploration.
#[derive(Debug)]
pub struct Exploration {
    /// Where it begins.
    pub initial: Vec<World>,
    /// One state in so many is healed and has to become whole; 0 for none.
    pub heal_every: u64,
    /// When to explore no further. Stateright's own limit of time is noticed between threads only.
    pub ends_at: Option<Instant>,
}

impl Exploration {
    /// What follows from `action`. A panic of the core is a broken promise.
    #[must_use]
    pub fn after(&self, world: &World, action: Action) -> World {
        let mut next = world.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            if action == Action::Go {
                next.go();
            } else {
                next.strike(action);
                next.run_to_choice();
            }
        }));
        if let Err(panic) = outcome {
            next.check(Err(Broken::of(Promise::Assertions, words_of(&*panic))));
        }
        next.take_print();
        next
    }

    /// L1 from `world`.
    pub fn recovers(&self, world: &World) -> Result<(), Broken> {
        let outcome = catch_unwind(AssertUnwindSafe(|| world.recovers()));
        outcome.unwrap_or_else(|panic| Err(Broken::of(Promise::Assertions, words_of(&*panic))))
    }

    fn is_healed(&self, world: &World) -> bool {
        self.heal_every > 0 && world.broken.is_none() && world.print().is_multiple_of(self.heal_every)
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("the core panicked").to_string()
}

impl Model for Exploration {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        self.initial.clone()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let in_time = self.ends_at.is_none_or(|at| Instant::now() < at);
        if world.broken.is_none() && in_time {
            actions.extend(world.choices());
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        Some(self.after(world, action))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(Promise::S1.name(), |_, world| keeps(world, Promise::S1)),
            Property::always(Promise::S2.name(), |_, world| keeps(world, Promise::S2)),
            Property::always(Promise::S3.name(), |_, world| keeps(world, Promise::S3)),
            Property::always(Promise::S4.name(), |_, world| keeps(world, Promise::S4)),
            Property::always(Promise::S6.name(), |_, world| keeps(world, Promise::S6)),
            Property::always(Promise::Assertions.name(), |_, world| {
                keeps(world, Promise::Assertions)
            }),
            Property::always(Promise::L1.name(), |model: &Self, world| {
                !model.is_healed(world) || model.recovers(world).is_ok()
            }),
        ]
    }
}

fn keeps(world: &World, promise: Promise) -> bool {
    world
        .broken
        .as_ref()
        .is_none_or(|broken: &Arc<Broken>| broken.promise != promise)
}

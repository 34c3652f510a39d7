//! One seed, from the first draw to the verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::coverage::Coverage;
use crate::schedule::Schedule;
use crate::world::{Recoveries, World};

/// What one seed gave.
pub struct Run {
    /// The promise that was broken, in words.
    pub broken: Option<String>,
    world: World,
}

impl Run {
    /// How much virtual time passed.
    #[must_use]
    pub fn virtual_us(&self) -> u64 {
        self.world.now_us
    }

    /// How long the cluster took to be whole again.
    #[must_use]
    pub fn recoveries(&self) -> Recoveries {
        self.world.recoveries
    }

    /// The named situations that it reached.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        self.world.watch.coverage()
    }

    /// What happened, a column per member: data nodes first, then the witness. Empty unless the run was traced.
    #[must_use]
    pub fn trace(&self) -> String {
        let (witness, data): (Vec<_>, Vec<_>) = self
            .world
            .machines
            .keys()
            .copied()
            .partition(|node| node.is_witness());
        let columns: Vec<_> = data
            .into_iter()
            .chain(witness)
            .map(|node| (node, self.world.config.name_of(node)))
            .collect();
        self.world.trace.render(&columns)
    }
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64, traced: bool) -> Run {
    run_schedule(&Schedule::draw(seed), traced)
}

/// Runs a schedule; an assertion of the core that fails is a violation like any other.
#[must_use]
pub fn run_schedule(schedule: &Schedule, traced: bool) -> Run {
    let mut world = World::new(schedule, traced);
    let broken = catch_unwind(AssertUnwindSafe(|| world.run().err())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
        Some(format!("assertion: {}", text.unwrap_or_default()))
    });
    Run { broken, world }
}

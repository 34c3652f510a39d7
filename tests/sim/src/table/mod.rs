//! The table of docs/failure-scenarios.md: what becomes of a group that requires fencing when one thing fails and nobody mends
//! it, under each way to be certain that a node is off.
//!
//! Each cell is played with several dice (device times, delays, phases of timers). It is an error if it ends with two owners
//! or another broken promise, or if nobody serves the group and no node says in a sentence which command resolves that; the
//! command is given then, and has to resolve it.

mod configuration;
mod failure;
mod render;

use crate::schedule::Schedule;
use crate::world::{Played, World};

pub use configuration::Configuration;
pub use failure::Failure;
pub use render::{is_in, markdown};

/// Dice that each cell is played with.
pub const DICE: u64 = 20;
/// How long is looked on: enough for every count-down and every grace, so that what waits then waits for a human.
const WATCH_US: u64 = 150_000_000;

/// What became of the group in all plays of a cell.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Which.
    pub failure: &'static Failure,
    /// Which.
    pub configuration: Configuration,
    /// One for each of the dice.
    pub played: Vec<Played>,
}

impl Cell {
    /// Plays it with all dice. `Err` names the dice and what was broken.
    pub fn play(failure: &'static Failure, configuration: Configuration) -> Result<Cell, String> {
        let played: Result<_, _> = (1..=DICE)
            .map(|dice| {
                let played = World::new(&schedule(failure, configuration, dice), false).play(WATCH_US);
                played.map_err(|why| {
                    format!(
                        "{} with {}, dice {dice}: {why}",
                        failure.name,
                        configuration.name()
                    )
                })
            })
            .collect();
        Ok(Cell {
            failure,
            configuration,
            played: played?,
        })
    }
}

/// All cells, row by row; those that make no sense are left out.
pub fn cells() -> impl Iterator<Item = (&'static Failure, Configuration)> {
    failure::ALL.iter().flat_map(|failure| {
        let given = Configuration::ALL.into_iter();
        given
            .filter(|configuration| (failure.strikes)(*configuration).is_some())
            .map(move |configuration| (failure, configuration))
    })
}

/// The schedule of one play.
fn schedule(failure: &Failure, configuration: Configuration, seed: u64) -> Schedule {
    Schedule {
        seed,
        cluster: configuration.cluster(),
        length_us: WATCH_US,
        strikes: (failure.strikes)(configuration).unwrap_or_default(),
        lasting: None,
    }
}

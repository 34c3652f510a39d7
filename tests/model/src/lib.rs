//! Exhaustive exploration of small clusters, with stateright over the real core.
//!
//! See `cargo xtask model --help`.

pub mod action;
pub mod bounds;
pub mod cli;
pub mod configs;
pub mod healing;
pub mod model;
pub mod promises;
pub mod report;
pub mod setup;
pub mod world;

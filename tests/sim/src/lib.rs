//! Seeded simulation of whole clusters in virtual time, over the real decision core.
//!
//! A seed draws a cluster (two or three nodes, with or without a witness, its groups and clocks) and a schedule of faults.
//! The run has two phases: faults, in which S1 to S4 and S6 are asserted after every step; then everything is healed and
//! every group has to come back within a bound (L1). The same seed always gives the same run.

pub mod agent;
pub mod checks;
pub mod cli;
pub mod cluster;
pub mod copies;
mod coverage;
pub mod device;
pub mod disk;
pub mod fleet;
pub mod machine;
pub mod rng;
pub mod run;
pub mod schedule;
pub mod shared;
pub mod shrink;
pub mod table;
pub mod trace;
pub mod wire;
pub mod world;

pub use cli::cli;
pub use run::{run_schedule, run_seed};
pub use schedule::Schedule;

//! The cluster configuration: model, parser, diagnostics and derived timers.

mod model;
mod timers;

pub use model::*;
pub use timers::Timers;

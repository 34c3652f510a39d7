//! The cluster configuration: model, parser, diagnostics and derived timers.

mod diagnostic;
mod model;
mod redact;
mod timers;

pub use diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics};
pub use model::*;
pub use timers::Timers;

use diagnostic::Problem;

/// Most groups of one cluster.
pub const GROUPS_MAX: usize = 5000;
/// Longest configuration accepted, in bytes.
pub const CONFIG_BYTES_MAX: usize = 2 << 20;

/// Parses and validates a configuration. `file` is the name that errors give it.
///
/// # Errors
/// Every error found, with its place in the file and what to do about it.
pub fn parse(text: &str, file: &str) -> Result<Config, Diagnostics> {
    let (_, errors) = toml::de::DeTable::parse_recoverable(text);
    let problems = errors
        .into_iter()
        .map(|e| Problem::new(e.span().unwrap_or(0..0), e.message()))
        .collect();
    Err(Diagnostics::new(file, text, problems))
}

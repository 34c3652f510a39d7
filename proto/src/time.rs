//! Instants on a node's own clock.

use std::fmt;
use std::time::Duration;

/// Microseconds on this node's CLOCK_BOOTTIME. Times of two nodes are never compared.
///
/// A type of our own, so that a wall clock or `std::time::Instant` cannot slip into a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The instant the node booted.
    pub const ZERO: Time = Time(0);

    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Time left until `later`; zero if it has passed.
    #[must_use]
    pub fn until(self, later: Time) -> Duration {
        later.since(self)
    }

    /// Whole milliseconds since boot.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        self.0 / 1000
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(span.as_micros() as u64))
    }
}

impl std::ops::Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(span.as_micros() as u64))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

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

/// A span beyond all time, as a peer may claim one, must not come out short.
fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

impl std::ops::Add<Duration> for Time {
    type Output = Time;
    fn add(self, span: Duration) -> Time {
        Time(self.0.saturating_add(micros(span)))
    }
}

impl std::ops::Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, span: Duration) -> Time {
        Time(self.0.saturating_sub(micros(span)))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_beyond_all_time_never_comes_out_short() {
        let endless = Duration::from_micros(u64::MAX) * 2;
        assert_eq!(Time(7) + endless, Time(u64::MAX));
        assert_eq!(Time(7) - endless, Time::ZERO);
    }
}

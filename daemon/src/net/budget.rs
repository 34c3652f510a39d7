//! What one peer may cost. A token bucket: whoever floods is slowed down by itself, and nobody else is.

use std::time::{Duration, Instant};

/// Beats a second taken from one peer on one link: over ten times what the fastest setting sends.
pub const BEATS_PER_SECOND: u32 = 1000;
/// Messages a second taken from one peer.
pub const MESSAGES_PER_SECOND: u32 = 500;

/// A token bucket of one tenth of a second.
#[derive(Debug)]
pub struct Budget {
    per_token: Duration,
    depth: Duration,
    /// The instant up to which tokens are spent.
    spent_until: Instant,
}

impl Budget {
    pub fn new(per_second: u32, now: Instant) -> Budget {
        let depth = Duration::from_millis(100);
        Budget {
            per_token: Duration::from_secs(1) / per_second,
            depth,
            spent_until: now,
        }
    }

    /// Spends one token; returns for how long to pause first if there is none.
    pub fn spend(&mut self, now: Instant) -> Duration {
        self.spent_until = self.spent_until.max(now) + self.per_token;
        self.spent_until.saturating_duration_since(now + self.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_waits() {
        let start = Instant::now();
        let mut budget = Budget::new(100, start);
        let pauses: Vec<_> = (0..12).map(|_| budget.spend(start)).collect();
        assert!(pauses[..10].iter().all(Duration::is_zero), "{pauses:?}");
        assert_eq!(pauses[11], Duration::from_millis(20));
        assert!(budget.spend(start + Duration::from_secs(1)).is_zero());
    }
}

//! Numbers drawn from a seed: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).

/// A sequence of numbers that its seed determines.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The sequence number `stream` of `seed`: sequences of one seed have nothing in common.
    #[must_use]
    pub fn new(seed: u64, stream: u64) -> Rng {
        let mut rng = Rng(seed);
        let first = rng.next();
        Rng(first ^ stream.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high.saturating_sub(low) + 1)
    }

    /// True in that many of a hundred cases.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.range(1, 100) <= chance
    }

    /// One of `things`, which are not none.
    pub fn pick<T: Copy>(&mut self, things: &[T]) -> T {
        let last = things.len().saturating_sub(1) as u64;
        things[usize::try_from(self.range(0, last)).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_stream_determine_what_is_drawn() {
        let draw = |seed, stream| {
            let mut rng = Rng::new(seed, stream);
            (0..8).map(|_| rng.range(0, 999)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn bounds_are_included() {
        let mut rng = Rng::new(7, 0);
        let drawn: std::collections::BTreeSet<u64> = (0..200).map(|_| rng.range(3, 5)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
    }
}

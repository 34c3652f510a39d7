//! Chance: a small seeded generator (SplitMix64, Steele et al. 2014), and dice that are thrown anew for each occasion.
//!
//! A schedule draws from one stream before the run begins. The world draws from none: each throw is a hash of the seed, of
//! what it is for and of the virtual time. So a strike that is taken out of a schedule changes what follows from it and
//! nothing else, which is what makes shrinking work.

/// The generator.
#[derive(Clone, Debug)]
pub struct Rng(u64);

/// The odd constant of SplitMix64: 2^64 over the golden ratio.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Rng {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Rng {
        let mut rng = Rng(seed ^ 0x5bf0_3635_16f2_c9a1);
        rng.bits();
        rng
    }

    /// For one occasion, which `words` describe.
    #[must_use]
    pub fn of(words: &[u64]) -> Rng {
        let fold = |sum: u64, word: &u64| mixed(sum.wrapping_add(GAMMA) ^ word);
        Rng(words.iter().fold(0, fold))
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mixed(self.0)
    }

    /// Uniform in `low..high`.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        debug_assert!(low < high);
        low + self.bits() % (high - low)
    }

    /// True in `permille` of 1000 cases.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.bits() % 1000 < permille
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.range(0, items.len() as u64) as usize]
    }
}

/// What the world throws dice for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Loss, duplication and delay of a message.
    Network,
    /// How long a write takes.
    Disk,
    /// When a process or a machine is there again.
    Restart,
    /// How long a service takes, and whether its start fails.
    Service,
    /// How long a fence device takes, and what it says.
    Device,
}

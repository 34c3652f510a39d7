//! A sliding window over sequence numbers: what was seen, and how much of it was missed.

/// Numbers covered.
pub const SPAN: u64 = 128;
/// Numbers that the loss figure looks at.
const LOSS_SPAN: u64 = 100;

/// The latest [`SPAN`] numbers up to the highest one seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Window {
    highest: Option<u64>,
    first: u64,
    seen: u128,
}

impl Window {
    /// Notes `seq`. False if it was seen before, or is too old to tell.
    pub fn fresh(&mut self, seq: u64) -> bool {
        let Some(highest) = self.highest else {
            *self = Window {
                highest: Some(seq),
                first: seq,
                seen: 1,
            };
            return true;
        };
        if seq > highest {
            let step = seq - highest;
            self.seen = if step < SPAN { self.seen << step | 1 } else { 1 };
            self.highest = Some(seq);
            return true;
        }
        let back = highest - seq;
        if back >= SPAN || self.seen & 1 << back != 0 {
            return false;
        }
        self.seen |= 1 << back;
        true
    }

    /// Share of the latest 100 numbers that were missed, in percent. Counts from the first number that was seen.
    pub fn lost_percent(&self) -> u32 {
        let Some(highest) = self.highest else { return 0 };
        let span = LOSS_SPAN.min(highest.saturating_sub(self.first) + 1);
        let seen = (self.seen & ((1 << span) - 1)).count_ones();
        let lost = span as u32 - seen;
        lost * 100 / span as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_fresh_once_in_any_order() {
        let mut window = Window::default();
        for seq in [5, 3, 9, 4] {
            assert!(window.fresh(seq), "{seq}");
            assert!(!window.fresh(seq), "{seq}");
        }
        assert!(window.fresh(9 + SPAN));
        assert!(!window.fresh(9), "too old to tell");
        assert!(window.fresh(u64::MAX));
    }

    #[test]
    fn loss_is_the_share_that_never_came() {
        let mut window = Window::default();
        assert_eq!(window.lost_percent(), 0);
        (1000..2000)
            .filter(|seq| seq % 4 != 0)
            .for_each(|seq| assert!(window.fresh(seq)));
        assert_eq!(window.lost_percent(), 25);
        (2000..2200).for_each(|seq| assert!(window.fresh(seq)));
        assert_eq!(window.lost_percent(), 0);
        window.fresh(3000);
        assert_eq!(window.lost_percent(), 99);
    }
}

//! This machine's CLOCK_BOOTTIME.

use holdfast_proto::time::Time;
use nix::time::{ClockId, clock_gettime};

/// Now, on the clock that permits are counted on.
#[must_use]
pub fn now() -> Time {
    let spec =
        clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap_or_else(|_| unreachable!("Linux has CLOCK_BOOTTIME"));
    Time(spec.tv_sec() as u64 * 1_000_000 + spec.tv_nsec() as u64 / 1_000)
}

/// Sleeps until `until`; returns at once if it has passed.
pub async fn sleep_until(until: Time) {
    // Tokio sleeps on CLOCK_MONOTONIC, which stands still in suspend: look again after each sleep.
    loop {
        let left = now().until(until);
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}

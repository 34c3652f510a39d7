//! The one clock of the demo: CLOCK_BOOTTIME, which the namespaces share with the daemons' own events.

use nix::time::{ClockId, clock_gettime};

/// Microseconds on CLOCK_BOOTTIME.
pub fn now_us() -> u64 {
    // The clock exists on every kernel that has namespaces, so this cannot fail.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |spec| {
        spec.tv_sec() as u64 * 1_000_000 + spec.tv_nsec() as u64 / 1000
    })
}

/// `span` in microseconds as milliseconds for people and for JSON: one decimal.
pub fn ms(span_us: u64) -> f64 {
    (span_us as f64 / 100.0).round() / 10.0
}

//! One clock for everything on this host: CLOCK_MONOTONIC as the host counts it, also inside a time namespace.
//!
//! The nemesis shifts the clocks of nodes by time namespaces; the kernel tells a process by how much.

use std::fs;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};

/// The host's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct HostClock {
    /// What the namespace of this process adds.
    shift_ns: i128,
}

impl HostClock {
    /// For this process, whose namespace does not change any more.
    pub fn new() -> Result<HostClock> {
        // Kernels without time namespaces have no such file, and no shift.
        let text = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        Ok(HostClock {
            shift_ns: shift(&text)?,
        })
    }

    /// Nanoseconds since the host booted.
    #[must_use]
    pub fn now_ns(self) -> u64 {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
            i128::from(time.tv_sec()) * 1_000_000_000 + i128::from(time.tv_nsec())
        });
        u64::try_from(now - self.shift_ns).unwrap_or(0)
    }
}

/// The shift of CLOCK_MONOTONIC in what /proc says.
fn shift(text: &str) -> Result<i128> {
    let Some(line) = text.lines().find(|line| line.starts_with("monotonic")) else {
        return Ok(0);
    };
    let mut fields = line.split_whitespace().skip(1).map(|field| field.parse::<i128>());
    let mut next = || {
        fields
            .next()
            .context("a field is missing")?
            .context("not a number")
    };
    let read: Result<_> = (|| Ok(next()? * 1_000_000_000 + next()?))();
    read.with_context(|| format!("/proc/self/timens_offsets says '{line}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_of_a_time_namespace_is_read() {
        assert_eq!(shift("").unwrap(), 0);
        let text = "monotonic          -5 250000000\nboottime            0         0\n";
        assert_eq!(shift(text).unwrap(), -4_750_000_000);
        assert!(shift("monotonic x 0").is_err());
    }
}

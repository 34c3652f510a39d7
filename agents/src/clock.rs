//! This machine's CLOCK_BOOTTIME.

use std::os::fd::AsFd;
use std::time::Duration;

use holdfast_proto::time::Time;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};

/// Now, on the clock that permits are counted on.
#[must_use]
pub fn now() -> Time {
    let spec =
        clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap_or_else(|_| unreachable!("Linux has CLOCK_BOOTTIME"));
    Time(spec.tv_sec() as u64 * 1_000_000 + spec.tv_nsec() as u64 / 1_000)
}

/// Sleeps until `until` as exactly as the kernel can, where a millisecond counts: tokio's timers are that coarse.
///
/// # Errors
/// No timer could be had.
pub async fn sleep_exactly_until(until: Time) -> std::io::Result<()> {
    let timer = TimerFd::new(
        timerfd::ClockId::CLOCK_BOOTTIME,
        TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
    )?;
    let at = TimeSpec::from_duration(Duration::from_micros(until.0.max(1)));
    timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
    let timer = crate::sys::watch_readable(timer.as_fd().try_clone_to_owned()?)?;
    drop(timer.readable().await?);
    Ok(())
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

//! The clocks: CLOCK_BOOTTIME for decisions, the wall clock for people.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use holdfast_proto::time::Time;
use jiff::Timestamp;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::clock_gettime;
use tokio::io::unix::AsyncFd;

use crate::sys::{self, TimerFile};

/// Now on CLOCK_BOOTTIME, which goes on while the machine is suspended.
#[must_use]
pub fn now() -> Time {
    let spec = clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .expect("CLOCK_BOOTTIME has been in every kernel since 2.6.39");
    Time(spec.tv_sec() as u64 * 1_000_000 + spec.tv_nsec() as u64 / 1000)
}

/// The wall clock at `at`, RFC 3339 with microseconds, for people only.
#[must_use]
pub fn wall(at: Time) -> String {
    let age = now().since(at);
    let ahead = now().until(at);
    let stamp = Timestamp::now();
    let stamp = stamp.checked_sub(age).unwrap_or(stamp);
    let stamp = stamp.checked_add(ahead).unwrap_or(stamp);
    format!("{stamp:.6}")
}

/// The wall clock in microseconds since 1970; 0 before.
#[must_use]
pub fn wall_us() -> u64 {
    u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0)
}

/// The wall clock in seconds since 1970.
#[must_use]
pub fn wall_seconds() -> i64 {
    Timestamp::now().as_second()
}

/// A timer on CLOCK_BOOTTIME that is set to instants. Unlike a tokio sleep it is exact to microseconds and is due at
/// once after a suspend that went past it.
pub struct Alarm {
    fd: AsyncFd<TimerFile>,
    set_for: Option<Time>,
}

impl Alarm {
    /// An alarm that is not set. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the kernel has no file descriptor left.
    pub fn new() -> anyhow::Result<Alarm> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer =
            TimerFd::new(ClockId::CLOCK_BOOTTIME, flags).context("cannot create a timer (timerfd)")?;
        Ok(Alarm {
            fd: sys::watch_timer(TimerFile(timer)).context("cannot watch a timer")?,
            set_for: None,
        })
    }

    /// Sets the alarm, or takes it back.
    ///
    /// # Errors
    /// When the kernel refuses, which it does not for valid times.
    pub fn set(&mut self, at: Option<Time>) -> anyhow::Result<()> {
        if self.set_for == at {
            return Ok(());
        }
        self.set_for = at;
        let timer = &self.fd.get_ref().0;
        match at {
            None => timer.unset().context("cannot clear a timer"),
            Some(at) => {
                // Zero would disarm the timer instead of firing at once.
                let due = Duration::from_micros(at.0.max(1));
                timer
                    .set(
                        Expiration::OneShot(TimeSpec::from_duration(due)),
                        TimerSetTimeFlags::TFD_TIMER_ABSTIME,
                    )
                    .context("cannot set a timer")
            }
        }
    }

    /// Waits until the alarm is due. Never returns while it is not set.
    pub async fn due(&mut self) {
        loop {
            let Ok(mut guard) = self.fd.readable_mut().await else {
                std::future::pending::<()>().await;
                continue;
            };
            let mut count = [0u8; 8];
            let read = guard.try_io(|fd| {
                nix::unistd::read(fd.get_ref().0.as_fd(), &mut count).map_err(std::io::Error::from)
            });
            if let Ok(Ok(_)) = read {
                self.set_for = None;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boottime_moves_forward() {
        let first = now();
        assert!(now() >= first);
    }

    #[test]
    fn wall_time_is_rfc3339_with_microseconds() {
        let text = wall(now());
        assert!(text.ends_with('Z') && text.contains('T'), "{text}");
        assert_eq!(text.split('.').nth(1).map(str::len), Some(7), "{text}");
    }

    #[test]
    fn an_alarm_fires_and_can_be_taken_back() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime");
        runtime.block_on(async {
            let mut alarm = Alarm::new().expect("alarm");
            alarm.set(Some(Time(1))).expect("set");
            alarm.due().await;
            alarm.set(Some(Time(1))).expect("set again");
            alarm.due().await;
            alarm.set(Some(Time(1))).expect("set");
            alarm.set(None).expect("clear");
            assert!(alarm.fd.get_ref().0.get().expect("get").is_none());
        });
    }
}

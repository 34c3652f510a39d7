//! A window of the day, such as 02:00-04:00.

use std::str::FromStr;
use std::time::Duration;

use jiff::Zoned;
use jiff::civil::Time;

/// Times of day from one until before another, over midnight if the second is earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    from: Time,
    until: Time,
}

impl Window {
    /// How long until it is open; zero while it is.
    #[must_use]
    pub fn opens_in(&self, now: &Zoned) -> Duration {
        let time = now.time();
        let open = if self.from < self.until {
            self.from <= time && time < self.until
        } else {
            time >= self.from || time < self.until
        };
        if open {
            return Duration::ZERO;
        }
        let today = now.with().time(self.from).build();
        let next = today.and_then(|at| {
            if at > *now {
                Ok(at)
            } else {
                // Over a change of the clock a day is not 24 hours.
                now.tomorrow()?.with().time(self.from).build()
            }
        });
        // A time of day that cannot be computed is looked at again in a minute.
        let wait = next
            .ok()
            .and_then(|at| Duration::try_from(now.duration_until(&at)).ok());
        wait.unwrap_or(Duration::from_secs(60))
    }
}

impl FromStr for Window {
    type Err = String;
    fn from_str(text: &str) -> Result<Window, String> {
        let time = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
        };
        let parsed = text
            .split_once('-')
            .and_then(|(from, until)| Some((time(from)?, time(until)?)));
        match parsed {
            Some((from, until)) if from != until => Ok(Window { from, until }),
            _ => Err("a window is two different times of day, such as 02:00-04:00".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens_in(window: &str, now: &str) -> u64 {
        let window: Window = window.parse().expect("a window");
        let now: Zoned = now.parse().expect("a time");
        window.opens_in(&now).as_secs()
    }

    #[test]
    fn a_window_is_open_or_opens_today_or_tomorrow() {
        let at = |time: &str| format!("2026-01-02T{time}[UTC]");
        assert_eq!(opens_in("02:00-04:00", &at("03:59:59")), 0);
        assert_eq!(opens_in("02:00-04:00", &at("01:00:00")), 3600);
        assert_eq!(opens_in("02:00-04:00", &at("04:00:00")), 22 * 3600);
        assert_eq!(opens_in("23:00-01:00", &at("00:30:00")), 0);
        assert_eq!(opens_in("23:00-01:00", &at("22:00:00")), 3600);
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in ["", "2-4", "02:00", "25:00-26:00", "02:00-02:00", "ab:cd-ef:gh"] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }
}

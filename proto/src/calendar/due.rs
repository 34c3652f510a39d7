//! When a calendar is due, in seconds since 1970.
//!
//! A calendar names times of a wall clock, and twice a year most wall clocks are moved. A time that is left out (clocks
//! go forward) is due as much later as they went; a time that comes twice (clocks go back) is due the first time. A
//! calendar for every hour follows the time that passes instead: a time that comes twice is due twice, one that is left
//! out is not due.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

use super::Calendar;

/// Days looked at: from one 29 February on a Sunday to the next there are up to forty years, because 2100 has none.
const DAYS_MAX: usize = 40 * 366 + 4;

/// The latest instant that is looked at (end of the year 9000), so that no sum leaves what dates can hold.
const SECONDS_MAX: i64 = 221_845_305_600;

impl Calendar {
    /// The first occurrence after `after`. None beyond the year 9000.
    #[must_use]
    pub fn next(&self, after: i64, zone: &TimeZone) -> Option<i64> {
        let day = local_date(after, zone)?;
        // One day before, for a time that was left out there and is due on this day.
        let mut day = day.yesterday().ok()?;
        let mut found: Option<i64> = None;
        for _ in 0..DAYS_MAX {
            let of_day = self.occurrences(day, zone);
            let first = of_day.into_iter().filter(|at| *at > after).min();
            // What was left out on one day may be due after the first of the next.
            if let (Some(earlier), first) = (found, first) {
                return Some(first.map_or(earlier, |first| first.min(earlier)));
            }
            found = first;
            day = day.tomorrow().ok()?;
        }
        found
    }

    /// The latest occurrence that is not after `until`, if it is after `after`.
    #[must_use]
    pub fn latest(&self, after: i64, until: i64, zone: &TimeZone) -> Option<i64> {
        let mut day = local_date(until, zone)?.tomorrow().ok()?;
        let mut found: Option<i64> = None;
        for _ in 0..DAYS_MAX {
            let of_day = self.occurrences(day, zone);
            let last = of_day.into_iter().filter(|at| *at <= until).max();
            if let (Some(later), last) = (found, last) {
                found = Some(last.map_or(later, |last| last.max(later)));
                break;
            }
            found = last;
            day = day.yesterday().ok()?;
        }
        found.filter(|at| *at > after)
    }

    fn is_on(&self, day: Date) -> bool {
        let weekday = day.weekday().to_sunday_zero_offset();
        let of_month = self.days & 1 << day.day() != 0;
        let of_week = self.weekdays & 1 << weekday != 0;
        let fits = if self.either_day {
            of_month || of_week
        } else {
            of_month && of_week
        };
        fits && self.months & 1 << day.month() != 0
    }

    /// All that the times of one day stand for.
    fn occurrences(&self, day: Date, zone: &TimeZone) -> Vec<i64> {
        if !self.is_on(day) {
            return Vec::new();
        }
        let hours = (0..24i8).filter(|hour| self.hours & 1 << hour != 0);
        let minutes = || (0..60i8).filter(|minute| self.minutes & 1 << minute != 0);
        let times = hours.flat_map(|hour| minutes().map(move |minute| day.at(hour, minute, 0, 0)));
        times.flat_map(|time| self.instants(time, zone)).collect()
    }

    fn instants(&self, time: DateTime, zone: &TimeZone) -> impl Iterator<Item = i64> + use<> {
        let ambiguous = zone.to_ambiguous_timestamp(time);
        let seconds = |at: Result<Timestamp, jiff::Error>| at.ok().map(Timestamp::as_second);
        let (first, second) = match ambiguous.offset() {
            AmbiguousOffset::Fold { .. } if self.every_hour => {
                (seconds(ambiguous.earlier()), seconds(ambiguous.later()))
            }
            AmbiguousOffset::Gap { .. } if self.every_hour => (None, None),
            _ => (seconds(ambiguous.compatible()), None),
        };
        first.into_iter().chain(second)
    }
}

fn local_date(at: i64, zone: &TimeZone) -> Option<Date> {
    if !(-SECONDS_MAX..=SECONDS_MAX).contains(&at) {
        return None;
    }
    let at = Timestamp::from_second(at).ok()?;
    let date = zone.to_datetime(at).date();
    // Far from the ends of what dates can hold.
    date.checked_add(1.day()).ok().map(|_| date)
}

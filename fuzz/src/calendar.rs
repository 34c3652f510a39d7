//! Calendars of jobs: what is read, and when it is due in zones whose clocks are moved.

use std::sync::LazyLock;

use holdfast_proto::calendar::Calendar;
use jiff::tz::TimeZone;

use crate::text::{head, one_line};

/// Zones by rule, so that no file of the machine is needed: none, an hour, half an hour, on the other side of the year, and
/// at midnight.
static ZONES: LazyLock<Vec<TimeZone>> = LazyLock::new(|| {
    let rules = [
        "UTC0",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
        "NZST-12NZDT,M9.5.0,M4.1.0/3",
        "<-04>4<-03>,M9.1.6/24,M4.1.6/24",
    ];
    let zone = |rule: &&str| TimeZone::posix(rule).expect("a rule");
    rules.iter().map(zone).collect()
});

/// Occurrences that are followed.
const FOLLOWED: usize = 6;

/// The first byte chooses the zone, eight more are the instant, the rest is the calendar.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let ([zone, instant @ ..], rest): ([u8; 9], _) = head(data);
    let zone = &ZONES[usize::from(zone) % ZONES.len()];
    let any = i64::from_le_bytes(instant);
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    match Calendar::parse(text) {
        Ok(calendar) => {
            assert_eq!(
                Calendar::parse(text.trim()),
                Ok(calendar),
                "blanks around it count"
            );
            // Any instant at all, and one of this century.
            due(calendar, any, zone);
            due(calendar, any.rem_euclid(4_000_000_000), zone);
        }
        Err(fault) => {
            one_line(&fault.what);
            one_line(&fault.hint);
        }
    }
}

/// Forwards and backwards the same instants are found.
fn due(calendar: Calendar, from: i64, zone: &TimeZone) {
    let mut after = from;
    for _ in 0..FOLLOWED {
        let Some(next) = calendar.next(after, zone) else {
            let in_range = (0..=4_000_000_000).contains(&after);
            assert!(!in_range, "what was accepted is never due after {after}");
            return;
        };
        assert!(next > after && next % 60 == 0, "{next} after {after}");
        assert_eq!(calendar.next(next - 1, zone), Some(next));
        assert_eq!(calendar.latest(after, next, zone), Some(next));
        assert_eq!(
            calendar.latest(after, next - 1, zone),
            None,
            "one before {next} was left out"
        );
        after = next;
    }
}

//! Calendars: what is accepted, and what is due when, also where clocks are moved.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::{CALENDAR_BYTES_MAX, Calendar};

fn calendar(text: &str) -> Calendar {
    Calendar::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"))
}

/// Central European time as a rule, so that no file of the machine is needed.
fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a rule")
}

fn utc(text: &str) -> i64 {
    text.parse::<Timestamp>().expect("an instant").as_second()
}

/// The first occurrences after `from`, as UTC.
fn firsts(text: &str, zone: &TimeZone, from: &str, count: usize) -> Vec<String> {
    let calendar = calendar(text);
    let next = |at: &i64| calendar.next(*at, zone);
    let all = std::iter::successors(calendar.next(utc(from), zone), next);
    let shown = |at: i64| Timestamp::from_second(at).expect("an instant").to_string();
    all.take(count).map(shown).collect()
}

#[test]
fn fields_are_numbers_names_ranges_steps_and_lists() {
    assert_eq!(calendar("0 0 * * 7"), calendar("@weekly"));
    assert_eq!(calendar("0 0 * * sun"), calendar("0 0 * * 0"));
    assert_eq!(
        calendar("0,30 8-10 * JAN-mar mon-fri"),
        calendar("0,30 8,9,10 * 1,2,3 1-5")
    );
    assert_eq!(calendar("*/15 * * * *"), calendar("0,15,30,45 * * * *"));
    assert_eq!(
        calendar(" 5-59/10  *\t* * * "),
        calendar("5,15,25,35,45,55 * * * *")
    );
    assert_eq!(calendar("0 0 * * */2"), calendar("0 0 * * 0,2,4,6"));
}

/// Found by fuzzing: where both the day of the month and of the week count, it was looked for eight years ahead only.
#[test]
fn a_day_that_comes_once_in_forty_years_is_found() {
    let sunday = "0 0 29 2 */7";
    let found = firsts(sunday, &TimeZone::UTC, "2088-03-01T00:00:00Z", 1);
    assert_eq!(found, ["2128-02-29T00:00:00Z"]);
    let latest = calendar(sunday).latest(0, utc("2128-02-28T00:00:00Z"), &TimeZone::UTC);
    assert_eq!(latest, Some(utc("2088-02-29T00:00:00Z")));
}

#[test]
fn what_is_wrong_is_said_with_what_to_write() {
    let fault = |text: &str| {
        let fault = Calendar::parse(text).expect_err(text);
        format!("{} | {}", fault.what, fault.hint)
    };
    assert!(fault("0 0 * *").starts_with("it has 4 fields and needs five | minute, hour,"));
    assert!(fault("").starts_with("it has 0 fields"));
    assert_eq!(fault("60 0 * * *"), "\"60\" as minute: it is none | 0 to 59");
    assert_eq!(
        fault("0 0 * foo *"),
        "\"foo\" as month: it is none | 1 to 12, or jan to dec"
    );
    assert_eq!(
        fault("0 22-4 * * *"),
        "\"22-4\" as hour: the range runs backwards | write two ranges: 22-23 and 0-4"
    );
    assert_eq!(
        fault("5/15 0 * * *"),
        "\"5/15\" as minute: a step needs a range to step through | write 5-59/15, or */15"
    );
    // Found by fuzzing: the hint repeated the step with its controls.
    assert!(!fault("5/1\u{7}5 0 * * *").contains(char::is_control));
    assert!(fault("*/0 0 * * *").contains("the step is no number"));
    assert!(fault("0 0 30,31 2 *").contains("it would never be due"));
    assert!(fault("@reboot").contains("is not known"));
    assert!(fault(&"1".repeat(CALENDAR_BYTES_MAX + 1)).contains("the limit is"));
    for text in [
        "+1 0 * * *",
        "1- 0 * * *",
        "-1 0 * * *",
        "1,,2 0 * * *",
        "٣ 0 * * *",
        "0 0 0 * *",
    ] {
        assert!(Calendar::parse(text).is_err(), "{text}");
    }
}

#[test]
fn days_of_month_and_week_are_joined_as_in_cron() {
    // The 1st or a Monday, since both are restricted.
    assert_eq!(
        firsts("0 0 1 * 1", &TimeZone::UTC, "2026-01-30T00:00:00Z", 3),
        [
            "2026-02-01T00:00:00Z",
            "2026-02-02T00:00:00Z",
            "2026-02-09T00:00:00Z"
        ]
    );
    assert_eq!(
        firsts("0 12 * * fri", &TimeZone::UTC, "2026-01-30T12:00:00Z", 1),
        ["2026-02-06T12:00:00Z"]
    );
}

#[test]
fn leap_days_come_every_four_or_eight_years() {
    assert_eq!(
        firsts("0 0 29 2 *", &TimeZone::UTC, "2096-02-29T00:00:00Z", 2),
        ["2104-02-29T00:00:00Z", "2108-02-29T00:00:00Z"]
    );
    let calendar = calendar("0 0 29 2 *");
    let latest = calendar.latest(0, utc("2104-02-28T23:59:59Z"), &TimeZone::UTC);
    assert_eq!(latest, Some(utc("2096-02-29T00:00:00Z")));
}

#[test]
fn a_time_that_is_left_out_is_due_later_and_one_that_comes_twice_once() {
    // 2026-03-29: 02:00 becomes 03:00. 02:30 is 03:30 CEST on that day.
    assert_eq!(
        firsts("30 2 * * *", &berlin(), "2026-03-28T02:00:00Z", 3),
        [
            "2026-03-29T01:30:00Z",
            "2026-03-30T00:30:00Z",
            "2026-03-31T00:30:00Z"
        ]
    );
    // 2026-10-25: 03:00 becomes 02:00. 02:30 comes twice, the first is CEST.
    assert_eq!(
        firsts("30 2 * * *", &berlin(), "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
    );
    // What falls on the same instant is one occurrence.
    assert_eq!(
        firsts("30 2,3 * * *", &berlin(), "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]
    );
}

#[test]
fn a_calendar_for_every_hour_follows_the_time_that_passes() {
    assert_eq!(
        firsts("30 * * * *", &berlin(), "2026-10-24T23:00:00Z", 4),
        [
            "2026-10-24T23:30:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:30:00Z"
        ]
    );
    assert_eq!(
        firsts("30 * * * *", &berlin(), "2026-03-29T00:00:00Z", 3),
        [
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:30:00Z",
            "2026-03-29T02:30:00Z"
        ]
    );
}

#[test]
fn instants_that_no_date_can_hold_are_refused() {
    let calendar = calendar("* * * * *");
    for at in [i64::MIN, i64::MAX, 1 << 40, -(1 << 40)] {
        assert_eq!(calendar.next(at, &berlin()), None, "{at}");
        assert_eq!(calendar.latest(i64::MIN, at, &berlin()), None, "{at}");
    }
}

/// A calendar of one day or more in each month.
fn any_calendar() -> impl Strategy<Value = String> {
    let set = |least: u32, most: u32| {
        prop_oneof![
            Just("*".to_string()),
            (least..=most).prop_map(|value| value.to_string()),
            (1..=most).prop_map(|step| format!("*/{step}")),
            (least..=most, least..=most).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        ]
    };
    (set(0, 59), set(0, 23), set(1, 28), set(1, 12), set(0, 7))
        .prop_map(|(minute, hour, day, month, week)| format!("{minute} {hour} {day} {month} {week}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_text_panics(text in "\\PC{0,40}", fields in "[-*/,0-9a-z @]{0,40}") {
        let _ = Calendar::parse(&text);
        let _ = Calendar::parse(&fields);
    }

    /// Forwards and backwards agree, time only grows, and each occurrence fits the fields or was moved by the zone.
    #[test]
    fn forwards_and_backwards_agree(text in any_calendar(), from in 1_500_000_000i64..2_000_000_000) {
        let (calendar, zone) = (calendar(&text), berlin());
        if let Some(next) = calendar.next(from, &zone) {
            prop_assert!(next > from);
            prop_assert_eq!(calendar.latest(from, next, &zone), Some(next));
            prop_assert_eq!(calendar.latest(from, next - 1, &zone), None);
            let local: DateTime = zone.to_datetime(Timestamp::from_second(next).unwrap());
            prop_assert!(calendar.hours & 1 << local.hour() != 0 || local.hour() == 3, "{}", local);
            prop_assert!(calendar.minutes & 1 << local.minute() != 0, "{}", local);
        }
    }
}

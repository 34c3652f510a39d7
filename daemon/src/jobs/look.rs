//! What is due at an instant of the wall clock.

use std::collections::BTreeMap;

use holdfast_core::event::{Due, DueVerdict};
use holdfast_proto::config::{Config, JobSection};
use holdfast_proto::ids::JobName;
use holdfast_proto::job::JobState;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What a look at the clock shows.
#[derive(Debug, Default, PartialEq)]
pub struct Look {
    /// What the core is to hear.
    pub due: Vec<Due>,
    /// When something is due next.
    pub next: Option<i64>,
    /// Why something can never be due, each one sentence.
    pub troubles: Vec<String>,
}

/// Looks at all jobs at `now`. Of what was missed only the latest occurrence counts.
pub fn look(
    config: &Config,
    states: &BTreeMap<JobName, JobState>,
    now: i64,
    zone: impl Fn(&str) -> Result<TimeZone, String>,
) -> Look {
    let mut found = Look::default();
    for section in &config.jobs {
        let zone = match zone(&section.timezone) {
            Ok(zone) => zone,
            Err(why) => {
                let text = format!("job {} never begins: {why}", section.name);
                found.troubles.push(text);
                continue;
            }
        };
        let (occurrence, verdict) = match states.get(&section.name) {
            None => (Some(now), DueVerdict::First),
            Some(state) => {
                let latest = section.calendar.latest(state.due, now, &zone);
                (
                    latest,
                    latest.map_or(DueVerdict::Begin, |at| judge(section, at, now)),
                )
            }
        };
        if let Some(occurrence) = occurrence {
            found.due.push(Due {
                job: section.name.clone(),
                occurrence,
                verdict,
            });
        }
        let next = section.calendar.next(now, &zone);
        found.next = found.next.into_iter().chain(next).min();
    }
    found
}

fn judge(section: &JobSection, occurrence: i64, now: i64) -> DueVerdict {
    let late_ms = now.saturating_sub(occurrence).saturating_mul(1000);
    if late_ms <= i64::from(section.catch_up_ms) {
        return DueVerdict::Begin;
    }
    let at = Timestamp::from_second(occurrence).map_or_else(|_| occurrence.to_string(), |at| at.to_string());
    DueVerdict::Missed(format!(
        "it was due at {at} and could not begin within {} s (catch_up)",
        section.catch_up_ms / 1000
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::config;

    const HOUR: i64 = 3600;

    fn config(keys: &str) -> Config {
        let text = format!(
            "{}[[job]]\nname = \"backup\"\ngroup = \"mysql\"\ncalendar = \"0 2 * * *\"\ncommand = [\"/bin/true\"]\n{keys}\n",
            crate::status::fixture::config().source
        );
        config::parse(&text, "test.toml").unwrap_or_else(|wrong| panic!("{wrong}"))
    }

    fn at(keys: &str, due: Option<i64>, now: i64) -> Look {
        let state = |due| {
            let state = JobState {
                due,
                ..JobState::default()
            };
            (JobName::from("backup"), state)
        };
        let states = due.map(state).into_iter().collect();
        look(&config(keys), &states, now, |name| match name {
            "UTC" => Ok(TimeZone::UTC),
            other => Err(format!("no {other}")),
        })
    }

    fn said(look: &Look) -> Vec<(i64, bool)> {
        look.due
            .iter()
            .map(|due| (due.occurrence, due.verdict == DueVerdict::Begin))
            .collect()
    }

    #[test]
    fn a_new_calendar_is_followed_from_now_on() {
        let look = at("", None, 5 * HOUR);
        assert_eq!(
            (look.due[0].occurrence, &look.due[0].verdict),
            (5 * HOUR, &DueVerdict::First)
        );
        assert_eq!(look.next, Some(26 * HOUR));
    }

    #[test]
    fn what_is_due_is_said_until_it_is_dealt_with() {
        assert_eq!(said(&at("", Some(0), 2 * HOUR - 1)), []);
        assert_eq!(said(&at("", Some(0), 2 * HOUR)), [(2 * HOUR, true)]);
        assert_eq!(said(&at("", Some(0), 2 * HOUR + 60)), [(2 * HOUR, true)]);
        assert_eq!(said(&at("", Some(2 * HOUR), 2 * HOUR + 60)), []);
    }

    #[test]
    fn what_is_too_late_is_left_out_and_of_several_only_the_latest_counts() {
        assert_eq!(said(&at("", Some(0), 2 * HOUR + 61)), [(2 * HOUR, false)]);
        assert_eq!(said(&at("", Some(0), 100 * HOUR)), [(98 * HOUR, false)]);
        assert_eq!(
            said(&at("catch_up = \"4h\"", Some(0), 100 * HOUR)),
            [(98 * HOUR, true)]
        );
        let DueVerdict::Missed(why) = &at("", Some(0), 3 * HOUR).due[0].verdict else {
            panic!("too late")
        };
        assert_eq!(
            why,
            "it was due at 1970-01-01T02:00:00Z and could not begin within 60 s (catch_up)"
        );
    }

    #[test]
    fn a_clock_that_is_put_back_says_nothing() {
        assert_eq!(said(&at("", Some(26 * HOUR), 2 * HOUR)), []);
    }

    #[test]
    fn a_zone_that_is_not_known_is_told() {
        let look = at("timezone = \"Mars/Phobos\"", Some(0), 100 * HOUR);
        assert_eq!(look.troubles, ["job backup never begins: no Mars/Phobos"]);
        assert_eq!((look.due.len(), look.next), (0, None));
    }
}

//! The grammar: `*`, numbers, names, ranges, steps and lists.

use super::{CALENDAR_BYTES_MAX, Calendar};

/// Why a text is no calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub what: String,
    /// What to do; may be empty.
    pub hint: String,
}

fn fault(what: impl Into<String>, hint: impl Into<String>) -> Fault {
    Fault {
        what: what.into(),
        hint: hint.into(),
    }
}

const SHAPE: &str = "minute, hour, day of the month, month and day of the week, such as \"30 2 * * *\" for 02:30 on every day";

const SHORT: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// Days of each month, in the longest of years.
const MONTH_DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// One of the five fields.
struct Field {
    what: &'static str,
    least: u32,
    most: u32,
    /// Names of the values from `least` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        what: "minute",
        least: 0,
        most: 59,
        names: &[],
    },
    Field {
        what: "hour",
        least: 0,
        most: 23,
        names: &[],
    },
    Field {
        what: "day of the month",
        least: 1,
        most: 31,
        names: &[],
    },
    Field {
        what: "month",
        least: 1,
        most: 12,
        names: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Field {
        what: "day of the week",
        least: 0,
        most: 7,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

pub(super) fn calendar(text: &str) -> Result<Calendar, Fault> {
    if text.len() > CALENDAR_BYTES_MAX {
        return Err(fault(
            format!("it has {} bytes, the limit is {CALENDAR_BYTES_MAX}", text.len()),
            "",
        ));
    }
    let text = text.trim();
    if text.starts_with('@') {
        let Some((_, fields)) = SHORT.iter().find(|(short, _)| *short == text) else {
            let known: Vec<&str> = SHORT.iter().map(|(short, _)| *short).collect();
            return Err(fault(
                format!("{} is not known", text.escape_debug()),
                format!("one of {}, or {SHAPE}", known.join(", ")),
            ));
        };
        return calendar(fields);
    }
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields.as_slice() else {
        return Err(fault(
            format!("it has {} fields and needs five", fields.len()),
            SHAPE,
        ));
    };
    let set = |at: usize, text: &str| FIELDS[at].read(text);
    let weekdays = set(4, weekday)?;
    let found = Calendar {
        minutes: set(0, minute)?,
        hours: set(1, hour)? as u32,
        days: set(2, day)? as u32,
        months: set(3, month)? as u16,
        // Sunday is 0 and 7.
        weekdays: (weekdays | weekdays >> 7) as u8 & 0x7f,
        either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        every_hour: hour.starts_with('*'),
    };
    if !found.either_day && !found.has_a_date() {
        let what = "no month that it names has such a day: it would never be due";
        return Err(fault(
            what,
            "30 and 31 are not in February, 31 not in April, June, September and November",
        ));
    }
    Ok(found)
}

impl Calendar {
    /// True when one of the days is in one of the months.
    fn has_a_date(self) -> bool {
        let months = (1..).zip(MONTH_DAYS);
        let mut named = months.filter(|(month, _)| self.months & 1 << month != 0);
        named.any(|(_, length)| (1..=length).any(|day| self.days & 1 << day != 0))
    }
}

impl Field {
    fn read(&self, text: &str) -> Result<u64, Fault> {
        text.split(',')
            .try_fold(0, |set, part| Ok(set | self.part(part)?))
    }

    /// `*`, `5`, `1-5`, each of the ranges with `/n`.
    fn part(&self, part: &str) -> Result<u64, Fault> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        let (from, to) = match (range, range.split_once('-')) {
            // The seventh day of the week is the first again.
            ("*", _) => (self.least, if self.names.len() == 7 { 6 } else { self.most }),
            (_, Some((from, to))) => (self.value(from)?, self.value(to)?),
            (_, None) => {
                let value = self.value(range)?;
                if let Some(step) = step {
                    let step = step.escape_debug();
                    let hint = format!("write {value}-{}/{step}, or */{step}", self.most);
                    return Err(self.fault(part, "a step needs a range to step through", hint));
                }
                (value, value)
            }
        };
        if from > to {
            let hint = format!("write two ranges: {from}-{} and {}-{to}", self.most, self.least);
            return Err(self.fault(part, "the range runs backwards", hint));
        }
        let step = match step {
            None => 1,
            Some(step) => number(step)
                .filter(|step| (1..=self.most).contains(step))
                .ok_or_else(|| {
                    self.fault(
                        part,
                        "the step is no number from 1 on",
                        format!("1 to {}", self.most),
                    )
                })?,
        };
        Ok((from..=to)
            .step_by(step as usize)
            .fold(0, |set, value| set | 1 << value))
    }

    fn value(&self, text: &str) -> Result<u32, Fault> {
        let named = || {
            let names = (self.least..).zip(self.names);
            names
                .into_iter()
                .find_map(|(value, name)| text.eq_ignore_ascii_case(name).then_some(value))
        };
        let value = number(text).filter(|value| (self.least..=self.most).contains(value));
        value.or_else(named).ok_or_else(|| {
            let names = self.names.first().zip(self.names.last());
            let names = names.map_or(String::new(), |(first, last)| format!(", or {first} to {last}"));
            let hint = format!("{} to {}{names}", self.least, self.most);
            self.fault(text, "it is none", hint)
        })
    }

    fn fault(&self, text: &str, why: &str, hint: String) -> Fault {
        fault(
            format!("\"{}\" as {}: {why}", text.escape_debug(), self.what),
            hint,
        )
    }
}

/// A number of one to three digits, nothing else.
fn number(text: &str) -> Option<u32> {
    let plain = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

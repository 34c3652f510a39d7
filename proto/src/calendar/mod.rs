//! Calendars of jobs: the five fields of cron, and when they are due in a time zone.
//!
//! What is read here is text; clock and zone come from the caller.

mod due;
mod read;
#[cfg(test)]
mod tests;

pub use read::Fault;

/// Longest text of a calendar, in bytes.
pub const CALENDAR_BYTES_MAX: usize = 256;

/// When something is to be done: minute, hour, day of the month, month, day of the week.
///
/// Sets are bit masks: bit n stands for the value n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    minutes: u64,
    hours: u32,
    days: u32,
    months: u16,
    /// Bit 0 is Sunday.
    weekdays: u8,
    /// Both the day of the month and the day of the week are restricted: one of the two is enough, as in cron.
    either_day: bool,
    /// Every hour: it follows the time that passes, also where clocks are put forward or back.
    every_hour: bool,
}

impl Calendar {
    /// Reads `text`: five fields, or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Calendar, Fault> {
        read::calendar(text)
    }
}

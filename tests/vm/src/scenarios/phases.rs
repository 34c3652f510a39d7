//! What a takeover of a replicated disk took: each step by the survivor's own log, on the harness' clock.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use holdfast_proto::control::EventView;

use crate::machine::Machine;

/// What ends each step, in the order in which they follow each other.
const STEPS: [(&str, Mark); 6] = [
    ("detected", Mark::Event("peer-lost")),
    ("fenced", Mark::Event("fence-proved")),
    ("assigned", Mark::Event("assigned")),
    ("promoted", Mark::Log("Secondary -> Primary")),
    ("mounted", Mark::Log("mounted filesystem")),
    ("recovered", Mark::Log("ready for connections")),
];
/// Lines of the log that are asked for.
const LINES: &str =
    "Secondary -> Primary|EXT4-fs .drbd.*: mounted filesystem|ready for connections|will sync|Resync done";

/// How a step is known to be over.
#[derive(Clone, Copy)]
enum Mark {
    /// By an event of that kind.
    Event(&'static str),
    /// By a line of the journal.
    Log(&'static str),
}

/// A moment on both clocks of the harness.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// For spans.
    pub at: Instant,
    /// Seconds since 1970.
    wall: f64,
}

impl Moment {
    /// This moment.
    pub fn now() -> Result<Moment> {
        Ok(Moment {
            at: Instant::now(),
            wall: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64(),
        })
    }
}

/// Seconds from the cut to the end of each step; None where the survivor's log has no such line.
#[derive(Clone, Debug, Default)]
pub struct Phases {
    ends: [Option<f64>; STEPS.len()],
    /// How long a client waited for the next acknowledgement.
    pub outage: Duration,
    /// From switching the lost node on again until both copies were whole.
    pub whole: Duration,
    /// What was resynchronized, in KiB, and how long that took, in seconds.
    pub resync: Option<(u64, f64)>,
}

impl Phases {
    /// What `survivor` wrote down since `struck`.
    pub fn read(survivor: &Machine, struck: Moment) -> Result<Phases> {
        let ahead = survivor.clock_ahead()?;
        let since = struck.wall + ahead;
        let events = survivor.look("hactl events --last 300 --json");
        let log = log_since(survivor, since);
        let ends = STEPS.map(|(_, mark)| match mark {
            Mark::Event(kind) => first_event(&events, kind, since),
            Mark::Log(text) => first_line(&log, text, since),
        });
        Ok(Phases {
            ends,
            ..Phases::default()
        })
    }

    /// Adds what `survivor` says of the resync that followed.
    pub fn add_resync(&mut self, survivor: &Machine, struck: Moment) -> Result<()> {
        let since = struck.wall + survivor.clock_ahead()?;
        self.resync = resync(&log_since(survivor, since), since);
        Ok(())
    }

    /// Seconds that step `at` took, from the end of the one before.
    fn took(&self, at: usize) -> Option<f64> {
        let before = match at {
            0 => 0.0,
            _ => self.ends[at - 1]?,
        };
        Some(self.ends[at]? - before)
    }
}

impl fmt::Display for Phases {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, _)) in STEPS.iter().enumerate() {
            match self.took(at) {
                Some(seconds) => write!(out, "{name} +{seconds:.1} s, ")?,
                None => write!(out, "{name} ?, ")?,
            }
        }
        write!(out, "outage {:.1} s, ", self.outage.as_secs_f64())?;
        if let Some((kib, seconds)) = self.resync {
            write!(out, "resync of {kib} KiB in {seconds:.1} s, ")?;
        }
        write!(out, "whole {:.1} s after power on", self.whole.as_secs_f64())
    }
}

/// Median and longest of each step and of the whole, over all `rounds`.
#[must_use]
pub fn summary(rounds: &[Phases]) -> String {
    let mut lines: Vec<(&str, Vec<f64>)> = Vec::new();
    for (at, (name, _)) in STEPS.iter().enumerate() {
        lines.push((name, rounds.iter().filter_map(|round| round.took(at)).collect()));
    }
    let seconds =
        |read: fn(&Phases) -> Duration| rounds.iter().map(|round| read(round).as_secs_f64()).collect();
    lines.push(("outage", seconds(|round| round.outage)));
    let resyncs = rounds.iter().filter_map(|round| round.resync);
    lines.push(("resync", resyncs.map(|(_, seconds)| seconds).collect()));
    lines.push(("whole again", seconds(|round| round.whole)));
    let said = lines.into_iter().filter(|(_, values)| !values.is_empty());
    said.map(|(name, mut values)| {
        values.sort_by(f64::total_cmp);
        let (median, worst) = (values[values.len() / 2], values[values.len() - 1]);
        format!("{name} {median:.1} (worst {worst:.1}) s")
    })
    .collect::<Vec<_>>()
    .join(", ")
}

fn log_since(survivor: &Machine, since: f64) -> String {
    survivor.look(&format!(
        "journalctl --no-pager -o short-unix --since @{} | grep -E '{LINES}' | cut -c1-300",
        since as u64
    ))
}

/// When the first line after `since` that holds `text` was written, in seconds after it.
fn first_line(log: &str, text: &str, since: f64) -> Option<f64> {
    let times = log.lines().filter(|line| line.contains(text)).filter_map(time_of);
    times.map(|time| time - since).find(|after| *after >= 0.0)
}

fn time_of(line: &str) -> Option<f64> {
    line.split_whitespace().next()?.parse().ok()
}

/// The same of the first event of that kind.
fn first_event(events: &str, kind: &str, since: f64) -> Option<f64> {
    let events = events
        .lines()
        .filter_map(|line| serde_json::from_str::<EventView>(line).ok());
    let times = events
        .filter(|event| event.kind == kind)
        .filter_map(|event| wall(&event.at));
    times.map(|time| time - since).find(|after| *after >= 0.0)
}

/// How much the last resync of `log` copied, and how long it took.
fn resync(log: &str, since: f64) -> Option<(u64, f64)> {
    let lines = log
        .lines()
        .filter(|line| time_of(line).is_some_and(|time| time >= since));
    let (mut begun, mut found) = (None, None);
    for line in lines {
        if let Some((_, rest)) = line.split_once("(will sync ") {
            let kib = rest
                .split_whitespace()
                .next()
                .and_then(|word| word.parse::<u64>().ok());
            begun = kib.zip(time_of(line));
        } else if line.contains("Resync done") {
            found = begun
                .zip(time_of(line))
                .map(|((kib, from), to)| (kib, to - from))
                .or(found);
        }
    }
    found
}

/// Seconds since 1970 of an RFC 3339 time in UTC.
fn wall(text: &str) -> Option<f64> {
    let (date, time) = text.trim_end_matches('Z').split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split(':').map(|part| part.parse::<f64>().ok());
    let (hours, minutes, seconds) = (time.next()??, time.next()??, time.next()??);
    // Days of the proleptic Gregorian calendar, with years that begin in March.
    let (years, months) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days =
        365 * years + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 1 - 719_468;
    Some(days as f64 * 86_400.0 + hours * 3600.0 + minutes * 60.0 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_events_and_of_the_log_are_the_same() {
        assert_eq!(wall("1970-01-01T00:00:00.250000Z"), Some(0.25));
        assert_eq!(wall("2024-02-29T12:00:01.000000Z"), Some(1_709_208_001.0));
        assert_eq!(wall("yesterday"), None);
    }

    #[test]
    fn the_resync_after_the_cut_is_read_from_the_kernels_lines() {
        let log = "90.0 n2 kernel: block drbd0: Began resync as SyncTarget (will sync 8 KB [2 bits set]).\n\
                   91.0 n2 kernel: block drbd0: Resync done (total 1 sec; paused 0 sec; 8 K/sec)\n\
                   120.5 n2 kernel: block drbd0: Began resync as SyncSource (will sync 4096 KB [1024 bits set]).\n\
                   122.0 n2 kernel: block drbd0: Resync done (total 1 sec; paused 0 sec; 4096 K/sec)\n";
        assert_eq!(resync(log, 100.0), Some((4096, 1.5)));
        assert_eq!(resync(log, 130.0), None);
        assert_eq!(first_line(log, "Resync done", 100.0), Some(22.0));
    }

    #[test]
    fn a_step_is_counted_from_the_end_of_the_one_before() {
        let mut phases = Phases::default();
        phases.ends[..3].copy_from_slice(&[Some(1.0), Some(1.5), Some(4.0)]);
        assert_eq!(
            (phases.took(0), phases.took(2), phases.took(3)),
            (Some(1.0), Some(2.5), None)
        );
        assert!(summary(&[phases]).starts_with("detected 1.0 (worst 1.0) s, fenced 0.5 (worst 0.5) s, "));
    }
}

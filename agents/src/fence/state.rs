//! What a `status` run says about the power.
//!
//! By the contract exit 0 is on and exit 2 is off. But 2 is also what the agents' common library, Python's argument
//! parser, and shells end with when they were called wrongly. So 2 alone proves nothing when the program said
//! something else.

use crate::program::Run;

/// The power state that a `status` run read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// On.
    On,
    /// Off: a proof.
    Off,
    /// Neither; why.
    Unknown(&'static str),
}

/// True when a line of `text` ends in `word` (`Status: OFF`, `off`).
fn says(text: &str, word: &str) -> bool {
    text.lines().any(|line| {
        let last = line
            .split(|c: char| !c.is_alphanumeric())
            .rfind(|part| !part.is_empty());
        last.is_some_and(|last| last.eq_ignore_ascii_case(word))
    })
}

/// Reads the power state from a finished `status` run. Off needs exit 2 *and* words that say off, or a program that
/// said nothing at all.
#[must_use]
pub fn read(run: &Run) -> Power {
    let silent = run.stdout.trim().is_empty() && run.stderr.trim().is_empty();
    match run.code {
        Some(0) if says(&run.stdout, "off") => Power::Unknown("exit 0 means on but it said off"),
        Some(0) => Power::On,
        Some(2) if says(&run.stdout, "on") => Power::Unknown("exit 2 means off but it said on"),
        Some(2) if silent || says(&run.stdout, "off") => Power::Off,
        Some(2) => Power::Unknown("exit 2 may mean off or wrong arguments, and it did not say off"),
        _ => Power::Unknown("the power state was not read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_off_is_off() {
        let read = |code, stdout: &str, stderr: &str| {
            super::read(&Run {
                code,
                stdout: stdout.into(),
                stderr: stderr.into(),
                ..Run::default()
            })
        };
        assert_eq!(read(Some(2), "Status: OFF\n", "DeprecationWarning"), Power::Off);
        assert_eq!(read(Some(2), "off", ""), Power::Off);
        assert_eq!(read(Some(2), "", ""), Power::Off);
        assert_eq!(read(Some(0), "Status: ON\n", ""), Power::On);
        assert_eq!(read(Some(0), "", ""), Power::On);
        for (code, stdout, stderr) in [
            (Some(2), "", "usage: fence_x [-h]\nerror: unrecognized arguments"),
            (Some(2), "usage\n", ""),
            (Some(2), "Status: ON\n", ""),
            (Some(2), "", "python3: can't open file"),
            (Some(0), "Status: OFF", ""),
            (Some(1), "Status: OFF", ""),
            (None, "off", ""),
        ] {
            assert!(
                matches!(read(code, stdout, stderr), Power::Unknown(_)),
                "{code:?} {stdout} {stderr}"
            );
        }
    }
}

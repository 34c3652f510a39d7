//! Counts of what ran.

use std::fmt;
use std::ops::AddAssign;

/// Tests that passed, failed, and could not run here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
    /// Not run, for a reason that was printed.
    pub skipped: u64,
}

impl Tally {
    /// One test.
    #[must_use]
    pub fn one(passed: bool) -> Tally {
        Tally {
            passed: u64::from(passed),
            failed: u64::from(!passed),
            skipped: 0,
        }
    }

    /// One test that could not run.
    #[must_use]
    pub fn skip() -> Tally {
        Tally {
            skipped: 1,
            ..Tally::default()
        }
    }

    /// Reads a line of `cargo test` (`test result: ok. 3 passed; 0 failed; 1 ignored; …`).
    #[must_use]
    pub fn from_cargo(line: &str) -> Option<Tally> {
        Tally::from_counts(line.strip_prefix("test result: ")?.split_once(". ")?.1, ';')
    }

    /// Reads a closing line `3 passed, 0 failed, 1 skipped`.
    #[must_use]
    pub fn from_closing(line: &str) -> Option<Tally> {
        Tally::from_counts(line, ',')
    }

    fn from_counts(text: &str, separator: char) -> Option<Tally> {
        let mut tally = Tally::default();
        let mut seen = 0;
        for part in text.split(separator) {
            let Some((count, word)) = part.trim().split_once(' ') else {
                continue;
            };
            let Ok(count) = count.parse::<u64>() else { continue };
            match word {
                "passed" => (tally.passed, seen) = (count, seen + 1),
                "failed" => (tally.failed, seen) = (count, seen + 1),
                "skipped" | "ignored" => tally.skipped = count,
                _ => {}
            }
        }
        (seen == 2).then_some(tally)
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cargo_prints() {
        let line = "test result: FAILED. 7 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(
            Tally::from_cargo(line),
            Some(Tally {
                passed: 7,
                failed: 2,
                skipped: 1
            })
        );
        assert_eq!(Tally::from_cargo("running 3 tests"), None);
    }

    #[test]
    fn reads_what_it_prints() {
        for tally in [
            Tally {
                passed: 3,
                failed: 0,
                skipped: 0,
            },
            Tally {
                passed: 1,
                failed: 2,
                skipped: 4,
            },
        ] {
            assert_eq!(Tally::from_closing(&tally.to_string()), Some(tally));
        }
    }
}

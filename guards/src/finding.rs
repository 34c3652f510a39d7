//! What a guard says.

use std::fmt;

/// A setting that does not go with a pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Short stable name: `galera-empty-address`.
    pub check: &'static str,
    /// The file.
    pub file: String,
    /// The line, from 1. None when something is missing in it.
    pub line: Option<usize>,
    /// What stands there.
    pub what: String,
    /// Why that matters for a pair.
    pub why: String,
    /// What to write or do instead.
    pub instead: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}: {}; {}", self.what, self.why, self.instead)
    }
}

/// A place in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1; None for the file as a whole.
    pub line: Option<usize>,
}

impl Place {
    /// A file as a whole.
    #[must_use]
    pub fn file(file: &str) -> Place {
        Place {
            file: file.into(),
            line: None,
        }
    }

    /// A line of a file.
    #[must_use]
    pub fn line(file: &str, line: usize) -> Place {
        Place {
            file: file.into(),
            line: Some(line),
        }
    }

    /// A finding here.
    #[must_use]
    pub fn finding(
        &self,
        check: &'static str,
        what: impl Into<String>,
        why: impl Into<String>,
        instead: impl Into<String>,
    ) -> Finding {
        Finding {
            check,
            file: self.file.clone(),
            line: self.line,
            what: what.into(),
            why: why.into(),
            instead: instead.into(),
        }
    }
}

/// A value as it may be shown: one line, not long, no control characters.
#[must_use]
pub fn shown(value: &str) -> String {
    const CHARS_MAX: usize = 120;
    let mut text: String = value.chars().take(CHARS_MAX).collect();
    if value.chars().nth(CHARS_MAX).is_some() {
        text.push_str("...");
    }
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_its_place() {
        let finding = Place::line("/etc/x.cnf", 3).finding("c", "a is b", "that harms", "write a = c");
        assert_eq!(
            finding.to_string(),
            "/etc/x.cnf:3: a is b: that harms; write a = c"
        );
        let whole = Place::file("/etc/x.cnf").finding("c", "a is missing", "that harms", "add a");
        assert_eq!(whole.to_string(), "/etc/x.cnf: a is missing: that harms; add a");
        assert_eq!(shown("a\nb\u{7}"), "a b ");
        assert_eq!(shown(&"x".repeat(500)).len(), 123);
    }
}

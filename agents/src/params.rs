//! Reading an agent's parameters: what is wrong is said with the agent's name, the parameter and its value.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::agent::AgentError;

/// Longest password in a file, in bytes.
const MAX_PASSWORD: usize = 512;

/// The parameters of one resource. Those that are empty count as not given.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    agent: &'static str,
    params: &'a BTreeMap<String, String>,
}

/// Of the last `of` looks `failures` must fail before a service counts as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    /// So many failed looks ...
    pub failures: u32,
    /// ... of the last so many.
    pub of: u32,
}

impl<'a> Reader<'a> {
    /// Of the agent with that name.
    #[must_use]
    pub fn new(agent: &'static str, params: &'a BTreeMap<String, String>) -> Reader<'a> {
        Reader { agent, params }
    }

    /// An error that names the agent.
    #[must_use]
    pub fn wrong(&self, text: impl std::fmt::Display) -> AgentError {
        AgentError(format!("agent {}: {text}", self.agent))
    }

    /// What was given, without space around it.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&'a str> {
        let value = self.params.get(key).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    }

    /// Refuses the first of `keys` that was given: it goes with `what`, which was not.
    ///
    /// # Errors
    /// One was given.
    pub fn only_with(&self, keys: &[&str], what: &str) -> Result<(), AgentError> {
        match keys.iter().find(|key| self.text(key).is_some()) {
            Some(key) => Err(self.wrong(format_args!("`{key}` goes with {what}"))),
            None => Ok(()),
        }
    }

    /// An absolute path.
    ///
    /// # Errors
    /// It is a relative one.
    pub fn path(&self, key: &str) -> Result<Option<PathBuf>, AgentError> {
        match self.text(key) {
            Some(path) if !Path::new(path).is_absolute() => {
                Err(self.wrong(format_args!("{key} {path:?} is not an absolute path")))
            }
            path => Ok(path.map(PathBuf::from)),
        }
    }

    /// A number in `range`.
    ///
    /// # Errors
    /// It is none, or outside.
    pub fn number<T>(&self, key: &str, range: RangeInclusive<u32>) -> Result<Option<T>, AgentError>
    where
        T: TryFrom<u32>,
    {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.map(Some).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            self.wrong(format_args!("{key} {text:?} is no number from {least} to {most}"))
        })
    }

    /// A port.
    ///
    /// # Errors
    /// It is no number from 1 to 65535.
    pub fn port(&self, key: &str) -> Result<Option<u16>, AgentError> {
        self.number(key, 1..=65_535)
    }

    /// Milliseconds in `range`.
    ///
    /// # Errors
    /// As [`Reader::number`].
    pub fn millis(
        &self,
        key: &str,
        range: RangeInclusive<u32>,
        default: u64,
    ) -> Result<Duration, AgentError> {
        let given = self.number(key, range)?;
        Ok(Duration::from_millis(given.unwrap_or(default)))
    }

    /// One of some words; the first of them unless said.
    ///
    /// # Errors
    /// It is none of them.
    pub fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Result<T, AgentError> {
        let text = self.text(key).unwrap_or(words[0].0);
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let mut known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let last = known.pop().unwrap_or_default();
            self.wrong(format_args!(
                "{key} is {} or {last}, not {text:?}",
                known.join(", ")
            ))
        })
    }

    /// `probe_failures` and `probe_of`, 3 of 5 unless said.
    ///
    /// # Errors
    /// So many can never fail.
    pub fn looks(&self) -> Result<Looks, AgentError> {
        let failures = self.number("probe_failures", 1..=100)?.unwrap_or(3);
        let of = self.number("probe_of", 1..=100)?.unwrap_or(5.max(failures));
        if of < failures {
            return Err(self.wrong(format_args!(
                "{failures} of {of} looks cannot fail: probe_of is the larger number"
            )));
        }
        Ok(Looks { failures, of })
    }
}

/// The password in a file, read when it is needed, so that it stands nowhere else.
///
/// # Errors
/// The file cannot be read, or holds no password.
pub async fn password(file: &Path) -> Result<String, AgentError> {
    let told = |error| AgentError(format!("cannot read the password in {}: {error}", file.display()));
    // A device would never end.
    if !tokio::fs::metadata(file).await.map_err(told)?.is_file() {
        return Err(AgentError(format!("{} is not a regular file", file.display())));
    }
    let text = tokio::fs::read_to_string(file).await.map_err(told)?;
    let word = text.trim();
    if word.is_empty() || word.len() > MAX_PASSWORD {
        return Err(AgentError(format!(
            "{} must hold a password of 1 to {MAX_PASSWORD} bytes, on one line",
            file.display()
        )));
    }
    Ok(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn what_is_wrong_is_named() {
        let params = given(&[
            ("socket", "x"),
            ("port", "65536"),
            ("mode", "both"),
            ("probe_failures", "9"),
            ("probe_of", "2"),
            ("unit", " "),
        ]);
        let read = Reader::new("redis", &params);
        assert_eq!(read.text("unit"), None);
        let said = |error: AgentError| error.0;
        assert_eq!(
            read.path("socket").map_err(said).unwrap_err(),
            "agent redis: socket \"x\" is not an absolute path"
        );
        assert_eq!(
            read.port("port").map_err(said).unwrap_err(),
            "agent redis: port \"65536\" is no number from 1 to 65535"
        );
        assert_eq!(
            read.choice("mode", &[("a", 1), ("b", 2), ("c", 3)])
                .map_err(said)
                .unwrap_err(),
            "agent redis: mode is a, b or c, not \"both\""
        );
        assert!(read.looks().map_err(said).unwrap_err().contains("larger"));
        assert_eq!(
            read.only_with(&["unit", "port"], "`command`")
                .map_err(said)
                .unwrap_err(),
            "agent redis: `port` goes with `command`"
        );
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let params = given(&[("probe_failures", "7")]);
        let read = Reader::new("redis", &params);
        assert_eq!(read.looks().unwrap(), Looks { failures: 7, of: 7 });
        assert_eq!(
            read.millis("pause_ms", 1..=9, 5).unwrap(),
            Duration::from_millis(5)
        );
        assert_eq!(read.choice("mode", &[("a", 1), ("b", 2)]).unwrap(), 1);
    }

    #[tokio::test]
    async fn a_password_is_one_line_of_a_regular_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        assert!(password(&file).await.unwrap_err().0.contains("cannot read"));
        assert!(
            password(folder.path())
                .await
                .unwrap_err()
                .0
                .contains("regular file")
        );
        std::fs::write(&file, "  \n").unwrap();
        assert!(password(&file).await.unwrap_err().0.contains("1 to 512 bytes"));
        std::fs::write(&file, "hunter2\n").unwrap();
        assert_eq!(password(&file).await.unwrap(), "hunter2");
    }
}

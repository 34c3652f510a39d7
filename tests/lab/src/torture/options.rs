//! The command line of `lab torture`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// The word that makes this program the torture.
pub const WORD: &str = "torture";

/// What can be said, with examples.
pub const USAGE: &str = "usage: torture [--minutes M] [--seed S] [--no-witness] [--json] [--keep DIR]\n\n\
  --minutes M    how long faults are injected and mended, 30 unless said\n  \
  --seed S       what the faults are drawn from, 1 unless said\n  \
  --no-witness   two nodes alone\n  \
  --json         one line of JSON on standard output at the end\n  \
  --keep DIR     keep what clients and nodes wrote down there, also if all went well\n\n\
examples:\n  \
  cargo xtask torture --minutes 30 --seed 7\n  \
  cargo xtask torture --minutes 5 --seed 7 --no-witness --json";

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// How long.
    pub minutes: f64,
    /// What the faults are drawn from.
    pub seed: u64,
    /// With a witness.
    pub witness: bool,
    /// One line of JSON at the end.
    pub json: bool,
    /// Where to keep what was written down.
    pub keep: Option<PathBuf>,
}

impl Options {
    /// Reads the words after [`WORD`].
    pub fn parse(words: &[String]) -> Result<Options> {
        let mut options = Options {
            minutes: 30.0,
            seed: 1,
            witness: true,
            json: false,
            keep: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--minutes" => options.minutes = value(word, words.next())?,
                "--seed" => options.seed = value(word, words.next())?,
                "--keep" => options.keep = Some(value(word, words.next())?),
                "--no-witness" => options.witness = false,
                "--json" => options.json = true,
                _ => bail!("'{word}' is no option here\n{USAGE}"),
            }
        }
        if !(0.1..=10_000.0).contains(&options.minutes) {
            bail!("--minutes goes from 0.1 to 10000, not {}", options.minutes);
        }
        Ok(options)
    }
}

fn value<T: FromStr>(option: &str, word: Option<&String>) -> Result<T> {
    word.and_then(|word| word.parse().ok())
        .with_context(|| format!("{option} needs a value\n{USAGE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        Options::parse(&words)
    }

    #[test]
    fn options_are_read() {
        let options = parse("--minutes 0.5 --seed 9 --no-witness --json").unwrap();
        assert_eq!((options.minutes, options.seed), (0.5, 9));
        assert!(!options.witness && options.json);
        assert!(parse("").unwrap().witness);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (line, said) in [
            ("--seed", "--seed needs a value"),
            ("--minutes soon", "--minutes needs a value"),
            ("--minutes 0", "0.1"),
            ("--witness", "'--witness'"),
        ] {
            assert!(parse(line).unwrap_err().to_string().contains(said), "{line}");
        }
    }
}

//! The command line of `lab failovers`.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};

use super::fault::Fault;
use super::service::{self, Service};

/// The word that makes this program count failovers.
pub const WORD: &str = "failovers";

/// What can be said, with examples.
pub const USAGE: &str = "usage: failovers SERVICE [--times N] [--faults LIST] [--moves N] [--json] [--keep DIR]\n\n  \
  SERVICE        redis, mariadb, mysql, rabbitmq (its storage mode), rabbitmq-cluster\n  \
  --times N      how many faults, the kinds in turn, 5 unless said\n  \
  --faults LIST  which kinds: power,cut,hang,kill,full,blackout (all that make sense unless said)\n  \
  --moves N      planned switchovers before them, 3 unless said\n  \
  --json         one line of JSON on standard output at the end\n  \
  --keep DIR     write down there every write that was tried, and what the nodes say\n\n\
examples:\n  \
  cargo xtask failovers redis --times 50\n  \
  cargo xtask failovers mariadb --times 20 --faults power,kill --json";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Of what.
    pub service: &'static Service,
    /// How many faults.
    pub times: u32,
    /// Which, in turn.
    pub faults: Vec<Fault>,
    /// How many planned switchovers.
    pub moves: u32,
    /// One line of JSON at the end.
    pub json: bool,
    /// Where to keep what was written down.
    pub keep: Option<PathBuf>,
}

impl Options {
    /// Reads the words after [`WORD`].
    pub fn parse(words: &[String]) -> Result<Options> {
        let mut words = words.iter();
        let name = words.next().with_context(|| format!("which service?\n{USAGE}"))?;
        let service = service::find(name).with_context(|| format!("there is no service {name}\n{USAGE}"))?;
        let mut options = Options {
            service,
            times: 5,
            faults: service.faults.to_vec(),
            moves: 3,
            json: false,
            keep: None,
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--times" => options.times = value(word, words.next())?,
                "--moves" => options.moves = value(word, words.next())?,
                "--keep" => options.keep = Some(value(word, words.next())?),
                "--json" => options.json = true,
                "--faults" => {
                    let list: String = value(word, words.next())?;
                    let faults: Result<Vec<Fault>> = list.split(',').map(Fault::parse).collect();
                    options.faults = faults?;
                }
                _ => bail!("'{word}' is no option here\n{USAGE}"),
            }
        }
        Ok(options)
    }
}

fn value<T: FromStr>(option: &str, word: Option<&String>) -> Result<T> {
    let word = word.with_context(|| format!("{option} needs a value\n{USAGE}"))?;
    word.parse()
        .ok()
        .with_context(|| format!("{option} cannot be '{word}'\n{USAGE}"))
}

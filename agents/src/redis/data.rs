//! The data on the disk of a Redis that does not start: whether it is damaged, and how it is set aside.
//!
//! A Redis ends at its start when its file is damaged in the middle. A full disk is enough for that: Redis takes back the half of
//! a command that still fitted, but in a file that a rewrite began it goes on behind the place where that half ended (seen of 7.0
//! to 8.0). Nobody notices before the next start.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use holdfast_guards::redis::{self as guard, Storage};
use holdfast_guards::{Disk, Node};

use super::params::{Params, Runner};
use crate::agent::AgentError;
use crate::program::{self, excerpt};

/// How many damaged copies are kept.
const KEPT_MAX: usize = 2;
/// What stands behind the name of what was set aside, and before its number.
const MARK: &str = ".damaged-";
/// Where the servers' own tools are, beside the folder of the server itself.
const FOLDERS: [&str; 2] = ["/usr/bin", "/usr/local/bin"];
/// There are none in what a tool says of a file's form.
const NO_SECRETS: [&str; 0] = [];

/// The data of one Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Its working folder.
    folder: PathBuf,
    /// The file or folder in it that is read at a start.
    name: String,
    /// What its tool is given.
    checked: PathBuf,
    /// The tool, without the name of the flavour before it.
    tool: &'static str,
    /// The server's program, if it is known.
    program: Option<PathBuf>,
}

/// What became of damaged data.
#[derive(Debug, PartialEq, Eq)]
pub struct Aside {
    /// Where it is now.
    pub kept: PathBuf,
    /// Older ones that were removed for it.
    pub removed: Vec<PathBuf>,
}

impl Data {
    /// Where it is, by the configuration.
    pub async fn find(params: &Params) -> Result<Data, AgentError> {
        let params = params.clone();
        let found = tokio::task::spawn_blocking(move || Data::look(&params)).await;
        found
            .unwrap_or_else(|_| Err("the look at its configuration did not end".into()))
            .map_err(AgentError)
    }

    fn look(params: &Params) -> Result<Data, String> {
        let (config, arguments, cwd, program) = match &params.runner {
            Runner::Unit(config) => (Some(config.clone()), Vec::new(), None, None),
            Runner::Command { words, cwd } => {
                let (program, rest) = words.split_first().ok_or("its command is empty")?;
                let config = rest.first().filter(|word| !word.starts_with('-'));
                let arguments = rest.get(usize::from(config.is_some())..).unwrap_or_default();
                (
                    config.map(|config| cwd.join(config)),
                    arguments.to_vec(),
                    Some(cwd.clone()),
                    Some(PathBuf::from(program)),
                )
            }
        };
        let disk = Disk::here();
        let file = config.as_ref().map(|file| file.display().to_string());
        let storage = guard::storage(file.as_deref(), &arguments, &Node::new(&disk))
            .ok_or_else(|| format!("{} cannot be read", file.unwrap_or_default()))?;
        let folder = match (&storage.folder, cwd) {
            (Some(folder), Some(cwd)) => cwd.join(folder),
            (Some(folder), None) => PathBuf::from(folder),
            (None, Some(cwd)) => cwd,
            (None, None) => PathBuf::new(),
        };
        if !folder.is_absolute() {
            return Err(
                "its configuration does not say where its data is: set `dir` to an absolute path".into(),
            );
        }
        Data::of(folder, &storage, program)
    }

    fn of(folder: PathBuf, storage: &Storage, program: Option<PathBuf>) -> Result<Data, String> {
        let name = match storage.appends {
            true => storage.append_folder.clone(),
            false => storage.snapshot.clone(),
        };
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(format!("{name:?} is no name of a file in {}", folder.display()));
        }
        let own = folder.join(&name);
        let (checked, tool) = match storage.appends {
            true => (own.join(format!("{}.manifest", storage.append_file)), "check-aof"),
            false => (own, "check-rdb"),
        };
        Ok(Data {
            folder,
            name,
            checked,
            tool,
            program,
        })
    }

    /// Its working folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is read at a start.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// What an operator types to have it mended, as far as it can be. Of a snapshot nothing can.
    pub fn mending(&self) -> String {
        match self.tool {
            "check-aof" => format!(
                "`redis-check-aof --fix {}` (all that was written behind the damage is lost)",
                self.checked.display()
            ),
            _ => "put a backup of it in its place".to_owned(),
        }
    }

    /// What is damaged, by the server's own tool, which reads and changes nothing. None: it finds nothing, or there is no data.
    pub async fn damage(&self, limit: Duration) -> Result<Option<String>, AgentError> {
        if tokio::fs::symlink_metadata(&self.checked).await.is_err() {
            return Ok(None);
        }
        let tool = self.find_tool().ok_or_else(|| {
            AgentError(format!(
                "whether its data is damaged is not known, because redis-{} is not installed",
                self.tool
            ))
        })?;
        let words = [self.checked.display().to_string()];
        let run = program::run(&tool, &words, "", limit).await.map_err(|error| {
            AgentError(format!(
                "whether its data is damaged is not known: {} {error}",
                tool.display()
            ))
        })?;
        if run.code == Some(0) {
            return Ok(None);
        }
        Ok(Some(damage_in(&run.stdout).unwrap_or_else(|| {
            let said = run.excerpt(&NO_SECRETS);
            format!("{} is damaged: {said}", self.checked.display())
        })))
    }

    fn find_tool(&self) -> Option<PathBuf> {
        let beside = self.program.as_deref().and_then(Path::parent);
        let folders = beside.into_iter().chain(FOLDERS.iter().map(Path::new));
        let is_valkey = self
            .program
            .as_ref()
            .is_some_and(|program| program.to_string_lossy().contains("valkey"));
        let mut flavours = ["redis", "valkey"];
        if is_valkey {
            flavours.reverse();
        }
        folders
            .flat_map(|folder| flavours.map(|flavour| folder.join(format!("{flavour}-{}", self.tool))))
            .find(|tool| tool.exists())
    }

    /// Gives it another name, in the same folder. Of those that were set aside before, only the newest stays.
    pub async fn set_aside(&self) -> io::Result<Aside> {
        let data = self.clone();
        tokio::task::spawn_blocking(move || data.rename())
            .await
            .map_err(io::Error::other)?
    }

    fn rename(&self) -> io::Result<Aside> {
        let mark = format!("{}{MARK}", self.name);
        let mut numbers: Vec<u32> = fs::read_dir(&self.folder)?
            .filter_map(|entry| {
                entry
                    .ok()?
                    .file_name()
                    .to_str()?
                    .strip_prefix(&mark)?
                    .parse()
                    .ok()
            })
            .collect();
        numbers.sort_unstable();
        let path = |number: u32| self.folder.join(format!("{mark}{number}"));
        let kept = path(numbers.last().map_or(1, |number| number.saturating_add(1)));
        fs::rename(self.path(), &kept)?;
        let surplus = (numbers.len() + 1).saturating_sub(KEPT_MAX);
        let mut removed = Vec::new();
        for old in numbers.into_iter().take(surplus).map(path) {
            // Root does not go where a link leads.
            let gone = match fs::symlink_metadata(&old)?.is_dir() {
                true => fs::remove_dir_all(&old),
                false => fs::remove_file(&old),
            };
            gone?;
            removed.push(old);
        }
        fs::File::open(&self.folder)?.sync_all()?;
        Ok(Aside { kept, removed })
    }
}

/// `AOF analyzed: filename=a.1.incr.aof, size=1371565, ok_up_to=536382, ok_up_to_line=12327, diff=835183`.
fn damage_in(said: &str) -> Option<String> {
    said.lines().find_map(|line| {
        let fields = line.strip_prefix("AOF analyzed: ")?;
        let field = |key: &str| {
            let mut pairs = fields.split(", ").filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
        };
        let file = field("filename")?;
        let (size, good): (u64, u64) = (field("size")?.parse().ok()?, field("ok_up_to")?.parse().ok()?);
        (good < size).then(|| {
            let file = excerpt(file, &NO_SECRETS);
            format!("{file} is damaged at byte {good} of {size}")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_the_damage_is_told() {
        let said = "Start checking Multi Part AOF\nAOF analyzed: filename=a.base.rdb, size=88, ok_up_to=88, \
                    ok_up_to_line=1, diff=0\nAOF analyzed: filename=a.incr.aof, size=90, ok_up_to=40, ok_up_to_line=3, \
                    diff=50\n";
        assert_eq!(damage_in(said).unwrap(), "a.incr.aof is damaged at byte 40 of 90");
        assert_eq!(damage_in("AOF analyzed: filename=x, size=9, ok_up_to=9"), None);
        assert_eq!(damage_in("AOF analyzed: size=-, ok_up_to"), None);
    }

    #[tokio::test]
    async fn only_the_newest_are_kept_and_what_is_removed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage {
            appends: true,
            ..Storage::default()
        };
        let data = Data::of(folder.path().into(), &storage, None).unwrap();
        for number in 1..=4_u32 {
            fs::create_dir(data.path()).unwrap();
            fs::write(data.path().join("file"), number.to_string()).unwrap();
            let aside = data.set_aside().await.unwrap();
            let at = |number: u32| folder.path().join(format!("appendonlydir.damaged-{number}"));
            assert_eq!(aside.kept, at(number));
            assert_eq!(
                fs::read_to_string(aside.kept.join("file")).unwrap(),
                number.to_string()
            );
            let gone = number.checked_sub(2).filter(|gone| *gone > 0).map(at);
            assert_eq!(aside.removed, Vec::from_iter(gone));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), KEPT_MAX);
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in ["", "..", "a/b", ".x"] {
            let storage = Storage {
                snapshot: name.into(),
                ..Storage::default()
            };
            assert!(Data::of("/srv".into(), &storage, None).is_err(), "{name}");
        }
    }
}

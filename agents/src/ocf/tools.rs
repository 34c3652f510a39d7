//! Stand-ins for the tools of Pacemaker that agents call: `crm_master`, `crm_attribute`, `attrd_updater`, `crm_node`.
//!
//! had-agentd itself, called by these names: agents find them at the head of their PATH, and by `HA_SBIN_DIR`. Exit codes
//! and output are Pacemaker's.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::attributes::{self, score_name};
use super::environment::ATTRIBUTES;

pub(super) const NAMES: [&str; 4] = ["crm_master", "crm_attribute", "attrd_updater", "crm_node"];
/// Options that are followed by a value.
const WITH_VALUE: &str = "nvUBNldtsiPSr";
/// The same in words.
const WORDS_WITH_VALUE: [&str; 13] = [
    "name",
    "update",
    "attr-value",
    "attr-name",
    "update-both",
    "node",
    "uname",
    "lifetime",
    "default",
    "delay",
    "type",
    "set-name",
    "resource",
];
/// Pacemaker's exit codes.
const USAGE: i32 = 64;
const NO_SUCH: i32 = 105;
const CANNOT_CREATE: i32 = 73;
/// It cannot be reached: what Pacemaker's tools say without a cluster.
const DISCONNECTED: i32 = 102;

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Says once which program plays the tools.
pub fn set_program(path: PathBuf) {
    let _ = PROGRAM.set(path);
}

/// If this process was called by the name of a tool, does what that tool does and ends.
pub fn run_if_called() {
    let mut args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    let called = args.next().unwrap_or_default();
    let name = Path::new(&called).file_name().and_then(|name| name.to_str());
    let Some(name) = NAMES.iter().find(|tool| Some(**tool) == name) else {
        return;
    };
    let args: Vec<String> = args.collect();
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let outcome = Tool {
        name,
        node: variable("OCF_RESKEY_CRM_meta_on_node"),
        instance: variable("OCF_RESOURCE_INSTANCE"),
        attributes: variable(ATTRIBUTES).into(),
    }
    .run(&args);
    // Nobody may be listening.
    let _ = io::stdout().write_all(outcome.printed.as_bytes());
    let _ = io::stderr().write_all(outcome.complaint.as_bytes());
    std::process::exit(outcome.code);
}

/// Makes the folder of links at `folder`. None when no program plays them.
#[must_use]
pub fn install(folder: &Path) -> Option<PathBuf> {
    let program = PROGRAM.get()?;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .ok()?;
    for name in NAMES {
        let link = folder.join(name);
        if fs::read_link(&link).ok().as_deref() != Some(program) {
            // Another resource may make it at the same moment; then it is there all the same.
            let _ = fs::remove_file(&link);
            let _ = symlink(program, &link);
        }
    }
    Some(folder.to_owned())
}

/// What a tool printed, and its exit code.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) code: i32,
    pub(super) printed: String,
    complaint: String,
}

impl Outcome {
    fn fails(code: i32, complaint: impl Into<String>) -> Outcome {
        Outcome {
            code,
            complaint: complaint.into() + "\n",
            ..Outcome::default()
        }
    }

    fn says(printed: impl Into<String>) -> Outcome {
        Outcome {
            printed: printed.into(),
            ..Outcome::default()
        }
    }
}

/// One call.
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) node: String,
    pub(super) instance: String,
    pub(super) attributes: PathBuf,
}

/// What was asked for.
#[derive(Default)]
struct Asked {
    /// Without its dashes, and its value.
    options: Vec<(String, String)>,
}

impl Asked {
    /// Splits `-n x`, `-nx`, `-Qv 5`, `--name x` and `--name=x`.
    fn parse(args: &[String]) -> Asked {
        let mut asked = Asked::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            if let Some(word) = arg.strip_prefix("--") {
                let (word, value) = match word.split_once('=') {
                    Some((word, value)) => (word, value.to_owned()),
                    None if WORDS_WITH_VALUE.contains(&word) => {
                        (word, args.next().cloned().unwrap_or_default())
                    }
                    None => (word, String::new()),
                };
                asked.options.push((word.to_owned(), value));
            } else if let Some(letters) = arg.strip_prefix('-') {
                for (at, letter) in letters.char_indices() {
                    let rest = &letters[at + letter.len_utf8()..];
                    if WITH_VALUE.contains(letter) {
                        let mut next = || args.next().cloned().unwrap_or_default();
                        let value = if rest.is_empty() { next() } else { rest.to_owned() };
                        asked.options.push((letter.to_string(), value));
                        break;
                    }
                    if letter == 'p' && !rest.is_empty() {
                        asked.options.push(("p".to_owned(), rest.to_owned()));
                        break;
                    }
                    asked.options.push((letter.to_string(), String::new()));
                }
            }
        }
        asked
    }

    fn value(&self, names: &[&str]) -> Option<&str> {
        let mut options = self.options.iter();
        options
            .find(|(name, _)| names.contains(&name.as_str()))
            .map(|(_, value)| value.as_str())
    }

    fn has(&self, names: &[&str]) -> bool {
        self.value(names).is_some()
    }
}

impl Tool {
    pub(super) fn run(&self, args: &[String]) -> Outcome {
        let asked = Asked::parse(args);
        match self.name {
            "crm_node" => self.node(&asked),
            name => self.attribute(name == "attrd_updater", &asked),
        }
    }

    /// Only this node is known here.
    fn node(&self, asked: &Asked) -> Outcome {
        if asked.has(&["i", "cluster-id"]) {
            return Outcome::says("1\n");
        }
        if asked.has(&["q", "quorum"]) {
            // What runs here runs under a permit, or may run anywhere.
            return Outcome::says("1\n");
        }
        if asked.has(&["l", "list"]) {
            return Outcome::says(format!("1 {} member\n", self.node));
        }
        if asked.has(&["n", "name", "N", "p", "partition"]) {
            return Outcome::says(format!("{}\n", self.node));
        }
        Outcome::fails(USAGE, "crm_node under Holdfast knows -n, -i, -l, -p and -q")
    }

    fn attribute(&self, is_updater: bool, asked: &Asked) -> Outcome {
        let promotion = asked.value(&["p", "promotion"]).filter(|_| !is_updater);
        let named = asked.value(&["n", "name", "attr-name"]).map(str::to_owned);
        let name = match (self.name, promotion) {
            ("crm_master", _) | (_, Some("")) => score_name(&self.instance),
            (_, Some(resource)) => score_name(resource),
            (_, None) => match named {
                Some(name) => name,
                None => return Outcome::fails(USAGE, format!("{} needs --name", self.name)),
            },
        };
        // In crm_attribute -U is the old name of -N, in attrd_updater it is the value.
        let node = asked
            .value(&["N", "node", "uname"])
            .or_else(|| asked.value(&["U"]).filter(|_| !is_updater));
        let is_other = node.is_some_and(|node| !node.is_empty() && node != self.node && node != "localhost");
        let value = asked
            .value(&["v", "update", "attr-value", "B", "update-both"])
            .or_else(|| asked.value(&["U"]).filter(|_| is_updater));
        // In crm_master and crm_attribute -Q is --quiet, in attrd_updater --query.
        let is_quiet = asked.has(&["q", "quiet"]) || (!is_updater && asked.has(&["Q"]));
        if let Some(value) = value {
            return self.keep(is_other, |all| drop(all.insert(name, value.to_owned())));
        }
        if asked.has(&["D", "delete"]) {
            return self.keep(is_other, |all| drop(all.remove(&name)));
        }
        if is_updater && asked.has(&["R", "refresh", "Y", "update-delay"]) {
            return Outcome::default();
        }
        self.query(
            &name,
            is_updater,
            is_quiet,
            is_other,
            asked.value(&["d", "default"]),
        )
    }

    fn keep(&self, is_other: bool, change: impl FnOnce(&mut attributes::Attributes)) -> Outcome {
        if is_other {
            let complaint = format!("{}: Holdfast keeps attributes of this node only", self.name);
            return Outcome::fails(DISCONNECTED, complaint);
        }
        match attributes::change(&self.attributes, change) {
            Ok(()) => Outcome::default(),
            Err(error) => Outcome::fails(CANNOT_CREATE, format!("{}: {error}", self.name)),
        }
    }

    fn query(
        &self,
        name: &str,
        is_updater: bool,
        is_quiet: bool,
        is_other: bool,
        default: Option<&str>,
    ) -> Outcome {
        let all = match attributes::read(&self.attributes) {
            Ok(all) => all,
            Err(error) => return Outcome::fails(CANNOT_CREATE, format!("{}: {error}", self.name)),
        };
        let kept = all.get(name).map(String::as_str).filter(|_| !is_other);
        let default = default.filter(|_| !is_updater);
        let Some(value) = kept.or(default) else {
            let complaint = if is_updater {
                format!("Could not query value of {name}: attribute does not exist")
            } else {
                "crm_attribute: Error performing operation: No such device or address".to_owned()
            };
            return Outcome::fails(NO_SUCH, complaint);
        };
        let mut printed = String::new();
        // A String takes all that is written to it.
        let _ = if is_quiet {
            writeln!(printed, "{value}")
        } else if is_updater {
            writeln!(
                printed,
                "name=\"{name}\" host=\"{}\" value=\"{value}\"",
                self.node
            )
        } else {
            writeln!(printed, "scope=status  name={name} value={value}")
        };
        Outcome::says(printed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `line`, split at blanks.
    fn call(folder: &Path, line: &str) -> (i32, String) {
        let mut words = line.split_whitespace().map(str::to_owned);
        let name = words.next().unwrap();
        let tool = Tool {
            name: NAMES.iter().find(|tool| **tool == name).unwrap(),
            node: "db1".into(),
            instance: "g.r:0".into(),
            attributes: folder.join("g.attributes"),
        };
        let outcome = tool.run(&words.collect::<Vec<_>>());
        (outcome.code, outcome.printed)
    }

    #[test]
    fn attributes_are_kept_asked_for_and_deleted_in_all_the_ways_agents_do() {
        let folder = tempfile::tempdir().unwrap();
        let good = |line: &str, printed: &str| {
            assert_eq!(call(folder.path(), line), (0, printed.to_owned()), "{line}");
        };
        good("crm_master -Q -v 100 -l reboot", "");
        good("crm_master -l reboot -G -q", "100\n");
        good("crm_attribute -p -G", "scope=status  name=master-g.r value=100\n");
        good("crm_attribute --promotion=g.r --update=-INFINITY", "");
        good("crm_attribute -pg.r -Gq", "-INFINITY\n");
        good("crm_attribute -N db1 -l reboot --name a-b --update x", "");
        good("crm_attribute -N db1 -n a-b -G --quiet", "x\n");
        good(
            "attrd_updater -n a-b -Q",
            "name=\"a-b\" host=\"db1\" value=\"x\"\n",
        );
        good("attrd_updater -n a-b -U 7 -d 5", "");
        good("attrd_updater --query --name=a-b --quiet", "7\n");
        good("crm_attribute -n none -G -q -d 3", "3\n");
        good("crm_master -l reboot -D", "");
        assert_eq!(call(folder.path(), "crm_master -G -q").0, NO_SUCH);
        good("attrd_updater -D -n a-b", "");
        assert_eq!(call(folder.path(), "attrd_updater -Q -n a-b").0, NO_SUCH);
    }

    #[test]
    fn other_nodes_are_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let code = |line: &str| call(folder.path(), line).0;
        assert_eq!(code("crm_attribute -N db2 -n x -v 1"), DISCONNECTED);
        assert_eq!(code("crm_attribute -N db2 -n x -G"), NO_SUCH);
        assert_eq!(code("crm_attribute -v 1"), USAGE);
        assert_eq!(call(folder.path(), "crm_node -n"), (0, "db1\n".to_owned()));
        assert_eq!(code("crm_node"), USAGE);
    }
}

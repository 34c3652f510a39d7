//! A bug to put back: a patch, and the lines before its diff that say what it is about.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// A bug to put back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bug {
    /// The patch's file name without its ending.
    pub name: String,
    /// The patch.
    pub patch: PathBuf,
    /// What the code no longer does, one sentence.
    pub drops: String,
    /// Promises of which one must be reported as broken: `S1`, …, `L1`, or `assertion` for one of the core's own.
    pub breaks: Vec<String>,
    /// Who has to catch it.
    pub catcher: Catcher,
}

/// Who has to catch a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Catcher {
    /// The simulator, within this many seeds. The one that was seen to catch it is tried first; but each change of the
    /// core or the simulator changes what a seed does.
    Sim { seen: u64, within: u64 },
    /// The simulator, with the schedule in the file of the patch's name and the ending `txt`: faults laid in wait for the
    /// very moments in which the bug shows, so that it is found whatever else changes.
    Schedule,
    /// The model checker, in the configuration of this name, with the options that stand behind it.
    Model(String),
    /// A unit test: neither of the two gets to where this bug shows, because another rule stands in between, or none of it is
    /// in the core.
    Unit {
        /// Of this package: the core, unless the patch is about the disks.
        package: &'static str,
        /// The test.
        test: String,
    },
}

/// The bugs in `dir`: all of them, or those named.
pub fn bugs(dir: &Path, names: &[String]) -> Result<Vec<Bug>> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut patches: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    patches.retain(|path| path.extension().is_some_and(|end| end == "patch"));
    patches.sort();
    let mut bugs = Vec::new();
    for patch in patches {
        let text = fs::read_to_string(&patch)?;
        let stem = patch.file_stem().unwrap_or_default();
        let name = stem.to_string_lossy().into_owned();
        bugs.push(read(&name, &text, patch.clone()).with_context(|| patch.display().to_string())?);
    }
    ensure!(!bugs.is_empty(), "{} holds no patches", dir.display());
    for wanted in names {
        ensure!(
            bugs.iter().any(|bug| bug.name.starts_with(wanted.as_str())),
            "no bug is called {wanted}; `cargo xtask sabotage --list` names them"
        );
    }
    bugs.retain(|bug| names.is_empty() || names.iter().any(|wanted| bug.name.starts_with(wanted.as_str())));
    Ok(bugs)
}

/// The bug that the patch file `text` describes.
fn read(name: &str, text: &str, patch: PathBuf) -> Result<Bug> {
    let field = |key: &str| {
        let head = text.lines().take_while(|line| line.starts_with('#'));
        head.filter_map(|line| line.trim_start_matches('#').trim().strip_prefix(key))
            .map(|value| value.trim().to_string())
            .next()
            .with_context(|| format!("the lines before the diff have no `# {key} ...`"))
    };
    Ok(Bug {
        name: name.to_string(),
        patch,
        drops: field("drops:")?,
        breaks: field("breaks:")?
            .split(',')
            .map(|promise| promise.trim().to_string())
            .collect(),
        catcher: catcher(&field("caught by:")?)?,
    })
}

/// Reads `sim, seed 36, within 4000`, `schedule`, `model pair`, `unit node::tests::pair::a_name` and `unit-of-sbd a_name`.
fn catcher(text: &str) -> Result<Catcher> {
    if text == "schedule" {
        return Ok(Catcher::Schedule);
    }
    for (word, package) in [("unit ", "holdfast-core"), ("unit-of-sbd ", "holdfast-sbd")] {
        if let Some(test) = text.strip_prefix(word) {
            let test = test.trim().to_string();
            return Ok(Catcher::Unit { package, test });
        }
    }
    if let Some(configuration) = text.strip_prefix("model ") {
        return Ok(Catcher::Model(configuration.trim().to_string()));
    }
    let numbers: Vec<u64> = text
        .split(|letter: char| !letter.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    match (text.starts_with("sim, "), numbers.as_slice()) {
        (true, [seen, within]) => Ok(Catcher::Sim {
            seen: *seen,
            within: *within,
        }),
        _ => {
            bail!(
                "`# caught by: {text}` is none of `sim, seed N, within N`, `schedule`, `model NAME`, `unit TEST`, `unit-of-sbd TEST`"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# A promise is answered first.\n# drops: fsync\n# breaks: S2, S3\n";

    #[test]
    fn what_a_bug_is_about_stands_before_the_diff() {
        let text = format!("{HEAD}# caught by: sim, seed 12, within 400\n\n--- a/x\n+++ b/x\n");
        let bug = read("early", &text, PathBuf::new()).unwrap();
        assert_eq!(bug.breaks, ["S2", "S3"]);
        assert_eq!(
            bug.catcher,
            Catcher::Sim {
                seen: 12,
                within: 400
            }
        );
        let text = format!("{HEAD}# caught by: model pair\n");
        let bug = read("early", &text, PathBuf::new()).unwrap();
        assert_eq!(bug.catcher, Catcher::Model("pair".into()));
        let text = format!("{HEAD}# caught by: unit proof::tests::a_name\n");
        let bug = read("early", &text, PathBuf::new()).unwrap();
        let of = |package, test: &str| Catcher::Unit {
            package,
            test: test.into(),
        };
        assert_eq!(bug.catcher, of("holdfast-core", "proof::tests::a_name"));
        assert_eq!(
            catcher("unit-of-sbd register::a_name").expect("a catcher"),
            of("holdfast-sbd", "register::a_name")
        );
    }

    #[test]
    fn a_patch_that_does_not_say_who_catches_it_is_refused() {
        let error = read(
            "early",
            &format!("{HEAD}--- a/x\n# caught by: sim, seed 1, within 2\n"),
            PathBuf::new(),
        );
        assert!(error.unwrap_err().to_string().contains("# caught by:"));
        let error = read("early", &format!("{HEAD}# caught by: luck\n"), PathBuf::new());
        assert!(error.unwrap_err().to_string().contains("luck"));
    }
}

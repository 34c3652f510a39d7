//! `cargo xtask sabotage`: bugs that are put back on purpose, each of which the simulator must catch.
//!
//! A bug is a patch in `tests/sim/sabotage`. Before its diff stand two lines: `# seed: N`, the seed that catches it,
//! and `# caught by: S2`, the promise that it breaks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::run;
use crate::tally::Tally;

/// How long one build and one run may take.
const LIMIT: Duration = Duration::from_secs(600);
/// Seeds that are run when the named one does not catch its bug.
const SEARCHED: u64 = 4000;

/// A bug to put back.
#[derive(Debug, PartialEq, Eq)]
struct Bug {
    name: String,
    patch: PathBuf,
    seed: u64,
    promise: String,
}

/// Puts every bug back, one at a time, and tells whether each is caught.
pub fn check() -> Result<Tally> {
    let bugs = bugs(&run::root().join("tests/sim/sabotage"))?;
    let bench = Workbench::make()?;
    let mut tally = Tally::default();
    for bug in &bugs {
        let outcome = bench.try_out(bug);
        tally += Tally::one(outcome.is_ok());
        match outcome {
            Ok((seed, said)) => println!("caught: {} by seed {seed} ({said})", bug.name),
            Err(error) => println!("FAILED: {}: {error:#}", bug.name),
        }
    }
    Ok(tally)
}

fn bugs(dir: &Path) -> Result<Vec<Bug>> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut patches: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    patches.retain(|path| path.extension().is_some_and(|end| end == "patch"));
    patches.sort();
    ensure!(!patches.is_empty(), "{} holds no patches", dir.display());
    patches
        .into_iter()
        .map(|patch| {
            let text = fs::read_to_string(&patch)?;
            let name = patch
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            read(&name, &text, patch.clone()).with_context(|| patch.display().to_string())
        })
        .collect()
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
    let seed = field("seed:")?;
    Ok(Bug {
        name: name.to_string(),
        patch,
        seed: seed
            .parse()
            .with_context(|| format!("the seed '{seed}' is no number"))?,
        promise: field("caught by:")?,
    })
}

/// A copy of the workspace to do harm to; gone when dropped. What was built of it stays, for the next time.
struct Workbench {
    dir: PathBuf,
    built: PathBuf,
    files: Vec<String>,
}

impl Workbench {
    fn make() -> Result<Workbench> {
        let target = run::root().join("target");
        let listed = run::output(Command::new("git").current_dir(run::root()).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        let files = listed
            .split('\0')
            .filter(|file| !file.is_empty())
            .map(str::to_string)
            .collect();
        // The same folder each time: cargo knows what it built by its path.
        let bench = Workbench {
            dir: target.join("sabotage-source"),
            built: target.join("sabotage"),
            files,
        };
        if bench.dir.exists() {
            fs::remove_dir_all(&bench.dir)?;
        }
        for file in &bench.files {
            bench.restore(file)?;
        }
        Ok(bench)
    }

    /// Brings `file` back to what it is in the workspace. It counts as new, so that cargo builds it again.
    fn restore(&self, file: &str) -> Result<()> {
        let (from, to) = (run::root().join(file), self.dir.join(file));
        // Listed but gone: deleted in the working tree.
        if !from.exists() {
            return Ok(());
        }
        fs::create_dir_all(to.parent().context("a file needs a folder")?)?;
        let bytes = fs::read(&from).with_context(|| from.display().to_string())?;
        fs::write(&to, bytes).with_context(|| to.display().to_string())
    }

    /// Puts `bug` in, runs its seed, takes it out again; the seed, and what the simulator said of the broken promise.
    fn try_out(&self, bug: &Bug) -> Result<(u64, String)> {
        let harmed = self.git_apply(&["--numstat"], &bug.patch)?;
        self.git_apply(&[], &bug.patch)
            .context("the patch does not fit the code any more: make it anew")?;
        let outcome = self.caught(bug);
        for line in harmed.lines() {
            let file = line.rsplit('\t').next().unwrap_or_default();
            self.restore(file)?;
        }
        outcome
    }

    fn git_apply(&self, options: &[&str], patch: &Path) -> Result<String> {
        let mut command = Command::new("git");
        command
            .current_dir(&self.dir)
            .arg("apply")
            .args(options)
            .arg(patch);
        // Otherwise git finds the repository around and skips what is not part of it.
        command.env("GIT_CEILING_DIRECTORIES", run::root().join("target"));
        run::output(&mut command)
    }

    /// Builds with the bug and looks for a seed that catches it: the named one, or, because each change of the core or the
    /// simulator changes what a seed does, the first of many.
    fn caught(&self, bug: &Bug) -> Result<(u64, String)> {
        let build = ["build", "--quiet", "--release", "--package=holdfast-sim"];
        run::done(self.cargo().args(build)).context("with the bug it does not build")?;
        if let Some(said) = self.simulate(bug.seed, 1, &bug.promise)? {
            return Ok(said);
        }
        println!(
            "{}: seed {} does not catch it any more; looking for another",
            bug.name, bug.seed
        );
        match self.simulate(1, SEARCHED, &bug.promise)? {
            Some(said) => Ok(said),
            None => bail!("none of {SEARCHED} seeds breaks {}", bug.promise),
        }
    }

    /// Runs `count` seeds from `first`; the first that breaks `promise`, and what the simulator said of it.
    fn simulate(&self, first: u64, count: u64, promise: &str) -> Result<Option<(u64, String)>> {
        let mut command = Command::new(self.built.join("release/holdfast-sim"));
        command.args(["--seeds", &count.to_string(), "--seed", &first.to_string()]);
        let ended = run::bounded(command.stderr(Stdio::inherit()), LIMIT, |_| {})?;
        Ok(ended.stdout.lines().find_map(|line| breaks(line, promise)))
    }

    fn cargo(&self) -> Command {
        let mut command = run::cargo(&[]);
        command
            .current_dir(&self.dir)
            .env("CARGO_TARGET_DIR", &self.built);
        command
    }
}

impl Drop for Workbench {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("xtask: {} stays behind: {error}", self.dir.display());
        }
    }
}

/// The seed and the words of a line such as `seed 12: S1: g0 runs on [node1, node2]`, if it is about `promise`.
fn breaks(line: &str, promise: &str) -> Option<(u64, String)> {
    let (seed, said) = line.strip_prefix("seed ")?.split_once(": ")?;
    said.starts_with(promise)
        .then(|| Some((seed.parse().ok()?, said.to_string())))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_and_the_promise_stand_before_the_diff() {
        let text = "# A promise is answered first.\n# seed: 123\n# caught by: S2\n\n--- a/x\n+++ b/x\n";
        let bug = read("early", text, PathBuf::new()).unwrap();
        assert_eq!((bug.seed, bug.promise.as_str()), (123, "S2"));
    }

    #[test]
    fn the_line_of_a_broken_promise_names_its_seed() {
        let line = "seed 12: S1: g0 runs on [node1, node2]";
        assert_eq!(
            breaks(line, "S1"),
            Some((12, "S1: g0 runs on [node1, node2]".into()))
        );
        assert_eq!(breaks(line, "S3"), None);
        assert_eq!(breaks("12 seeds, 0 violations", "S1"), None);
    }

    #[test]
    fn a_patch_without_a_seed_is_refused() {
        let error = read("early", "# caught by: S2\n--- a/x\n# seed: 1\n", PathBuf::new()).unwrap_err();
        assert!(error.to_string().contains("# seed:"), "{error}");
    }
}

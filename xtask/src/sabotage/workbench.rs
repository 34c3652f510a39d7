//! A copy of the workspace to do harm to, outside the tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

use crate::run;

/// Where the copy and what is built of it stay for the next time, unless `HOLDFAST_SABOTAGE` names another folder.
const HOME: &str = "/var/tmp/holdfast-sabotage";

/// The copy. Only one run at a time may do harm to it.
pub struct Workbench {
    home: PathBuf,
    _alone: Flock<fs::File>,
}

impl Workbench {
    /// Brings copy `number` to what the workspace is now. Files that are the same stay as they are, so that cargo builds
    /// nothing anew for them.
    pub fn make(number: usize) -> Result<Workbench> {
        let home = std::env::var_os("HOLDFAST_SABOTAGE").map_or_else(|| PathBuf::from(HOME), PathBuf::from);
        let home = home.join(number.to_string());
        fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
        let lock = fs::File::create(home.join("lock")).with_context(|| home.display().to_string())?;
        let alone = Flock::lock(lock, FlockArg::LockExclusive)
            .map_err(|(_, error)| error)
            .with_context(|| format!("{} is in use", home.display()))?;
        let bench = Workbench { home, _alone: alone };
        bench.mirror()?;
        Ok(bench)
    }

    fn source(&self) -> PathBuf {
        self.home.join("source")
    }

    fn mirror(&self) -> Result<()> {
        let listed = run::output(Command::new("git").current_dir(run::root()).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        // Listed but gone: deleted in the working tree.
        let files: BTreeSet<PathBuf> = listed
            .split('\0')
            .filter(|file| !file.is_empty() && run::root().join(file).is_file())
            .map(PathBuf::from)
            .collect();
        for file in &files {
            self.restore(file)?;
        }
        let source = self.source();
        remove_all_but(&source, &source, &files)
    }

    /// Brings `file` back to what it is in the workspace.
    fn restore(&self, file: &Path) -> Result<()> {
        let (from, to) = (run::root().join(file), self.source().join(file));
        let bytes = fs::read(&from).with_context(|| from.display().to_string())?;
        if fs::read(&to).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        fs::create_dir_all(to.parent().context("a file needs a folder")?)?;
        fs::write(&to, bytes).with_context(|| to.display().to_string())
    }

    /// Puts `patch` in, builds what `made` says, takes the patch out again; the program, which stays until the next build.
    pub fn build(&self, patch: &Path, made: Made) -> Result<PathBuf> {
        let harmed = self.git_apply(&["--numstat"], patch)?;
        self.git_apply(&[], patch)
            .context("the patch does not fit the code any more: make it anew")?;
        let built = self.build_program(made);
        for line in harmed.lines() {
            let file = line.rsplit('\t').next().unwrap_or_default();
            self.restore(Path::new(file))?;
        }
        built.context("with the bug it does not build")
    }

    fn git_apply(&self, options: &[&str], patch: &Path) -> Result<String> {
        let mut command = Command::new("git");
        command
            .current_dir(self.source())
            .arg("apply")
            .args(options)
            .arg(patch);
        // Otherwise git may find a repository around and skip what is not part of it.
        command.env("GIT_CEILING_DIRECTORIES", &self.home);
        run::output(&mut command)
    }

    /// Optimised enough for thousands of seeds, and otherwise whatever makes the build of a changed core short: at level 2 it
    /// takes half as long again, and the simulator is no faster.
    fn build_program(&self, made: Made) -> Result<PathBuf> {
        let arguments: &[&str] = match made {
            Made::Program(package) => &["build", "--package", package],
            Made::Tests(package) => &["test", "--no-run", "--lib", "--package", package],
        };
        let mut command = run::cargo(arguments);
        command
            .args(["--quiet", "--release", "--message-format=json"])
            .current_dir(self.source())
            .env("CARGO_TARGET_DIR", self.home.join("target"))
            .env("CARGO_INCREMENTAL", "1")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        // What the compiler says stays in the JSON: a rule that is dropped leaves names that nobody uses.
        let said = run::output(&mut command)?;
        said.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|artifact| artifact["executable"].as_str().map(PathBuf::from))
            .next_back()
            .context("cargo named no program")
    }
}

/// What a bug is built into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// The program of this package.
    Program(&'static str),
    /// The unit tests of this package.
    Tests(&'static str),
}

/// Removes every file below `dir` that is not among `files` (named relative to `root`).
fn remove_all_but(root: &Path, dir: &Path, files: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            remove_all_but(root, &path, files)?;
            // Fails, as it should, while something is in it.
            let _ = fs::remove_dir(&path);
        } else if !path.strip_prefix(root).is_ok_and(|file| files.contains(file)) {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

//! The mutants: cargo-mutants says which there are.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// The version of cargo-mutants that is installed if there is none.
const VERSION: &str = "27.1.0";

/// Line and column, from 1, in characters.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// A piece of a source file; its end is the first position after it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Span {
    pub start: Position,
    pub end: Position,
}

/// What a mutant does to the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Genre {
    /// The body of a function is replaced by a value.
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    /// A field is taken from its struct's base expression instead.
    StructField,
}

/// One fault to put in: `replacement` in place of `span`.
#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    /// `file:line:column: what is done`.
    pub name: String,
    /// Relative to the workspace's root.
    pub file: String,
    pub genre: Genre,
    pub replacement: String,
    pub span: Span,
}

impl Mutant {
    /// What is done, without the place.
    pub fn what(&self) -> &str {
        self.name.split_once(": ").map_or(&*self.name, |(_, what)| what)
    }
}

/// The mutants of package holdfast-core in `files` (all if empty), as `.cargo/mutants.toml` in `root` selects them.
pub fn list(root: &Path, files: &[String]) -> Result<Vec<Mutant>> {
    install(root)?;
    let mut command = Command::new("cargo");
    command
        .current_dir(root)
        .args(["mutants", "--list", "--json", "--package", "holdfast-core"]);
    for file in files {
        command.args(["--file", file]);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "cargo mutants --list failed");
    let mutants: Vec<Mutant> =
        serde_json::from_slice(&output.stdout).context("cargo mutants --list printed something unknown")?;
    if mutants.is_empty() {
        bail!("no mutants in {}", files.join(", "));
    }
    Ok(mutants)
}

fn install(root: &Path) -> Result<()> {
    let there = Command::new("cargo")
        .args(["mutants", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?
        .success();
    if there {
        return Ok(());
    }
    eprintln!("installing cargo-mutants {VERSION}");
    let status = Command::new("cargo")
        .current_dir(root)
        .args(["install", "--locked", "cargo-mutants", "--version", VERSION])
        .status()?;
    ensure!(status.success(), "cargo-mutants could not be installed");
    Ok(())
}

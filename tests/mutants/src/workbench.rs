//! A copy of the workspace with every viable mutant in it, and its builds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::list::Mutant;
use crate::weave::weave;

/// Asks which mutant is awake. It goes into the copy of the core, nowhere else.
const AWAKE: &str = r#"//! Which mutant is awake.

use std::sync::OnceLock;

/// True for the mutant that the environment names.
pub(crate) fn on(id: u32) -> bool {
    static AWAKE: OnceLock<u32> = OnceLock::new();
    let named = || std::env::var("HOLDFAST_MUTANT").ok().and_then(|text| text.parse().ok());
    *AWAKE.get_or_init(|| named().unwrap_or(0)) == id
}
"#;

/// How often mutants that do not compile are taken out and the rest is tried again.
const ROUNDS: usize = 12;

/// The copy.
pub struct Workbench<'a> {
    root: &'a Path,
    dir: PathBuf,
    built: PathBuf,
    mutants: &'a [Mutant],
    /// Where in the copy's files each mutant stands.
    places: BTreeMap<String, Vec<(Range<usize>, usize)>>,
    /// Mutants that do not compile, with the reason.
    pub unviable: BTreeMap<usize, String>,
}

impl<'a> Workbench<'a> {
    /// Copies the workspace at `root` below `work` and weaves `mutants` in; mutant number 1 is the first.
    pub fn make(root: &'a Path, work: &Path, mutants: &'a [Mutant]) -> Result<Self> {
        let mut bench = Workbench {
            root,
            dir: work.join("source"),
            built: work.join("built"),
            mutants,
            places: BTreeMap::new(),
            unviable: BTreeMap::new(),
        };
        bench.copy()?;
        fs::write(bench.dir.join("core/src/mutant.rs"), AWAKE)?;
        let lib = bench.dir.join("core/src/lib.rs");
        let text = fs::read_to_string(&lib)?;
        fs::write(&lib, format!("{text}\nmod mutant;\n"))?;
        bench.weave_all()?;
        for round in 1.. {
            let found = bench.check()?;
            if found.is_empty() {
                break;
            }
            ensure!(
                round < ROUNDS,
                "mutants that do not compile were still found in round {round}"
            );
            eprintln!("{} mutants do not compile (round {round})", found.len());
            bench.unviable.extend(found);
            bench.weave_all()?;
        }
        Ok(bench)
    }

    fn copy(&self) -> Result<()> {
        let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let listed = Command::new("git").current_dir(self.root).args(args).output()?;
        ensure!(listed.status.success(), "git ls-files failed");
        let listed = String::from_utf8(listed.stdout).context("a file name is no text")?;
        if self.dir.exists() {
            fs::remove_dir_all(&self.dir)?;
        }
        for file in listed.split('\0').filter(|file| !file.is_empty()) {
            let (from, to) = (self.root.join(file), self.dir.join(file));
            if from.is_file() {
                fs::create_dir_all(to.parent().context("a file needs a folder")?)?;
                fs::copy(&from, &to).with_context(|| from.display().to_string())?;
            }
        }
        Ok(())
    }

    /// Writes every file with its viable mutants.
    fn weave_all(&mut self) -> Result<()> {
        let mut by_file: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
        for (index, mutant) in self.mutants.iter().enumerate() {
            let of_file = by_file.entry(&mutant.file).or_default();
            if !self.unviable.contains_key(&(index + 1)) {
                of_file.push((index + 1, mutant));
            }
        }
        for (file, mutants) in by_file {
            let source = fs::read_to_string(self.root.join(file))?;
            let woven = weave(&source, &mutants).with_context(|| file.to_string())?;
            fs::write(self.dir.join(file), woven.text)?;
            self.places.insert(file.into(), woven.places);
            let unplaced = woven.unplaced.into_iter();
            self.unviable
                .extend(unplaced.map(|(id, why)| (id, why.to_string())));
        }
        Ok(())
    }

    /// Mutants that the compiler does not take, each with what it says.
    fn check(&self) -> Result<BTreeMap<usize, String>> {
        let mut command = self.cargo();
        command.args([
            "check",
            "--package",
            "holdfast-core",
            "--lib",
            "--message-format=json",
        ]);
        let output = command.stderr(Stdio::null()).output()?;
        let mut found = BTreeMap::new();
        let mut unexplained = BTreeSet::new();
        for said in messages(&output.stdout).filter(|said| said.level == "error" && !said.spans.is_empty()) {
            let own = said.spans.iter().find_map(|span| self.mutant_at(span));
            match own.or_else(|| said.spans.iter().find_map(|span| self.mutant_before(span))) {
                Some(id) => {
                    found.entry(id).or_insert(said.message);
                }
                None => {
                    unexplained.insert(said.rendered.unwrap_or(said.message));
                }
            }
        }
        if found.is_empty() && !output.status.success() {
            let said: Vec<String> = unexplained.into_iter().collect();
            bail!("the copy does not compile:\n{}", said.join("\n"));
        }
        Ok(found)
    }

    fn mutant_at(&self, span: &Place) -> Option<usize> {
        let places = self.places.get(&span.file_name)?;
        let within =
            |place: &&(Range<usize>, usize)| place.0.start <= span.byte_start && span.byte_end <= place.0.end;
        places.iter().find(within).map(|(_, id)| *id)
    }

    /// The mutant that stands right before what the compiler complains about: `return X` in a function that returns
    /// `impl Trait` makes the rest of its body wrong.
    fn mutant_before(&self, span: &Place) -> Option<usize> {
        let places = self.places.get(&span.file_name)?;
        let before = places.iter().filter(|place| place.0.end <= span.byte_start);
        before.max_by_key(|place| place.0.end).map(|(_, id)| *id)
    }

    fn cargo(&self) -> Command {
        let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let mut command = Command::new(program);
        // A mutant may not be saved by a lint.
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        command
            .current_dir(&self.dir)
            .env("CARGO_TARGET_DIR", &self.built)
            .env("RUSTFLAGS", format!("{flags} --cap-lints=warn"))
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            // Built once and run a thousand times, but each run is short.
            .args(["--config", "profile.dev.package.holdfast-core.opt-level=1"]);
        command
    }

    /// Builds the unit tests of the core; the program.
    pub fn unit_tests(&self) -> Result<PathBuf> {
        self.build(
            &["test", "--package", "holdfast-core", "--lib", "--no-run"],
            "holdfast_core",
        )
    }

    /// Builds the program `bin` of `package` upon the core with mutants.
    pub fn program(&self, package: &str, bin: &str) -> Result<PathBuf> {
        self.build(&["build", "--package", package, "--bin", bin], bin)
    }

    fn build(&self, args: &[&str], name: &str) -> Result<PathBuf> {
        let mut command = self.cargo();
        command.args(args).arg("--message-format=json");
        let output = command.stderr(Stdio::null()).output()?;
        if !output.status.success() {
            let said = messages(&output.stdout).filter(|said| said.level == "error");
            let said: Vec<String> = said.filter_map(|said| said.rendered).collect();
            bail!("cargo {} failed:\n{}", args.join(" "), said.join("\n"));
        }
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let built = lines
            .lines()
            .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
            .filter(|built| built.target.name == name)
            .filter_map(|built| built.executable)
            .next_back();
        built.with_context(|| format!("cargo {} built no program {name}", args.join(" ")))
    }
}

#[derive(Deserialize)]
struct Said {
    message: String,
    level: String,
    spans: Vec<Place>,
    rendered: Option<String>,
}

#[derive(Deserialize)]
struct Place {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
}

#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// What the compiler said, from cargo's messages.
fn messages(stdout: &[u8]) -> impl Iterator<Item = Said> {
    #[derive(Deserialize)]
    struct Line {
        message: Said,
    }
    let text = String::from_utf8_lossy(stdout).into_owned();
    let lines: Vec<Said> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .map(|line| line.message)
        .collect();
    lines.into_iter()
}

//! The score: what became of every mutant, file by file, and why each survivor may live.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::list::Mutant;

/// What became of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It does not compile.
    Unviable,
    /// A program failed; the name of the stage.
    Caught(&'static str),
    /// A program did not end.
    Timeout,
    Survived,
}

/// Figures of one file, or of all.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    pub mutants: usize,
    pub unviable: usize,
    /// All that compile.
    pub viable: usize,
    /// By stage.
    pub caught: BTreeMap<&'static str, usize>,
    /// Caught as well: a program that does not end is noticed.
    pub timeouts: usize,
    pub survived: usize,
    /// Survivors for which `argued.toml` gives a reason.
    pub argued: usize,
    /// Share of the viable ones that did not survive.
    pub caught_percent: f64,
}

impl Figures {
    fn add(&mut self, fate: Fate, argued: bool) {
        self.mutants += 1;
        match fate {
            Fate::Unviable => self.unviable += 1,
            Fate::Caught(stage) => *self.caught.entry(stage).or_default() += 1,
            Fate::Timeout => self.timeouts += 1,
            Fate::Survived => {
                self.survived += 1;
                self.argued += usize::from(argued);
            }
        }
        self.viable = self.mutants - self.unviable;
        let dead = self.viable - self.survived;
        let share = 1000.0 * dead as f64 / self.viable.max(1) as f64;
        self.caught_percent = share.round() / 10.0;
    }
}

/// A survivor.
#[derive(Debug, Serialize)]
pub struct Survivor {
    pub mutant: String,
    /// The line of source it changes.
    pub line: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    pub total: Figures,
    pub files: BTreeMap<String, Figures>,
    pub survivors: Vec<Survivor>,
}

/// Why a survivor may live. It is known by what it does and to which line, so that code around it may move.
#[derive(Debug, Deserialize)]
struct Argued {
    file: String,
    what: String,
    line: String,
    why: String,
}

#[derive(Debug, Default, Deserialize)]
struct Arguments {
    #[serde(default)]
    survivor: Vec<Argued>,
}

impl Report {
    /// The report about `mutants`; `root` is the workspace's.
    pub fn of(root: &Path, mutants: &[Mutant], fates: &[Fate]) -> Result<Report> {
        let path = root.join("tests/mutants/argued.toml");
        let arguments: Arguments =
            toml::from_str(&fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
        let mut report = Report {
            total: Figures::default(),
            files: BTreeMap::new(),
            survivors: Vec::new(),
        };
        for (mutant, fate) in mutants.iter().zip(fates) {
            let mut argued = false;
            if *fate == Fate::Survived {
                let source = fs::read_to_string(root.join(&mutant.file))?;
                let line = source.lines().nth(mutant.span.start.line - 1).unwrap_or_default();
                let line = line.trim().to_string();
                let known = arguments.survivor.iter().find(|known| {
                    known.file == mutant.file && known.what == mutant.what() && known.line == line
                });
                let why = known.map(|known| known.why.clone());
                argued = why.is_some();
                let mutant = mutant.name.clone();
                report.survivors.push(Survivor { mutant, line, why });
            }
            report.total.add(*fate, argued);
            report
                .files
                .entry(mutant.file.clone())
                .or_default()
                .add(*fate, argued);
        }
        Ok(report)
    }

    /// For people.
    pub fn print(&self) {
        println!("| file | mutants | unviable | viable | caught | timeouts | survived | argued | caught % |");
        println!("|---|---|---|---|---|---|---|---|---|");
        let total = [("all".to_string(), &self.total)];
        let files = self.files.iter().map(|(file, figures)| (file.clone(), figures));
        for (file, figures) in files.chain(total) {
            let caught: Vec<String> = figures
                .caught
                .iter()
                .map(|(stage, count)| format!("{count} {stage}"))
                .collect();
            println!(
                "| {file} | {} | {} | {} | {} | {} | {} | {} | {:.1} |",
                figures.mutants,
                figures.unviable,
                figures.viable,
                caught.join(", "),
                figures.timeouts,
                figures.survived,
                figures.argued,
                figures.caught_percent
            );
        }
        for survivor in &self.survivors {
            println!("\nsurvived: {}\n    {}", survivor.mutant, survivor.line);
            match &survivor.why {
                Some(why) => println!("    argued: {why}"),
                None => println!(
                    "    NOT ARGUED: kill it with a test, or say why it may live in tests/mutants/argued.toml"
                ),
            }
        }
    }
}

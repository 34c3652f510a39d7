//! Runs every case under both executors and compares.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::cases::{CASES, Case};
use crate::inside::{Executor, Step};

/// What came of one case.
struct Outcome {
    case: &'static Case,
    ran: Result<(Vec<Step>, Vec<Step>)>,
}

/// Runs the cases whose name contains `only`.
pub fn run(only: Option<&str>, markdown: bool, verbose: bool) -> Result<ExitCode> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "agents run as root in namespaces: run this as root"
    );
    let mut outcomes = Vec::new();
    for case in CASES {
        if only.is_some_and(|only| !case.name.contains(only)) {
            continue;
        }
        if let Some(missing) = missing(case) {
            println!("{}: skipped, {missing} is missing", case.name);
            continue;
        }
        let ran = both(case);
        if verbose {
            show(case, &ran);
        }
        let outcome = Outcome { case, ran };
        println!("{}", outcome.line(markdown));
        outcomes.push(outcome);
    }
    let same = outcomes.iter().filter(|outcome| outcome.is_same()).count();
    println!("\n{same} of {} the same", outcomes.len());
    Ok(if same == outcomes.len() && same > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A program that the case needs and that is not here.
fn missing(case: &Case) -> Option<&'static str> {
    let folders = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let is_here = |name: &str| {
        folders
            .split(':')
            .any(|folder| Path::new(folder).join(name).exists())
    };
    case.needs.iter().copied().find(|name| !is_here(name))
}

fn both(case: &'static Case) -> Result<(Vec<Step>, Vec<Step>)> {
    Ok((
        one(case, Executor::Pacemaker).context("under Pacemaker")?,
        one(case, Executor::Holdfast).context("under Holdfast")?,
    ))
}

/// One run. Everything that it begins ends with its namespace.
fn one(case: &Case, executor: Executor) -> Result<Vec<Step>> {
    let word = match executor {
        Executor::Holdfast => "holdfast",
        Executor::Pacemaker => "pacemaker",
    };
    let out = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--ipc",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
        ])
        // The shell waits for all orphans, as the first process of a machine does: agents take a zombie for alive.
        .args(["sh", "-c", "\"$@\"; exit $?", "sh"])
        .arg(std::env::current_exe()?)
        .args(["--case", case.name, "--executor", word])
        .env("RUST_BACKTRACE", "0")
        .stdin(std::process::Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "{}", said.trim());
    let text = String::from_utf8_lossy(&out.stdout);
    serde_json::from_str(text.lines().last().unwrap_or_default()).context("its steps")
}

fn codes(steps: &[Step]) -> Vec<String> {
    let acted = steps
        .iter()
        .filter(|step| !step.name.starts_with("state") && step.name != "noticed");
    acted
        .map(|step| step.code.map_or("?".to_owned(), |code| code.to_string()))
        .collect()
}

fn states(steps: &[Step]) -> Vec<&str> {
    let seen = steps.iter().filter(|step| step.name.starts_with("state"));
    seen.map(|step| step.text.as_str()).collect()
}

impl Outcome {
    /// The same exit codes and states under both; a start that works, and a failure that is noticed.
    fn is_same(&self) -> bool {
        let Ok((theirs, ours)) = &self.ran else {
            return false;
        };
        let started = ours
            .iter()
            .any(|step| step.name == "start" && step.code == Some(0));
        let noticed = ours.iter().all(|step| {
            step.name != "noticed" || self.case.breaks.is_empty() || !step.text.starts_with("not noticed")
        });
        codes(theirs) == codes(ours) && states(theirs) == states(ours) && started && noticed
    }

    fn line(&self, markdown: bool) -> String {
        let verdict = if self.is_same() { "same" } else { "DIFFERENT" };
        match &self.ran {
            Err(error) => format!("{}: not run: {error:#}", self.case.name),
            Ok((theirs, ours)) => {
                let (theirs, ours) = (codes(theirs).join(" "), codes(ours).join(" "));
                if markdown {
                    format!("| `{}` | {theirs} | {ours} | {verdict} |", self.case.name)
                } else {
                    format!("{:28} {theirs:24} {ours:24} {verdict}", self.case.name)
                }
            }
        }
    }
}

fn show(case: &Case, ran: &Result<(Vec<Step>, Vec<Step>)>) {
    println!("== {}", case.name);
    let Ok((theirs, ours)) = ran else { return };
    for (who, steps) in [("pacemaker", theirs), ("holdfast", ours)] {
        for step in steps {
            let code = step.code.map_or("-".to_owned(), |code| code.to_string());
            println!(
                "  {who:10} {:18} {code:4} {}",
                step.name,
                step.text.replace('\n', " | ")
            );
        }
    }
}

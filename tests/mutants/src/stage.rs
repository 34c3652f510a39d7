//! A stage: a program that is run once per mutant and has to fail.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// What a mutant may take in memory: one that never stops must not take the machine's. In KiB.
const MEMORY_KIB: u64 = 4 << 20;

/// A program that is run once per mutant.
pub struct Stage {
    pub name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    limit: Duration,
    /// Exit codes that mean a failure; any but 0 if empty.
    failures: &'static [i32],
}

/// What became of a mutant in a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The program failed.
    Caught,
    /// The program did not end.
    Timeout,
    Survived,
}

impl Stage {
    /// Runs the program without a mutant first: it has to succeed, and its time sets the limit for the others.
    pub fn new(
        name: &'static str,
        program: PathBuf,
        args: &[&str],
        failures: &'static [i32],
    ) -> Result<Stage> {
        let mut stage = Stage {
            name,
            program,
            args: args.iter().map(ToString::to_string).collect(),
            limit: Duration::from_secs(600),
            failures,
        };
        let began = Instant::now();
        let outcome = stage.run(0)?;
        ensure!(
            outcome == Outcome::Survived,
            "{name}: {outcome:?} without any mutant"
        );
        let took = began.elapsed();
        eprintln!("{name}: {:.1} s without a mutant", took.as_secs_f64());
        stage.limit = took * 6 + Duration::from_secs(4);
        Ok(stage)
    }

    /// Runs the program with mutant `id` awake.
    pub fn run(&self, id: usize) -> Result<Outcome> {
        let mut child = Command::new("sh")
            .args(["-c", &format!("ulimit -v {MEMORY_KIB}; exec \"$@\""), "sh"])
            .arg(&self.program)
            .args(&self.args)
            .env("HOLDFAST_MUTANT", id.to_string())
            // Lets the stable test harness end at the first failure.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let deadline = Instant::now() + self.limit;
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait()? {
                let fails = match status.code() {
                    Some(0) => false,
                    code => {
                        self.failures.is_empty() || code.is_some_and(|code| self.failures.contains(&code))
                    }
                };
                return Ok(if fails { Outcome::Caught } else { Outcome::Survived });
            }
            if Instant::now() >= deadline {
                child.kill()?;
                child.wait()?;
                // A program that says how it fails may also just have had too much to do.
                let noticed = self.failures.is_empty();
                return Ok(if noticed {
                    Outcome::Timeout
                } else {
                    Outcome::Survived
                });
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }
}

//! `cargo xtask fuzz`: builds the fuzz targets of `fuzz/` with the stable compiler and runs them.
//!
//! The folder is laid out for cargo-fuzz (`cargo fuzz run --sanitizer none TARGET` works), and this passes the compiler
//! the flags that cargo-fuzz passes. So nothing has to be installed but a C++ compiler, for libFuzzer itself.

mod finding;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::tally::Tally;
use crate::{packages, run};
use finding::Finding;

/// What is built, tried and found stays here, outside the tree: the corpus in the tree is a small, chosen one.
const HOME: &str = "/var/tmp/holdfast-fuzz";
/// Executions of each target in `cargo xtask test`: a number and a fixed seed, so that the same commit gives the same
/// verdict. What is new is found by runs that go on for a time.
const TIER_RUNS: u64 = 4_000;
/// Longest time for them.
const TIER_SECONDS: u64 = 60;
/// A target that takes longer for one input hangs.
const INPUT_SECONDS: u64 = 20;
/// Memory of one target.
const MEMORY_MB: u64 = 1024;

/// What cargo-fuzz passes for `--sanitizer none`: coverage by LLVM's own pass, which needs no nightly compiler.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cdebug-assertions",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-sanitizer-coverage-stack-depth",
];

/// Options of the command.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  cargo xtask fuzz                                all targets, 10 s each\n  \
    cargo xtask fuzz --target config --seconds 600  one target, longer\n  \
    cargo xtask fuzz --minimise                     take what was found into the corpus, as little as covers the same\n  \
    cargo xtask fuzz --seeds                        write the seeds anew after a change of a format"
)]
pub struct Options {
    /// Time for each target, in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Only these targets; may be given several times.
    #[arg(long = "target", value_name = "TARGET")]
    targets: Vec<String>,
    /// Targets that run at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Write a JSON document: {"targets": [{"target", "seconds", "executions", "edges", …}], "crashes"}.
    #[arg(long)]
    json: bool,
    /// Write the seeds of all targets into the corpus, and do nothing else.
    #[arg(long)]
    seeds: bool,
    /// Reduce the corpus together with what was found to the inputs that cover something, and do nothing else.
    #[arg(long)]
    minimise: bool,
}

/// Runs the command; 1 if something crashed.
pub fn command(options: &Options) -> Result<u8> {
    if options.seeds {
        return seeds();
    }
    let programs = build(&options.targets)?;
    if options.minimise {
        for (target, program) in &programs {
            minimise(target, program)?;
        }
        return Ok(0);
    }
    let findings = all(
        &programs,
        Effort::Seconds(options.seconds),
        options.jobs.max(1),
        !options.json,
    );
    let crashes = findings.iter().filter(|finding| finding.crash.is_some()).count();
    if options.json {
        let targets: Vec<_> = findings.iter().map(Finding::json).collect();
        println!(
            "{}",
            serde_json::json!({ "targets": targets, "crashes": crashes })
        );
    } else {
        println!("{} targets, {crashes} crashes", findings.len());
    }
    Ok(u8::from(crashes > 0))
}

/// How long a target runs.
#[derive(Clone, Copy)]
enum Effort {
    /// For a time, with whatever earlier runs found.
    Seconds(u64),
    /// So many executions of what follows from the corpus of the repository and a fixed seed.
    Runs(u64),
}

/// The tier of `cargo xtask test`: each target for a few thousand executions, the same in each run.
pub fn tier() -> Result<Tally> {
    let programs = build(&[])?;
    let mut tally = Tally::default();
    for finding in all(&programs, Effort::Runs(TIER_RUNS), 2, true) {
        tally += Tally::one(finding.crash.is_none());
    }
    Ok(tally)
}

fn folder() -> PathBuf {
    run::root().join("fuzz")
}

/// Cargo in the folder of the targets, with `flags` for the compiler.
fn cargo(args: &[&str], flags: &[&str], built: &str) -> Command {
    let mut command = run::cargo(args);
    command
        .current_dir(folder())
        .env("CARGO_TARGET_DIR", Path::new(HOME).join(built))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    command
}

/// Builds the targets named, or all of them; their names and programs.
fn build(wanted: &[String]) -> Result<Vec<(String, PathBuf)>> {
    packages::ensure(packages::FUZZ)?;
    let known = names()?;
    for target in wanted {
        ensure!(
            known.contains(target),
            "there is no target {target}; there are: {}",
            known.join(", ")
        );
    }
    let host = host()?;
    // With a target given, the flags are not for build scripts and macros, which run without libFuzzer.
    let mut args = vec!["build", "--quiet", "--release", "--locked", "--target", &host];
    if wanted.is_empty() {
        args.push("--bins");
    }
    for target in wanted {
        args.extend(["--bin", target]);
    }
    run::done(&mut cargo(&args, &FLAGS, "target"))?;
    let chosen = if wanted.is_empty() { known } else { wanted.to_vec() };
    let built = Path::new(HOME).join("target").join(&host).join("release");
    Ok(chosen
        .into_iter()
        .map(|name| (name.clone(), built.join(name)))
        .collect())
}

/// Names of all targets.
fn names() -> Result<Vec<String>> {
    let sources = fs::read_dir(folder().join("fuzz_targets")).context("fuzz/fuzz_targets")?;
    let mut names = Vec::new();
    for source in sources {
        let path = source?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// The machine that the compiler builds for.
fn host() -> Result<String> {
    let text = run::output(Command::new("rustc").current_dir(run::root()).arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not tell its host")?.to_string())
}

/// Writes the seeds into the corpus.
fn seeds() -> Result<u8> {
    let corpus = folder().join("corpus");
    // Not a fuzz target: built without the fuzzer's flags, which need its runtime.
    let args = ["run", "--quiet", "--locked", "--example", "seeds", "--"];
    run::done(cargo(&args, &FLAGS[..1], "plain").arg(corpus))?;
    Ok(0)
}

/// Runs all `programs`, `jobs` at a time; what was found, in their order.
fn all(programs: &[(String, PathBuf)], effort: Effort, jobs: usize, tell: bool) -> Vec<Finding> {
    let queue: Mutex<VecDeque<_>> = Mutex::new(programs.iter().collect());
    let findings = Mutex::new(Vec::new());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some((target, program)) = next() {
                    let finding = one(target, program, effort)
                        .unwrap_or_else(|error| Finding::failed(target, format!("{error:#}")));
                    if tell {
                        println!("{finding}");
                    }
                    findings
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(finding);
                }
            });
        }
    });
    let mut findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    findings.sort_by(|left, right| left.target.cmp(&right.target));
    findings
}

/// Runs one target. What it tries and finds new goes to its folder in [`HOME`].
fn one(target: &str, program: &Path, effort: Effort) -> Result<Finding> {
    let found = Path::new(HOME).join("found");
    let (work, args) = match effort {
        Effort::Seconds(seconds) => (found.join(target), vec![format!("-max_total_time={seconds}")]),
        Effort::Runs(runs) => {
            let work = found.join(format!("tier-{target}"));
            let _ = fs::remove_dir_all(&work);
            let args = [
                format!("-runs={runs}"),
                "-seed=1".into(),
                format!("-max_total_time={TIER_SECONDS}"),
            ];
            (work, args.into())
        }
    };
    let begun = Instant::now();
    fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    let log = Path::new(HOME).join("found").join(format!("{target}.log"));
    let mut command = Command::new(program);
    command
        .current_dir(folder())
        .args(args)
        .args(limits(target))
        .args(["-print_final_stats=1", "-len_control=0"])
        .arg(&work)
        .arg(folder().join("corpus").join(target))
        .stderr(File::create(&log).with_context(|| log.display().to_string())?)
        .stdout(Stdio::null());
    // It ends by itself, after the corpus was read and the time is over; this is for one that does not.
    let limit = match effort {
        Effort::Seconds(seconds) => seconds,
        Effort::Runs(_) => TIER_SECONDS,
    };
    let ended = run::bounded(&mut command, Duration::from_secs(limit + 120), |_| {})?;
    let said = fs::read(&log).with_context(|| log.display().to_string())?;
    Ok(Finding::read(
        target,
        begun.elapsed().as_secs(),
        ended.success,
        &String::from_utf8_lossy(&said),
        &log,
    ))
}

fn limits(target: &str) -> [OsString; 3] {
    [
        format!("-timeout={INPUT_SECONDS}").into(),
        format!("-rss_limit_mb={MEMORY_MB}").into(),
        format!("-artifact_prefix={HOME}/found/{target}-").into(),
    ]
}

/// Replaces the corpus of a target by the fewest inputs that cover what it and the findings cover.
fn minimise(target: &str, program: &Path) -> Result<()> {
    let (corpus, found) = (
        folder().join("corpus").join(target),
        Path::new(HOME).join("found").join(target),
    );
    let chosen = Path::new(HOME).join("chosen").join(target);
    if chosen.exists() {
        fs::remove_dir_all(&chosen)?;
    }
    fs::create_dir_all(&chosen)?;
    let mut command = Command::new(program);
    command
        .args(["-merge=1"])
        .args(limits(target))
        .arg(&chosen)
        .arg(&corpus);
    if found.exists() {
        command.arg(&found);
    }
    run::done(command.stderr(Stdio::null()).stdout(Stdio::null()))?;
    let inputs: Vec<PathBuf> = fs::read_dir(&chosen)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    if inputs.is_empty() {
        bail!("nothing of the corpus of {target} covers anything");
    }
    fs::remove_dir_all(&corpus)?;
    fs::create_dir_all(&corpus)?;
    for input in &inputs {
        fs::copy(
            input,
            corpus.join(input.file_name().context("an input has a name")?),
        )?;
    }
    println!("{target}: {} inputs", inputs.len());
    Ok(())
}

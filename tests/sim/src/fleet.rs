//! Many seeds at once: one worker per processor, each with the next seed when it has done one.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::coverage::Coverage;
use crate::run::run_schedule;
use crate::schedule::Schedule;
use crate::world::Recoveries;

/// What many seeds gave.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The seeds that broke a promise, in order, and which.
    pub failures: Vec<(u64, String)>,
    /// Virtual time that passed in all of them.
    pub virtual_us: u64,
    /// The worst recoveries.
    pub recoveries: Recoveries,
    /// The named situations that they reached.
    pub coverage: Coverage,
}

impl Outcome {
    fn merge(mut self, other: Outcome) -> Outcome {
        self.failures.extend(other.failures);
        self.virtual_us += other.virtual_us;
        self.recoveries = self.recoveries.worst(other.recoveries);
        self.coverage.merge(&other.coverage);
        self
    }
}

/// Tells whoever waits how far it is.
struct Progress {
    seeds: Range<u64>,
    loud: bool,
    told_at: Mutex<Instant>,
}

const TELL_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    fn done(&self, seed: u64, broken: Option<&str>) {
        if !self.loud {
            return;
        }
        if let Some(broken) = broken {
            eprintln!("seed {seed}: {broken}");
        }
        let Ok(mut told_at) = self.told_at.lock() else {
            return;
        };
        if told_at.elapsed() >= TELL_EVERY {
            *told_at = Instant::now();
            let (done, all) = (seed - self.seeds.start, self.seeds.end - self.seeds.start);
            eprintln!("{done} of {all} seeds");
        }
    }
}

/// Runs all `seeds` on all processors, each by the schedule that `draw` gives; `loud` tells on standard error how far it is
/// and which seeds failed.
#[must_use]
pub fn run_seeds(seeds: Range<u64>, draw: fn(u64) -> Schedule, loud: bool) -> Outcome {
    let progress = Progress {
        seeds: seeds.clone(),
        loud,
        told_at: Mutex::new(Instant::now()),
    };
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| work(&next, seeds.end, draw, &progress)))
            .collect();
        let done = workers.into_iter().filter_map(|worker| worker.join().ok());
        done.fold(Outcome::default(), Outcome::merge)
    });
    all.failures.sort();
    all
}

fn work(next: &AtomicU64, end: u64, draw: fn(u64) -> Schedule, progress: &Progress) -> Outcome {
    let mut outcome = Outcome::default();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return outcome;
        }
        let run = run_schedule(&draw(seed), false);
        outcome.virtual_us += run.virtual_us();
        outcome.recoveries = outcome.recoveries.worst(run.recoveries());
        outcome.coverage.merge(run.coverage());
        progress.done(seed, run.broken.as_deref());
        outcome.failures.extend(run.broken.map(|broken| (seed, broken)));
    }
}

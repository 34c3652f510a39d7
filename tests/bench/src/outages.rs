//! Outages: every contender is struck in turn, round by round, so that what disturbs the machine disturbs all alike.

use serde_json::Value;

use crate::contender::Contender;
use crate::order::{Fault, Order, Outage};
use crate::report::Outages;
use crate::stats::Spread;
use crate::theatre::Stage;

/// A contender that takes this long to detect anything is struck in fewer rounds, or the run would last for hours.
const LONG_MS: u32 = 5000;
/// In how many.
const LONG_ROUNDS: usize = 2;
/// Strikes fall somewhere within this time, like real ones: not always on the same moment of a heartbeat.
const WAIT_US: u64 = 1_000_000;

/// Measures `rounds` outages of every fault on every stage.
pub fn measure(stages: &mut [Stage], rounds: usize, faults: &[Fault]) -> anyhow::Result<Vec<Outages>> {
    let mut all: Vec<Vec<Outage>> = vec![Vec::new(); stages.len() * faults.len()];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds {
        for (number, fault) in faults.iter().enumerate() {
            for (at, stage) in stages.iter_mut().enumerate() {
                if stage.contender.detection_ms >= LONG_MS && round >= LONG_ROUNDS {
                    continue;
                }
                let outage = strike(stage, *fault, dice.below(WAIT_US))?;
                eprintln!(
                    "bench: round {} of {rounds}: {} {}: {:.0} ms",
                    round + 1,
                    stage.contender,
                    fault.name(),
                    outage.outage_ms
                );
                all[at * faults.len() + number].push(outage);
            }
        }
    }
    let contenders: Vec<Contender> = stages.iter().map(|stage| stage.contender).collect();
    let pairs = contenders
        .iter()
        .flat_map(|contender| faults.iter().map(move |fault| (contender, fault)));
    Ok(pairs
        .zip(all)
        .map(|((contender, fault), runs)| sum_up(*contender, *fault, &runs))
        .collect())
}

/// One outage. Returns when the cluster is whole again, so that the next contender has the machine for itself.
fn strike(stage: &mut Stage, fault: Fault, wait_us: u64) -> anyhow::Result<Outage> {
    let outage = stage.ask(&Order::Strike { fault, wait_us })?;
    stage.ask::<Value>(&Order::Ready)?;
    Ok(outage)
}

fn sum_up(contender: Contender, fault: Fault, runs: &[Outage]) -> Outages {
    let outages_ms: Vec<f64> = runs.iter().map(|run| run.outage_ms).collect();
    Outages {
        contender: contender.name.into(),
        detection_ms: contender.detection_ms,
        fault,
        outage_ms: Spread::of(&outages_ms),
        outages_ms,
        recovered: runs.iter().filter(|run| run.recovered).count(),
        dual_active_ms: runs.iter().map(|run| run.dual_active_ms).fold(0.0, f64::max),
    }
}

/// Numbers without a pattern that heartbeats could follow (xorshift64, Marsaglia 2003).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

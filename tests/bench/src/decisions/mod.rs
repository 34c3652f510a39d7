//! Decisions of the core: how long the leader takes to decide, and how much computing it is until all is carried out.
//!
//! A pair with a witness, real nodes of the core, messages through the real codec, and nothing that takes time of its
//! own: no wire, no disk, no agents. So every figure is computing time.

mod hall;

use std::time::Duration;

use anyhow::Context;
use holdfast_proto::operator::OperatorRequest;
use serde::{Deserialize, Serialize};

use crate::stats::Spread;
use hall::{FIRST, Hall, SECOND};

/// Numbers of groups.
pub const SIZES: [usize; 3] = [10, 1000, 5000];

/// What is to be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Nothing runs, everything may.
    StartAll,
    /// Everything is as it should be.
    Nothing,
    /// One of two nodes is off, by proof; half of the groups ran there.
    NodeLost,
}

impl Task {
    /// All tasks.
    pub const ALL: [Task; 3] = [Task::StartAll, Task::Nothing, Task::NodeLost];

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Task::StartAll => "start all",
            Task::Nothing => "nothing to do",
            Task::NodeLost => "a node is lost",
        }
    }
}

/// Figures of one task at one size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Number of groups.
    pub groups: usize,
    /// What was decided.
    pub task: Task,
    /// From the event to the decision, ready to be sent. With nothing to do: one heartbeat taken in.
    pub decide_ms: Spread,
    /// Computing of all members, codec included, until the decision is carried out and reported. With nothing to do:
    /// in one virtual second.
    pub carry_out_ms: Spread,
    /// The decided state as a message.
    pub wire_bytes: usize,
    /// The leader's record on disk.
    pub disk_bytes: usize,
}

/// What one repetition of one task gave.
#[derive(Clone, Copy, Debug)]
struct Figures {
    decide_ms: f64,
    carry_out_ms: f64,
    wire_bytes: usize,
    disk_bytes: usize,
}

/// Measures every task at every size, `repeats` times.
pub fn measure(repeats: u32) -> anyhow::Result<Vec<Decision>> {
    let mut all = Vec::new();
    for groups in SIZES {
        eprintln!("bench: decisions with {groups} groups");
        let mut runs: [Vec<Figures>; 3] = Default::default();
        for _ in 0..repeats {
            for (task, figures) in Task::ALL.iter().zip(one_life(groups)?) {
                runs[*task as usize].push(figures);
            }
        }
        for (task, runs) in Task::ALL.into_iter().zip(runs) {
            let of = |value: fn(&Figures) -> f64| Spread::of(&runs.iter().map(value).collect::<Vec<_>>());
            all.push(Decision {
                groups,
                task,
                decide_ms: of(|run| run.decide_ms),
                carry_out_ms: of(|run| run.carry_out_ms),
                wire_bytes: runs.iter().map(|run| run.wire_bytes).max().unwrap_or(0),
                disk_bytes: runs.iter().map(|run| run.disk_bytes).max().unwrap_or(0),
            });
        }
    }
    Ok(all)
}

/// One cluster through all tasks.
fn one_life(groups: usize) -> anyhow::Result<[Figures; 3]> {
    let mut hall = Hall::formed(groups)?;
    hall.begin();
    hall.ask(FIRST, OperatorRequest::Maintenance { on: false });
    hall.run_until("every group to run", |hall| hall.running() == groups)?;
    let started = hall.figures(groups).context("no decision to start")?;
    hall.run_for(Duration::from_secs(3));
    hall.begin();
    hall.run_for(Duration::from_secs(1));
    let idle = hall.quiet();
    hall.power_off(SECOND);
    hall.begin();
    hall.run_until("every group to run again", |hall| hall.running() == groups)?;
    let moved = hall.figures(groups / 2).context("no decision to move")?;
    Ok([started, idle, moved])
}

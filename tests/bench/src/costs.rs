//! What all stages measure at the same time: idle cost, and silences with and without load.

use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::order::{Order, Silence};
use crate::report::{IdleCost, Jitter};
use crate::theatre::Stage;

/// Idle cost on every stage for `seconds`. Nobody asks any service meanwhile.
pub fn idle(stages: &mut [Stage], seconds: u32) -> anyhow::Result<Vec<IdleCost>> {
    eprintln!("bench: all are idle for {seconds} s");
    let costs = together(stages, &Order::Idle { seconds })?;
    Ok(stages
        .iter()
        .zip(costs)
        .map(|(stage, idle)| IdleCost {
            contender: stage.contender.name.into(),
            detection_ms: stage.contender.detection_ms,
            idle,
        })
        .collect())
}

/// Silences of every active node for `seconds`, without load and then with `hogs` processes that want all CPUs.
pub fn jitter(stages: &mut [Stage], seconds: u32, hogs: u32) -> anyhow::Result<Vec<Jitter>> {
    let mut all = Vec::new();
    for count in [0, hogs] {
        eprintln!("bench: all are listened to for {seconds} s beside {count} CPU hogs");
        let load = Hogs::start(count)?;
        let silences: Vec<Silence> = together(stages, &Order::Silence { seconds })?;
        drop(load);
        all.extend(stages.iter().zip(silences).map(|(stage, silence)| Jitter {
            contender: stage.contender.name.into(),
            detection_ms: stage.contender.detection_ms,
            hogs: count,
            silence,
        }));
    }
    Ok(all)
}

/// The same order on every stage at the same time.
fn together<T: serde::de::DeserializeOwned>(stages: &mut [Stage], order: &Order) -> anyhow::Result<Vec<T>> {
    for stage in stages.iter_mut() {
        stage.tell(order)?;
    }
    stages.iter_mut().map(Stage::answer).collect()
}

/// Processes that take all the CPU they get, until dropped.
struct Hogs(Vec<Child>);

impl Hogs {
    fn start(count: u32) -> anyhow::Result<Hogs> {
        let bench = std::env::current_exe().context("cannot tell where holdfast-bench itself is")?;
        let mut hogs = Hogs(Vec::new());
        for _ in 0..count {
            let mut command = Command::new(&bench);
            command.args(["--internal", "hog"]).stdin(Stdio::null());
            hogs.0.push(command.spawn().context("cannot start a hog")?);
        }
        Ok(hogs)
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

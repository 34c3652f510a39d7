//! After the faults: every group has to serve its clients again, and the cluster has to be whole, within a bound.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use holdfast_proto::control::StatusView;

use super::GROUPS;
use super::history::History;
use super::nemesis::powered;
use super::orders::{Orders, hactl};
use super::stage::Stage;
use super::workloads::Workloads;
use crate::machine::Machine;

/// Within what time everything has to be as before. Nodes boot, `startup_grace` is 60 s, a fence device may take its
/// 30 s; it is also what the simulator asks for.
pub const BOUND_S: u64 = 120;
/// Pause between two looks.
const PACE: Duration = Duration::from_millis(200);

/// How the cluster came back.
#[derive(Debug, Default)]
pub struct Back {
    /// Seconds until each group served again.
    pub groups: BTreeMap<&'static str, f64>,
    /// Seconds until the cluster was whole and its groups ran.
    pub whole_s: f64,
    /// What had not come back in time, in words.
    pub late: Vec<String>,
}

/// Waits for it, from the instant `begin` of the history's clock at which all was mended; takes back what the operator
/// ordered as soon as that is possible.
pub fn wait(
    stage: &Stage,
    load: &Workloads,
    history: &History,
    orders: &mut Orders<'_>,
    begin: u64,
) -> Result<Back> {
    let mut back = Back::default();
    let mut to_do = orders.reverse();
    loop {
        let now = history.clock.now_ms();
        let seconds = now.saturating_sub(begin) as f64 / 1000.0;
        // An order that still waits for a leader would be carried out after what takes it back.
        if orders.are_done() {
            to_do.retain(|command| !take_back(stage, command));
        }
        for group in GROUPS {
            let acked = load.last_ack_ms(group).filter(|at| *at >= begin);
            if let (Some(at), true) = (acked, to_do.is_empty()) {
                let since = at.saturating_sub(begin) as f64 / 1000.0;
                back.groups.entry(group).or_insert(since);
            }
        }
        if back.groups.len() == GROUPS.len() && to_do.is_empty() && is_whole(stage) {
            back.whole_s = seconds;
            return Ok(back);
        }
        if seconds > BOUND_S as f64 {
            back.whole_s = seconds;
            back.late = late(stage, &back, &to_do);
            return Ok(back);
        }
        std::thread::sleep(PACE);
    }
}

/// Gives an order that takes an earlier one back; true if it was carried out.
fn take_back(stage: &Stage, command: &str) -> bool {
    stage.cluster.data().iter().any(|machine| {
        machine
            .sh(&format!("timeout -s KILL 20 {}", hactl(command)))
            .is_ok()
    })
}

fn status(machine: &Machine) -> Option<StatusView> {
    serde_json::from_str(&machine.sh("timeout -s KILL 5 hactl status --json").ok()?).ok()
}

/// True if every data node says that all members are online, vote and are synced, and that every group runs.
fn is_whole(stage: &Stage) -> bool {
    let members = stage.cluster.machines.len();
    stage.cluster.data().iter().all(|machine| {
        status(machine).is_some_and(|view| {
            let all_there = view.nodes.len() == members && view.voters.len() == members;
            let online = |node: &holdfast_proto::control::NodeView| {
                node.state == "online" && (node.synced || node.role == "witness")
            };
            all_there
                && view.nodes.iter().all(online)
                && view.groups.iter().all(|group| group.state == "running")
        })
    })
}

fn late(stage: &Stage, back: &Back, to_do: &[String]) -> Vec<String> {
    let mut late: Vec<String> = GROUPS
        .into_iter()
        .filter(|group| !back.groups.contains_key(group))
        .map(|group| format!("{group} did not serve its clients {BOUND_S} s after the last fault"))
        .collect();
    late.extend(
        to_do
            .iter()
            .map(|command| format!("`hactl {command}` was not carried out")),
    );
    if late.is_empty() {
        late.push(format!(
            "the cluster was not whole {BOUND_S} s after the last fault"
        ));
    }
    late.push(format!("machines with power: {}", powered(stage)));
    late
}

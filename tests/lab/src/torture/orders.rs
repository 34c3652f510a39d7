//! The operator: gives orders by `hactl` at the worst moment, and takes back what stays.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::GROUPS;
use super::act::{NAMES, Order};
use super::stage::Stage;
use crate::machine::Machine;

/// How long an order may take before the operator gives up, in seconds.
const PATIENCE_S: u32 = 15;
/// Pause between two questions of a storm.
const STORM_PACE: Duration = Duration::from_millis(100);

/// Orders that are being carried out, and those that have to be taken back.
#[derive(Debug)]
pub struct Orders<'a> {
    stage: &'a Stage,
    running: Vec<JoinHandle<()>>,
    replies: Arc<Mutex<BTreeMap<u32, String>>>,
    storms: BTreeMap<u32, Arc<AtomicBool>>,
    to_take_back: Vec<String>,
    turn: usize,
}

impl<'a> Orders<'a> {
    /// None yet.
    #[must_use]
    pub fn new(stage: &'a Stage) -> Orders<'a> {
        Orders {
            stage,
            running: Vec::new(),
            replies: Arc::default(),
            storms: BTreeMap::new(),
            to_take_back: Vec::new(),
            turn: 0,
        }
    }

    /// Gives an order as the fault `id`; what was typed, and where.
    pub fn give(&mut self, id: u32, order: Order) -> String {
        match order {
            Order::Storm => self.storm(id),
            Order::Upgrade(node) => self.shell(id, node, "systemctl restart had".into()),
            Order::Apply => {
                let script = "hactl config show > /root/now.toml && \
                              sed -i -e '/^startup_grace/d' \
                              -e \"s/^flap_budget.*/&\\nstartup_grace = \\\"$((RANDOM % 30 + 60))s\\\"/\" \
                              /root/now.toml && hactl config apply /root/now.toml";
                self.shell(id, self.turn % 2, format!("bash -c {}", quoted(script)))
            }
            Order::Fence(node) => self.hactl(id, 1 - node.min(1), &format!("fence {}", NAMES[node])),
            _ => {
                let (command, back) = words(self.stage, order);
                self.to_take_back.extend(back);
                self.turn += 1;
                let mut typed = Vec::new();
                for command in command {
                    typed.push(self.hactl(id, self.turn % 2, &command));
                }
                typed.join("; ")
            }
        }
    }

    /// Ends what an order goes on doing.
    pub fn take_back(&mut self, id: u32, order: Order) {
        if order == Order::Storm
            && let Some(stop) = self.storms.remove(&id)
        {
            stop.store(true, Ordering::Relaxed);
        }
        // What stays is taken back when the cluster can decide again; see `reverse`.
    }

    /// The orders that take back what earlier ones left, given once the cluster can decide.
    pub fn reverse(&mut self) -> Vec<String> {
        let mut back = std::mem::take(&mut self.to_take_back);
        back.sort();
        back.dedup();
        back
    }

    /// True if nothing is being carried out any more.
    #[must_use]
    pub fn are_done(&self) -> bool {
        self.running.iter().all(JoinHandle::is_finished)
    }

    /// Waits for what is being carried out; what was replied to the orders, by fault.
    pub fn finish(&mut self) -> BTreeMap<u32, String> {
        for (_, stop) in std::mem::take(&mut self.storms) {
            stop.store(true, Ordering::Relaxed);
        }
        for thread in self.running.drain(..) {
            let _ = thread.join();
        }
        std::mem::take(&mut *self.replies.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hactl(&mut self, id: u32, node: usize, command: &str) -> String {
        self.shell(id, node, hactl(command))
    }

    /// Runs a command on a node, without waiting for it.
    fn shell(&mut self, id: u32, node: usize, command: String) -> String {
        let machine = Arc::clone(self.stage.member(node));
        let typed = format!("{}# {command}", machine.name);
        let replies = Arc::clone(&self.replies);
        // A `had` that stands still does not answer, and hactl's own patience begins with its answer.
        let script = format!("timeout -s KILL {} {command} 2>&1", PATIENCE_S + 5);
        let work = move || {
            let said = machine.look(&script);
            let last = said.lines().last().unwrap_or_default().to_string();
            let mut replies = replies.lock().unwrap_or_else(PoisonError::into_inner);
            replies.entry(id).or_default().push_str(&format!(" -> {last}"));
        };
        self.spawn(work);
        typed
    }

    /// Asks every data node for its status again and again.
    fn storm(&mut self, id: u32) -> String {
        let stop = Arc::new(AtomicBool::new(false));
        for node in [0, 1] {
            let (machine, stop) = (Arc::clone(self.stage.member(node)), Arc::clone(&stop));
            self.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ask(&machine);
                    std::thread::sleep(STORM_PACE);
                }
            });
        }
        self.storms.insert(id, stop);
        "hactl status, why and events on both nodes".into()
    }

    fn spawn(&mut self, work: impl FnOnce() + Send + 'static) {
        match std::thread::Builder::new().name("operator".into()).spawn(work) {
            Ok(thread) => self.running.push(thread),
            Err(error) => eprintln!("lab: the operator is missing: {error}"),
        }
    }
}

/// The command line of an order; maintenance is the one that does not wait for anything.
#[must_use]
pub fn hactl(command: &str) -> String {
    if command.starts_with("maintenance") {
        format!("hactl {command}")
    } else {
        format!("hactl {command} --timeout {PATIENCE_S}")
    }
}

fn ask(machine: &Machine) {
    machine.look(
        "timeout -s KILL 5 sh -c 'hactl status; hactl status --json; hactl why redis; hactl events --last 50' >/dev/null",
    );
}

/// The commands of an order, and those that take it back.
fn words(stage: &Stage, order: Order) -> (Vec<String>, Vec<String>) {
    let standby = |node: usize| format!("standby {}", NAMES[node]);
    let online = |node: usize| format!("online {}", NAMES[node]);
    match order {
        Order::Move(group) => {
            let to = if stage.hosts(group) == [0] { 1 } else { 0 };
            (vec![format!("move {} {}", GROUPS[group], NAMES[to])], Vec::new())
        }
        Order::Restart(group) => (vec![format!("resource restart {}", GROUPS[group])], Vec::new()),
        Order::Disable(group) => (
            vec![format!("resource disable {}", GROUPS[group])],
            vec![format!("resource enable {}", GROUPS[group])],
        ),
        Order::Standby(node) => (vec![standby(node)], vec![online(node)]),
        Order::StandbyBoth => (vec![standby(0), standby(1)], vec![online(0), online(1)]),
        Order::Maintenance => (vec!["maintenance on".into()], vec!["maintenance off".into()]),
        Order::Fence(_) | Order::Apply | Order::Storm | Order::Upgrade(_) => (Vec::new(), Vec::new()),
    }
}

/// As one word of a shell.
fn quoted(script: &str) -> String {
    format!("'{}'", script.replace('\'', "'\\''"))
}

//! How each fault is injected and undone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::act::{Act, Board, Data, Links, Member, NAMES, Process};
use super::orders::Orders;
use super::relay::{Habit, Relay};
use super::stage::Stage;
use super::{GROUPS, workloads};
use crate::net::MANAGEMENT;
use crate::power::Trouble;
use crate::throttle;

/// The file that fills a disk.
const FILL: &str = "fill";

/// What the nemesis does and undoes.
#[derive(Debug)]
pub struct Hand<'a> {
    stage: &'a Stage,
    relays: BTreeMap<u32, Vec<Relay>>,
    in_path: BTreeMap<(Member, u8), u32>,
    /// What the operator does.
    pub orders: Orders<'a>,
}

impl<'a> Hand<'a> {
    /// One that has done nothing yet.
    #[must_use]
    pub fn new(stage: &'a Stage) -> Hand<'a> {
        Hand {
            stage,
            relays: BTreeMap::new(),
            in_path: BTreeMap::new(),
            orders: Orders::new(stage),
        }
    }

    /// Injects the fault `id`; more about it in words.
    pub fn strike(&mut self, id: u32, act: &Act) -> Result<String> {
        let stage = self.stage;
        match *act {
            Act::Kill(member, process) => Ok(self.signal(member, process, Signal::SIGKILL)),
            Act::Stop(member, Process::All) => freeze(stage, member, true).map(|()| "every process".into()),
            Act::Stop(member, process) => Ok(self.signal(member, process, Signal::SIGSTOP)),
            Act::KillService(group) => Ok(self.service(group, Signal::SIGKILL)),
            Act::StopService(group) => Ok(self.service(group, Signal::SIGSTOP)),
            Act::PowerOff(member) => stage.member(member).node().power_off().map(|()| String::new()),
            Act::Blackout => [0, 1]
                .into_iter()
                .try_for_each(|node| stage.member(node).node().power_off())
                .map(|()| String::new()),
            Act::Unplug(member, links) => {
                each(links, |lan| cable(stage, member, lan, false));
                Ok(String::new())
            }
            Act::Between(one, other, way, links, wrong) => {
                stage.wires.spoil(id, one, other, way, links, wrong)?;
                Ok(format!("{wrong:?}"))
            }
            Act::Relay(member, links, habit) => self.relay(id, member, links, habit),
            Act::DiskFull(member) => fill(stage, member),
            Act::Board(node, board) => trouble(stage, node, board).map(|()| format!("{board:?}")),
            Act::Unreachable(node) => {
                cable(stage, node, MANAGEMENT, false);
                Ok(String::new())
            }
            Act::Wipe => wipe(stage),
            Act::Clock(member, ahead_s) => reboot_ahead(stage, member, ahead_s),
            Act::Starve(member, percent) => {
                throttle::set(&stage.member(member).node().cgroup()?, Some(percent))?;
                Ok(format!("{percent} % of a processor"))
            }
            Act::Order(order) => Ok(self.orders.give(id, order)),
        }
    }

    /// Undoes the fault `id`, as far as it has not undone itself.
    pub fn undo(&mut self, id: u32, act: &Act) -> Result<()> {
        let stage = self.stage;
        match *act {
            Act::Kill(..) | Act::KillService(_) | Act::Clock(..) | Act::Wipe => Ok(()),
            Act::Stop(member, Process::All) => freeze(stage, member, false),
            Act::Stop(member, process) => {
                self.signal(member, process, Signal::SIGCONT);
                Ok(())
            }
            Act::StopService(group) => {
                self.service(group, Signal::SIGCONT);
                Ok(())
            }
            Act::PowerOff(member) => stage.member(member).node().power_on(),
            Act::Blackout => [0, 1]
                .into_iter()
                .try_for_each(|node| stage.member(node).node().power_on()),
            Act::Unplug(member, links) => {
                each(links, |lan| cable(stage, member, lan, true));
                Ok(())
            }
            Act::Between(..) => stage.wires.mend(id),
            Act::Relay(..) => {
                self.in_path.retain(|_, of| *of != id);
                drop(self.relays.remove(&id));
                Ok(())
            }
            Act::DiskFull(member) => empty(stage, member),
            Act::Board(node, _) => mend_board(stage, node),
            Act::Unreachable(node) => {
                cable(stage, node, MANAGEMENT, true);
                Ok(())
            }
            Act::Starve(member, _) => throttle::set(&stage.member(member).node().cgroup()?, None),
            Act::Order(order) => {
                self.orders.take_back(id, order);
                Ok(())
            }
        }
    }

    /// Sends a signal to processes of a member; how many there were.
    fn signal(&self, member: Member, process: Process, signal: Signal) -> String {
        let program = |line: &str| line.split(' ').next().unwrap_or_default().to_string();
        let wanted = |line: &str| match process {
            Process::Had => program(line).ends_with("/had"),
            Process::Agentd => program(line).ends_with("/had-agentd"),
            Process::Both => program(line).ends_with("/had") || program(line).ends_with("/had-agentd"),
            Process::All => !line.is_empty() && !line.contains("systemd"),
        };
        send(&self.stage.processes(member, wanted), signal)
    }

    /// Sends a signal to the service of a group, wherever it runs.
    fn service(&self, group: usize, signal: Signal) -> String {
        let pattern = workloads::process(GROUPS[group]);
        let found: Vec<String> = [0, 1]
            .into_iter()
            .map(|node| (node, self.stage.processes(node, |line| line.contains(pattern))))
            .filter(|(_, pids)| !pids.is_empty())
            .map(|(node, pids)| format!("{}: {}", NAMES[node], send(&pids, signal)))
            .collect();
        found.join(", ")
    }

    /// Puts boxes into cables that have none.
    fn relay(&mut self, id: u32, member: Member, links: Links, habit: Habit) -> Result<String> {
        let mut boxes = Vec::new();
        for lan in lans(links) {
            if let std::collections::btree_map::Entry::Vacant(entry) = self.in_path.entry((member, lan)) {
                let seed = u64::from(id) << 8 | u64::from(lan);
                boxes.push(Relay::start(
                    &self.stage.lab.net,
                    NAMES[member],
                    lan,
                    habit,
                    seed,
                )?);
                entry.insert(id);
            }
        }
        let words = format!(
            "{} cables: {} ms out, {} ms in, up to {} ms more, {} % twice",
            boxes.len(),
            habit.out_ms,
            habit.in_ms,
            habit.jitter_ms,
            habit.twice_percent
        );
        self.relays.insert(id, boxes);
        Ok(words)
    }
}

fn lans(links: Links) -> Vec<u8> {
    match links {
        Links::One(lan) => vec![lan],
        Links::Both => (0..MANAGEMENT).collect(),
    }
}

fn each(links: Links, work: impl Fn(u8)) {
    lans(links).into_iter().for_each(work);
}

/// Pulls or plugs a cable. A node without power has none: it will be as it should when the node boots.
fn cable(stage: &Stage, member: Member, lan: u8, up: bool) {
    let _ = stage.lab.net.cable(NAMES[member], lan, up);
}

fn send(pids: &[i32], signal: Signal) -> String {
    // One that has ended meanwhile needs no signal.
    let sent = pids
        .iter()
        .filter(|pid| kill(Pid::from_raw(**pid), signal).is_ok());
    format!("{} processes", sent.count())
}

/// Holds every process of a member where it is, or lets them go on.
fn freeze(stage: &Stage, member: Member, still: bool) -> Result<()> {
    let node = stage.member(member).node();
    if !node.is_on() {
        return Ok(());
    }
    let file = node.cgroup()?.join("cgroup.freeze");
    fs::write(&file, if still { "1" } else { "0" }).with_context(|| file.display().to_string())
}

fn fill(stage: &Stage, member: Member) -> Result<String> {
    let mut file = fs::File::create(stage.disk(member).join(FILL))?;
    let block = [0x5a; 4096];
    let mut blocks = 0u32;
    while file.write_all(&block).is_ok() {
        blocks += 1;
    }
    Ok(format!("{} KiB written until it was full", blocks * 4))
}

fn empty(stage: &Stage, member: Member) -> Result<()> {
    match fs::remove_file(stage.disk(member).join(FILL)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("empty a disk"),
        _ => Ok(()),
    }
}

fn trouble(stage: &Stage, node: Data, board: Board) -> Result<()> {
    let outlet = match board {
        Board::Gone => return stage.board(node).kill(),
        Board::Hung => return stage.board(node).hold(true),
        Board::Refuses => return stage.board(node).run("another one"),
        Board::Slow(by) => Trouble::Slow(Duration::from_millis(by)),
        Board::Deaf => Trouble::Deaf,
        Board::Late(by) => Trouble::Late(Duration::from_millis(by)),
    };
    stage.lab.power.trouble(NAMES[node], Some(outlet));
    Ok(())
}

/// Makes the board of a node as it was.
pub fn mend_board(stage: &Stage, node: Data) -> Result<()> {
    stage.lab.power.trouble(NAMES[node], None);
    stage.board(node).mend()
}

/// The witness loses what it knew, but not its key: as after a restore of its configuration.
fn wipe(stage: &Stage) -> Result<String> {
    let machine = stage.member(2);
    if !machine.node().is_on() {
        return Ok("it had no power".into());
    }
    let said = machine.look(
        "timeout 15 systemctl kill --signal=KILL had-witness; rm -fv /var/lib/holdfast/state*; \
         timeout 15 systemctl restart --no-block had-witness",
    );
    Ok(said.replace('\n', " ").trim().to_string())
}

/// Cuts the power of a member and gives it back, with its clocks that many seconds ahead of the others'.
fn reboot_ahead(stage: &Stage, member: Member, ahead_s: u32) -> Result<String> {
    let mut node = stage.member(member).node();
    node.power_off()?;
    node.fittings.ahead_s = ahead_s;
    node.power_on()?;
    Ok(format!("{ahead_s} s ahead"))
}

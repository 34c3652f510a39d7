//! What it costs to do nothing: CPU time, memory and packets of each node.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use holdfast_hactl::demo::switch::BRIDGES;
use nix::unistd::{Pid, SysconfVar, sysconf};

use super::team::{Team, wait_ready};
use crate::order::{Idle, NodeCost};

/// Readings of one node at one instant.
struct Reading {
    cpu_ticks: u64,
    memory_kb: u64,
    packets: u64,
    bytes: u64,
}

/// Measures for `seconds`, without a client.
pub fn measure(seconds: u32, team: &dyn Team) -> anyhow::Result<Idle> {
    let active = wait_ready(team)?;
    team.around().client.rest(true);
    let cost = compare(seconds, &active, team);
    team.around().client.rest(false);
    cost
}

fn compare(seconds: u32, active: &str, team: &dyn Team) -> anyhow::Result<Idle> {
    let read = || -> anyhow::Result<Vec<Reading>> {
        team.machines()
            .iter()
            .map(|machine| reading(machine, team))
            .collect()
    };
    let begun = Instant::now();
    let before = read()?;
    std::thread::sleep(Duration::from_secs(u64::from(seconds)));
    let after = read()?;
    let took_s = begun.elapsed().as_secs_f64();
    let ticks_per_s =
        sysconf(SysconfVar::CLK_TCK)?.context("the kernel does not tell its clock tick")? as f64;
    let nodes = team.machines().iter().zip(before).zip(after);
    let nodes = nodes
        .enumerate()
        .map(|(number, ((machine, before), after))| NodeCost {
            node: (*machine).into(),
            part: match (number, *machine == active) {
                (2, _) => "third",
                (_, true) => "active",
                _ => "passive",
            }
            .into(),
            cpu_s_per_min: after.cpu_ticks.saturating_sub(before.cpu_ticks) as f64 / ticks_per_s / took_s
                * 60.0,
            memory_mb: after.memory_kb as f64 / 1024.0,
            packets_per_s: (after.packets - before.packets) as f64 / took_s,
            bytes_per_s: (after.bytes - before.bytes) as f64 / took_s,
        })
        .collect();
    Ok(Idle { nodes, seconds })
}

fn reading(machine: &str, team: &dyn Team) -> anyhow::Result<Reading> {
    let around = team.around();
    let init = around
        .outlets
        .init_pid(machine)
        .with_context(|| format!("{machine} is off"))?;
    let service = around.truth.service_pid(machine);
    let mut cpu_ticks = 0;
    let mut memory = Memory::default();
    for pid in descendants(init) {
        if Some(pid) == service {
            continue;
        }
        // A process may end while it is looked at; what it used is then counted for its parent.
        if let Some(ticks) = fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()
            .and_then(|stat| ticks(&stat))
        {
            cpu_ticks += ticks;
        }
        // PID 1 is the bench's own program, not the manager's.
        if pid != init
            && let Ok(smaps) = fs::read_to_string(format!("/proc/{pid}/smaps"))
        {
            memory.add(&smaps);
        }
    }
    let (packets, bytes) = wire(machine)?;
    Ok(Reading {
        cpu_ticks,
        memory_kb: memory.total_kb(),
        packets,
        bytes,
    })
}

/// All processes below `init`, and itself.
fn descendants(init: Pid) -> Vec<Pid> {
    let mut found = vec![init];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        for task in fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|child| child.parse().ok());
            found.extend(children.map(Pid::from_raw));
        }
    }
    found
}

/// User and system time of a process, its threads, and its children that have ended.
fn ticks(stat: &str) -> Option<u64> {
    let fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11).take(4);
    let times: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
    (times.len() == 4).then(|| times.iter().sum())
}

/// The memory of a node's processes as if it were alone: pages of a file that several of them share count once.
#[derive(Default)]
struct Memory {
    anonymous_kb: u64,
    files: BTreeMap<String, u64>,
}

impl Memory {
    fn add(&mut self, smaps: &str) {
        let mut mapping = None;
        let mut resident_kb = 0;
        for line in smaps.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            match fields.as_slice() {
                [range, _, offset, device, inode, ..] if range.contains('-') && !range.ends_with(':') => {
                    let file = *inode != "0";
                    mapping = file.then(|| format!("{device} {inode} {offset}"));
                }
                ["Rss:", kb, ..] => resident_kb = kb.parse().unwrap_or(0),
                ["Anonymous:", kb, ..] => {
                    let own_kb = kb.parse().unwrap_or(0).min(resident_kb);
                    self.anonymous_kb += own_kb;
                    if let Some(mapping) = mapping.take() {
                        let known = self.files.entry(mapping).or_default();
                        *known = (*known).max(resident_kb - own_kb);
                    } else {
                        self.anonymous_kb += resident_kb - own_kb;
                    }
                }
                _ => {}
            }
        }
    }

    fn total_kb(&self) -> u64 {
        self.anonymous_kb + self.files.values().sum::<u64>()
    }
}

/// Packets and bytes of the switch ports of `machine`, both directions.
fn wire(machine: &str) -> anyhow::Result<(u64, u64)> {
    let table = fs::read_to_string("/proc/net/dev").context("/proc/net/dev")?;
    Ok((0..BRIDGES.len())
        .filter_map(|lan| counters(&table, &format!("{machine}-{lan}")))
        .fold((0, 0), |sum, port| (sum.0 + port.0, sum.1 + port.1)))
}

fn counters(table: &str, port: &str) -> Option<(u64, u64)> {
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix(port)?.strip_prefix(':'))?;
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    Some((
        numbers.get(1)? + numbers.get(9)?,
        numbers.first()? + numbers.get(8)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_pages_of_a_file_count_once() {
        let smaps = "55d0-55e0 r-xp 00000000 fe:00 77 /usr/sbin/x\nSize: 64 kB\nRss: 60 kB\nPss: 30 kB\nAnonymous: 0 kB\n\
                     7f00-7f10 rw-p 00000000 00:00 0\nRss: 12 kB\nAnonymous: 12 kB\n";
        let mut memory = Memory::default();
        memory.add(smaps);
        memory.add(smaps);
        assert_eq!(memory.total_kb(), 60 + 24);
    }

    #[test]
    fn time_includes_children_that_have_ended() {
        let stat = "42 (a (b)) S 1 42 42 0 -1 4194560 900 0 0 0 31 17 5 2 20 0 4 0 100 1 2";
        assert_eq!(ticks(stat), Some(55));
        assert_eq!(ticks("42 (a"), None);
    }

    #[test]
    fn ports_are_told_apart() {
        let table =
            "Inter-|\n  n1-0: 100 3 0 0 0 0 0 0 50 2 0 0 0 0 0 0\n n1-01: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n";
        assert_eq!(counters(table, "n1-0"), Some((5, 150)));
        assert_eq!(counters(table, "n2-0"), None);
    }
}

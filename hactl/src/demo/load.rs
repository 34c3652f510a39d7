//! Figures without a fault: under CPU hogs, and idle.

use std::fs;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde_json::json;

use super::client;
use super::clock::{ms, now_us};
use super::cluster::{Cluster, NODES};
use super::report::Screen;
use super::{control, node};

/// Takes all the CPU it gets.
pub fn hog() -> anyhow::Result<ExitCode> {
    loop {
        std::hint::spin_loop();
    }
}

/// Runs `count` hogs for `span` and tells what the cluster made of it.
pub fn hogs(cluster: &Cluster, screen: &Screen, count: u32, span: Duration) -> anyhow::Result<ExitCode> {
    let from_us = now_us();
    let active = cluster.truth.vip_owner();
    let hog = || -> std::io::Result<Child> {
        let mut command = Command::new(&cluster.paths.hactl);
        command
            .args(["demo", "--internal", "hog"])
            .stdin(Stdio::null())
            .spawn()
    };
    let hogs: Vec<Child> = (0..count)
        .map(|_| hog())
        .collect::<Result<_, _>>()
        .context("cannot start the hogs")?;
    screen.say(&format!("{count} CPU hogs run for {} s ...", span.as_secs()));
    std::thread::sleep(span);
    for mut hog in hogs {
        hog.kill()?;
        hog.wait()?;
    }
    // An outage that lasts until now ends with the first answer without load.
    std::thread::sleep(client::GIVE_UP * 3);
    let moments = cluster.story.since(from_us);
    let count_of = |kind: &str| moments.iter().filter(|moment| moment.kind == kind).count();
    let (fencings, failovers) = (count_of("power-order"), count_of("vip-there"));
    let vip_gone_ms = ms(cluster.truth.vip_gone_us(from_us));
    let asks = cluster.client.since(from_us);
    let outage_ms = client::outage_us(&asks).map(ms);
    let scheduling = NODES.map(|node| control::status(&cluster.paths, node).map(|view| view.scheduling));
    let figures = json!({
        "hogs": count, "seconds": span.as_secs(), "lease_ms": cluster.lease.as_millis() as u64,
        "failovers": failovers, "fencings": fencings, "vip_gone_ms": vip_gone_ms,
        "client_outage_ms": outage_ms, "asks": asks.len(), "scheduling": scheduling,
    });
    println!("{}", serde_json::to_string_pretty(&figures)?);
    let good = fencings == 0 && failovers == 0 && vip_gone_ms == 0.0 && cluster.truth.vip_owner() == active;
    if !good {
        moments.iter().for_each(|moment| screen.event(moment, from_us));
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Measures memory and CPU of the daemons for `span`.
pub fn idle(cluster: &Cluster, screen: &Screen, span: Duration) -> anyhow::Result<ExitCode> {
    screen.say(&format!("idle for {} s ...", span.as_secs()));
    let before = NODES.map(|node| usage(cluster, node));
    std::thread::sleep(span);
    let after = NODES.map(|node| usage(cluster, node));
    let mut rows = Vec::new();
    for ((node, before), after) in NODES.iter().zip(before).zip(after) {
        rows.push(row(node, &before?, &after?)?);
    }
    let figures =
        json!({ "seconds": span.as_secs(), "lease_ms": cluster.lease.as_millis() as u64, "nodes": rows });
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(ExitCode::SUCCESS)
}

/// What one process uses.
struct Usage {
    name: String,
    pid: Pid,
    pss_kb: u64,
    cpu_ticks: u64,
}

fn row(node: &str, before: &[Usage], after: &[Usage]) -> anyhow::Result<serde_json::Value> {
    let ticks_per_s =
        sysconf(SysconfVar::CLK_TCK)?.context("the kernel does not tell its clock tick")? as f64;
    let mut processes = Vec::new();
    let (mut pss_kb, mut cpu_s) = (0, 0.0);
    for now in after {
        // One that was started in the meantime has used all its time since.
        let then = before.iter().find(|then| then.pid == now.pid);
        let ticks = now.cpu_ticks - then.map_or(0, |then| then.cpu_ticks);
        let used_s = ticks as f64 / ticks_per_s;
        (pss_kb, cpu_s) = (pss_kb + now.pss_kb, cpu_s + used_s);
        processes.push(json!({ "name": now.name, "pss_mb": mb(now.pss_kb), "cpu_s": hundredths(used_s) }));
    }
    Ok(json!({ "node": node, "pss_mb": mb(pss_kb), "cpu_s": hundredths(cpu_s), "processes": processes }))
}

fn mb(kb: u64) -> f64 {
    (kb as f64 / 102.4).round() / 10.0
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Use of had and had-agentd on `node`; each node has its own copies of the programs, so that none is shared.
fn usage(cluster: &Cluster, node: &str) -> anyhow::Result<Vec<Usage>> {
    let init = cluster
        .outlets
        .init_pid(node)
        .with_context(|| format!("{node} is off"))?;
    let mut daemons = node::daemons_of(init);
    daemons.retain(|(name, _)| name.starts_with("had"));
    daemons
        .into_iter()
        .map(|(name, pid)| {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let pss_kb = pss_kb(&rollup).with_context(|| format!("/proc/{pid}/smaps_rollup has no Pss"))?;
            let cpu_ticks = cpu_ticks(&stat).with_context(|| format!("/proc/{pid}/stat has no times"))?;
            Ok(Usage {
                name,
                pid,
                pss_kb,
                cpu_ticks,
            })
        })
        .collect()
}

fn pss_kb(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// User and system time of all threads.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_time_are_read_from_proc() {
        let rollup = "55d-7ff ---p 00000000 00:00 0 [rollup]\nRss: 9000 kB\nPss:                6912 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(pss_kb(rollup), Some(6912));
        let stat = "42 (had (x)) S 1 42 42 0 -1 4194560 900 0 0 0 31 17 0 0 20 0 4 0 100 1 2";
        assert_eq!(cpu_ticks(stat), Some(48));
        assert_eq!(cpu_ticks("42 (had"), None);
    }
}

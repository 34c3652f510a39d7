//! Figures without a fault: under CPU hogs, and idle.

use std::fs;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::unistd::{SysconfVar, sysconf};
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
        let (before, after) = (before?, after?);
        rows.push(json!({
            "node": node,
            "pss_mb": (after.pss_kb as f64 / 102.4).round() / 10.0,
            "cpu_s": ((after.cpu_s - before.cpu_s) * 100.0).round() / 100.0,
            "processes": after.names,
        }));
    }
    let figures =
        json!({ "seconds": span.as_secs(), "lease_ms": cluster.lease.as_millis() as u64, "nodes": rows });
    println!("{}", serde_json::to_string_pretty(&figures)?);
    Ok(ExitCode::SUCCESS)
}

struct Usage {
    pss_kb: u64,
    cpu_s: f64,
    names: Vec<String>,
}

/// Use of had and had-agentd on `node`; each node has its own copies of the programs, so that none is shared.
fn usage(cluster: &Cluster, node: &str) -> anyhow::Result<Usage> {
    let init = cluster
        .outlets
        .init_pid(node)
        .with_context(|| format!("{node} is off"))?;
    let ticks = sysconf(SysconfVar::CLK_TCK)?.context("the kernel does not tell its clock tick")? as f64;
    let mut usage = Usage {
        pss_kb: 0,
        cpu_s: 0.0,
        names: Vec::new(),
    };
    for (name, pid) in node::daemons_of(init)
        .into_iter()
        .filter(|(name, _)| name.starts_with("had"))
    {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let pss = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Pss:"))
            .unwrap_or_default();
        let pss_kb: u64 = pss.trim().trim_end_matches("kB").trim().parse().unwrap_or(0);
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let field = |index: usize| {
            fields
                .get(index)
                .and_then(|text| text.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        usage.pss_kb += pss_kb;
        usage.cpu_s += (field(11) + field(12)) / ticks;
        usage
            .names
            .push(format!("{name} {:.1} MB", pss_kb as f64 / 1024.0));
    }
    Ok(usage)
}

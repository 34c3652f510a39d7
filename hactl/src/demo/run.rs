//! Runs of faults: strike, watch, measure, heal, wait until all is well again.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::client::{self, Ask};
use super::clock::{ms, now_us};
use super::cluster::{Cluster, MACHINES, NODES};
use super::figures::{Figures, Run, Steps};
use super::paths::Paths;
use super::report::{Live, Screen};
use super::story::Moment;
use super::{DemoArgs, FaultChoice, load};

/// Longest wait for the cluster to be whole, at the start and after a fault.
const HEALTHY_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for the service after a fault.
const RECOVERY_WAIT: Duration = Duration::from_secs(30);
/// The service counts as back when it answered everything for this long.
const STEADY: Duration = Duration::from_millis(400);

/// Runs what `args` ask for on the stage that was set up.
pub fn perform(args: &DemoArgs, paths: &Paths) -> anyhow::Result<ExitCode> {
    let screen = Screen::new(args);
    screen.say("Starting two nodes, a witness and a client in namespaces of their own.");
    screen.say("Their disks are in memory (tmpfs): a write that has to last costs no time here.");
    let result = Cluster::start(args, paths).and_then(|cluster| act(args, &cluster, &screen));
    // Also after a failure: then the logs are wanted most.
    if let Err(error) = paths.keep_logs(&MACHINES) {
        screen.say(&format!("the logs could not be kept: {error}"));
    }
    result
}

fn act(args: &DemoArgs, cluster: &Cluster, screen: &Screen) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let active = cluster.wait_healthy(HEALTHY_WAIT)?;
    screen.say(&format!(
        "Up after {:.1} s: the service answers from {active}. The lease is {} ms.",
        begun.elapsed().as_secs_f64(),
        cluster.lease.as_millis()
    ));
    if let Some(count) = args.hogs {
        return load::hogs(cluster, screen, count, args.hogs_for);
    }
    if let Some(span) = args.idle {
        return load::idle(cluster, screen, span);
    }
    let faults = match args.fault {
        Some(FaultChoice::All) => FaultChoice::EACH.to_vec(),
        Some(one) => vec![one],
        None => vec![FaultChoice::Crash],
    };
    let mut all: Vec<Figures> = Vec::new();
    for fault in faults.into_iter().filter(|fault| fault.applies_to(args.service)) {
        let runs = repeat(fault, args.runs, cluster, screen)?;
        let whole = runs.last().is_some_and(|run| run.recovered);
        all.push(Figures::of(fault, cluster.lease.as_millis() as u64, runs));
        if !whole {
            // A cluster that is not whole again cannot take the next fault.
            break;
        }
    }
    screen.figures(&all, args.fault == Some(FaultChoice::All))?;
    let mut runs = all.iter().flat_map(|figures| &figures.runs);
    // The story is about a takeover: it is only told right if the other node answers in the end.
    let moved = |run: &Run| run.answers_from.as_deref() == Some(Cluster::other(&run.struck));
    let good = runs.all(|run| run.good() && (args.fault.is_some() || moved(run)));
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs `fault` up to `times` times; ends early with a run after which the cluster is not whole.
fn repeat(fault: FaultChoice, times: u32, cluster: &Cluster, screen: &Screen) -> anyhow::Result<Vec<Run>> {
    let mut runs = Vec::new();
    for number in 1..=times {
        let run = run(fault, number, times, cluster, screen)?;
        let recovered = run.recovered;
        runs.push(run);
        if !recovered {
            break;
        }
    }
    Ok(runs)
}

fn run(fault: FaultChoice, number: u32, of: u32, cluster: &Cluster, screen: &Screen) -> anyhow::Result<Run> {
    let active = cluster.wait_healthy(HEALTHY_WAIT)?;
    let mut live = screen.live(cluster.story.count());
    cluster.client.forget_before(now_us().saturating_sub(1_000_000));
    if let Some(eyes) = &cluster.eyes {
        eyes.forget();
        // They have to have seen it before.
        std::thread::sleep(STEADY);
    }
    screen.title(fault, number, of, &active);
    let struck_us = fault.strike(cluster, &active)?;
    let answered = watch(fault, struck_us, cluster, &mut live);
    let watched_until_us = now_us();
    fault.heal(cluster, &active)?;
    let whole = cluster.wait_healthy(HEALTHY_WAIT);
    let mut asks = cluster.client.since(struck_us.saturating_sub(5_000));
    asks.retain(|ask| ask.sent_us <= watched_until_us);
    let outage_us = client::outage_us(&asks).unwrap_or(watched_until_us - struck_us);
    let mut moments: Vec<Moment> = cluster.story.since(struck_us);
    moments.retain(|moment| moment.at_us <= watched_until_us);
    let first = client::first_answer(&asks).filter(|_| outage_us > 0);
    let blind = fault.blinds().then_some(active.as_str());
    let steps = Steps::find(&moments, blind, first.as_ref());
    let seen = cluster.eyes.as_ref();
    let assigned = moments.iter().find(|moment| moment.kind == "assigned");
    let assigned_us = assigned.map(|moment| moment.at_us);
    let seen = seen
        .map(|eyes| eyes.seen(&active, struck_us, assigned_us))
        .transpose()?;
    let run = Run {
        recovered: answered && whole.is_ok(),
        outage_ms: ms(outage_us),
        dual_active_ms: ms(seen.map_or_else(|| cluster.truth.dual_active_us(struck_us), |seen| seen.dual_us)),
        silent_ms: seen.map(|seen| ms(seen.silent_us)),
        phases: steps.phases(struck_us),
        answers_from: answerer(cluster),
        struck: active,
    };
    screen.outcome(&run, &steps, struck_us);
    if let Err(trouble) = whole {
        screen.say(&format!("  {trouble:#}"));
    }
    Ok(run)
}

/// The node that gave the latest answer: by its own word if it said so, else by who has the address.
fn answerer(cluster: &Cluster) -> Option<String> {
    let asks = cluster.client.since(now_us().saturating_sub(200_000));
    let last = asks.iter().rev().find(|ask| ask.answered_us.is_some())?;
    let word = last.text.split_whitespace().next().unwrap_or_default();
    NODES
        .iter()
        .find(|node| **node == word)
        .map(|node| node.to_string())
        .or_else(|| cluster.truth.vip_owner())
}

/// Shows what happens until the service answers steadily. False if it does not in time.
fn watch(fault: FaultChoice, struck_us: u64, cluster: &Cluster, live: &mut Live<'_>) -> bool {
    let begun = Instant::now();
    let least = fault.watch(cluster.lease);
    let begins = fault.outage_begins_within(cluster.lease);
    loop {
        std::thread::sleep(Duration::from_millis(10));
        live.show(&cluster.story, struck_us);
        let asks = cluster.client.since(struck_us);
        let begun_yet = client::outage_us(&asks) != Some(0) || begun.elapsed() >= begins;
        let steady_from = now_us().saturating_sub(STEADY.as_micros() as u64);
        let recent: Vec<&Ask> = asks.iter().filter(|ask| ask.sent_us >= steady_from).collect();
        let steady = recent.len() > 20 && recent.iter().all(|ask| ask.answered_us.is_some());
        if begun.elapsed() >= least && begun_yet && steady {
            return true;
        }
        if begun.elapsed() > RECOVERY_WAIT {
            return false;
        }
    }
}

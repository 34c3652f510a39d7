//! Runs of faults, and what was measured.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::client::{self, Ask};
use super::clock::{ms, now_us};
use super::cluster::{Cluster, MACHINES, NODES};
use super::report::{self, Screen};
use super::stage::Paths;
use super::story::Moment;
use super::{DemoArgs, FaultChoice, load};

/// Longest wait for the cluster to be whole, at the start and after a fault.
const HEALTHY_WAIT: Duration = Duration::from_secs(60);
/// Longest wait for the service after a fault.
const RECOVERY_WAIT: Duration = Duration::from_secs(30);
/// The service counts as back when it answered everything for this long.
const STEADY: Duration = Duration::from_millis(400);

/// One run of one fault.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The service answers again, and the cluster became whole again.
    pub recovered: bool,
    /// How long the client got no answer.
    pub outage_ms: f64,
    /// How long the address or the service was on two nodes at once.
    pub dual_active_ms: f64,
    /// When each step was taken, counted from the fault.
    pub phases: Phases,
    /// The node that answered last.
    #[serde(skip)]
    pub answers_from: Option<String>,
    /// The node that the fault struck.
    #[serde(skip)]
    pub struck: String,
}

/// Steps of a failover in milliseconds since the fault; those that did not happen are left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Phases {
    /// Another node noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detected_ms: Option<f64>,
    /// It was proven that the old owner is off or has stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proved_ms: Option<f64>,
    /// Service and address were there again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<f64>,
    /// The address was announced to the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced_ms: Option<f64>,
    /// The client got its first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_ms: Option<f64>,
}

/// All runs of one fault.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The fault's name.
    pub fault: &'static str,
    /// The lease length.
    pub lease_ms: u64,
    /// Its runs.
    pub runs: Vec<Run>,
    /// Median of their outages.
    pub median_outage_ms: f64,
}

/// Runs what `args` ask for on the stage that was set up.
pub fn perform(args: &DemoArgs, paths: &Paths) -> anyhow::Result<ExitCode> {
    let screen = Screen::new(args.json);
    screen.say("Two nodes, a witness and a client, each in namespaces of its own, are started ...");
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
        "The service answers from {active}; the cluster formed in {:.1} s.",
        begun.elapsed().as_secs_f64()
    ));
    if let Some(count) = args.hogs {
        return load::hogs(cluster, screen, count, args.hogs_for);
    }
    if let Some(span) = args.idle {
        return load::idle(cluster, screen, span);
    }
    let faults: Vec<FaultChoice> = match args.fault {
        Some(FaultChoice::All) => FaultChoice::EACH.to_vec(),
        Some(one) => vec![one],
        None => vec![FaultChoice::Crash],
    };
    let mut all = Vec::new();
    for fault in faults.into_iter().filter(|fault| fault.applies_to(args.service)) {
        let runs = (1..=args.runs)
            .map(|number| run(fault, number, args.runs, cluster, screen))
            .collect::<Result<Vec<Run>, _>>()?;
        let median_outage_ms = median(runs.iter().map(|run| run.outage_ms).collect());
        let lease_ms = cluster.lease.as_millis() as u64;
        all.push(Figures {
            fault: fault.name(),
            lease_ms,
            runs,
            median_outage_ms,
        });
    }
    screen.figures(&all, args.fault == Some(FaultChoice::All))?;
    let good = all
        .iter()
        .flat_map(|figures| &figures.runs)
        .all(|run| run.recovered && run.dual_active_ms == 0.0);
    // The story is about a takeover: it is only told right if the other node answers in the end.
    let moved = |run: &Run| run.answers_from.as_deref() == Some(Cluster::other(&run.struck));
    let good = good && (args.fault.is_some() || all.iter().flat_map(|figures| &figures.runs).all(moved));
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One run: strike, watch, measure, heal, wait until all is well again.
fn run(fault: FaultChoice, number: u32, of: u32, cluster: &Cluster, screen: &Screen) -> anyhow::Result<Run> {
    let active = cluster.wait_healthy(HEALTHY_WAIT)?;
    let from = cluster.story.len();
    cluster.client.forget_before(now_us().saturating_sub(1_000_000));
    screen.title(fault, number, of, &active);
    let struck_us = fault.strike(cluster, &active)?;
    let answered = watch(fault, struck_us, from, cluster, screen);
    let watched_until_us = now_us();
    fault.heal(cluster, &active)?;
    let whole = cluster.wait_healthy(HEALTHY_WAIT);
    let asks: Vec<Ask> = cluster.client.since(struck_us.saturating_sub(5_000));
    let asks: Vec<Ask> = asks
        .into_iter()
        .filter(|ask| ask.sent_us <= watched_until_us)
        .collect();
    let outage_us = client::outage_us(&asks).unwrap_or(watched_until_us - struck_us);
    let moments: Vec<Moment> = cluster
        .story
        .since(struck_us)
        .into_iter()
        .filter(|moment| moment.at_us <= watched_until_us)
        .collect();
    let first = client::first_answer(&asks);
    let phases = phases(&moments, struck_us, outage_us, first.as_ref());
    let dual_active_us = cluster.truth.dual_active_us(struck_us);
    let run = Run {
        recovered: answered && whole.is_ok(),
        outage_ms: ms(outage_us),
        dual_active_ms: ms(dual_active_us),
        phases,
        answers_from: answerer(cluster),
        struck: active,
    };
    report::outcome(screen, &run, &moments, struck_us, first.as_ref());
    // A cluster that is not whole again cannot take the next fault.
    whole.map(|_| run)
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
fn watch(fault: FaultChoice, struck_us: u64, from: usize, cluster: &Cluster, screen: &Screen) -> bool {
    let begun = Instant::now();
    let (least, begins) = (
        fault.watch(cluster.lease),
        fault.outage_begins_within(cluster.lease),
    );
    let mut shown = from;
    loop {
        std::thread::sleep(Duration::from_millis(10));
        let news = cluster.story.from(shown);
        shown += news.len();
        news.iter()
            .filter(|moment| moment.at_us + 1_000 >= struck_us)
            .for_each(|moment| screen.live(moment, struck_us));
        let asks = cluster.client.since(struck_us);
        let outage = client::outage_us(&asks);
        let begun_yet = outage != Some(0) || begun.elapsed() >= begins;
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

fn phases(moments: &[Moment], struck_us: u64, outage_us: u64, first: Option<&Ask>) -> Phases {
    let span = |at_us: u64| ms(at_us.saturating_sub(struck_us));
    let earliest = |kinds: &[&str]| {
        moments
            .iter()
            .find(|moment| kinds.contains(&moment.kind.as_str()))
            .map(|moment| span(moment.at_us))
    };
    let latest_of_first = |kinds: &[&str]| {
        kinds
            .iter()
            .filter_map(|kind| earliest(&[kind]))
            .fold(None, |max: Option<f64>, at| {
                Some(max.map_or(at, |max| max.max(at)))
            })
    };
    Phases {
        detected_ms: earliest(&report::DETECTED),
        proved_ms: earliest(&report::PROVED),
        started_ms: latest_of_first(&report::STARTED),
        announced_ms: earliest(&report::ANNOUNCED),
        answered_ms: first
            .filter(|_| outage_us > 0)
            .and_then(|ask| ask.answered_us)
            .map(span),
    }
}

/// Median of some values; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (count, half) if count % 2 == 1 => values[half],
        (_, half) => (values[half - 1] + values[half]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_middles() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 9.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
    }
}

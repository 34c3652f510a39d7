//! One outage: strike, watch the client, mend.

use std::time::{Duration, Instant};

use holdfast_hactl::demo::client::{self, Ask};
use holdfast_hactl::demo::clock::{ms, now_us};
use holdfast_hactl::demo::link::Carries;

use super::team::{Team, other, wait_ready};
use crate::contender::{Contender, Manager};
use crate::order::{Fault, Outage};

/// Longest wait for the service after a fault.
const RECOVERY_WAIT: Duration = Duration::from_secs(45);
/// The service counts as back when it answered everything for this long.
const STEADY: Duration = Duration::from_millis(400);

/// Strikes the active node and measures.
///
/// # Errors
/// When the cluster was not whole before, or the fault cannot be brought about or mended.
pub fn measure(
    fault: Fault,
    wait: Duration,
    contender: Contender,
    team: &dyn Team,
) -> anyhow::Result<Outage> {
    let active = wait_ready(team)?;
    let around = team.around();
    std::thread::sleep(wait);
    around.client.forget_before(now_us().saturating_sub(1_000_000));
    let struck_us = now_us();
    strike(fault, &active, team)?;
    let answered = watch(fault, (&active, struck_us), contender, team);
    let watched_until_us = now_us();
    let mut asks = around.client.since(struck_us.saturating_sub(5_000));
    asks.retain(|ask| ask.sent_us <= watched_until_us);
    let outage_us = client::outage_us(&asks).unwrap_or(watched_until_us - struck_us);
    let outage = Outage {
        recovered: answered && answerer(&asks).as_deref() == Some(other(&active)),
        outage_ms: ms(outage_us),
        dual_active_ms: ms(match contender.manager {
            Manager::Keepalived { .. } => around.truth.dual_vip_us(struck_us),
            _ => around.truth.dual_active_us(struck_us),
        }),
    };
    mend(fault, &active, team)?;
    Ok(outage)
}

fn strike(fault: Fault, active: &str, team: &dyn Team) -> anyhow::Result<()> {
    let outlets = &team.around().outlets;
    match fault {
        Fault::Crash => outlets.off(active),
        Fault::Cut => outlets.carry(active, Carries::Nothing),
        Fault::Switchover => team.switch(active, other(active)),
    }
}

/// Cables carry again, and a node that lost its power gets it back, whoever cut it.
fn mend(fault: Fault, struck: &str, team: &dyn Team) -> anyhow::Result<()> {
    let outlets = &team.around().outlets;
    if fault == Fault::Cut {
        outlets.carry(struck, Carries::All)?;
    }
    outlets.on(struck)?;
    team.tidy()
}

/// Waits until the service answers steadily again. False if it does not in time.
fn watch(fault: Fault, (struck, struck_us): (&str, u64), contender: Contender, team: &dyn Team) -> bool {
    let begun = Instant::now();
    let least = match fault {
        Fault::Switchover => Duration::from_millis(800),
        _ => contender.detection() + Duration::from_millis(500),
    };
    let client = &team.around().client;
    loop {
        std::thread::sleep(Duration::from_millis(20));
        let asks = client.since(struck_us);
        // Every fault has a consequence, sooner or later; the best one is that the other node answers without a gap.
        let seen = client::outage_us(&asks) != Some(0) || answerer(&asks).as_deref() == Some(other(struck));
        let steady_from = now_us().saturating_sub(STEADY.as_micros() as u64);
        let recent: Vec<&Ask> = asks.iter().filter(|ask| ask.sent_us >= steady_from).collect();
        let steady = recent.len() > 20 && recent.iter().all(|ask| ask.answered_us.is_some());
        if begun.elapsed() >= least && seen && steady {
            return true;
        }
        if begun.elapsed() > RECOVERY_WAIT {
            return false;
        }
    }
}

/// The node that gave the latest answer, by its own word.
fn answerer(asks: &[Ask]) -> Option<String> {
    let last = asks.iter().rev().find(|ask| ask.answered_us.is_some())?;
    last.text.split_whitespace().next().map(str::to_string)
}

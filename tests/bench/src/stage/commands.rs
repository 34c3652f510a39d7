//! What a stage does when it is told.

use std::time::Duration;

use anyhow::Context;
use caps::{CapSet, Capability};
use serde_json::{Value, json};

use super::team::{Team, wait_ready};
use super::{idle, outage, silence};
use crate::contender::Contender;
use crate::order::Order;

/// Carries out `order`; what was measured.
pub fn obey(order: &Order, contender: Contender, team: &dyn Team) -> anyhow::Result<Value> {
    Ok(match order {
        Order::Ready => json!({ "active": wait_ready(team)? }),
        Order::Strike { fault, wait_us } => {
            let wait = Duration::from_micros(*wait_us);
            serde_json::to_value(outage::measure(*fault, wait, contender, team)?)?
        }
        Order::Idle { seconds } => serde_json::to_value(idle::measure(*seconds, team)?)?,
        Order::Silence { seconds } => serde_json::to_value(silence::measure(*seconds, team)?)?,
    })
}

/// Takes from everything that is started from now on the right to real-time scheduling.
pub fn forbid_realtime() -> anyhow::Result<()> {
    caps::drop(None, CapSet::Bounding, Capability::CAP_SYS_NICE).context("cannot forbid real-time scheduling")
}

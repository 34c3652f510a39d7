//! `hactl sbd create` and `hactl sbd allocate`.

use std::path::Path;

use holdfast_sbd::layout::name_fault;
use holdfast_sbd::{Disk, Timeouts, Volume};
use serde::Serialize;

use super::message::ask_for;
use super::{Disks, all_well, each, open, warn_of_failures};
use crate::cli::CreateArgs;
use crate::outcome::{Exit, Failure};
use crate::ui::Ui;
use crate::ui::text::pad;

#[derive(Serialize)]
struct DoneJson<T> {
    ok: bool,
    disks: Vec<T>,
}

#[derive(Serialize)]
struct DiskJson {
    device: String,
    /// UUID of a new disk, slot of an allocation.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Makes the disks.
pub fn run(disks: &Disks, args: &CreateArgs, ui: &Ui) -> anyhow::Result<()> {
    let timeouts = timeouts_of(disks, args);
    if let Some(text) = timeouts.contradictions(disks.io_timeout).first() {
        return Err(Failure::new(Exit::Usage, text.clone()).into());
    }
    if !args.yes {
        for path in &disks.paths {
            ask(disks, path, ui)?;
        }
    }
    let found = each(disks, |path| {
        let volume = Volume::create(Disk::open(path, disks.io_timeout)?, timeouts)?;
        Ok(format!("uuid {}", volume.header().uuid_text()))
    });
    tell(&found, "created", ui)
}

/// Those given, else those of the configuration; msgwait follows the watchdog timeout when that alone is given.
fn timeouts_of(disks: &Disks, args: &CreateArgs) -> Timeouts {
    let msgwait_s = match (args.msgwait_timeout, args.watchdog_timeout) {
        (Some(msgwait), _) => msgwait,
        (None, Some(watchdog)) => watchdog.saturating_mul(2),
        (None, None) => disks.timeouts.msgwait_s,
    };
    Timeouts {
        watchdog_s: args.watchdog_timeout.unwrap_or(disks.timeouts.watchdog_s),
        allocate_s: args.allocate_timeout.unwrap_or(disks.timeouts.allocate_s),
        loop_s: args.loop_timeout.unwrap_or(disks.timeouts.loop_s),
        msgwait_s,
    }
}

/// What would be lost, and the disk's name typed out.
fn ask(disks: &Disks, path: &Path, ui: &Ui) -> anyhow::Result<()> {
    let name = path.display().to_string();
    let there = match open(disks, path).and_then(|mut volume| volume.list()) {
        Ok(entries) if entries.is_empty() => "It is a disk of SBD already, without slots.".to_string(),
        Ok(entries) => {
            let nodes: Vec<_> = entries.into_iter().map(|entry| entry.node).collect();
            format!(
                "It is a disk of SBD already, with slots of {}: a node that still watches it is reset.",
                nodes.join(", ")
            )
        }
        Err(holdfast_sbd::Error::Damaged { .. }) => "It holds something else, or nothing.".to_string(),
        Err(error) => return Err(Failure::new(Exit::Failed, error.to_string()).into()),
    };
    let warning = format!(
        "everything at the beginning of {} is overwritten. {there}",
        pad(&name, 0)
    );
    ask_for(&name, &warning, "hactl sbd create --yes", ui)
}

/// Claims a slot on every disk.
pub fn allocate(disks: &Disks, node: &str, ui: &Ui) -> anyhow::Result<()> {
    if let Some(fault) = name_fault(node) {
        return Err(Failure::new(Exit::Usage, format!("that cannot be the name of a node: {fault}")).into());
    }
    let found = each(disks, |path| {
        open(disks, path)?
            .allocate(node)
            .map(|slot| format!("slot {slot}"))
    });
    tell(&found, "allocated", ui)
}

pub(super) fn tell(found: &[(String, Result<String, String>)], verb: &str, ui: &Ui) -> anyhow::Result<()> {
    if ui.json() {
        let disks = found.iter().map(|(device, done)| DiskJson {
            device: device.clone(),
            done: done.as_ref().ok().cloned(),
            error: done.as_ref().err().cloned(),
        });
        ui.document(&DoneJson {
            ok: found.iter().all(|(_, done)| done.is_ok()),
            disks: disks.collect(),
        })?;
        return all_well(found);
    }
    for (device, done) in found {
        if let Ok(what) = done {
            ui.line(format_args!("{}: {verb}, {what}", pad(device, 0)))?;
        }
    }
    warn_of_failures(found, ui);
    all_well(found)
}

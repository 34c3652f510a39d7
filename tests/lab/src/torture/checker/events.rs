//! What the nodes wrote into their journals, on the run's clock.

use std::path::Path;

use anyhow::{Context, Result};
use holdfast_proto::control::EventView;

use crate::torture::workloads::attempt::read_lines;

/// One entry of a node's journal.
#[derive(Clone, Debug)]
pub struct Event {
    /// When, in milliseconds of the run's clock; below 0 before it began.
    pub at_ms: i64,
    /// What was written.
    pub entry: EventView,
}

/// The entries of all nodes in `dir`, by time. The nodes share one wall clock; `wall_ms` is when the run began on it.
pub fn read(dir: &Path, wall_ms: u64) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for file in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("events-") && name.ends_with(".jsonl") {
            for entry in read_lines::<EventView>(&path)? {
                events.push(on_clock(entry, wall_ms).with_context(|| path.display().to_string())?);
            }
        }
    }
    events.sort_by_key(|event| event.at_ms);
    Ok(events)
}

/// An entry with its time on the run's clock.
pub fn on_clock(entry: EventView, wall_ms: u64) -> Result<Event> {
    let at: jiff::Timestamp = entry.at.parse().with_context(|| format!("time '{}'", entry.at))?;
    Ok(Event {
        at_ms: at.as_millisecond() - i64::try_from(wall_ms)?,
        entry,
    })
}

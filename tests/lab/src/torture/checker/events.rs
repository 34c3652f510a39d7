//! What the nodes wrote into their journals, on the run's clock.

use std::path::Path;

use anyhow::{Context, Result};
use holdfast_proto::control::EventView;

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
            let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
            events.extend(entries(&bytes, wall_ms));
        }
    }
    events.sort_by_key(|event| event.at_ms);
    Ok(events)
}

/// The entries in a copy of a journal. A power cut or a full disk may have torn a line: what it said is lost, and the
/// checker misses it where it matters.
fn entries(bytes: &[u8], wall_ms: u64) -> Vec<Event> {
    let lines = bytes.split(|byte| *byte == b'\n');
    let read = |line: &[u8]| {
        let entry: EventView = serde_json::from_slice(line).ok()?;
        let at: jiff::Timestamp = entry.at.parse().ok()?;
        let at_ms = at.as_millisecond() - i64::try_from(wall_ms).ok()?;
        Some(Event { at_ms, entry })
    };
    lines.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_does_not_hide_the_others() {
        let whole = EventView {
            at: "1970-01-01T00:00:05.250Z".into(),
            ..EventView::default()
        };
        let whole = serde_json::to_string(&whole).unwrap();
        let text = format!("{whole}\n{}\n{whole}\n", &whole[..20]);
        let events = entries(text.as_bytes(), 5000);
        let times: Vec<i64> = events.iter().map(|event| event.at_ms).collect();
        assert_eq!(times, [250, 250]);
    }
}

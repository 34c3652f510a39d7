//! Two small markers: the run counter in the state directory, and "synced in this boot" in the run directory.

use std::fs;
use std::path::Path;

use holdfast_proto::ids::{BootId, Incarnation};
use holdfast_proto::time::Time;

use super::files::{StoreError, write_synced};

const INCARNATION: &str = "incarnation";
const SYNCED: &str = "synced";

/// Counts this start of `had`. Runs are only compared within one boot, so a counter that was lost goes on from the time
/// since boot, which no earlier run of this boot can have reached.
///
/// # Errors
/// When the counter cannot be written.
pub fn next_incarnation(state_dir: &Path, now: Time) -> Result<Incarnation, StoreError> {
    let path = state_dir.join(INCARNATION);
    let last = fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let next = last.map_or(0, |last| last.saturating_add(1)).max(now.0);
    write_synced(&path, format!("{next}\n").as_bytes())?;
    Ok(Incarnation(next))
}

/// Notes in the run directory, which a reboot empties, that this boot has voted for a state that committed.
///
/// # Errors
/// When the marker cannot be written; the node then counts as not synced after a restart of `had`.
pub fn mark_synced(run_dir: &Path, boot: BootId) -> Result<(), StoreError> {
    write_synced(&run_dir.join(SYNCED), format!("{:032x}\n", boot.0).as_bytes())
}

/// True when [`mark_synced`] was called in this boot. The boot id inside guards against a run directory that survived.
#[must_use]
pub fn synced_in(run_dir: &Path, boot: BootId) -> bool {
    fs::read_to_string(run_dir.join(SYNCED)).is_ok_and(|text| text.trim() == format!("{:032x}", boot.0))
}

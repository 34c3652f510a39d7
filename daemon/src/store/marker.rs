//! Two small markers: the run counter in the state directory, and "synced in this boot" in the run directory.

use std::fs;
use std::path::Path;

use holdfast_proto::ids::{BootId, Incarnation};

use super::files::{StoreError, write_synced};

const INCARNATION: &str = "incarnation";
const SYNCED: &str = "synced";

/// The number of this start of `had`. Peers ignore word of a run below the highest they heard, so the number must grow even
/// when the disk was replaced or taken back to an old image: it is never below the wall clock in microseconds. Nothing but
/// the order of runs depends on that clock.
#[must_use]
pub fn next_incarnation(state_dir: &Path, wall_us: u64) -> Incarnation {
    let last = fs::read_to_string(state_dir.join(INCARNATION))
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    Incarnation(last.map_or(0, |last| last.saturating_add(1)).max(wall_us))
}

/// Records the number of this run. The start does not wait for it, since a busy disk may take longer than peers wait for a
/// restarted node: what is lost with a crash before that is made up for by the clock.
///
/// # Errors
/// When it cannot be written, which the clock makes up for as well.
pub fn record_incarnation(state_dir: &Path, incarnation: Incarnation) -> Result<(), StoreError> {
    write_synced(
        &state_dir.join(INCARNATION),
        format!("{}\n", incarnation.0).as_bytes(),
    )
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

//! The data of a primary on its way to a replica: frames between two nodes, and the note of what was fetched.

use holdfast_agents::fuzzing::mysqld::{note, seed_frames};

use crate::memory::bounded;

/// Reads the bytes as what a donor says, and as the note.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let (frames, taken) = bounded(data.len(), 64, || seed_frames(data));
    assert!(taken <= data.len() && taken >= 5 * frames.len());
    if let Ok(text) = std::str::from_utf8(data) {
        bounded(data.len(), 8, || note(text));
    }
}

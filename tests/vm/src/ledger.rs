//! What the cluster says a takeover rested on: `hactl fence history`.

use std::time::Duration;

use anyhow::Result;
use holdfast_proto::control::{EventView, ProofView};

use crate::machine::Machine;
use crate::sh;

/// How long the ledger may take to be written.
const SETTLE: Duration = Duration::from_secs(20);

/// Waits for the proof about `lost` on which the newest takeover rests, as `survivor` tells it.
pub fn proof(survivor: &Machine, lost: &str) -> Result<ProofView> {
    sh::wait(&format!("a takeover from {lost} in the ledger"), SETTLE, || {
        let said = survivor.sh("hactl fence history --json").ok()?;
        let events = said
            .lines()
            .filter_map(|line| serde_json::from_str::<EventView>(line).ok());
        let mut proofs = events.filter_map(|event| event.proof);
        proofs.rfind(|proof| proof.version > 0 && proof.node == lost)
    })
}

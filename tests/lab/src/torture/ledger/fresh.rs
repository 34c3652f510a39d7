//! The probe of the service: succeeds if the ledger grows. A writer that is stopped where it is still exists, and no
//! other sign tells it from one that writes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::sh;

/// Within this time a writer on a busy machine writes something.
const PATIENCE: Duration = Duration::from_millis(800);

/// Waits for the ledger of `dir` to grow.
pub fn run(dir: &Path) -> Result<()> {
    let path = dir.join(super::FILE);
    let length = || std::fs::metadata(&path).map(|metadata| metadata.len());
    let before = length().with_context(|| path.display().to_string())?;
    sh::wait("the ledger to grow", PATIENCE, || {
        length().ok().filter(|now| *now > before)
    })?;
    Ok(())
}

//! States that are saved once and gone on from again and again: memory and disks of both machines, files of the witness.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde_json::Value;

use crate::machine::Machine;
use crate::place::CACHE;
use crate::sh;
use crate::witness::Witness;

/// How long a machine may take to have its clock set, on a busy host.
const CLOCK: Duration = Duration::from_secs(400);

/// A state under a name that says what it is of and what it was made from.
#[derive(Clone, Debug)]
pub struct Saved {
    kind: String,
    dir: PathBuf,
}

impl Saved {
    /// The state of kind `kind`, made from what `key` names.
    #[must_use]
    pub fn new(kind: &str, key: &str) -> Saved {
        Saved {
            kind: kind.into(),
            dir: Path::new(CACHE).join(format!("{kind}-{key}")),
        }
    }

    /// True if it was saved.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.dir.is_dir()
    }

    /// Saves it, which ends the machines and the witness. Older states of its kind are forgotten.
    pub fn save(&self, machines: &[Arc<Machine>], witness: Option<&mut Witness>) -> Result<()> {
        self.forget_older()?;
        let making = self.dir.with_extension("part");
        fs::create_dir_all(&making)?;
        for machine in machines {
            machine.sh("sync")?;
        }
        for machine in machines {
            machine.vm().ask("stop", Value::Null)?;
        }
        for machine in machines {
            machine.vm().save_memory(&making)?;
        }
        for machine in machines {
            machine.vm().save_disks(&making)?;
        }
        if let Some(witness) = witness {
            witness.save(&making)?;
        }
        fs::rename(&making, &self.dir)?;
        Ok(())
    }

    /// Has the machines and the witness go on from it, with the clock of today.
    pub fn restore(&self, machines: &[Arc<Machine>], witness: Option<&mut Witness>) -> Result<()> {
        for machine in machines {
            machine.vm().restore(&self.dir)?;
        }
        if let Some(witness) = witness {
            witness.restore(&self.dir)?;
        }
        // Together: what one misses of the other's time is a silence.
        for machine in machines {
            machine.vm().go()?;
        }
        for machine in machines {
            machine.answers()?;
            // Again if need be: what a starved machine does not answer in time, it does not answer at all.
            sh::wait(&format!("the clock of {} to be set", machine.name), CLOCK, || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
                machine.sh(&format!("date -s @{:.3}", now.as_secs_f64())).ok()
            })?;
        }
        Ok(())
    }

    fn forget_older(&self) -> Result<()> {
        let prefix = format!("{}-", self.kind);
        for entry in fs::read_dir(CACHE)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }
}

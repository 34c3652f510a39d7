//! Ends all writing from the thread that enforces permits: the file system is shut down, as by a power cut. What was
//! synced is on the device, and its journal mends the rest when it is mounted next.
//!
//! Not FIFREEZE: it first writes everything out, which takes as long as the device likes, and what is frozen can be
//! neither used nor unmounted by the ladder that follows.
//!
//! As for programs (`exec`), a halt may come while it is being mounted: a halt first leaves its mark, then shuts down
//! what it knows; a start first makes its mount known, then looks for the mark.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::agent::AgentError;
use crate::sys::mounts::{self, DeviceNumber};

/// Shared by both threads.
#[derive(Default)]
pub struct Halt {
    halted: AtomicBool,
    mounted: Mutex<Option<(PathBuf, DeviceNumber)>>,
}

impl Halt {
    /// What a halt is to shut down from now on. False, and it is shut down at once, when a halt came before.
    pub fn cover(&self, place: &Path, device: DeviceNumber) -> bool {
        *self.known() = Some((place.to_path_buf(), device));
        if self.halted.load(Ordering::SeqCst) {
            // What it says is of no use here: the start fails in any case, and the stop that follows looks again.
            let _ = self.shut_down();
            return false;
        }
        true
    }

    /// It is unmounted.
    pub fn release(&self) {
        *self.known() = None;
    }

    /// Shuts it down, and what is still to be mounted. For good: a later start has an agent of its own.
    pub fn halt(&self) -> Result<(), AgentError> {
        self.halted.store(true, Ordering::SeqCst);
        self.shut_down()
    }

    /// Shuts it down now.
    pub fn shut_down(&self) -> Result<(), AgentError> {
        let Some((place, device)) = self.known().clone() else {
            return Ok(());
        };
        let shut = || -> io::Result<()> {
            // Opened now and not held: an open folder would keep it from being unmounted.
            let folder = File::open(&place)?;
            match mounts::device_holding(&place)? == device {
                true => mounts::shut_down_file_system(&folder),
                // Unmounted already.
                false => Ok(()),
            }
        };
        shut().map_err(|error| {
            let why = match error.raw_os_error() {
                Some(libc::ENOTTY | libc::EOPNOTSUPP) => {
                    "this kind of file system cannot be shut down".to_owned()
                }
                _ => error.to_string(),
            };
            AgentError(format!("{} is not shut down: {why}", place.display()))
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<(PathBuf, DeviceNumber)>> {
        self.mounted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

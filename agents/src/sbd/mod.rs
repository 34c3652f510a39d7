//! The shared disks of `[sbd]`: this node watches its mailbox on each of them, and obeys.
//!
//! What an order on a disk is worth to its sender rests on this: from the moment at which a disk carries the [`Mark`] of
//! this boot, the watchdog is petted only while enough disks were read without an order a moment ago. So once an order
//! stands on a majority of them, this boot reads it and ends, or reads nothing and ends by its watchdog.
//!
//! - [`watch`]: what all know: which disks were read when, and whether the watchdog may be petted.
//! - `eye`: one thread per disk: claim a slot, look, obey. [`keeper`]: begins, goes on after a restart, gives up in order.
//! - [`end`]: how this node ends at once.
//!
//! [`Mark`]: holdfast_sbd::Mark

pub mod end;
mod eye;
pub mod keeper;
pub mod watch;

use std::path::PathBuf;
use std::time::Duration;

use holdfast_proto::agent::Attach;
use holdfast_proto::ids::BootId;
use serde::{Deserialize, Serialize};

/// Which disks are watched, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// This node's name.
    pub node: String,
    /// The disks.
    pub devices: Vec<PathBuf>,
    /// Time allowed for one read or write, in milliseconds.
    pub io_timeout_ms: u32,
    /// This boot, as the other members know it: 32 hex digits.
    pub boot: String,
}

impl Settings {
    /// What `had` said when it attached; None if the configuration names no disks.
    #[must_use]
    pub fn of(attach: &Attach) -> Option<Settings> {
        let disks = attach.sbd.as_ref().filter(|disks| !disks.devices.is_empty())?;
        Some(Settings {
            node: attach.node.clone(),
            devices: disks.devices.iter().map(PathBuf::from).collect(),
            io_timeout_ms: disks.io_timeout_ms.max(1),
            boot: disks.boot.clone(),
        })
    }

    /// None for what is no boot.
    fn boot_id(&self) -> Option<BootId> {
        u128::from_str_radix(&self.boot, 16).ok().map(BootId)
    }

    fn io_timeout(&self) -> Duration {
        Duration::from_millis(self.io_timeout_ms.into())
    }
}

#[cfg(test)]
mod tests;

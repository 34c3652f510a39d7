//! How this node ends at once: no sync, no stop of anything. What does not work is left to the watchdog, which nobody pets
//! any more by then.

use std::fs::OpenOptions;
use std::io::Write;

use holdfast_sbd::Command;
use nix::sys::reboot::{RebootMode, reboot};

/// What can end the node. Only [`Kernel`] outside of tests.
pub trait EndNode: Send + Sync {
    /// Ends it as `order` says; `why` is for the kernel's log, the last that is seen of it.
    fn end(&self, order: Command, why: &str);
}

/// Ends this machine.
pub struct Kernel;

impl EndNode for Kernel {
    fn end(&self, order: Command, why: &str) {
        write_to("/dev/kmsg", &format!("<0>had-agentd: {why}\n"));
        let (key, mode) = match order {
            Command::Off => ("o", RebootMode::RB_POWER_OFF),
            Command::Crashdump => ("c", RebootMode::RB_AUTOBOOT),
            _ => ("b", RebootMode::RB_AUTOBOOT),
        };
        // In a container neither the one nor the other may work, or only the second.
        write_to("/proc/sysrq-trigger", key);
        let Err(error) = reboot(mode);
        tracing::error!("this node cannot end itself ({error}): its watchdog will");
    }
}

fn write_to(path: &str, text: &str) {
    let written = OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    if let Err(error) = written {
        tracing::warn!("{path} cannot be written to: {error}");
    }
}

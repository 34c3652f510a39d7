//! How this node ends at once: no sync, no stop of anything, and nothing that the watchdog is stopped for. It goes on
//! counting, nobody pets it any more by then, and what does not work is left to it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use holdfast_sbd::Command;

/// Number of the PID namespace that the machine began with (PROC_PID_INIT_INO of the kernel).
const OF_THE_MACHINE: u64 = 0xEFFF_FFFC;

/// What can end the node. Only [`Kernel`] outside of tests.
pub trait EndNode: Send + Sync {
    /// Ends it as `order` says; `why` is for the kernel's log, the last that is seen of it. An order that takes its time
    /// has no more than `patience`.
    fn end(&self, order: Command, why: &str, patience: Duration);
}

/// Ends this machine, by the keys of sysrq. Not by reboot(2): its notifiers stop watchdogs, and after them it waits for
/// drivers, of which one may hang. Then nothing would end what runs here.
pub struct Kernel;

impl EndNode for Kernel {
    fn end(&self, order: Command, why: &str, patience: Duration) {
        write_to("/dev/kmsg", &format!("<0>had-agentd: {why}\n"));
        if !is_the_machines(namespace()) {
            tracing::error!("{why}; in a container nothing but the watchdog can do that");
            return;
        }
        match order {
            Command::Off => {
                press("o");
                // It waits for drivers, as reboot(2) does.
                std::thread::sleep(patience);
                press("b");
            }
            Command::Crashdump => press("c"),
            _ => press("b"),
        }
        tracing::error!("{why}; the kernel did not do it: the watchdog will");
    }
}

fn press(key: &str) {
    write_to("/proc/sysrq-trigger", key);
}

/// The PID namespace that this process is in.
fn namespace() -> Option<u64> {
    std::fs::metadata("/proc/self/ns/pid")
        .ok()
        .map(|namespace| namespace.ino())
}

/// False in a container: the keys are those of the machine under it, which is not what is to end.
fn is_the_machines(namespace: Option<u64>) -> bool {
    namespace == Some(OF_THE_MACHINE)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_never_ends_the_machine_under_it() {
        assert!(is_the_machines(Some(4_026_531_836)), "as Linux numbers it");
        assert!(!is_the_machines(Some(4_026_532_210)));
        assert!(!is_the_machines(None), "nobody knows");
    }
}

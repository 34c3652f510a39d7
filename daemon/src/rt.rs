//! Real-time scheduling, locked memory and capabilities.
//!
//! The deciding thread is the process's main thread: it gets its scheduling and gives up its capabilities before any
//! other thread starts (they are per thread), and RESET_ON_FORK makes every other thread an ordinary one.

use anyhow::Context;
use caps::{CapSet, Capability, CapsHashSet};

use crate::sys;

/// Low among real-time priorities: above everything ordinary, below the kernel's own threads.
const PRIORITY: i32 = 10;

/// How the deciding thread runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduling {
    /// For status output: `SCHED_FIFO 10, memory locked`, or why not and what to do.
    pub sentence: String,
    /// SCHED_FIFO and locked memory were both obtained.
    pub full: bool,
}

/// Makes the calling thread the deciding thread. Must be called before any other thread exists.
///
/// # Errors
/// When capabilities cannot be given up, or core dumps not be switched off: the process must not run then.
pub fn prepare() -> anyhow::Result<Scheduling> {
    // Keys are in this process's memory: no core dump, no ptrace by others of the same user.
    nix::sys::prctl::set_dumpable(false).context("cannot switch core dumps off (prctl PR_SET_DUMPABLE)")?;
    sys::limit_arenas();
    keep_only(&[Capability::CAP_SYS_NICE, Capability::CAP_IPC_LOCK])?;
    let (processor, fifo) = schedule();
    let (memory, locked) = lock();
    // Memory that is mapped later is locked too, which takes the capability when the limit is low.
    keep_only(if locked { &[Capability::CAP_IPC_LOCK] } else { &[] })?;
    Ok(Scheduling {
        sentence: format!("{processor}, {memory}"),
        full: fifo && locked,
    })
}

/// Gives up every capability of this thread but `wanted` (those of them that it has).
fn keep_only(wanted: &[Capability]) -> anyhow::Result<()> {
    let have = caps::read(None, CapSet::Permitted).context("cannot read this process's capabilities")?;
    let keep: CapsHashSet = wanted.iter().copied().filter(|cap| have.contains(cap)).collect();
    if have.contains(&Capability::CAP_SETPCAP) {
        for cap in caps::all() {
            // A capability this kernel does not know cannot be in the set.
            let _ = caps::drop(None, CapSet::Bounding, cap);
        }
    }
    caps::clear(None, CapSet::Ambient).context("cannot clear ambient capabilities")?;
    caps::clear(None, CapSet::Inheritable).context("cannot clear inheritable capabilities")?;
    caps::set(None, CapSet::Effective, &keep).context("cannot give up effective capabilities")?;
    caps::set(None, CapSet::Permitted, &keep).context("cannot give up permitted capabilities")
}

/// SCHED_FIFO, else nice -20, else nothing: in words, and whether the first succeeded.
fn schedule() -> (String, bool) {
    let Err(refused) = sys::set_fifo(PRIORITY) else {
        return (format!("SCHED_FIFO {PRIORITY}"), true);
    };
    let hint =
        "give had CAP_SYS_NICE (had.service does), and where RT_GROUP_SCHED is on, real-time bandwidth";
    if sys::set_nice(-20).is_ok() {
        return (format!("nice -20, not SCHED_FIFO ({refused}): {hint}"), false);
    }
    (
        format!(
            "ordinary scheduling, not SCHED_FIFO ({refused}): a loaded machine may be taken for dead; {hint}"
        ),
        false,
    )
}

/// Locks memory: in words, and whether it succeeded.
fn lock() -> (String, bool) {
    let hint = "give had CAP_IPC_LOCK (had.service does) or set LimitMEMLOCK=infinity";
    if let Err(refused) = sys::lock_memory() {
        return (format!("memory not locked ({refused}): {hint}"), false);
    }
    // A limit lets the lock succeed and every later allocation beyond it fail.
    if sys::can_map(256 << 20) {
        return ("memory locked".into(), true);
    }
    sys::unlock_memory();
    (
        format!("memory not locked (limit of locked memory too low): {hint}"),
        false,
    )
}

/// Stack of ordinary threads: enough for TLS handshakes in debug builds, small enough to lock.
pub const STACK_BYTES: usize = 1 << 20;

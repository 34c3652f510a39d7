//! Privileges, scheduling and memory of this process. What cannot be had is reported and done without: inside an
//! unprivileged user namespace much of it is missing.

use caps::{CapSet, Capability, CapsHashSet};

use crate::sys;

/// Priority of the guard: below `had`, whose renewals it waits for.
const GUARD_PRIORITY: i32 = 9;

/// Priority of the gate: below the guard, which wakes it.
const GATE_PRIORITY: i32 = 8;

/// Nice value of the agents' thread.
const AGENTS_NICE: i32 = -15;

/// What agents cannot do without: addresses, announcements, scheduling, memory, signals, files, other users.
const NEEDED: [Capability; 9] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_SYS_ADMIN,
    Capability::CAP_SYS_NICE,
    Capability::CAP_IPC_LOCK,
    Capability::CAP_KILL,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_SETUID,
    Capability::CAP_SETGID,
];

/// What programs of `exec` resources, probes and fence agents may use where it is there. CAP_SYS_PTRACE shows what files other
/// users' processes have open (who keeps a file system from being unmounted), and finds programs by their environment where
/// there is no cgroup to look into.
const USEFUL: [Capability; 8] = [
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_DAC_READ_SEARCH,
    Capability::CAP_CHOWN,
    Capability::CAP_FOWNER,
    Capability::CAP_SETPCAP,
    Capability::CAP_SYS_RESOURCE,
    Capability::CAP_SYS_PTRACE,
    Capability::CAP_AUDIT_WRITE,
];

/// Gives up every capability that is not needed, for this process and all it executes. Capabilities belong to threads:
/// call it before there is a second one.
pub fn narrow_capabilities() {
    let needed: CapsHashSet = NEEDED.into_iter().collect();
    let wanted: CapsHashSet = NEEDED.into_iter().chain(USEFUL).collect();
    for capability in caps::all().difference(&wanted) {
        // Those that this kernel does not know, or this namespace never had, cannot be dropped and need not be.
        if caps::has_cap(None, CapSet::Bounding, *capability).unwrap_or(false)
            && let Err(error) = caps::drop(None, CapSet::Bounding, *capability)
        {
            tracing::info!("{capability} stays in the bounding set: {error}");
        }
    }
    let kept: CapsHashSet = caps::read(None, CapSet::Permitted)
        .unwrap_or_default()
        .intersection(&wanted)
        .copied()
        .collect();
    let narrowed =
        caps::set(None, CapSet::Effective, &kept).and_then(|()| caps::set(None, CapSet::Permitted, &kept));
    if let Err(error) = narrowed {
        tracing::warn!("capabilities cannot be narrowed: {error}");
    }
    let missing: Vec<_> = needed.difference(&kept).map(ToString::to_string).collect();
    if !missing.is_empty() {
        tracing::warn!("without {}: agents that need them will fail", missing.join(", "));
    }
}

/// Keeps this process in memory.
pub fn lock_memory() {
    match sys::lock_memory() {
        Ok(()) => tracing::info!("memory locked"),
        Err(error) => tracing::warn!(
            "memory is not locked ({error}): under memory pressure permits may be enforced late"
        ),
    }
}

/// Lets the calling thread go before others: what it does is short, and a service that moves waits for it. Not a
/// real-time class: a program that it talks with may keep it busy.
pub fn prefer_agents() {
    match sys::be_nice(AGENTS_NICE) {
        Ok(()) => tracing::info!("agents run at nice {AGENTS_NICE}"),
        Err(error) => tracing::warn!("agents run without preference ({error}): under load they may be slow"),
    }
}

/// Puts the calling thread under SCHED_FIFO.
pub fn schedule_guard() {
    match sys::schedule_fifo(GUARD_PRIORITY) {
        Ok(()) => tracing::info!("guard runs under SCHED_FIFO {GUARD_PRIORITY}"),
        Err(error) => {
            tracing::warn!("guard runs without SCHED_FIFO ({error}): under load permits may be enforced late")
        }
    }
}

/// Puts the calling thread, which renews what the guard has taken, under SCHED_FIFO.
pub fn schedule_gate() {
    if let Err(error) = sys::schedule_fifo(GATE_PRIORITY) {
        tracing::warn!(
            "gate runs without SCHED_FIFO ({error}): under load addresses may fall silent for a moment"
        );
    }
}

//! The addresses while they are ours.
//!
//! Renewing and cutting run on different threads. A renewal adds what is missing, so one that was begun before a cut
//! could put an address back after it. Hence the order: a cut first disarms, then removes; a renewal looks at the
//! flag again after it wrote, and removes what it wrote if it lost the race. Neither waits for the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::sync::watch;

use super::link::Placement;
use super::netlink::{self, Assigned, Change, FOREVER};
use crate::agent::{AgentError, PermitView};
use crate::clock;

/// Addresses held under a permit.
#[derive(Debug)]
pub struct Hold {
    armed: AtomicBool,
    /// Locked only to copy.
    targets: Mutex<Vec<(Assigned, bool)>>,
    permit: watch::Receiver<PermitView>,
}

/// Seconds that the kernel is to keep an address, or None when the permit has lapsed. One second more than the permit
/// has left, rounded up: the kernel counts in seconds and is up to a quarter early.
#[must_use]
pub fn lifetime_s(permit: PermitView, now: Time) -> Option<u32> {
    if permit.until == Time(u64::MAX) {
        return Some(FOREVER);
    }
    let left = now.until(permit.until);
    if left.is_zero() {
        return None;
    }
    let whole = left.as_secs() + u64::from(left > Duration::from_secs(left.as_secs()));
    Some(u32::try_from(whole + 1).unwrap_or(FOREVER - 1).min(FOREVER - 1))
}

impl Hold {
    /// Holds nothing yet.
    #[must_use]
    pub fn new(permit: watch::Receiver<PermitView>) -> Self {
        Hold {
            armed: AtomicBool::new(false),
            targets: Mutex::new(Vec::new()),
            permit,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Assigned, bool)>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on the addresses may be set. Must come before the look at the permit that `set` takes.
    pub fn arm(&self, placement: Placement) {
        *self.lock() = placement.targets;
        self.armed.store(true, Ordering::SeqCst);
    }

    /// From here on nothing is set any more.
    pub fn disarm(&self) {
        self.armed.store(false, Ordering::SeqCst);
    }

    /// True while the addresses are to be here.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        self.armed.load(Ordering::SeqCst)
    }

    /// The permit as it is now.
    #[must_use]
    pub fn permit(&self) -> PermitView {
        *self.permit.borrow()
    }

    /// Sets all addresses, or renews their lifetime.
    ///
    /// # Errors
    /// The permit has lapsed, or the kernel refused an address.
    pub fn set_all(&self) -> Result<(), AgentError> {
        let targets = self.lock().clone();
        self.set(&targets)
    }

    /// Those of our addresses that are not in the kernel.
    ///
    /// # Errors
    /// The kernel refused the dump.
    pub fn missing(&self) -> std::io::Result<Vec<(Assigned, bool)>> {
        let there = netlink::addresses()?;
        Ok(self
            .lock()
            .iter()
            .filter(|(target, _)| !there.contains(target))
            .copied()
            .collect())
    }

    /// Sets some addresses.
    ///
    /// # Errors
    /// The permit has lapsed, or the kernel refused an address.
    pub fn set(&self, targets: &[(Assigned, bool)]) -> Result<(), AgentError> {
        let Some(lifetime_s) = lifetime_s(self.permit(), clock::now()).filter(|_| self.is_armed()) else {
            return Err(AgentError::new("the permit has lapsed; the addresses stay away"));
        };
        let mut outcome = Ok(());
        for prefix_route in [false, true] {
            let part: Vec<_> = targets
                .iter()
                .filter(|(_, route)| *route == prefix_route)
                .map(|(target, _)| *target)
                .collect();
            let done = netlink::apply(
                &part,
                Change::Set {
                    lifetime_s,
                    prefix_route,
                },
            );
            outcome = outcome.and(done.map_err(|(vip, error)| AgentError(explain_set(vip, &error))));
        }
        if !self.is_armed() {
            self.cut()?;
            return Err(AgentError::new(
                "the permit lapsed while the addresses were set; they were removed again",
            ));
        }
        outcome
    }

    /// Removes all addresses at once. See [`crate::agent::Cutter`].
    ///
    /// # Errors
    /// The kernel refused to remove one (those that are not there are a success).
    pub fn cut(&self) -> Result<(), AgentError> {
        self.disarm();
        let targets: Vec<_> = self.lock().iter().map(|(target, _)| *target).collect();
        netlink::apply(&targets, Change::Remove)
            .map_err(|(vip, error)| AgentError(format!("cannot remove {vip}: {error}")))
    }
}

fn explain_set(vip: super::address::Vip, error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => format!("cannot set {vip}: had-agentd has no CAP_NET_ADMIN here"),
        Some(libc::EACCES) => {
            format!("cannot set {vip}: IPv6 is switched off on its interface (disable_ipv6)")
        }
        Some(libc::ENODEV) => format!("cannot set {vip}: its interface is gone"),
        _ => format!("cannot set {vip}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes() {
        let now = Time(10_000_000);
        let at = |until| {
            lifetime_s(
                PermitView {
                    epoch: 1,
                    until: Time(until),
                },
                now,
            )
        };
        assert_eq!(at(9_000_000), None);
        assert_eq!(at(10_000_000), None);
        assert_eq!(at(10_000_001), Some(2));
        assert_eq!(at(11_000_000), Some(2));
        assert_eq!(at(11_000_001), Some(3));
        assert_eq!(at(u64::MAX), Some(FOREVER));
        assert_eq!(at(u64::MAX - 1), Some(FOREVER - 1));
    }
}

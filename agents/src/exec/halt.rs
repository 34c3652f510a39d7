//! Ends the program from the thread that enforces permits, whatever the agents' thread is doing.
//!
//! The two race when a program is being started: the halt may come before the program is known here. Hence the order:
//! a halt first leaves its mark, then kills whom it knows; a start first makes its program known, then looks for the
//! mark. One of the two kills it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;

use super::members::Members;

/// Shared by both threads.
#[derive(Default)]
pub struct Halt {
    halted: AtomicBool,
    members: Mutex<Option<Members>>,
}

impl Halt {
    /// Whom a halt is to kill from now on. False, and it is killed at once, when a halt came before.
    pub fn cover(&self, members: &Members) -> bool {
        *super::lock(&self.members) = Some(members.clone());
        if self.halted.load(Ordering::SeqCst) {
            members.signal(Signal::SIGKILL);
            return false;
        }
        true
    }

    /// Nothing of the program is left.
    pub fn release(&self) {
        *super::lock(&self.members) = None;
    }

    /// Kills all of the program, and what is still to be started. For good: a later start has an agent of its own.
    pub fn halt(&self) {
        self.halted.store(true, Ordering::SeqCst);
        let members = super::lock(&self.members).clone();
        if let Some(members) = members {
            members.signal(Signal::SIGKILL);
        }
    }
}

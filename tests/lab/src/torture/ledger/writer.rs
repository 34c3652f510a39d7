//! The service: appends a record every few milliseconds for as long as it lives.
//!
//! Killed, stopped or without power it ceases, and leaves it to the reader to see when.

use std::path::Path;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::os::fd::AsFd;

use super::{Mark, Opened};

/// Pause between records in milliseconds.
const PACE_MS: u16 = 5;

/// Writes into the ledger of `dir` until it is asked to end.
pub fn run(dir: &Path) -> Result<()> {
    let mut asked = SigSet::empty();
    asked.add(Signal::SIGTERM);
    asked.add(Signal::SIGINT);
    asked.thread_block().context("block signals")?;
    let signals = SignalFd::with_flags(&asked, SfdFlags::SFD_CLOEXEC).context("signalfd")?;
    let mut ledger = Opened::begin(dir)?;
    loop {
        let mut waited = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut waited, PollTimeout::from(PACE_MS)).context("poll")?;
        if ready > 0 {
            return ledger.append(Mark::End, false);
        }
        ledger.append(Mark::Alive, false)?;
    }
}

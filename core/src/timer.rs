//! Every timer of the core, in one enum.

use holdfast_proto::time::Time;

/// What a deadline is for. Each has one deadline at most, except those that name a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Send the next round of heartbeats, renew permits, look at every deadline that silence sets.
    Heartbeat,
    /// Campaign: the promise to the last leader has lapsed.
    Election,
    /// Give up the election round under way and try again.
    ElectionRound,
    /// Send the proposal in flight again.
    AcceptRetry,
    /// Step down: the lease was not renewed.
    LeaseEnd,
    /// Look again at what waits for a countdown (permit lapse, watchdog, fence delay, start-up grace).
    Countdown,
    /// Try a fence device again.
    FenceRetry,
    /// Write the state again, after the disk refused it.
    PersistRetry,
    /// Stop waiting for the successor after `Shutdown`.
    Handover,
}

impl Timer {
    /// All timers.
    pub const ALL: [Timer; 9] = [
        Timer::Heartbeat,
        Timer::Election,
        Timer::ElectionRound,
        Timer::AcceptRetry,
        Timer::LeaseEnd,
        Timer::Countdown,
        Timer::FenceRetry,
        Timer::PersistRetry,
        Timer::Handover,
    ];

    /// What happens at the deadline, for status output.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Timer::Heartbeat => "next heartbeat",
            Timer::Election => "campaign, because no leader was heard",
            Timer::ElectionRound => "election round is tried again",
            Timer::AcceptRetry => "proposal is sent again",
            Timer::LeaseEnd => "step down, because the lease was not renewed",
            Timer::Countdown => "a countdown ends",
            Timer::FenceRetry => "fence device is tried again",
            Timer::PersistRetry => "state is written again",
            Timer::Handover => "end without a successor",
        }
    }
}

/// Deadlines of all timers.
#[derive(Clone, Debug, Default)]
pub struct Timers {
    deadlines: [Option<Time>; Timer::ALL.len()],
}

impl Timers {
    /// Sets or replaces a deadline.
    pub fn set(&mut self, timer: Timer, at: Time) {
        self.deadlines[timer as usize] = Some(at);
    }

    /// Sets a deadline unless an earlier one is set.
    pub fn set_earliest(&mut self, timer: Timer, at: Time) {
        let slot = &mut self.deadlines[timer as usize];
        *slot = Some(slot.map_or(at, |set| set.min(at)));
    }

    /// Removes a deadline.
    pub fn clear(&mut self, timer: Timer) {
        self.deadlines[timer as usize] = None;
    }

    /// The deadline of `timer`.
    #[must_use]
    pub fn get(&self, timer: Timer) -> Option<Time> {
        self.deadlines[timer as usize]
    }

    /// The earliest deadline and its timer.
    #[must_use]
    pub fn next(&self) -> Option<(Time, Timer)> {
        Timer::ALL
            .into_iter()
            .filter_map(|timer| self.get(timer).map(|at| (at, timer)))
            .min()
    }

    /// Removes and returns one timer whose deadline has passed, the earliest first.
    pub fn pop_expired(&mut self, now: Time) -> Option<Timer> {
        let (at, timer) = self.next()?;
        if at > now {
            return None;
        }
        self.clear(timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests;

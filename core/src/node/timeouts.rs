//! Deadlines, and noticing that this node itself was late.

use holdfast_proto::time::Time;

use super::{Node, Role};
use crate::journal::Level;
use crate::timer::Timer;

impl Node {
    pub(super) fn on_timeout(&mut self) {
        while let Some(timer) = self.timers.pop_expired(self.now) {
            match timer {
                Timer::Heartbeat => {
                    self.send_round();
                    self.local.report_due();
                    self.plan_to_campaign();
                }
                Timer::Election => self.campaign(None),
                Timer::ElectionRound => self.retry_round(),
                Timer::AcceptRetry => self.retry_accept(),
                // `settle` looks at everything that these deadlines are for.
                Timer::LeaseEnd | Timer::Countdown | Timer::FenceRetry => {}
                Timer::PersistRetry => self.retry_persist(),
                Timer::Handover => self.end_handover(),
            }
        }
    }

    /// A voter that follows always has a campaign ahead of it. Usually the answer to a leader's heartbeat plans it; a node
    /// that was voted in by the last deed of a leader has answered none.
    fn plan_to_campaign(&mut self) {
        if matches!(self.role, Role::Follower) && self.timers.get(Timer::Election).is_none() {
            self.schedule_election(self.now + self.spans.lease);
        }
    }

    /// Slow is not dead: a node that wakes up late was stalled itself. It blames nobody for silence it could not hear, and
    /// lets queued messages in before it campaigns.
    pub(super) fn notice_stall(&mut self) {
        let Some(due) = self.timers.get(Timer::Heartbeat) else {
            return;
        };
        self.lateness = self.now.since(due);
        if self.lateness <= self.spans.stall {
            return;
        }
        let late_ms = self.lateness.as_millis();
        self.blame_floor = self.blame_floor.max(self.now);
        if self.timers.get(Timer::Election).is_some_and(|at| at <= self.now) {
            self.schedule_election(self.now + self.spans.heartbeat * 2);
        }
        self.timers.set(Timer::Heartbeat, self.now);
        let text =
            format!("this node was stalled for {late_ms} ms: it blames nobody and checks its own lease");
        self.journal("stalled", Level::Warn, text);
    }

    /// Steps down when the lease was not renewed.
    pub(super) fn check_lease(&mut self) {
        if !matches!(self.role, Role::Leading(_)) {
            self.timers.clear(Timer::LeaseEnd);
            return;
        }
        if self.is_established() {
            self.lease_until = self.lease_until.max(self.lease_end());
        }
        // A leader that has not been backed yet is measured from its election.
        let lease_end = self.lease_end().max(self.first_lease_end());
        if lease_end <= self.now {
            self.step_down("a majority did not answer for one lease length");
            self.schedule_election(self.now + self.spans.heartbeat);
        } else {
            self.timers.set(Timer::LeaseEnd, lease_end);
        }
    }

    /// Sets the deadline for the next silence or countdown that would change a decision.
    pub(super) fn arm_countdown(&mut self) {
        if self.me.node.is_witness() {
            return;
        }
        self.timers.clear(Timer::Countdown);
        let silences = self.others().into_iter().map(|node| self.lost_at(node));
        let deadlines: Vec<Time> = silences
            .chain(self.countdown_deadlines())
            .filter(|at| *at > self.now)
            .collect();
        if let Some(at) = deadlines.into_iter().min() {
            self.timers.set(Timer::Countdown, at);
        }
    }
}

//! Stopping a group: in reverse order, each resource by a ladder with a budget.
//!
//! 1. the agent's own stop, within `stop_timeout` (in an emergency within one lease);
//! 2. by force: SIGKILL of everything that belongs to it;
//! 3. freeze: it no longer runs, but is still there;
//! 4. cut: its access (addresses) is taken away;
//! 5. it is reported as `unknown`, and tried again. The permit is not renewed for ever: when it lapses, the watchdog is
//!    no longer petted, and the node goes.

use std::time::Duration;

use super::{Group, Order, Run};
use crate::clock;
use crate::guard::Command;

/// Time for what was killed to be gone.
const KILL_BUDGET: Duration = Duration::from_secs(2);

impl Group {
    pub(super) async fn order_stop(&mut self, epoch: u64, reason: String) {
        if self.refuses("stop", epoch) {
            return;
        }
        self.epoch = epoch;
        match self.run {
            Run::Stopped => {
                self.save();
                self.report();
            }
            Run::Failed => {
                self.enter(Run::Stopped, reason);
            }
            _ => {
                self.stop_members(&reason, Run::Stopped).await;
            }
        }
    }

    /// The permit lapsed; the guard has cut access already.
    pub(super) async fn on_lapse(&mut self, text: String) {
        // A message about an earlier permit may have waited behind a start under a new one.
        let stale = self.permit.borrow().until > clock::now();
        if stale || matches!(self.run, Run::Stopped | Run::Failed) {
            return;
        }
        self.emergency = true;
        self.stop_members(&text, Run::Stopped).await;
    }

    /// Stops all of it, which ends in `end` (stopped or failed). False if something survived.
    pub(super) async fn stop_members(&mut self, reason: &str, end: Run) -> bool {
        self.enter(Run::Stopping, reason);
        let whole = self.stop_from(0).await;
        self.held = None;
        self.grace = None;
        if whole {
            self.tell(Command::Disarm(self.name.clone()));
            self.enter(end, reason);
        } else {
            let survivors: Vec<_> = self
                .members
                .iter()
                .filter(|member| member.run == Run::Unknown)
                .collect();
            let survivors: Vec<_> = survivors
                .iter()
                .map(|m| format!("{}: {}", m.spec.name, m.trouble))
                .collect();
            self.enter(Run::Unknown, format!("a stop failed: {}", survivors.join("; ")));
        }
        self.save();
        whole
    }

    /// Tries again to stop what survived.
    pub(super) async fn retry_stop(&mut self) {
        if self.stop_from(0).await {
            self.tell(Command::Disarm(self.name.clone()));
            self.enter(Run::Stopped, "stopped after repeated attempts");
        }
    }

    /// Stops resource `first` and those after it, last first. Goes on after a failure: the less runs, the better.
    pub(super) async fn stop_from(&mut self, first: usize) -> bool {
        let mut whole = true;
        for index in (first..self.members.len()).rev() {
            if self.members[index].run != Run::Stopped {
                whole &= self.stop_member(index).await;
                self.report();
            }
        }
        // Reports about what was just stopped on purpose.
        while self.failures.try_recv().is_ok() {}
        whole
    }

    /// Climbs the ladder for one resource. False if it survived.
    pub(super) async fn stop_member(&mut self, index: usize) -> bool {
        let member = &mut self.members[index];
        member.stop_probes();
        let name = member.spec.name.clone();
        let again =
            !member.trouble.is_empty() && std::mem::replace(&mut member.run, Run::Stopping) == Run::Unknown;
        let Err(polite) = self.stop_politely(index).await else {
            return self.stopped(index);
        };
        if !again {
            self.note("warn", "stop-escalated", format!("{name}: {polite}; killing it"));
        }
        let deadline = clock::now() + KILL_BUDGET;
        let kill = self.members[index].agent.kill(deadline);
        let killed = tokio::time::timeout(KILL_BUDGET * 2, kill).await;
        let Err(killed) =
            killed.unwrap_or_else(|_| Err(crate::agent::AgentError::new("the kill took too long")))
        else {
            return self.stopped(index);
        };
        let member = &mut self.members[index];
        let frozen = match member.agent.freeze() {
            Ok(()) => "frozen".to_owned(),
            Err(error) => format!("not frozen ({error})"),
        };
        let cut = match member.agent.cutter().map(|cut| cut()) {
            Some(Ok(())) => ", access cut".to_owned(),
            Some(Err(error)) => format!(", access not cut ({error})"),
            None => String::new(),
        };
        member.trouble = format!("{killed}; {frozen}{cut}");
        member.run = Run::Unknown;
        let text = format!("{name}: {}", member.trouble);
        if !again {
            self.note("warn", "stop-failed", text);
        }
        false
    }

    fn stopped(&mut self, index: usize) -> bool {
        let member = &mut self.members[index];
        member.run = Run::Stopped;
        member.trouble.clear();
        true
    }

    /// The agent's own stop. An emergency that begins meanwhile shortens it.
    async fn stop_politely(&mut self, index: usize) -> Result<(), String> {
        let member = &mut self.members[index];
        let limit = Duration::from_millis(member.spec.stop_timeout_ms.into());
        let begun = clock::now();
        let mut deadline = begun
            + if self.emergency {
                limit.min(self.lease)
            } else {
                limit
            };
        let mut stop = member.agent.stop(deadline);
        loop {
            tokio::select! {
                biased;
                done = &mut stop => return done.map_err(|error| error.0),
                Some(order) = self.mailbox.receiver.recv() => match order {
                    Order::Lapsed { .. } => {
                        self.emergency = true;
                        deadline = deadline.min(clock::now() + self.lease);
                    }
                    Order::Maintenance(on) => self.maintenance = on,
                    later => self.mailbox.waiting.push_back(later),
                },
                () = clock::sleep_until(deadline) => {
                    let took = clock::now().since(begun).as_millis();
                    return Err(format!("did not stop within {took} ms"));
                }
            }
        }
    }
}

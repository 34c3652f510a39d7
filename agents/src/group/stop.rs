//! Stopping a group: in reverse order, each resource by a ladder with a budget.
//!
//! 1. the agent's own stop, within `stop_timeout`;
//! 2. by force: SIGKILL of everything that belongs to it;
//! 3. freeze: it no longer runs, but is still there;
//! 4. cut: its access (addresses) is taken away;
//! 5. it is reported as `unknown`, and tried again, with twice the time for each attempt: on a machine that is slow (a disk that
//!    barely answers, a CPU that is shared) one length for all of them would never be enough. The permit is not renewed for ever:
//!    when it lapses, the watchdog is no longer petted, and the node goes.
//!
//! When the permit lapses, how much of that is left depends on what the group's successor waits for:
//!
//! - a proof that this node is off (`requires = "fencing"`): a polite stop harms nobody, as long as it is over before
//!   the watchdog, which is no longer petted, takes the node with it. All resources together have one lease, and no more
//!   than half of the watchdog's timeout.
//! - the end of the permit plus a margin of a tenth of a lease (`requires = "lease"`), or nothing at all: there is no
//!   time for politeness. The guard's thread cuts access and kills programs (freezes units, which their manager would
//!   start again) at that instant, whatever this thread is doing, and the ladder begins at step 2.

use std::time::Duration;

use holdfast_proto::time::Time;

use super::{Group, Order, Run};
use crate::clock;
use crate::guard::Command;

/// Time for what was killed to be gone, at the first attempt.
const KILL_BUDGET: Duration = Duration::from_secs(2);
/// How often that is doubled at most, to 32 s.
const KILL_DOUBLINGS: u32 = 4;

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

    /// The permit lapsed; the guard has cut access already, and halted what must not go on for a moment.
    pub(super) async fn on_lapse(&mut self, epoch: u64, text: String) {
        // A message about an earlier permit may have waited behind a start under a new one.
        if epoch < self.armed_epoch || matches!(self.run, Run::Stopped | Run::Failed) {
            return;
        }
        self.begin_emergency();
        self.stop_members(&text, Run::Stopped).await;
    }

    /// True when the guard halts resources by force at the lapse.
    pub(super) fn is_halted_at_lapse(&self) -> bool {
        self.spec.requires != "fencing"
    }

    pub(super) fn begin_emergency(&mut self) {
        let budget = self.polite_budget();
        self.polite_until.get_or_insert(clock::now() + budget);
    }

    /// Time for polite stops after a lapse.
    fn polite_budget(&self) -> Duration {
        if self.is_halted_at_lapse() {
            return Duration::ZERO;
        }
        let watchdog = self.around.watchdog.map_or(Duration::MAX, |timeout| timeout / 2);
        self.lease.min(watchdog)
    }

    /// Stops all of it, which ends in `end` (stopped or failed). False if something survived.
    pub(super) async fn stop_members(&mut self, reason: &str, end: Run) -> bool {
        self.enter(Run::Stopping, reason);
        let whole = self.stop_from(0).await;
        self.held = None;
        self.grace = None;
        if whole {
            self.disarm();
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

    /// Nothing runs under the permit any more. Agents see that at once, and not when it would have ended: what is started unpromoted
    /// next may look at it.
    fn disarm(&self) {
        if let Some(view) = &self.permit_sender {
            view.send_modify(|permit| permit.until = Time::ZERO);
        }
        self.tell(Command::Disarm(self.name.clone()));
    }

    /// Tries again to stop what survived.
    pub(super) async fn retry_stop(&mut self) {
        if self.stop_from(0).await {
            self.disarm();
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
        let demoted = member.unpromoted && member.agent.has_roles() && self.unpromoted.wanted();
        let demoted = demoted && member.run != Run::Stopping;
        let again =
            !member.trouble.is_empty() && std::mem::replace(&mut member.run, Run::Stopping) == Run::Unknown;
        let Err(polite) = self.stop_politely(index, demoted).await else {
            return self.stopped(index, demoted);
        };
        if let Some(polite) = polite.filter(|_| !again) {
            self.note("warn", "stop-escalated", format!("{name}: {polite}; killing it"));
        }
        let budget = KILL_BUDGET * 2_u32.pow(self.members[index].survived.min(KILL_DOUBLINGS));
        let kill = self.members[index].agent.kill(clock::now() + budget);
        let killed = tokio::time::timeout(budget * 2, kill).await;
        let Err(killed) =
            killed.unwrap_or_else(|_| Err(crate::agent::AgentError::new("the kill took too long")))
        else {
            return self.stopped(index, false);
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
        member.survived = member.survived.saturating_add(1);
        let text = format!("{name}: {}", member.trouble);
        if !again {
            self.note("warn", "stop-failed", text);
        }
        false
    }

    fn stopped(&mut self, index: usize, demoted: bool) -> bool {
        let member = &mut self.members[index];
        member.run = Run::Stopped;
        member.unpromoted = demoted;
        member.survived = 0;
        member.trouble.clear();
        true
    }

    /// The agent's own stop, or demotion where the resource is to go on unpromoted. An emergency shortens it, or leaves no time
    /// for it: then the error has no words.
    async fn stop_politely(&mut self, index: usize, demote: bool) -> Result<(), Option<String>> {
        let budget = self.polite_budget();
        let member = &mut self.members[index];
        let begun = clock::now();
        let limit = begun + Duration::from_millis(member.spec.stop_timeout_ms.into());
        let deadline_by = |until: Option<Time>| until.map_or(limit, |until| limit.min(until));
        if deadline_by(self.polite_until) <= begun {
            return Err(None);
        }
        let deadline = deadline_by(self.polite_until);
        let mut stop = if demote {
            member.agent.demote(self.toward.as_ref(), deadline)
        } else {
            member.agent.stop(deadline)
        };
        loop {
            let deadline = deadline_by(self.polite_until);
            tokio::select! {
                biased;
                done = &mut stop => return done.map_err(|error| Some(error.0)),
                Some(order) = self.mailbox.receiver.recv() => match order {
                    Order::Lapsed { .. } => drop(self.polite_until.get_or_insert(clock::now() + budget)),
                    Order::Maintenance(on) => self.maintenance = on,
                    later => self.mailbox.waiting.push_back(later),
                },
                () = clock::sleep_until(deadline) => {
                    let took = clock::now().since(begun).as_millis();
                    return Err(Some(format!("did not stop within {took} ms")));
                }
            }
        }
    }
}

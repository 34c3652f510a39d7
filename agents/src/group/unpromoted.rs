//! The part of a group that needs no permit: resources with roles, unpromoted, on every eligible node; and all of a group that
//! runs on every node.
//!
//! No proof is asked for before it starts, because it can do no harm wherever it runs: a resource with roles takes no writes
//! until it is promoted, and a group on every node requires nothing. So a start that fails is tried again, ever more slowly,
//! and no other node has to hear of it.

use std::time::Duration;

use holdfast_proto::agent::{CopyStatus as WireCopy, GroupRoles, GroupSpec, MemberStatus};
use holdfast_proto::time::Time;

use super::member::Member;
use super::{Group, Run};
use crate::agent::{AgentError, Presence};
use crate::clock;
use crate::probe;

/// Pause before the first attempt after a failure. It doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(60);
/// What ran for so long was well: the next pause is the first again.
const SETTLED: Duration = Duration::from_secs(60);

/// What is known of the part that needs no permit.
#[derive(Default)]
pub(super) struct Unpromoted {
    /// What `had` said last.
    pub(super) roles: Option<GroupRoles>,
    /// Attempts that failed since it last was well.
    attempts: u32,
    /// When the next attempt is due.
    retry_at: Option<Time>,
    /// When it last started.
    started_at: Time,
    /// The latest trouble.
    trouble: String,
    starting: bool,
    /// What failed is being stopped.
    stopping: bool,
}

impl Unpromoted {
    pub(super) fn wanted(&self) -> bool {
        self.roles.as_ref().is_some_and(|roles| roles.wanted)
    }

    /// The pause after a failure is over.
    pub(super) fn due(&mut self) {
        self.retry_at = None;
    }

    pub(super) fn retry_at(&self) -> Option<Time> {
        self.retry_at
    }

    fn spec(&self) -> Option<&GroupSpec> {
        self.roles.as_ref()?.spec.as_ref()
    }
}

impl Group {
    /// What is committed about roles changed. The agents have seen it already.
    pub(super) async fn order_roles(&mut self, roles: GroupRoles) {
        let newest = self.unpromoted.roles.as_ref().map_or(0, |known| known.version);
        if roles.version < newest {
            return;
        }
        let same = self.unpromoted.spec() == roles.spec.as_ref() && self.unpromoted.wanted() == roles.wanted;
        if !same {
            (self.unpromoted.attempts, self.unpromoted.retry_at) = (0, None);
        }
        self.unpromoted.roles = Some(roles);
        self.save();
        self.report();
    }

    /// Starts or stops the part that needs no permit, as it is wanted, while the group itself is down here.
    pub(super) async fn settle_unpromoted(&mut self) {
        let down = matches!(self.run, Run::Stopped | Run::Failed);
        if !down || self.maintenance || self.blind.is_some() || self.is_settled() {
            return;
        }
        if !self.unpromoted.wanted() {
            self.stop_unpromoted().await;
            self.unpromoted.trouble.clear();
        } else if let Err(error) = self.start_unpromoted().await {
            self.unpromoted_failed(error.0);
        }
        self.save();
        self.report();
    }

    /// True when all is as wanted, or nothing is to be tried now.
    fn is_settled(&self) -> bool {
        if self.unpromoted.roles.is_none() || self.unpromoted.retry_at.is_some() {
            return true;
        }
        let up = self.members.iter().any(|member| member.unpromoted);
        if !self.unpromoted.wanted() {
            return !up;
        }
        let whole = (0..self.members.len())
            .all(|index| !self.is_unpromoted_part(index) || self.members[index].unpromoted);
        let has_part = (0..self.members.len()).any(|index| self.is_unpromoted_part(index));
        let as_defined = self.unpromoted.spec() == Some(&self.spec);
        as_defined && (whole || !has_part)
    }

    /// Starts what does not run of it, in order.
    async fn start_unpromoted(&mut self) -> Result<(), AgentError> {
        let Some(spec) = self.unpromoted.spec().cloned() else {
            return Ok(());
        };
        if spec != self.spec || self.members.is_empty() {
            self.stop_unpromoted().await;
            let lease_ms = self.unpromoted.roles.as_ref().map_or(0, |roles| roles.lease_ms);
            self.build(spec, Duration::from_millis(lease_ms.max(1).into()), &[])?;
        }
        for index in 0..self.members.len() {
            if !self.is_unpromoted_part(index) || self.members[index].unpromoted {
                continue;
            }
            self.unpromoted.starting = true;
            self.report();
            let done = self.start_one_unpromoted(index).await;
            self.unpromoted.starting = false;
            match done {
                Some(done) => done?,
                // An order came in: it is obeyed first, and what is missing is started after it.
                None => {
                    self.unpromoted.retry_at = Some(clock::now());
                    return Ok(());
                }
            }
            self.members[index].follows();
            self.unpromoted.started_at = clock::now();
            self.unpromoted.trouble.clear();
        }
        Ok(())
    }

    /// True for a resource that runs here without a permit.
    pub(super) fn is_unpromoted_part(&self, index: usize) -> bool {
        self.spec.every_node || self.members[index].agent.has_roles()
    }

    /// None when an order came in that has to be obeyed first.
    async fn start_one_unpromoted(&mut self, index: usize) -> Option<Result<(), AgentError>> {
        let member = &mut self.members[index];
        let (spec, agent) = (&member.spec, &mut member.agent);
        let deadline = clock::now() + Duration::from_millis(spec.start_timeout_ms.into());
        let with_probes = !agent.has_roles();
        let mut action = std::pin::pin!(async {
            match agent.probe().await {
                Presence::Active | Presence::Inactive => {}
                Presence::Partial(_) | Presence::Unknown(_) => agent.stop(deadline).await?,
            }
            agent.start(deadline).await?;
            for probe in spec.probes.iter().filter(|_| with_probes) {
                probe::ready(probe).await;
            }
            Ok::<_, AgentError>(())
        });
        let ended = tokio::select! {
            biased;
            done = &mut action => done,
            () = self.mailbox.interrupts() => return None,
            () = clock::sleep_until(deadline) => {
                Err(AgentError(format!("did not start within {} ms", spec.start_timeout_ms)))
            }
        };
        Some(ended.map_err(|error| AgentError(format!("{}: {error}", spec.name))))
    }

    /// Stops all of it, last first. What survives is said, and is harmless.
    pub(super) async fn stop_unpromoted(&mut self) {
        for index in (0..self.members.len()).rev() {
            let member = &self.members[index];
            if member.run == Run::Stopped && !member.unpromoted {
                continue;
            }
            if !self.end_unpromoted(index).await {
                self.unpromoted.trouble = self.members[index].trouble.clone();
            }
        }
    }

    /// Stops one by the ladder.
    async fn end_unpromoted(&mut self, index: usize) -> bool {
        self.members[index].run = Run::Stopping;
        let whole = self.stop_member(index).await;
        if !whole {
            // It holds no permit and does no harm: `Unknown` would keep the group from being started elsewhere.
            self.members[index].run = Run::Stopped;
        }
        whole
    }

    /// A resource failed while the group is not promoted here.
    pub(super) async fn on_unpromoted_failure(&mut self, index: usize, reason: String) {
        let name = self.member_name(index);
        let known = self.members.get(index).is_some_and(|member| member.unpromoted);
        if !known || self.maintenance {
            return;
        }
        if clock::now().since(self.unpromoted.started_at) >= SETTLED {
            self.unpromoted.attempts = 0;
        }
        // Said before it is stopped: what hangs takes as long for that as its budget is, and an address leaves it now.
        self.unpromoted.trouble = format!("{name}: {reason}");
        self.unpromoted.stopping = true;
        self.report();
        self.end_unpromoted(index).await;
        self.unpromoted.stopping = false;
        while self.failures.try_recv().is_ok() {}
        self.unpromoted_failed(format!("{name}: {reason}"));
        self.save();
        self.report();
    }

    fn unpromoted_failed(&mut self, reason: String) {
        let pause = FIRST_PAUSE * 2_u32.pow(self.unpromoted.attempts.min(6));
        let pause = pause.min(LAST_PAUSE);
        self.unpromoted.attempts += 1;
        self.unpromoted.retry_at = Some(clock::now() + pause);
        let text = format!("{reason}; tried again in {} s", pause.as_secs());
        self.note("warn", "member-failed", text.clone());
        self.unpromoted.trouble = text;
    }

    /// What `had` is told of it; None for a group without such a part.
    pub(super) fn member_status(&self) -> Option<Box<MemberStatus>> {
        let parts = (0..self.members.len()).filter(|index| self.is_unpromoted_part(*index));
        let parts: Vec<usize> = parts.collect();
        if parts.is_empty() && self.unpromoted.roles.is_none() {
            return None;
        }
        let up = |index: &usize| self.members[*index].unpromoted || self.members[*index].run == Run::Running;
        let run = if self.unpromoted.stopping {
            Run::Stopping
        } else if !parts.is_empty() && parts.iter().all(up) {
            Run::Running
        } else if self.unpromoted.starting {
            Run::Starting
        } else if self.unpromoted.retry_at.is_some() && !self.unpromoted.trouble.is_empty() {
            Run::Failed
        } else {
            Run::Stopped
        };
        let copies = self.copies.borrow();
        let copy = parts
            .iter()
            .filter(|index| up(index))
            .find_map(|index| copies.get(index));
        Some(Box::new(MemberStatus {
            run: run.word().into(),
            copy: copy.map(|copy| WireCopy {
                obstacle: copy.obstacle.clone(),
                position: copy.position,
                history: copy.history.clone(),
                position_text: copy.position_text.clone(),
                lag_ms: copy.lag_ms,
                possible_loss: copy.possible_loss.clone(),
                wish: copy.wish.as_ref().map(crate::roles::InSync::to_wire),
                readable: copy.readable,
            }),
            detail: self.unpromoted.trouble.clone(),
        }))
    }

    /// After a restart of had-agentd: takes over what runs unpromoted, and makes sure that it is.
    pub(super) async fn resume_unpromoted(&mut self, roles: GroupRoles, saved: &[String]) {
        let lease = Duration::from_millis(roles.lease_ms.max(1).into());
        let Some(spec) = roles.spec.clone().filter(|_| roles.wanted) else {
            return;
        };
        self.unpromoted.roles = Some(roles);
        if let Err(error) = self.build(spec, lease, saved) {
            return self.unpromoted_failed(error.0);
        }
        for index in 0..self.members.len() {
            if self.is_unpromoted_part(index) && self.adopt_unpromoted(index).await {
                self.members[index].follows();
            }
        }
        self.unpromoted.started_at = clock::now();
    }

    async fn adopt_unpromoted(&mut self, index: usize) -> bool {
        let Member { spec, agent, .. } = &mut self.members[index];
        let limit = Duration::from_millis(spec.start_timeout_ms.into());
        let adopted = tokio::time::timeout(limit, async {
            if agent.probe().await != Presence::Active || agent.adopt().await.is_err() {
                return false;
            }
            // What was promoted here was promoted by a group that ran, and this one did not.
            !agent.has_roles() || agent.demote(None, clock::now() + limit).await.is_ok()
        });
        adopted.await.unwrap_or(false)
    }
}

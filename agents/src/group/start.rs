//! Starting a group: in order, under a live permit, each resource within its time.

use std::time::Duration;

use holdfast_proto::agent::{FenceDevice, GroupSpec};
use holdfast_proto::time::Time;
use tokio::sync::watch;

use super::member::Member;
use super::{Group, Run};
use crate::agent::{AgentContext, AgentError, AgentEvent, Cutter, PermitView, Presence};
use crate::guard::Command;
use crate::permits::Armed;
use crate::roles::CopySink;
use crate::vip::gate;
use crate::{clock, probe, registry};

/// How a start sequence ended.
pub(super) enum Started {
    /// All of it runs.
    Whole,
    /// A resource could not be started.
    Failed(String),
    /// An order that waits in the mailbox calls for something else.
    Superseded,
}

impl Group {
    pub(super) async fn order_start(
        &mut self,
        permit: PermitView,
        spec: GroupSpec,
        lease: Duration,
        storage: Vec<FenceDevice>,
    ) {
        if self.refuses("start", permit.epoch) {
            return;
        }
        if permit.until <= clock::now() {
            let text = format!(
                "refused to start: the permit of epoch {} has lapsed already",
                permit.epoch
            );
            self.note("warn", "permit-lapsed", text.clone());
            if matches!(self.run, Run::Stopped | Run::Failed) {
                // Word of this very order: `had` takes what is older for word of the time before it, and waits.
                self.epoch = permit.epoch;
                self.enter(Run::Stopped, text);
            } else {
                self.report();
            }
            return;
        }
        self.epoch = permit.epoch;
        if self.run == Run::Running && spec == self.spec {
            // The same thing under a newer decision. The guard raised the permit when the order came in.
            self.save();
            self.report();
            return;
        }
        if matches!(self.run, Run::Running | Run::Unknown)
            && !self.stop_members("the group is started anew", Run::Stopped).await
        {
            return;
        }
        self.restarts.clear();
        self.held = None;
        self.grace = None;
        self.polite_until = None;
        if let Err(error) = self.take_spec(spec, lease).await {
            self.members.clear();
            self.save();
            self.enter(Run::Failed, error.0);
            return;
        }
        self.arm(permit);
        self.enter(Run::Starting, "");
        let started = match self.admit(storage).await {
            Started::Whole => self.start_from(0).await,
            refused => refused,
        };
        match started {
            Started::Whole => {
                self.enter(Run::Running, "");
            }
            Started::Failed(reason) => self.give_up(reason).await,
            Started::Superseded => {}
        }
    }

    /// Keeps the agents of what runs unpromoted by the same definition; otherwise stops that, and builds all anew.
    async fn take_spec(&mut self, spec: GroupSpec, lease: Duration) -> Result<(), AgentError> {
        let follows = self.members.iter().any(|member| member.unpromoted);
        if follows && spec == self.spec {
            return Ok(());
        }
        self.stop_unpromoted().await;
        self.build(spec, lease, &[])
    }

    /// Builds the agents of `spec`. `saved` is what they left behind before a restart of had-agentd.
    pub(super) fn build(
        &mut self,
        spec: GroupSpec,
        lease: Duration,
        saved: &[String],
    ) -> Result<(), AgentError> {
        self.lease = lease;
        self.members.clear();
        let (sender, permit) = watch::channel(PermitView {
            epoch: self.epoch,
            until: Time::ZERO,
        });
        self.permit = permit;
        // The guard gets a copy of it with each start.
        self.permit_sender = Some(sender);
        for (index, resource) in spec.resources.iter().enumerate() {
            let events =
                crate::agent::EventSink::new(index, self.note_sender.clone(), self.failure_sender.clone());
            let context = AgentContext {
                group: self.name.clone(),
                resource: resource.name.clone(),
                params: resource.params.clone(),
                lease,
                permit: self.permit.clone(),
                events: events.clone(),
                saved: saved.get(index).cloned().unwrap_or_default(),
                state_dir: self.around.state_dir.clone(),
                roles: self.roles.subscribe(),
                copy: CopySink::new(index, self.copies.clone()),
                gate: self.around.gate.clone().filter(|_| gate::is_for(&spec.requires)),
            };
            let named = |error: AgentError| AgentError(format!("{}: {error}", resource.name));
            resource
                .probes
                .iter()
                .try_for_each(probe::validate)
                .map_err(named)?;
            let agent = registry::build(&resource.kind, context).map_err(named)?;
            self.members.push(Member::new(resource.clone(), agent, events));
        }
        self.spec = spec;
        Ok(())
    }

    /// From here on the guard enforces the permit.
    pub(super) fn arm(&mut self, permit: PermitView) {
        let (Some(view), Some(runner)) = (self.permit_sender.clone(), self.own_sender.upgrade()) else {
            return;
        };
        view.send_replace(permit);
        self.armed_epoch = permit.epoch;
        let agents = || self.members.iter().rev().map(|member| &member.agent);
        let mut cutters: Vec<Cutter> = agents().filter_map(|agent| agent.cutter()).collect();
        if self.is_halted_at_lapse() {
            cutters.extend(agents().filter_map(|agent| agent.halter()));
        }
        let armed = Armed {
            permit,
            cutters,
            view,
            runner,
        };
        self.tell(Command::Arm {
            group: self.name.clone(),
            armed,
        });
    }

    /// Starts resource `first` and those after it.
    pub(super) async fn start_from(&mut self, first: usize) -> Started {
        let later = self.members.iter_mut().skip(first + 1);
        later.for_each(|member| member.agent.prepare());
        for index in first..self.members.len() {
            if let Err(error) = self.clear_leftovers(index).await {
                return Started::Failed(error.0);
            }
            match self.start_member(index).await {
                Started::Whole => {}
                other => return other,
            }
            self.save();
            self.report();
        }
        Started::Whole
    }

    /// What is half there is stopped before it is started.
    async fn clear_leftovers(&mut self, index: usize) -> Result<(), AgentError> {
        let member = &mut self.members[index];
        if member.unpromoted {
            return Ok(());
        }
        let limit = Duration::from_millis(member.spec.start_timeout_ms.into());
        let found = tokio::time::timeout(limit, member.agent.probe()).await;
        let found = found.unwrap_or_else(|_| Presence::Unknown("the look at it took too long".into()));
        match found {
            Presence::Active | Presence::Inactive => Ok(()),
            Presence::Partial(what) | Presence::Unknown(what) => {
                let name = member.spec.name.clone();
                self.note(
                    "info",
                    "leftovers",
                    format!("{name}: stopped before it is started: {what}"),
                );
                match self.stop_member(index).await {
                    true => Ok(()),
                    false => Err(AgentError(format!(
                        "{name}: what was left of it cannot be stopped: {what}"
                    ))),
                }
            }
        }
    }

    async fn start_member(&mut self, index: usize) -> Started {
        if self.permit.borrow().until <= clock::now() {
            return Started::Failed(format!(
                "{}: not started, the permit has lapsed",
                self.member_name(index)
            ));
        }
        self.members[index].run = Run::Starting;
        let ended = self.await_start(index).await;
        let member = &mut self.members[index];
        match &ended {
            Started::Whole => member.running(),
            Started::Failed(reason) => member.trouble.clone_from(reason),
            Started::Superseded => {}
        }
        ended
    }

    /// Runs the agent's start, promotes what has roles, and waits until the probes pass, unless something comes up meanwhile.
    async fn await_start(&mut self, index: usize) -> Started {
        let Member {
            spec,
            agent,
            unpromoted,
            ..
        } = &mut self.members[index];
        let deadline = clock::now() + Duration::from_millis(spec.start_timeout_ms.into());
        let mut action = std::pin::pin!(async {
            if !*unpromoted {
                agent.start(deadline).await?;
            }
            if agent.has_roles() {
                *unpromoted = true;
                agent.promote(deadline).await?;
            }
            for probe in &spec.probes {
                probe::ready(probe).await;
            }
            Ok::<_, AgentError>(())
        });
        tokio::select! {
            biased;
            done = &mut action => match done {
                Ok(()) => Started::Whole,
                Err(error) => Started::Failed(format!("{}: {error}", spec.name)),
            },
            () = self.mailbox.superseded(self.epoch, self.armed_epoch) => Started::Superseded,
            Some((failed, AgentEvent::Failed(reason) | AgentEvent::GiveWay(reason))) = self.failures.recv() => {
                let failed = self.spec.resources.get(failed).map_or("", |resource| &resource.name);
                Started::Failed(format!("{failed}: {reason}, while {} was started", spec.name))
            }
            () = clock::sleep_until(deadline) => {
                let limit_ms = spec.start_timeout_ms;
                Started::Failed(format!("{}: did not start within {limit_ms} ms", spec.name))
            }
        }
    }
}

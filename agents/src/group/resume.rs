//! After a restart of had-agentd: take over what runs, without touching it.

use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::sync::watch;

use super::store::SavedGroup;
use super::{Group, Run};
use crate::agent::{PermitView, Presence};
use crate::clock;
use crate::permits::saved;
use crate::roles::RolesView;

impl Group {
    /// Takes up where the had-agentd before this one left off.
    pub(super) async fn resume(&mut self, state: SavedGroup) {
        self.epoch = state.epoch;
        let roles = state
            .roles
            .clone()
            .filter(|_| state.boot == super::store::boot_id());
        if let Some(roles) = &roles {
            self.roles.send_replace(RolesView::from_wire(roles));
        }
        let may_run = state.spec.is_some() && state.may_run();
        if let Some(roles) = roles.clone().filter(|_| !may_run) {
            return self.resume_unpromoted(roles, &state.agents).await;
        }
        self.unpromoted.roles = roles;
        let Some(spec) = state.spec.clone().filter(|_| state.may_run()) else {
            return;
        };
        self.around.occupied.note(&self.name, true);
        let lease = Duration::from_millis(state.lease_ms);
        if let Err(error) = self.build(spec, lease, &state.agents) {
            return self.go_blind(error.0);
        }
        // Not a moment longer than the predecessor was allowed to: see `permits::saved`. `had` renews it within a
        // heartbeat if it may.
        let permit = self.last_permit();
        self.epoch = self.epoch.max(permit.epoch);
        self.grace = Some(permit.until);
        self.arm(permit);
        let lapsed = permit.until <= clock::now() && !self.maintenance;
        if state.run == "running" && !lapsed {
            return self.adopt_members().await;
        }
        self.members
            .iter_mut()
            .for_each(|member| member.run = Run::Unknown);
        let text = if lapsed {
            self.begin_emergency();
            "its permit lapsed while had-agentd was restarted".to_owned()
        } else {
            format!("had-agentd was restarted while the group was {}", state.run)
        };
        self.stop_members(&text, Run::Stopped).await;
        self.settle_unpromoted().await;
    }

    /// The last permit that the predecessor took; one that has ended if that is not known.
    fn last_permit(&self) -> PermitView {
        saved::read(&self.around.state_dir, &self.name).unwrap_or(PermitView {
            epoch: self.epoch,
            until: Time::ZERO,
        })
    }

    /// It may be running, but how it could be found or stopped is not known. So it counts as running: when its permit ends
    /// nobody pets the watchdog any more, because a takeover counts on that.
    pub(super) fn go_blind(&mut self, why: String) {
        self.members.clear();
        self.around.occupied.note(&self.name, true);
        let permit = self.last_permit();
        let (sender, receiver) = watch::channel(permit);
        (self.permit_sender, self.permit) = (Some(sender), receiver);
        self.arm(permit);
        let hint = "stop by hand what runs of it, remove its state file, restart had-agentd";
        let text = format!("it may have run before had-agentd was restarted, but {why}; {hint}");
        self.blind = Some(why);
        self.note("warn", "state-damaged", text.clone());
        self.enter(Run::Unknown, text);
    }

    async fn adopt_members(&mut self) {
        let mut failed = None;
        for (index, member) in self.members.iter_mut().enumerate() {
            let limit = Duration::from_millis(member.spec.start_timeout_ms.into());
            let found = tokio::time::timeout(limit, member.agent.probe()).await;
            let trouble = match found {
                Ok(Presence::Active) => member.agent.adopt().await.err().map(|error| error.0),
                Ok(Presence::Inactive) => Some("it does not run any more".to_owned()),
                Ok(Presence::Partial(what) | Presence::Unknown(what)) => Some(what),
                Err(_) => Some("the look at it took too long".to_owned()),
            };
            member.running();
            if let Some(trouble) = trouble {
                failed.get_or_insert((index, format!("after a restart of had-agentd: {trouble}")));
            }
        }
        self.enter(Run::Running, "taken over after a restart of had-agentd");
        if let Some((index, reason)) = failed {
            self.on_failure(index, reason).await;
        }
    }
}

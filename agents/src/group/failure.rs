//! A resource that failed is restarted in place with those after it; too often, and the group is given up here.

use std::time::Duration;

use super::start::Started;
use super::{Group, Run};
use crate::clock;

impl Group {
    pub(super) async fn on_failure(&mut self, index: usize, reason: String) {
        if self.has_lapsed() {
            // The guard halted it, or was about to: its order to stop the group follows.
            return;
        }
        let name = self.member_name(index);
        if let Some(member) = self.members.get_mut(index) {
            member.trouble.clone_from(&reason);
        }
        if self.maintenance || self.grace.is_some() {
            let why = if self.maintenance {
                "maintenance is on"
            } else {
                "no permit since had-agentd was restarted"
            };
            self.note(
                "warn",
                "resource-failed",
                format!("{name}: {reason}; nothing is done, {why}"),
            );
            self.detail = format!("{name}: {reason}");
            self.held.get_or_insert((index, reason));
            self.report();
            return;
        }
        if let Some(member) = self.members.get_mut(index) {
            // What failed is stopped whole, and not only demoted.
            member.unpromoted = false;
        }
        let now = clock::now();
        let window = Duration::from_millis(self.spec.restart_window_ms.into());
        self.restarts.retain(|at| now.since(*at) < window);
        if self.restarts.len() >= self.spec.max_restarts as usize {
            let times = self.restarts.len();
            self.give_up(format!(
                "{name}: {reason}; restarted in place {times} times within its window"
            ))
            .await;
            return;
        }
        self.restarts.push_back(now);
        self.note(
            "warn",
            "resource-failed",
            format!("{name}: {reason}; restarting it"),
        );
        self.restart_from(index, format!("restarted {name}: {reason}"))
            .await;
    }

    /// It could go on, but not as the primary, and another node can be that: nothing is tried in place. While nothing may be
    /// acted on it is let be: the agent says it again.
    pub(super) async fn on_giving_way(&mut self, index: usize, reason: String) {
        if self.has_lapsed() || self.maintenance || self.grace.is_some() {
            return;
        }
        let name = self.member_name(index);
        self.note("warn", "resource-gives-way", format!("{name}: {reason}"));
        self.give_up(format!("{name}: {reason}")).await;
    }

    pub(super) async fn order_restart(&mut self, epoch: u64, resource: &str) {
        if self.refuses("restart", epoch) {
            return;
        }
        let index = self
            .members
            .iter()
            .position(|member| member.spec.name == resource || resource.is_empty());
        match index {
            Some(index) if self.run == Run::Running => {
                self.restart_from(index, "restarted on request".into()).await;
            }
            _ => {
                let text = format!("not restarted: {resource:?} does not run here");
                self.note("warn", "restart-refused", text);
                self.report();
            }
        }
    }

    /// Acts on a failure that was held back, if it is still one.
    pub(super) async fn release_held(&mut self) {
        if self.maintenance || self.grace.is_some() || self.run != Run::Running {
            return;
        }
        if let Some((index, reason)) = self.held.take() {
            self.on_failure(index, reason).await;
        }
    }

    /// Stops and starts resource `index` and those after it. The group stays `running`: it is still ours.
    async fn restart_from(&mut self, index: usize, why: String) {
        self.detail.clone_from(&why);
        if !self.stop_from(index).await {
            self.stop_members(&why, Run::Stopped).await;
            return;
        }
        match self.start_from(index).await {
            Started::Whole => self.enter(Run::Running, why),
            Started::Failed(reason) => self.give_up(format!("{why}; then {reason}")).await,
            Started::Superseded => {}
        }
        self.save();
    }

    /// Stops everything and reports the group as failed; not for what only came of a permit that lapsed.
    pub(super) async fn give_up(&mut self, reason: String) {
        if self.has_lapsed() {
            self.begin_emergency();
            let text = format!("its permit lapsed; {reason}");
            self.stop_members(&text, Run::Stopped).await;
        } else {
            self.stop_members(&reason, Run::Failed).await;
        }
    }

    /// True once nothing of the group may run.
    fn has_lapsed(&self) -> bool {
        !self.maintenance && self.permit.borrow().until <= clock::now()
    }
}

//! The part that a resource with roles plays on this node: its score, and notifications.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::action::Host;
use super::environment::{Call, instance};
use super::roles::{Notice, Scores, clone_variables, notice_variables};
use crate::agent::{AgentContext, EventSink};
use crate::roles::{InSync, RolesView};

/// Time for one notification unless the agent says otherwise.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(30);

/// What a resource without roles has none of.
#[derive(Clone)]
struct Roles {
    scores: Scores,
    view: watch::Receiver<RolesView>,
    memory: Arc<Mutex<Memory>>,
    notify: bool,
    events: EventSink,
}

/// Shared by all that play the part, one after the other.
#[derive(Default)]
struct Memory {
    /// The last set that was wished for.
    wished: InSync,
    /// Who was the primary when the agent was last told.
    primary: Option<String>,
}

impl Roles {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See above. Empty for a resource without roles.
#[derive(Clone)]
pub struct Part {
    roles: Option<Roles>,
}

impl Part {
    /// Of the resource that `host` runs.
    pub fn new(context: &AgentContext, host: &Host) -> Part {
        let scores = Scores {
            roles: context.roles.clone(),
            sink: context.copy.clone(),
            attributes: host.attributes.clone(),
            instance: instance(host),
        };
        let roles = host.settings.promotable.then(|| Roles {
            scores,
            view: context.roles.clone(),
            memory: Arc::new(Mutex::new(Memory {
                primary: context.roles.borrow().primary.clone(),
                ..Memory::default()
            })),
            notify: host.settings.notify,
            events: context.events.clone(),
        });
        Part { roles }
    }

    /// What the agent finds in every action.
    pub fn variables(&self) -> Vec<(String, String)> {
        let Some(roles) = &self.roles else {
            return Vec::new();
        };
        let view = roles.view.borrow();
        clone_variables(view.others.len() + 1, roles.notify)
    }

    /// Tells the cluster what the agent's score says.
    pub fn tell(&self, active: bool, promoted: bool) {
        if let Some(roles) = &self.roles {
            let mut memory = roles.memory();
            roles.scores.tell(active, promoted, &mut memory.wished);
        }
    }

    /// Returns when the roles of the group changed; never for a resource without.
    pub async fn changed(&mut self) {
        match &mut self.roles {
            Some(roles) => {
                if roles.view.changed().await.is_err() {
                    std::future::pending().await
                }
            }
            None => std::future::pending().await,
        }
    }

    /// Tells the agent that another node was promoted or demoted, if it wants to know.
    pub async fn tell_agent_of_others(&mut self, host: &Host) {
        let Some(roles) = &mut self.roles else { return };
        let (own, now) = {
            let view = roles.view.borrow_and_update();
            (view.own.name.clone(), view.primary.clone())
        };
        let before = std::mem::replace(&mut roles.memory().primary, now.clone());
        if before == now {
            return;
        }
        for (operation, node) in [("demote", before), ("promote", now)] {
            if let Some(node) = node.filter(|node| *node != own) {
                self.notify(host, "post", operation, &node, true).await;
            }
        }
    }

    /// Tells the agent what happens to its own instance, if it wants to know.
    pub async fn tell_agent(&self, host: &Host, when: &str, operation: &str, active: bool) {
        let Some(roles) = &self.roles else { return };
        let own = roles.view.borrow().own.name.clone();
        self.notify(host, when, operation, &own, active).await;
    }

    /// A notification must not fail, so one that does is told and changes nothing.
    async fn notify(&self, host: &Host, when: &str, operation: &str, node: &str, active: bool) {
        let Some(roles) = self.roles.as_ref().filter(|roles| roles.notify) else {
            return;
        };
        let notice = Notice {
            when,
            operation,
            node,
            active,
        };
        let mut more = self.variables();
        more.extend(notice_variables(notice, &instance(host), &roles.view.borrow()));
        let call = Call {
            more,
            ..Call::new("notify", NOTIFY_TIMEOUT)
        };
        let trouble = match host.look(&call).await {
            Ok(ran) if ran.code.0 == 0 => return,
            Ok(ran) => super::code::describe("notify", ran.code, &ran.reason),
            Err(error) => format!("notify {error}"),
        };
        roles.events.note("warn", "ocf-notify", trouble);
    }
}

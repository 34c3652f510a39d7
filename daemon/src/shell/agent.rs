//! Takes in what the agent process reports, and keeps the picture of it for status output.

use holdfast_core::event::{AgentEvent, Event};
use holdfast_proto::agent::{self, Attached, GroupStatus, agent_request::Body};

use super::Shell;
use crate::agentd_link::{LinkEvent, translate};

/// Groups remembered for status output: an agent process gone mad must not fill memory.
const GROUPS_MAX: usize = 10_000;

impl Shell {
    pub(super) fn link_event(&mut self, event: LinkEvent) {
        self.become_ready();
        match event {
            LinkEvent::Attached(attached) => self.attached(&attached),
            LinkEvent::Detached(reason) => self.detached(reason),
            LinkEvent::Away(reason) => self.agent.reason = reason,
            LinkEvent::Group(status) => self.group_changed(status),
            LinkEvent::Fenced(outcome) => {
                if let Some(id) = self.fences.remove(&outcome.id) {
                    self.feed(Event::Fenced {
                        id,
                        result: translate::fenced(outcome),
                    });
                } else {
                    self.fence_tested(&outcome);
                }
            }
            LinkEvent::Note(note) => self.record(note.into()),
            LinkEvent::Job(status) => match translate::job_report(&status) {
                Some((job, report)) => self.feed(Event::Agent(AgentEvent::Job { job, report })),
                None => tracing::warn!(
                    "had-agentd says of job {} what this version does not know",
                    status.job
                ),
            },
            LinkEvent::Registered(answer) => self.registered_on_disks(answer),
        }
    }

    fn attached(&mut self, attached: &Attached) {
        self.agent.attached = true;
        self.agent.reason.clear();
        self.agent.watchdog_ms = attached.watchdog_ms;
        self.agent.watchdog.clone_from(&attached.watchdog);
        self.agent.kinds.clone_from(&attached.kinds);
        self.agent.groups = attached
            .groups
            .iter()
            .map(|status| (status.group.clone(), status.clone()))
            .collect();
        // A restarted agent process knows nothing of maintenance; it must before anything else.
        let state = self.parts.node.view(crate::clock::now()).state;
        if let (Some(state), Some(link)) = (state, &self.parts.link) {
            link.send(Body::Maintenance(agent::Maintenance {
                on: state.maintenance,
            }));
        }
        let event = translate::attached(attached, self.parts.node.config());
        self.feed(Event::Agent(event));
    }

    fn detached(&mut self, reason: String) {
        self.agent.attached = false;
        self.agent.watchdog_ms = 0;
        self.agent.watchdog.clear();
        self.agent.reason = reason;
        // Their answers would come over the connection that is gone.
        for (_, id) in std::mem::take(&mut self.fences) {
            self.fence_failed(id, "had-agentd went away while it ran the device");
        }
        self.abort_fence_tests();
        self.feed(Event::Agent(AgentEvent::Detached));
    }

    fn group_changed(&mut self, status: GroupStatus) {
        let observation = translate::observation(&status, self.parts.node.config());
        if self.agent.groups.len() < GROUPS_MAX || self.agent.groups.contains_key(&status.group) {
            self.agent.groups.insert(status.group.clone(), status);
        }
        self.feed(Event::Agent(AgentEvent::Group(observation)));
    }
}

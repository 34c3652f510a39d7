//! Carries out what the core asks for.

use std::sync::Arc;

use holdfast_core::effect::{Effect, FenceId, FenceStep};
use holdfast_core::event::{Event, FenceResult};
use holdfast_core::journal::Entry;
use holdfast_core::witness::Input;
use holdfast_proto::agent::{self, agent_request::Body};
use holdfast_proto::config::Config;
use holdfast_proto::ids::{BootId, NodeId};
use holdfast_proto::job::RunNumber;
use holdfast_proto::time::Time;

use super::Shell;
use super::api::Chore;
use crate::agentd_link::{roles, translate};
use crate::journal::Record;

impl Shell {
    pub(super) fn perform(&mut self, effect: Effect) {
        self.worth_a_look |= !matches!(
            effect,
            Effect::SendBeat { .. } | Effect::Permits(_) | Effect::Quorum(_)
        );
        match effect {
            Effect::Send { to, message } if self.is_register(to) => {
                self.ask_register(Input::Message(message));
            }
            Effect::SendBeat { to, beat } if self.is_register(to) => self.ask_register(Input::Beat(beat)),
            Effect::Send { to, message } => self.parts.net.send(to, &message),
            Effect::SendBeat { to, beat } => self.parts.net.send_beat(to, beat),
            Effect::Persist { id, record } => self.parts.store.submit(id, record),
            Effect::MarkSynced => self.chore(Chore::MarkSynced(self.parts.identity.boot)),
            Effect::Permits(permits) => {
                let permits = permits.iter().map(translate::permit).collect();
                self.to_agentd(Body::Permits(agent::Permits {
                    permits,
                    quorum_at_us: 0,
                }));
            }
            Effect::Quorum(since) => self.to_agentd(Body::Permits(agent::Permits {
                permits: Vec::new(),
                quorum_at_us: since.0,
            })),
            Effect::StartGroup { permit, config } => {
                match translate::start(&permit, &config, self.parts.identity.node) {
                    Some(start) => self.to_agentd(Body::Start(start)),
                    None => {
                        let text = format!(
                            "group {} was to be started, but the configuration has no such group",
                            permit.group
                        );
                        self.record(Record::new("start-impossible", "alert", text));
                    }
                }
            }
            Effect::StopGroup {
                group,
                epoch,
                reason,
                toward,
            } => {
                let toward = toward.and_then(|node| roles::peer_of(self.parts.node.config(), node));
                self.to_agentd(Body::Stop(agent::StopGroup {
                    group: group.to_string(),
                    epoch,
                    reason,
                    toward,
                }));
            }
            Effect::GroupRoles(roles) => {
                let told = roles::roles(&roles, self.parts.identity.node);
                self.to_agentd(Body::Roles(told));
            }
            Effect::RestartResource {
                group,
                epoch,
                resource,
            } => {
                let resource = resource.unwrap_or_default();
                self.to_agentd(Body::Restart(agent::RestartResource {
                    group: group.to_string(),
                    epoch,
                    resource,
                }));
            }
            Effect::RunJob {
                job,
                run,
                occurrence,
                attempt,
                config,
            } => self.begin_job(&job, (run, occurrence, attempt), &config),
            Effect::EndJob { job, run, reason } => self.end_job(&job, run, reason),
            Effect::Maintenance(on) => self.to_agentd(Body::Maintenance(agent::Maintenance { on })),
            Effect::Fence {
                id,
                node,
                boot,
                device,
                step,
                config,
            } => self.fence(id, (node, boot), device, step, &config),
            Effect::Reply { request, outcome } => {
                // The client may have given up; then nobody is to be told.
                if let Some(reply) = self.replies.remove(&request) {
                    let _ = reply.send(outcome);
                }
            }
            Effect::Journal(entry) => self.journal(entry),
            Effect::ConfigChanged(config) => self.follow_config(config),
            Effect::ShutdownReady => self.ended = true,
        }
    }

    fn begin_job(&mut self, job: &str, run: (RunNumber, i64, u32), config: &Config) {
        match translate::begin_job(job, run, config) {
            Some(order) => self.to_agentd(Body::Job(order)),
            None => {
                let text = format!("job {job} was to begin, but the configuration has no such job");
                self.record(Record::new("job-impossible", "alert", text));
            }
        }
    }

    fn end_job(&mut self, job: &str, run: RunNumber, reason: String) {
        self.to_agentd(Body::Job(agent::JobOrder {
            job: job.into(),
            run,
            reason,
            cluster_id: self.parts.node.config().cluster.id.0,
            ..agent::JobOrder::default()
        }));
    }

    /// The core does not know why the agent process is away; this does.
    fn journal(&mut self, mut entry: Entry) {
        if entry.kind == "agent-lost" && !self.agent.reason.is_empty() {
            entry.text = format!("{}: {}", entry.text, self.agent.reason);
        }
        let config = Arc::clone(self.parts.node.config());
        self.record(Record::of_core(entry, |node| config.name_of(node)));
    }

    /// Sends to the agent process. While it is away there is nobody to send to, and the core knows.
    pub(super) fn to_agentd(&self, body: Body) {
        if self.agent.attached
            && let Some(link) = &self.parts.link
        {
            link.send(body);
        }
    }

    fn fence(
        &mut self,
        id: FenceId,
        (node, boot): (NodeId, Option<BootId>),
        device: usize,
        step: FenceStep,
        config: &Config,
    ) {
        let Some(device) = config.fences.get(device) else {
            return self.fence_failed(id, "the configuration has no such fence device");
        };
        if !self.agent.attached {
            return self.fence_failed(id, "had-agentd, which runs fence devices, is not attached");
        }
        self.next_fence += 1;
        self.fences.insert(self.next_fence, id);
        let mut command = translate::fence(self.next_fence, &config.name_of(node), device, step);
        command.boot = boot.map(translate::boot).unwrap_or_default();
        self.to_agentd(Body::Fence(command));
    }

    pub(super) fn fence_failed(&mut self, id: FenceId, error: &str) {
        let result = FenceResult {
            off_read_back: false,
            evidence: String::new(),
            error: error.into(),
            read_at: Time::ZERO,
        };
        self.inbox.push_back(Event::Fenced { id, result });
    }

    fn follow_config(&mut self, config: Arc<Config>) {
        self.parts.net.reconfigure(Arc::clone(&config));
        self.fence_tests.follow(&config, crate::clock::now());
        if let Some(register) = &mut self.register {
            register.follow(&config);
        }
        if let Some(link) = &self.parts.link {
            link.follow(translate::attach(
                &config,
                self.parts.identity.node,
                self.parts.identity.boot,
            ));
        }
        let version = self
            .parts
            .node
            .view(crate::clock::now())
            .state
            .map_or(0, |state| state.version);
        self.chore(Chore::WriteConfig { config, version });
    }
}

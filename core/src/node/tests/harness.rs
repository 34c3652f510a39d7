//! A cluster driven by hand: real nodes, a clock that the test moves, and a wire, disks, agents and fence devices that do
//! what the test says. One clock for all: drift is the simulator's concern.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_proto::ids::Epoch;
use holdfast_proto::job::{JobOutcome, JobReport};

use super::*;
use crate::effect::{FenceId, FenceStep};

/// What happens at an instant.
enum Happening {
    Message(NodeId, Sender, Box<Message>),
    Beat(NodeId, Sender, Beat),
    Own(NodeId, Event),
}

/// A machine: its disk and what runs on it outlive `had`.
pub(super) struct Host {
    pub(super) node: Option<Node>,
    pub(super) boot: BootId,
    pub(super) incarnation: Incarnation,
    pub(super) disk: Option<Durable>,
    pub(super) synced_marker: bool,
    /// When the present boot began; long ago unless a test sets it.
    pub(super) booted_at: Time,
    /// Records wait for `write_disk` instead of being written.
    pub(super) disk_held: bool,
    unwritten: Vec<(PersistId, Arc<Durable>)>,
    pub(super) watchdog: Option<Duration>,
    /// What runs, as the agent process sees it.
    pub(super) runs: BTreeMap<String, (Epoch, RunState)>,
    /// Members of groups here, as the agent process sees them.
    pub(super) members: BTreeMap<String, MemberReport>,
    /// Latest permits.
    pub(super) permits: BTreeMap<String, (Epoch, Time)>,
    /// The latest run of each job that the agent process was told of, and how it stands.
    pub(super) jobs: BTreeMap<String, (Epoch, JobOutcome)>,
    /// Groups whose start fails here.
    pub(super) starts_fail: BTreeSet<String>,
    /// Stops are not confirmed.
    pub(super) stops_hang: bool,
    /// Members go on until a test ends them.
    pub(super) members_stay: bool,
}

/// A fence device was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FenceAsk {
    pub(super) at: Time,
    pub(super) by: NodeId,
    pub(super) id: FenceId,
    pub(super) target: NodeId,
    pub(super) boot: Option<BootId>,
    pub(super) device: usize,
    pub(super) step: FenceStep,
}

/// The cluster.
pub(super) struct Cluster {
    pub(super) now: Time,
    pub(super) config: Arc<Config>,
    pub(super) hosts: BTreeMap<NodeId, Host>,
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    pub(super) fences: Vec<FenceAsk>,
    /// Every effect but messages and heartbeats, in order.
    pub(super) done: Vec<(Time, NodeId, Effect)>,
    /// Every run of a job that began: where, and the occurrence.
    pub(super) begun: Vec<(NodeId, i64)>,
    /// Every message, in order, also those that were lost.
    pub(super) sent: Vec<(Time, NodeId, NodeId, Message)>,
    queue: BTreeMap<(Time, u64), Happening>,
    count: u64,
}

/// Time that a frame takes.
const WIRE: Duration = Duration::from_micros(100);
/// Time that a write or an agent's action takes.
const WORK: Duration = Duration::from_millis(1);

impl Cluster {
    /// All members hold `state` on disk; none runs yet.
    pub(super) fn of(state: ClusterState) -> Cluster {
        let config = Arc::clone(&state.config);
        let state = Durable::initial(state);
        let hosts = config.members().map(|node| {
            let votes = state.committed.voters.contains(node);
            let host = Host {
                node: None,
                boot: BootId(0),
                incarnation: Incarnation(0),
                disk: votes.then(|| state.clone()),
                synced_marker: false,
                booted_at: Time::ZERO,
                disk_held: false,
                unwritten: Vec::new(),
                watchdog: None,
                runs: BTreeMap::new(),
                members: BTreeMap::new(),
                permits: BTreeMap::new(),
                jobs: BTreeMap::new(),
                starts_fail: BTreeSet::new(),
                stops_hang: false,
                members_stay: false,
            };
            (node, host)
        });
        Cluster {
            now: Time(10_000_000),
            hosts: hosts.collect(),
            config,
            cut: BTreeSet::new(),
            fences: Vec::new(),
            done: Vec::new(),
            begun: Vec::new(),
            sent: Vec::new(),
            queue: BTreeMap::new(),
            count: 0,
        }
    }

    /// All members vote, run, and every group runs somewhere.
    pub(super) fn formed(nodes: u8, witness: bool, groups: &str) -> Cluster {
        let mut cluster = Cluster::of(all_vote(&config(nodes, witness, groups)));
        cluster.form();
        cluster
    }

    /// Starts every member and waits until every group runs.
    pub(super) fn form(&mut self) {
        for node in self.members() {
            self.boot(node);
        }
        self.run_until(10_000, "every group runs and every node is synced", |cluster| {
            let state = cluster.leader().map(|leader| cluster.state(leader));
            state.is_some_and(|state| state.groups.keys().all(|group| cluster.runs_on(group).len() == 1))
                && cluster.all(|node| node.me.node.is_witness() || node.synced)
        });
        self.run_for(1000);
    }

    pub(super) fn members(&self) -> Vec<NodeId> {
        self.hosts.keys().copied().collect()
    }

    fn all(&self, is_so: impl Fn(&Node) -> bool) -> bool {
        self.hosts
            .values()
            .all(|host| host.node.as_ref().is_some_and(&is_so))
    }

    // Machines.

    /// Power on: a new boot.
    pub(super) fn boot(&mut self, node: NodeId) {
        let host = self.host_mut(node);
        host.boot = BootId((host.boot.0 & !0xff) + (1 << 96) + u128::from(node.0) + 1);
        host.synced_marker = false;
        self.start_had(node);
    }

    /// Power off: only the disk is left.
    pub(super) fn power_off(&mut self, node: NodeId) {
        self.stop_had(node);
        let host = self.host_mut(node);
        host.runs.clear();
        host.members.clear();
        host.permits.clear();
        host.jobs.clear();
    }

    /// `had` ends, and its connections with it; what it ran goes on.
    pub(super) fn stop_had(&mut self, node: NodeId) {
        let host = self.host_mut(node);
        host.node = None;
        host.unwritten.clear();
        self.queue.retain(|_, happening| match happening {
            Happening::Message(to, ..) | Happening::Beat(to, ..) | Happening::Own(to, ..) => *to != node,
        });
    }

    /// `had` starts in the present boot, and the agent process attaches.
    pub(super) fn start_had(&mut self, node: NodeId) {
        let (now, config) = (self.now, Arc::clone(&self.config));
        let host = self.host_mut(node);
        host.incarnation.0 += 1;
        let start = Start {
            identity: Identity {
                node,
                boot: host.boot,
                incarnation: host.incarnation,
            },
            durable: host.disk.clone(),
            synced_this_boot: host.synced_marker,
            booted_at: host.booted_at,
            config,
        };
        host.node = Some(Node::new(now, start));
        self.carry_out(node);
        if !node.is_witness() {
            self.attach_agent(node);
        }
    }

    /// The agent process attaches and names what runs.
    pub(super) fn attach_agent(&mut self, node: NodeId) {
        let host = self.host_mut(node);
        let groups = host.groups_up();
        let watchdog = host.watchdog;
        self.event(node, Event::Agent(AgentEvent::Attached { groups, watchdog }));
        for job in self.host(node).jobs.keys().cloned().collect::<Vec<_>>() {
            self.job_reports(node, &job);
        }
    }

    /// The run of `job` on `node` ends, and the agent process says so.
    pub(super) fn job_ends(&mut self, node: NodeId, job: &str, outcome: JobOutcome) {
        if let Some((_, stands)) = self.host_mut(node).jobs.get_mut(job) {
            *stands = outcome;
        }
        self.job_reports(node, job);
    }

    /// The agent process of `node` says how the latest run of `job` stands.
    fn job_reports(&mut self, node: NodeId, job: &str) {
        let Some((run, outcome)) = self.host(node).jobs.get(job).copied() else {
            return;
        };
        let report = JobReport {
            run,
            outcome,
            detail: format!("{outcome:?}"),
            took_ms: 7,
        };
        let event = Event::Agent(AgentEvent::Job {
            job: job.into(),
            report,
        });
        self.later(WORK, Happening::Own(node, event));
    }

    /// What the agent process does with a run: it begins none twice, and none that is older than one that it saw.
    fn run_job(&mut self, node: NodeId, job: &str, run: Epoch, begin: Option<i64>) {
        let known = self.host(node).jobs.get(job).copied();
        let outcome = match (known, begin) {
            (Some((latest, _)), _) if latest > run => return,
            (Some((latest, JobOutcome::Running)), None) if latest == run => JobOutcome::Failed,
            (Some((latest, outcome)), _) if latest == run => outcome,
            (_, Some(occurrence)) => {
                self.begun.push((node, occurrence));
                JobOutcome::Running
            }
            (_, None) => JobOutcome::NotBegun,
        };
        self.host_mut(node).jobs.insert(job.into(), (run, outcome));
        self.job_reports(node, job);
    }

    /// What waits for the disk is written.
    pub(super) fn write_disk(&mut self, node: NodeId) {
        for (id, record) in std::mem::take(&mut self.host_mut(node).unwritten) {
            self.host_mut(node).disk = Some(Durable::clone(&record));
            self.event(node, Event::Persisted(id));
        }
    }

    pub(super) fn host(&self, node: NodeId) -> &Host {
        &self.hosts[&node]
    }

    pub(super) fn host_mut(&mut self, node: NodeId) -> &mut Host {
        self.hosts.get_mut(&node).expect("a member")
    }

    // Time.

    /// Gives a node an event now.
    pub(super) fn event(&mut self, node: NodeId, event: Event) {
        let now = self.now;
        if let Some(had) = &mut self.host_mut(node).node {
            had.handle(now, event);
            self.carry_out(node);
        }
    }

    /// Lets `ms` pass.
    pub(super) fn run_for(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.step(end) {}
        self.now = end;
    }

    /// Lets time pass until `is_so`, at most `ms`; then `what` was not so.
    pub(super) fn run_until(&mut self, ms: u64, what: &str, is_so: impl Fn(&Cluster) -> bool) {
        let end = self.now + Duration::from_millis(ms);
        while !is_so(self) {
            if !self.step(end) {
                panic!("within {ms} ms not so: {what}\n{}", self.journal_text());
            }
        }
    }

    /// The next thing that happens until `end`; false when there is none.
    fn step(&mut self, end: Time) -> bool {
        let due = |host: &Host| host.node.as_ref().and_then(Node::poll_timeout);
        let timeouts = self
            .hosts
            .iter()
            .filter_map(|(node, host)| Some((due(host)?.0, *node)));
        let timeout = timeouts.min();
        let happening = self.queue.first_key_value().map(|(key, _)| *key);
        match (timeout, happening) {
            (_, Some(key)) if key.0 <= end && timeout.is_none_or(|(at, _)| key.0 <= at) => {
                self.now = self.now.max(key.0);
                if let Some(happening) = self.queue.remove(&key) {
                    self.happen(happening);
                }
                true
            }
            (Some((at, node)), _) if at <= end => {
                self.now = self.now.max(at);
                self.event(node, Event::Timeout);
                true
            }
            _ => false,
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Message(to, from, message) => {
                let message = *message;
                self.event(to, Event::Message { from, message });
            }
            Happening::Beat(to, from, beat) => self.event(to, Event::Beat { from, beat }),
            Happening::Own(node, event) => {
                if let Event::Agent(AgentEvent::Group(seen)) = &event {
                    let run = (seen.epoch, seen.run);
                    self.host_mut(node).runs.insert(seen.group.to_string(), run);
                }
                self.event(node, event);
            }
        }
    }

    pub(super) fn later_event(&mut self, node: NodeId, event: Event) {
        self.later(WORK, Happening::Own(node, event));
    }

    fn later(&mut self, after: Duration, happening: Happening) {
        self.count += 1;
        self.queue.insert((self.now + after, self.count), happening);
    }

    /// Loses every message that is on its way to `node`.
    pub(super) fn lose_messages_to(&mut self, node: NodeId) {
        self.queue
            .retain(|_, happening| !matches!(happening, Happening::Message(to, ..) if *to == node));
    }

    // Effects.

    fn carry_out(&mut self, node: NodeId) {
        while let Some(effect) = self.host_mut(node).node.as_mut().and_then(Node::poll_effect) {
            self.effect(node, effect);
        }
    }

    fn effect(&mut self, node: NodeId, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                self.sent.push((self.now, node, to, message.clone()));
                self.transmit(node, to, |from| Happening::Message(to, from, Box::new(message)));
                return;
            }
            Effect::SendBeat { to, beat } => {
                self.transmit(node, to, |from| Happening::Beat(to, from, beat));
                return;
            }
            _ => self.done.push((self.now, node, effect.clone())),
        }
        match effect {
            Effect::Persist { id, record } => {
                let host = self.host_mut(node);
                if host.disk_held {
                    host.unwritten.push((id, record));
                } else {
                    host.disk = Some(Durable::clone(&record));
                    self.later(WORK, Happening::Own(node, Event::Persisted(id)));
                }
            }
            Effect::MarkSynced => self.host_mut(node).synced_marker = true,
            Effect::Permits(permits) => permits.iter().for_each(|permit| self.permit(node, permit)),
            Effect::StartGroup { permit, .. } => {
                self.permit(node, &permit);
                let fails = self.host(node).starts_fail.contains(&*permit.group);
                let run = if fails {
                    RunState::Failed
                } else {
                    RunState::Running
                };
                self.agent_reports(node, &permit.group, permit.epoch, run);
            }
            Effect::RunJob {
                job, run, occurrence, ..
            } => self.run_job(node, &job, run, Some(occurrence)),
            Effect::EndJob { job, run, .. } => self.run_job(node, &job, run, None),
            Effect::StopGroup { group, epoch, .. } if !self.host(node).stops_hang => {
                self.agent_reports(node, &group, epoch, RunState::Stopped);
            }
            Effect::GroupRoles(roles) => self.follow_roles(node, &roles),
            Effect::Fence {
                id,
                node: target,
                boot,
                device,
                step,
                ..
            } => self.fences.push(FenceAsk {
                at: self.now,
                by: node,
                id,
                target,
                boot,
                device,
                step,
            }),
            _ => {}
        }
    }

    fn permit(&mut self, node: NodeId, permit: &crate::effect::Permit) {
        let right = (permit.epoch, permit.until);
        self.host_mut(node)
            .permits
            .insert(permit.group.to_string(), right);
    }

    /// The agent process of `node` says a moment later that `group` is so.
    pub(super) fn agent_reports(&mut self, node: NodeId, group: &str, epoch: Epoch, run: RunState) {
        let seen = self.host(node).observation(group, epoch, run);
        let event = Event::Agent(AgentEvent::Group(seen));
        self.later(WORK, Happening::Own(node, event));
    }

    fn transmit(&mut self, from: NodeId, to: NodeId, make: impl FnOnce(Sender) -> Happening) {
        if !self.cut.contains(&(from, to)) {
            let sender = self.sender(from);
            self.later(WIRE, make(sender));
        }
    }

    /// `node` as it signs what it sends now.
    pub(super) fn sender(&self, node: NodeId) -> Sender {
        let host = self.host(node);
        Sender {
            node,
            boot: host.boot,
            incarnation: host.incarnation,
        }
    }
}

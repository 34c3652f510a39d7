//! A cluster of core nodes whose surroundings take no time.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_core::durable::Durable;
use holdfast_core::effect::Effect;
use holdfast_core::event::{AgentEvent, Event, FenceResult, GroupObservation, Identity};
use holdfast_core::node::{Node, Start};
use holdfast_daemon::store::format;
use holdfast_proto::config::{Config, parse};
use holdfast_proto::ids::{BootId, Epoch, Incarnation, NodeId};
use holdfast_proto::operator::{OperatorCall, OperatorRequest};
use holdfast_proto::peer::{Message, RunState, Sender};
use holdfast_proto::state::{Assignment, ClusterState, genesis};
use holdfast_proto::time::Time;
use holdfast_proto::wire;

use super::Figures;

/// The node that leads.
pub const FIRST: NodeId = NodeId(1);
/// The other one.
pub const SECOND: NodeId = NodeId(2);
/// Longest virtual time for anything.
const PATIENCE: Duration = Duration::from_secs(120);

struct Member {
    node: Option<Node>,
    sender: Sender,
    running: usize,
    synced: bool,
}

/// The cluster.
pub struct Hall {
    now: Time,
    members: BTreeMap<NodeId, Member>,
    queue: VecDeque<(NodeId, Event)>,
    /// Computing since [`Hall::begin`].
    spent: Duration,
    /// Decisions since then: how long the event took that made them, and what was decided.
    decided: Vec<(Duration, Arc<ClusterState>, usize)>,
    /// Events of the first node that decided nothing, since then.
    quiet: Vec<Duration>,
}

impl Hall {
    /// All members vote, `groups` groups may run and do not, because maintenance is on.
    pub fn formed(groups: usize) -> anyhow::Result<Hall> {
        let config = config(groups)?;
        let mut state = genesis(Arc::clone(&config), FIRST);
        state.voters = config.members().collect();
        state.maintenance = true;
        let record = Durable::initial(state);
        let now = Time(10_000_000);
        let members = config.members().map(|node| {
            let sender = Sender {
                node,
                boot: BootId(u128::from(node.0) + 1),
                incarnation: Incarnation(1),
            };
            let start = Start {
                identity: Identity {
                    node,
                    boot: sender.boot,
                    incarnation: sender.incarnation,
                },
                durable: Some(record.clone()),
                synced_this_boot: false,
                booted_at: Time::ZERO,
                config: Arc::clone(&config),
            };
            let node = Some(Node::new(now, start));
            let member = Member {
                node,
                sender,
                running: 0,
                synced: false,
            };
            (sender.node, member)
        });
        let mut hall = Hall {
            now,
            members: members.collect(),
            queue: VecDeque::new(),
            spent: Duration::ZERO,
            decided: Vec::new(),
            quiet: Vec::new(),
        };
        for node in [FIRST, SECOND] {
            let attached = AgentEvent::Attached {
                groups: Vec::new(),
                watchdog: None,
            };
            hall.queue.push_back((node, Event::Agent(attached)));
        }
        hall.run_until("a leader and two synced nodes", |hall| {
            hall.node(FIRST).is_some_and(|node| node.holds_lease(hall.now))
                && [FIRST, SECOND].iter().all(|node| hall.is_synced(*node))
        })?;
        hall.run_for(Duration::from_secs(3));
        Ok(hall)
    }

    fn node(&self, node: NodeId) -> Option<&Node> {
        self.members.get(&node)?.node.as_ref()
    }

    fn is_synced(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| member.synced)
    }

    /// Groups that run, by what was started and stopped.
    pub fn running(&self) -> usize {
        self.members.values().map(|member| member.running).sum()
    }

    /// Counts anew from here.
    pub fn begin(&mut self) {
        self.spent = Duration::ZERO;
        self.decided.clear();
        self.quiet.clear();
    }

    /// An operator asks `node`.
    pub fn ask(&mut self, node: NodeId, request: OperatorRequest) {
        let call = OperatorCall {
            request,
            who: "bench".into(),
            at: String::new(),
        };
        self.queue.push_back((node, Event::Operator { request: 1, call }));
    }

    /// Power off: nothing of it runs.
    pub fn power_off(&mut self, node: NodeId) {
        if let Some(member) = self.members.get_mut(&node) {
            member.node = None;
            member.running = 0;
        }
        self.queue.retain(|(to, _)| *to != node);
    }

    /// Lets virtual time pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// Lets virtual time pass until `is_so`.
    pub fn run_until(&mut self, what: &str, is_so: impl Fn(&Hall) -> bool) -> anyhow::Result<()> {
        let end = self.now + PATIENCE;
        while !is_so(self) {
            anyhow::ensure!(
                self.step(end),
                "waited {} virtual s in vain for {what}",
                PATIENCE.as_secs()
            );
        }
        Ok(())
    }

    /// The latest decision that assigned at least `count` groups, and all computing since [`Hall::begin`].
    pub fn figures(&self, count: usize) -> Option<Figures> {
        let (took, state, _) = self
            .decided
            .iter()
            .rev()
            .find(|(_, _, changed)| *changed >= count)?;
        let wire_bytes = wire::encode(&Message::Accept {
            ballot: Default::default(),
            state: Arc::clone(state),
        });
        let record = self.node(FIRST)?.durable()?;
        Some(Figures {
            decide_ms: ms(*took),
            carry_out_ms: ms(self.spent),
            wire_bytes: wire_bytes.len(),
            disk_bytes: format::encode(1, record).len(),
        })
    }

    /// The median event that led to nothing, and all computing since [`Hall::begin`].
    pub fn quiet(&self) -> Figures {
        let mut sorted = self.quiet.clone();
        sorted.sort_unstable();
        Figures {
            decide_ms: sorted.get(sorted.len() / 2).copied().map_or(0.0, ms),
            carry_out_ms: ms(self.spent),
            wire_bytes: 0,
            disk_bytes: 0,
        }
    }

    fn step(&mut self, end: Time) -> bool {
        if let Some((to, event)) = self.queue.pop_front() {
            self.give(to, event);
            return true;
        }
        let due = self.members.iter().filter_map(|(id, member)| {
            let (at, _) = member.node.as_ref()?.poll_timeout()?;
            Some((at, *id))
        });
        match due.min() {
            Some((at, node)) if at <= end => {
                self.now = self.now.max(at);
                self.give(node, Event::Timeout);
                true
            }
            _ => false,
        }
    }

    fn give(&mut self, to: NodeId, event: Event) {
        let now = self.now;
        let Some(member) = self.members.get_mut(&to) else {
            return;
        };
        let Some(node) = &mut member.node else { return };
        let beat = matches!(event, Event::Beat { .. });
        let begun = Instant::now();
        node.handle(now, event);
        let took = begun.elapsed();
        self.spent += took;
        let before = node.durable().map(|durable| Arc::clone(&durable.committed));
        let mut effects = Vec::new();
        while let Some(effect) = node.poll_effect() {
            effects.push(effect);
        }
        let from = member.sender;
        let proposal = effects.iter().find_map(|effect| match effect {
            Effect::Send {
                message: Message::Accept { state, .. },
                ..
            } => Some(Arc::clone(state)),
            _ => None,
        });
        match (proposal, before) {
            (Some(state), Some(before)) if to == FIRST => {
                let changed = changed(&before, &state);
                self.decided.push((took, state, changed));
            }
            (None, _) if to == FIRST && beat => self.quiet.push(took),
            _ => {}
        }
        for effect in effects {
            self.carry_out(from, effect);
        }
    }

    fn carry_out(&mut self, from: Sender, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                let begun = Instant::now();
                let decoded = wire::decode(&wire::encode(&message));
                self.spent += begun.elapsed();
                // One that is too long is lost, and the cluster stands still: the run says so.
                if let Ok(message) = decoded {
                    self.queue.push_back((to, Event::Message { from, message }));
                }
            }
            Effect::SendBeat { to, beat } => self.queue.push_back((to, Event::Beat { from, beat })),
            Effect::Persist { id, .. } => self.queue.push_back((from.node, Event::Persisted(id))),
            Effect::MarkSynced => {
                if let Some(member) = self.members.get_mut(&from.node) {
                    member.synced = true;
                }
            }
            Effect::StartGroup { permit, .. } => {
                self.report(from.node, &permit.group, permit.epoch, RunState::Running);
            }
            Effect::StopGroup { group, epoch, .. } => {
                self.report(from.node, &group, epoch, RunState::Stopped)
            }
            Effect::Fence { id, .. } => {
                let result = FenceResult {
                    off_read_back: true,
                    evidence: "fence_ipmilan switched off; the power state was read back as off".into(),
                    error: String::new(),
                    read_at: holdfast_proto::time::Time::ZERO,
                };
                self.queue.push_back((from.node, Event::Fenced { id, result }));
            }
            _ => {}
        }
    }

    fn report(&mut self, node: NodeId, group: &str, epoch: Epoch, run: RunState) {
        if let Some(member) = self.members.get_mut(&node) {
            match run {
                RunState::Running => member.running += 1,
                _ => member.running = member.running.saturating_sub(1),
            }
        }
        let seen = GroupObservation {
            member: None,
            group: group.into(),
            epoch,
            run,
            restarts: 0,
            detail: String::new(),
        };
        self.queue
            .push_back((node, Event::Agent(AgentEvent::Group(seen))));
    }
}

/// Groups that `next` gives to a node that did not have them.
fn changed(before: &ClusterState, next: &ClusterState) -> usize {
    let given = next.groups.iter().filter(|(name, entry)| {
        matches!(entry.assignment, Assignment::Owned { .. })
            && before
                .groups
                .get(*name)
                .is_none_or(|old| old.assignment != entry.assignment)
    });
    given.count()
}

fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// Two nodes with a power device each, a witness, and groups of one program, which prefer nobody.
fn config(groups: usize) -> anyhow::Result<Arc<Config>> {
    let mut text = String::from(
        "[cluster]\nname = \"bench\"\nid = \"00000000000000aa\"\n[witness]\naddress = \"10.0.0.99\"\n",
    );
    // Writing to a String cannot fail.
    let _ = writeln!(text, "keys = [\"{:064x}\"]", 99);
    for node in 1..=2u8 {
        let _ = writeln!(
            text,
            "[[node]]\nname = \"db{node}\"\nlinks = [\"10.0.0.{node}\"]\nkeys = [\"{node:064x}\"]\n\
             [[fence]]\nnode = \"db{node}\"\nagent = \"exec\"\nparams = {{ program = \"/bin/power\" }}"
        );
    }
    for group in 1..=groups {
        let _ = writeln!(
            text,
            "[[group]]\nname = \"service-{group:04}\"\nrequires = \"fencing\"\n[[group.resource]]\nname = \"program\"\n\
             type = \"exec\"\ncommand = [\"/usr/bin/service\", \"{group}\"]"
        );
    }
    match parse(&text, "bench.toml") {
        Ok(config) => Ok(Arc::new(config)),
        Err(why) => anyhow::bail!("the bench's configuration is not valid:\n{why}"),
    }
}

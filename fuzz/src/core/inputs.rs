//! Makes events out of bytes: numbers near what the node said itself, and now and then at the ends of their range.

mod copies;
mod states;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use holdfast_core::durable::Durable;
use holdfast_core::event::{AgentEvent, Event, GroupObservation, Identity, NetworkHealth};
use holdfast_proto::config::Config;
use holdfast_proto::ids::{Ballot, BootId, Epoch, GroupName, Incarnation, NUMBER_MAX, NodeId, VoterSet};
use holdfast_proto::operator::{OperatorCall, OperatorOutcome, OperatorRequest};
use holdfast_proto::peer::{
    Beat, GroupReport, Heartbeat, HeartbeatAck, KnownVoters, Message, NodeReport, RunState, Sender, Verdict,
    WITHHELD_MAX,
};
use holdfast_proto::state::{ClusterState, InSync};
use holdfast_proto::time::Time;

use states::World;

/// Values kept of what the node said.
const KEPT: usize = 8;

/// What inputs are made from.
pub struct Inputs {
    me: Identity,
    config: Arc<Config>,
    states: VecDeque<Arc<ClusterState>>,
    ballots: VecDeque<Ballot>,
    rounds: VecDeque<(u64, Time)>,
    world: World,
    /// What was said by others, or stood on the disk: this node did not think it up.
    given: Given,
}

impl Inputs {
    pub fn new(source: &mut Unstructured<'_>) -> Result<Inputs> {
        let (world, config) = World::any(source)?;
        let identity = Identity {
            node: NodeId(source.int_in_range(0..=3)?),
            boot: BootId(7),
            incarnation: Incarnation(100),
        };
        let first = Arc::new(states::formed(&config));
        Ok(Inputs {
            me: identity,
            config,
            states: VecDeque::from([first]),
            ballots: VecDeque::from([Ballot::ZERO]),
            rounds: VecDeque::new(),
            world,
            given: Given::default(),
        })
    }

    pub fn given(&self) -> &Given {
        &self.given
    }

    pub fn me(&self) -> Identity {
        self.me
    }

    pub fn config(&self, source: &mut Unstructured<'_>) -> Result<Arc<Config>> {
        if source.ratio(7, 8)? {
            Ok(Arc::clone(&self.config))
        } else {
            self.world.config(source)
        }
    }

    /// What a node's disk may hold: one state accepted, the same or an older one committed.
    pub fn durable(&mut self, source: &mut Unstructured<'_>) -> Result<Option<Durable>> {
        if source.ratio(1, 8)? {
            return Ok(None);
        }
        let committed = ClusterState::clone(&self.states[0]);
        let mut accepted = committed.clone();
        accepted.version += u64::from(source.int_in_range(0..=1u8)?);
        if accepted.version > committed.version {
            states::change(&mut accepted, self.world, source)?;
            accepted.version = committed.version + 1;
        }
        let round = source.int_in_range(1..=3)?;
        let ballot = Ballot {
            round,
            node: source.int_in_range(0..=3)?,
        };
        self.remember_ballot(ballot);
        let accepted = Arc::new(accepted);
        self.given.states.push(Arc::clone(&accepted));
        Ok(Some(Durable {
            promised: ballot,
            accepted_ballot: ballot,
            accepted,
            committed: Arc::new(committed),
        }))
    }

    pub fn remember_state(&mut self, state: &Arc<ClusterState>) {
        if !self.states.iter().any(|known| Arc::ptr_eq(known, state)) {
            keep(&mut self.states, Arc::clone(state));
        }
    }

    pub fn remember_ballot(&mut self, ballot: Ballot) {
        if !self.ballots.contains(&ballot) {
            keep(&mut self.ballots, ballot);
        }
    }

    pub fn remember_round(&mut self, seq: u64, sent_at: Time) {
        if !self.rounds.contains(&(seq, sent_at)) {
            keep(&mut self.rounds, (seq, sent_at));
        }
    }

    /// A number that counts something: small, or at the end of its range.
    fn count(source: &mut Unstructured<'_>) -> Result<u64> {
        Ok(match source.int_in_range(0..=15u8)? {
            0 => u64::MAX - u64::from(source.int_in_range(0..=2u8)?),
            1 => source.arbitrary()?,
            _ => source.int_in_range(0..=40)?,
        })
    }

    /// A span in microseconds.
    pub fn span_us(&self, source: &mut Unstructured<'_>) -> Result<u64> {
        Ok(match source.int_in_range(0..=7u8)? {
            0 => source.int_in_range(0..=100_000_000)?,
            1 => source.int_in_range(0..=5_000_000)?,
            _ => source.int_in_range(0..=300_000)?,
        })
    }

    fn node(source: &mut Unstructured<'_>) -> Result<NodeId> {
        Ok(NodeId(if source.ratio(1, 16)? {
            source.int_in_range(0..=NodeId::DATA_MAX)?
        } else {
            source.int_in_range(0..=3)?
        }))
    }

    /// Some member in its first boot or a later one, its first run or a later one.
    fn sender(source: &mut Unstructured<'_>) -> Result<Sender> {
        let node = Self::node(source)?;
        let later = u64::from(source.int_in_range(0..=15u8)?.saturating_sub(12));
        Ok(Sender {
            node,
            boot: BootId(u128::from(node.0) * 100 + u128::from(later / 2)),
            incarnation: Incarnation(if source.ratio(1, 64)? { u64::MAX } else { 1 + later }),
        })
    }

    fn ballot(&self, source: &mut Unstructured<'_>) -> Result<Ballot> {
        let known = self.ballots[source.choose_index(self.ballots.len())?];
        Ok(match source.int_in_range(0..=15u8)? {
            0 => super::FAR,
            1 => Ballot {
                round: source.int_in_range(0..=NUMBER_MAX)?,
                node: Self::node(source)?.0,
            },
            2..=5 => Ballot {
                round: (known.round + 1).min(NUMBER_MAX),
                node: Self::node(source)?.0,
            },
            _ => known,
        })
    }

    fn state(&mut self, source: &mut Unstructured<'_>) -> Result<Arc<ClusterState>> {
        let known = &self.states[source.choose_index(self.states.len())?];
        if source.ratio(1, 3)? {
            return Ok(Arc::clone(known));
        }
        let mut state = ClusterState::clone(known);
        for _ in 0..source.int_in_range(1..=3)? {
            states::change(&mut state, self.world, source)?;
        }
        let state = Arc::new(state);
        self.given.states.push(Arc::clone(&state));
        Ok(state)
    }

    fn known_voters(source: &mut Unstructured<'_>) -> Result<KnownVoters> {
        Ok(KnownVoters {
            committed_version: Self::count(source)?,
            committed: VoterSet(source.int_in_range(0..=15)?),
            accepted: VoterSet(source.int_in_range(0..=15)?),
        })
    }

    fn verdict(source: &mut Unstructured<'_>) -> Result<Verdict> {
        Ok(match source.int_in_range(0..=7u8)? {
            0 => Verdict::Bound(Duration::from_micros(Self::count(source)?)),
            1 => Verdict::Stale,
            2 => Verdict::Stranger,
            3 => Verdict::Blank,
            _ => Verdict::Granted,
        })
    }

    pub fn message(&mut self, source: &mut Unstructured<'_>) -> Result<Event> {
        let from = Self::sender(source)?;
        let ballot = self.ballot(source)?;
        let message = match source.int_in_range(0..=11u8)? {
            0 => Message::PreVote { ballot },
            1 => Message::PreVoteReply {
                ballot,
                verdict: Self::verdict(source)?,
                promised: self.ballot(source)?,
                voters: Self::known_voters(source)?,
            },
            2 => Message::Prepare {
                ballot,
                transfer: if source.arbitrary()? {
                    Some(self.ballot(source)?)
                } else {
                    None
                },
            },
            3 => Message::Promise {
                ballot,
                accepted_ballot: self.ballot(source)?,
                accepted: self.state(source)?,
                voters: Self::known_voters(source)?,
            },
            4 => Message::Refuse {
                ballot,
                promised: self.ballot(source)?,
                verdict: Self::verdict(source)?,
            },
            5 => Message::Accept {
                ballot,
                state: self.state(source)?,
            },
            6 => Message::Accepted {
                ballot,
                version: self.state(source)?.version,
            },
            7 => Message::Commit {
                ballot,
                state: self.state(source)?,
            },
            8 => Message::Transfer { ballot },
            9 => Message::Report(self.report(from.node, source)?),
            10 => Message::Forward {
                request: source.int_in_range(0..=3)?,
                call: self.call(source)?,
            },
            _ => Message::ForwardReply {
                request: source.int_in_range(0..=3)?,
                outcome: OperatorOutcome::Refused("no".into()),
            },
        };
        Ok(Event::Message { from, message })
    }

    pub fn beat(&self, source: &mut Unstructured<'_>, now: Time) -> Result<Event> {
        let from = Self::sender(source)?;
        let ballot = self.ballot(source)?;
        let committed = Self::count(source)?;
        let beat = if source.ratio(2, 3)? && !self.rounds.is_empty() {
            let (seq, sent_at) = self.rounds[source.choose_index(self.rounds.len())?];
            let mut withheld = [0; WITHHELD_MAX];
            withheld[0] = Self::count(source)?;
            Beat::Ack(HeartbeatAck {
                seq,
                sent_at,
                ballot,
                backs: source.ratio(7, 8)?,
                lease_left: Duration::from_micros(Self::count(source)?.saturating_mul(25_000)),
                granted: Self::count(source)?,
                withheld,
                withhold_all: source.ratio(1, 8)?,
                committed,
                blank: source.ratio(1, 8)?,
            })
        } else {
            Beat::Heartbeat(Heartbeat {
                seq: Self::count(source)?,
                sent_at: if source.arbitrary()? {
                    now
                } else {
                    Time(Self::count(source)?)
                },
                lateness: Duration::from_micros(Self::count(source)?),
                ballot,
                leading: source.arbitrary()?,
                committed,
                synced: source.arbitrary()?,
                blank: source.ratio(1, 8)?,
                survivor: Self::node(source)?,
                watchdog: if source.arbitrary()? {
                    Some(Duration::from_micros(Self::count(source)?.saturating_mul(50_000)))
                } else {
                    None
                },
                agent_ready: source.arbitrary()?,
            })
        };
        Ok(Event::Beat { from, beat })
    }

    fn report(&mut self, from: NodeId, source: &mut Unstructured<'_>) -> Result<NodeReport> {
        let mut report = NodeReport {
            version: Self::count(source)?,
            isolated: source.ratio(1, 8)?,
            ..NodeReport::default()
        };
        for group in self.world.groups() {
            if source.arbitrary()? {
                let epoch = self.epoch(group, source)?;
                let seen = GroupReport {
                    member: self.member(from, group, epoch, source)?,
                    epoch,
                    run: run_state(source)?,
                    restarts: source.arbitrary()?,
                    detail: "seen".into(),
                };
                report.groups.insert((*group).into(), seen);
            }
        }
        report.jobs = self.job_reports(source)?;
        Ok(report)
    }

    fn observation(&mut self, source: &mut Unstructured<'_>) -> Result<GroupObservation> {
        let group = *source.choose(self.world.groups())?;
        let epoch = self.epoch(group, source)?;
        Ok(GroupObservation {
            member: self.member(self.me.node, group, epoch, source)?,
            group: group.into(),
            epoch,
            run: run_state(source)?,
            restarts: source.arbitrary()?,
            detail: "agent".into(),
        })
    }

    pub fn agent(&mut self, source: &mut Unstructured<'_>) -> Result<Event> {
        let most = match self.world {
            World::Plain => 3,
            World::Copies => 7,
        };
        Ok(Event::Agent(match source.int_in_range(0..=most)? {
            0 => AgentEvent::Detached,
            1 | 2 => AgentEvent::Attached {
                groups: if source.arbitrary()? {
                    vec![self.observation(source)?]
                } else {
                    Vec::new()
                },
                watchdog: if source.arbitrary()? {
                    Some(Duration::from_secs(5))
                } else {
                    None
                },
            },
            6 | 7 => self.job_event(source)?,
            _ => AgentEvent::Group(self.observation(source)?),
        }))
    }

    fn call(&self, source: &mut Unstructured<'_>) -> Result<OperatorCall> {
        let (chosen, most) = match self.world {
            World::Plain => ("g0", 9),
            World::Copies => (*source.choose(self.world.groups())?, 15),
        };
        let group = || chosen.into();
        let node = Self::node(source)?;
        let on: bool = source.arbitrary()?;
        let request = match source.int_in_range(0..=most)? {
            0 => OperatorRequest::Move {
                group: (*source.choose(self.world.groups())?).into(),
                to: on.then_some(node),
            },
            1 => OperatorRequest::Standby { node, on },
            2 => OperatorRequest::Maintenance { on },
            3 => OperatorRequest::Restart {
                group: group(),
                resource: on.then(|| "r".into()),
            },
            4 => OperatorRequest::Cleanup {
                group: on.then(group),
            },
            5 => OperatorRequest::Enable {
                group: group(),
                enabled: on,
            },
            6 => OperatorRequest::Fence { node },
            7 => OperatorRequest::FenceConfirm {
                node,
                reason: String::new(),
            },
            8 => OperatorRequest::QuorumForce,
            9 => OperatorRequest::ApplyConfig {
                config: self.world.config(source)?,
            },
            _ => copies::request(chosen, node, source)?,
        };
        Ok(OperatorCall {
            request,
            who: "fuzz".into(),
            at: "now".into(),
        })
    }

    pub fn operator(&self, source: &mut Unstructured<'_>) -> Result<Event> {
        Ok(Event::Operator {
            request: source.int_in_range(0..=3)?,
            call: self.call(source)?,
        })
    }

    pub fn network(&self, source: &mut Unstructured<'_>) -> Result<Event> {
        Ok(Event::Network(NetworkHealth {
            any_link_up: source.arbitrary()?,
            ping_answers: source.arbitrary()?,
        }))
    }
}

fn run_state(source: &mut Unstructured<'_>) -> Result<RunState> {
    let all = [
        RunState::Stopped,
        RunState::Starting,
        RunState::Running,
        RunState::Stopping,
        RunState::Failed,
        RunState::Unknown,
    ];
    source.choose(&all).copied()
}

/// What a play said to the node that the node may repeat as its own.
#[derive(Default)]
pub struct Given {
    /// Cluster states.
    pub states: Vec<Arc<ClusterState>>,
    /// Sets of whole copies that a node wished: which node, for which group, under which epoch.
    pub wishes: Vec<(NodeId, GroupName, Epoch, InSync)>,
}

/// Keeps the first, and the newest of the rest.
fn keep<T>(kept: &mut VecDeque<T>, new: T) {
    if kept.len() >= KEPT {
        kept.remove(1);
    }
    kept.push_back(new);
}

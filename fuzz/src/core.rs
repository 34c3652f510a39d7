//! The decision core under sequences of events that no honest cluster would send.
//!
//! What comes over the network is arbitrary, as far as it decodes: any message or heartbeat, from any member, at any time,
//! with numbers taken from what the node said itself or made up. What comes from this machine is plausible: only records
//! that were asked for are written, only fence commands that were given are answered, time does not run backwards. Safety
//! of the cluster is not judged, since a member that lies can break it (the simulator judges it); the node must not panic, must
//! stay bounded, must not spin, and what it does itself must follow from what is committed ([`rules`]).

mod inputs;
mod peers;
mod rules;

use arbitrary::{Result, Unstructured};
use holdfast_core::effect::{Effect, FenceId, PersistId};
use holdfast_core::event::{Event, FenceResult};
use holdfast_core::node::{Node, Start};
use holdfast_proto::ids::{Ballot, NUMBER_MAX};
use holdfast_proto::peer::{Beat, Message};
use holdfast_proto::time::Time;
use std::sync::Arc;
use std::time::Duration;

use inputs::Inputs;
use peers::Peers;

/// Steps of one input.
const STEPS_MAX: usize = 200;
/// Effects that one event may have: some per member and per group.
const EFFECTS_MAX: usize = 500;
/// Answers of peers after which a node is at rest.
const ANSWERS_MAX: usize = 200;
/// Timers that may be due at one instant, one after the other.
const TIMEOUTS_MAX: usize = 50;

/// Plays the bytes as a sequence of events.
///
/// # Panics
/// When the node does, or is not bounded.
pub fn check(data: &[u8]) {
    let mut source = Unstructured::new(data);
    // The end of the input is the end of the play.
    let _ = play(&mut source);
}

fn play(source: &mut Unstructured<'_>) -> Result<()> {
    let mut stage = Stage::set(source)?;
    for _ in 0..STEPS_MAX {
        if source.is_empty() {
            break;
        }
        stage.step(source)?;
    }
    Ok(())
}

/// A node, and what it waits for.
struct Stage {
    node: Node,
    now: Time,
    inputs: Inputs,
    peers: Peers,
    /// Records are on disk as soon as they are asked for.
    quick_disk: bool,
    unwritten: Vec<PersistId>,
    fences: Vec<FenceId>,
}

impl Stage {
    fn set(source: &mut Unstructured<'_>) -> Result<Stage> {
        let now = Time(10_000_000);
        let mut inputs = Inputs::new(source)?;
        let start = Start {
            identity: inputs.me(),
            durable: inputs.durable(source)?,
            synced_this_boot: source.arbitrary()?,
            booted_at: Time::ZERO,
            config: inputs.config(source)?,
        };
        let mut stage = Stage {
            node: Node::new(now, start),
            now,
            peers: Peers::new(inputs.has_willing_peers(source)?),
            inputs,
            quick_disk: source.ratio(3, 4)?,
            unwritten: Vec::new(),
            fences: Vec::new(),
        };
        stage.settle();
        Ok(stage)
    }

    fn step(&mut self, source: &mut Unstructured<'_>) -> Result<()> {
        let event = match source.int_in_range(0..=self.inputs.step_max())? {
            0..=6 => self.inputs.message(source)?,
            7..=10 => self.inputs.beat(source, self.now)?,
            11 | 12 => {
                self.run_to_deadline();
                return Ok(());
            }
            13 => {
                self.now = self.now + Duration::from_micros(self.inputs.span_us(source)?);
                return Ok(());
            }
            14 => match self.unwritten.last().copied() {
                Some(id) if source.ratio(1, 4)? => Event::PersistFailed(id, "no space".into()),
                Some(id) => {
                    self.unwritten.clear();
                    Event::Persisted(id)
                }
                None => return Ok(()),
            },
            15 => match self.fences.pop() {
                Some(id) => Event::Fenced {
                    id,
                    result: fence_result(source.arbitrary()?),
                },
                None => return Ok(()),
            },
            16 => self.inputs.agent(source)?,
            17 => self.inputs.operator(source)?,
            18 => self.inputs.network(source)?,
            20 | 21 => self.inputs.agent(source)?,
            22 => self.inputs.due(source)?,
            23 => {
                for event in self.inputs.all_is_well(&self.node, source)? {
                    self.handle(event);
                }
                return Ok(());
            }
            24 => {
                self.peers.willing = source.ratio(3, 4)?;
                return Ok(());
            }
            _ if source.ratio(1, 8)? => Event::Shutdown,
            _ => Event::Timeout,
        };
        self.handle(event);
        Ok(())
    }

    fn handle(&mut self, event: Event) {
        self.node.handle(self.now, event);
        self.settle();
    }

    /// Lets every timer run out that is next, and those that it sets for the same instant.
    fn run_to_deadline(&mut self) {
        for _ in 0..TIMEOUTS_MAX {
            match self.node.poll_timeout() {
                // A timer of the far future would only make the node stalled.
                Some((at, _)) if at <= self.now + Duration::from_secs(600) => {
                    let again = at <= self.now;
                    self.now = self.now.max(at);
                    self.handle(Event::Timeout);
                    if !again && self.node.poll_timeout().is_none_or(|(next, _)| next > self.now) {
                        return;
                    }
                }
                _ => return,
            }
        }
        if let Some((at, why)) = self.node.poll_timeout() {
            assert!(at > self.now, "the timer '{why}' is due again and again at {at}");
        }
    }

    /// Carries out what the node wants until it is at rest.
    fn settle(&mut self) {
        for _ in 0..ANSWERS_MAX {
            self.rest();
            match self.peers.next() {
                Some(answer) => self.node.handle(self.now, answer),
                None => return,
            }
        }
        panic!("the node is not at rest after {ANSWERS_MAX} answers");
    }

    fn rest(&mut self) {
        let mut effects = 0;
        loop {
            while let Some(effect) = self.node.poll_effect() {
                effects += 1;
                assert!(
                    effects <= EFFECTS_MAX,
                    "one event has more than {EFFECTS_MAX} effects"
                );
                self.carry_out(effect);
            }
            let Some(id) = self.unwritten.last().copied().filter(|_| self.quick_disk) else {
                break;
            };
            self.unwritten.clear();
            self.node.handle(self.now, Event::Persisted(id));
        }
        let _ = self.node.view(self.now);
        let _ = self.node.holds_lease(self.now);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Persist { id, record } => {
                rules::planned(&record, self.inputs.me().node, self.inputs.given());
                self.unwritten.push(id);
                self.inputs.remember_state(&record.accepted);
                self.inputs.remember_state(&record.committed);
                self.inputs.remember_ballot(record.promised);
            }
            Effect::Fence { id, .. } => self.fences.push(id),
            Effect::StartGroup { permit, .. } => rules::started(&self.node, self.inputs.me(), &permit),
            Effect::GroupRoles(roles) => rules::told(&self.node, &roles),
            Effect::RunJob { job, run, .. } => rules::begun(&self.node, self.inputs.me(), &job, run),
            Effect::Send { to, message } => {
                if let Some(own) = self.node.durable() {
                    self.peers.hear(to, &message, own);
                }
                self.remember(&message);
            }
            Effect::SendBeat {
                to,
                beat: Beat::Heartbeat(beat),
            } => {
                if let Some(own) = self.node.durable() {
                    self.peers.feel(to, &beat, own, self.now);
                }
                self.inputs.remember_round(beat.seq, beat.sent_at);
                self.inputs.remember_ballot(beat.ballot);
            }
            _ => {}
        }
    }

    fn remember(&mut self, message: &Message) {
        if let Message::PreVote { ballot } | Message::Prepare { ballot, .. } | Message::Transfer { ballot } =
            message
        {
            self.inputs.remember_ballot(*ballot);
        }
        if let Message::Accept { ballot, state } | Message::Commit { ballot, state } = message {
            self.inputs.remember_ballot(*ballot);
            self.inputs.remember_state(&Arc::clone(state));
        }
    }
}

fn fence_result(off_read_back: bool) -> FenceResult {
    FenceResult {
        off_read_back,
        evidence: "status".into(),
        error: if off_read_back {
            String::new()
        } else {
            "timeout".into()
        },
        read_at: Time(1),
    }
}

/// A ballot that no node should ever have to open.
const FAR: Ballot = Ballot {
    round: NUMBER_MAX,
    node: 2,
};

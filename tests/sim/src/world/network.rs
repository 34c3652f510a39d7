//! The network: which messages arrive, when, and how often.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use holdfast_core::event::{Event, NetworkHealth};
use holdfast_proto::ids::NodeId;
use holdfast_proto::peer::{Beat, Message, Sender};

use super::World;
use super::happening::Happening;
use crate::rng::{Purpose, Rng};

#[derive(Clone, Debug)]
pub(super) enum Payload {
    Beat(Beat),
    Message(Box<Message>),
}

/// Network quality, changed by faults.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// Directions that carry nothing.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Extra delay of a direction.
    pub delay_us: BTreeMap<(NodeId, NodeId), u64>,
    /// Lost, of a thousand.
    pub loss_permille: u64,
    /// Members without a carrier on any link.
    pub no_carrier: BTreeSet<NodeId>,
    /// Sent twice, of a thousand.
    pub duplicate_permille: u64,
    /// Longest extra delay, which also reorders.
    pub jitter_us: u64,
    /// What was sent once, kept to arrive again; only in runs whose schedule asks for it.
    past: Option<VecDeque<Sent>>,
}

/// A message as it was sent, to one run of its receiver. Nothing recorded can be played to another run: a connection ends
/// with the process at either of its ends, and there is no resumption and no 0-RTT (DESIGN 7).
#[derive(Clone, Debug)]
struct Sent {
    to: NodeId,
    run: u64,
    from: Sender,
    payload: Payload,
}

/// Messages that can arrive again.
const PAST_MAX: usize = 400;

impl Network {
    /// A network that keeps what was sent, so that it can arrive again.
    #[must_use]
    pub fn that_remembers() -> Network {
        Network {
            past: Some(VecDeque::new()),
            ..Network::default()
        }
    }

    /// Works well from now on.
    pub fn heal(&mut self) {
        *self = Network {
            past: self.past.take(),
            ..Network::default()
        };
    }

    /// Keeps some of what is sent. Messages are rarer than heartbeats and worth more.
    fn remember(&mut self, dice: &mut Rng, sent: impl FnOnce() -> Sent, is_beat: bool) {
        let Some(past) = &mut self.past else { return };
        if !dice.chance(if is_beat { 30 } else { 700 }) {
            return;
        }
        if past.len() == PAST_MAX {
            let forgotten = dice.range(0, PAST_MAX as u64) as usize;
            past.remove(forgotten);
        }
        past.push_back(sent());
    }
}

impl World {
    /// The network works well from now on, and who had no carrier sees one.
    pub(super) fn heal_network(&mut self) {
        let blind = std::mem::take(&mut self.network.no_carrier);
        self.network.heal();
        for node in blind {
            self.tell_carrier(node);
        }
    }

    /// Tells the daemon of `node` whether it has a carrier.
    pub(super) fn tell_carrier(&mut self, node: NodeId) {
        let run = self.machines[&node].run;
        let health = NetworkHealth {
            any_link_up: !self.network.no_carrier.contains(&node),
            ping_answers: true,
        };
        let event = Event::Network(health);
        self.schedule(self.now_us + 300, Happening::ToHad { node, run, event });
    }

    pub(super) fn transmit(&mut self, from: NodeId, to: NodeId, payload: Payload) {
        let mut dice = self.dice(Purpose::Network, from, to);
        let network = &self.network;
        if network.cut.contains(&(from, to)) || dice.chance(network.loss_permille) {
            return;
        }
        let machine = &self.machines[&from];
        let sender = Sender {
            node: from,
            boot: machine.boot(),
            incarnation: machine.incarnation,
        };
        let Some(target) = self.machines.get(&to) else {
            return;
        };
        let run = target.run;
        let Some(payload) = self.carry(sender, to, payload) else {
            return;
        };
        let network = &self.network;
        let jitter_us = network.jitter_us;
        let base = network.delay_us.get(&(from, to)).copied().unwrap_or_default();
        let twice = dice.chance(network.duplicate_permille);
        let sent = || Sent {
            to,
            run,
            from: sender,
            payload: payload.clone(),
        };
        let is_beat = matches!(payload, Payload::Beat(_));
        self.network.remember(&mut dice, sent, is_beat);
        let mut arrive = |world: &mut World, payload: Payload| {
            let at = world.now_us + base + dice.range(60, 400) + dice.range(0, jitter_us + 1);
            let from = sender;
            world.schedule(
                at,
                Happening::Deliver {
                    to,
                    run,
                    from,
                    payload,
                },
            );
        };
        if twice {
            arrive(self, payload.clone());
        }
        arrive(self, payload);
    }

    /// `count` old messages arrive at `to` once more, whatever became of those who sent them.
    pub(super) fn replay(&mut self, to: NodeId, count: u64) {
        let mut dice = self.dice(Purpose::Network, to, to);
        let Some(target) = self.machines.get(&to) else {
            return;
        };
        let run = target.run;
        let past = self.network.past.iter().flatten();
        let sent: Vec<Sent> = past
            .filter(|sent| sent.to == to && sent.run == run)
            .cloned()
            .collect();
        if sent.is_empty() {
            return;
        }
        for _ in 0..count {
            let Sent { from, payload, .. } = dice.pick(&sent).clone();
            let at = self.now_us + dice.range(60, 50_000);
            self.schedule(
                at,
                Happening::Deliver {
                    to,
                    run,
                    from,
                    payload,
                },
            );
        }
    }
}

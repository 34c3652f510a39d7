//! The network: which messages arrive, when, and how often.

use std::collections::BTreeSet;

use holdfast_proto::ids::{Incarnation, NodeId};
use holdfast_proto::peer::{Beat, Message, Sender};

use super::World;
use super::happening::Happening;

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
    /// Lost, of a thousand.
    pub loss_permille: u64,
    /// Sent twice, of a thousand.
    pub duplicate_permille: u64,
    /// Longest extra delay, which also reorders.
    pub jitter_us: u64,
}

impl World {
    pub(super) fn transmit(&mut self, from: NodeId, to: NodeId, payload: Payload) {
        if self.network.cut.contains(&(from, to)) || self.rng.chance(self.network.loss_permille) {
            return;
        }
        let machine = &self.machines[&from];
        let sender = Sender {
            node: from,
            boot: machine.boot(),
            incarnation: Incarnation(machine.run),
        };
        let Some(target) = self.machines.get(&to) else {
            return;
        };
        let run = target.run;
        let copies = if self.rng.chance(self.network.duplicate_permille) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let delay = self.rng.range(60, 400) + self.rng.range(0, self.network.jitter_us + 1);
            let at = self.now_us + delay;
            self.schedule(
                at,
                Happening::Deliver {
                    to,
                    run,
                    from: sender,
                    payload: payload.clone(),
                },
            );
        }
    }
}

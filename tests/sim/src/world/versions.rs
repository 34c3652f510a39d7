//! Rolling upgrades: which version of `had` runs where, and what that means for what travels.

use std::collections::BTreeMap;

use holdfast_proto::ids::NodeId;
use holdfast_proto::peer::Sender;
use holdfast_proto::wire::{WIRE_VERSION, common_version};

use super::World;
use super::network::Payload;
use crate::coverage::Situation;
use crate::schedule::Fault;
use crate::wire::{carry_beat, carry_message};

/// Versions of the codec in use. In a run without upgrades nothing is turned into bytes, because that is slow.
#[derive(Clone, Debug, Default)]
pub(super) struct Versions {
    upgrades: bool,
    of: BTreeMap<NodeId, u32>,
}

impl World {
    /// Turns what travels into bytes if the schedule holds an upgrade.
    pub(super) fn note_upgrades(&mut self) {
        let upgrade = |fault: &Fault| matches!(fault, Fault::Upgrade { .. });
        self.versions.upgrades = self.strikes.iter().any(|strike| upgrade(&strike.fault));
    }

    fn version_of(&self, node: NodeId) -> u32 {
        self.versions.of.get(&node).copied().unwrap_or(WIRE_VERSION)
    }

    /// Another version is installed on `node`, which restarts its `had`.
    pub(super) fn install(&mut self, node: NodeId, version: u32) {
        if self.version_of(node) != version {
            self.versions.of.insert(node, version);
            self.kill_had(node);
        }
    }

    /// The upgrade is brought to its end: every member runs the newest version that any runs.
    pub(super) fn finish_upgrade(&mut self) {
        let newest = self.versions.of.values().max().copied().unwrap_or(WIRE_VERSION);
        for node in self.machines.keys().copied().collect::<Vec<_>>() {
            self.install(node, newest);
        }
    }

    /// `payload` as `to` reads it. Nothing, if the two refused each other's hello.
    ///
    /// # Panics
    /// If a reader does not understand what a neighbouring version wrote: that is what this is to find.
    pub(super) fn carry(&mut self, from: Sender, to: NodeId, payload: Payload) -> Option<Payload> {
        if !self.versions.upgrades {
            return Some(payload);
        }
        let (writer, reader) = (self.version_of(from.node), self.version_of(to));
        let spoken = match common_version(writer, reader) {
            Ok(spoken) => spoken,
            Err(why) => {
                self.watch.reach(Situation::TooFarApart);
                self.trace
                    .add(self.now_us, Some(from.node), || format!("{to} {why}"));
                return None;
            }
        };
        if writer != reader {
            self.watch.reach(Situation::MixedVersions);
        } else if spoken > WIRE_VERSION {
            self.watch.reach(Situation::LaterVersion);
        }
        let carried = match payload {
            Payload::Beat(beat) => {
                carry_beat(spoken, self.config.cluster.id, from, to, beat).map(Payload::Beat)
            }
            Payload::Message(message) => {
                carry_message(writer, &message).map(|read| Payload::Message(Box::new(read)))
            }
        };
        match carried {
            Ok(payload) => Some(payload),
            Err(why) => panic!("version {reader} does not read what version {writer} wrote: {why}"),
        }
    }
}

//! Moments of the protocol come, and faults that lay in wait for them strike.

use holdfast_core::effect::Effect;
use holdfast_proto::ids::{Ballot, NodeId, Version};
use holdfast_proto::peer::Message;
use holdfast_proto::state::{Assignment, ClusterState};

use super::World;
use super::happening::Happening;
use crate::schedule::Moment;

/// How often each moment came in the fault phase.
#[derive(Clone, Debug, Default)]
pub(super) struct Moments {
    lying_in_wait: bool,
    counts: [u32; Moment::ALL.len()],
    /// The latest proposal that was seen: it goes to several members, and more than once.
    proposed: (Ballot, Version),
}

impl World {
    /// From now on ambushes strike; what came before does not count.
    pub(super) fn lie_in_wait(&mut self) {
        self.moments = Moments {
            lying_in_wait: self.strikes.iter().any(|strike| strike.on.is_some()),
            ..Moments::default()
        };
    }

    /// Looks at an effect of `node` for moments that faults wait for.
    pub(super) fn watch_for_moments(&mut self, node: NodeId, effect: &Effect) {
        if !self.moments.lying_in_wait || self.healed {
            return;
        }
        match effect {
            Effect::Send { message, .. } => self.watch_message(node, message),
            Effect::Fence { .. } => self.moment(Moment::DeviceAsked),
            Effect::StartGroup { .. } => self.moment(Moment::Starts),
            Effect::StopGroup { .. } => self.moment(Moment::Stops),
            Effect::MarkSynced => self.moment(Moment::Synced),
            Effect::Journal(entry) => {
                let moment = match entry.kind {
                    "elected" => Moment::Elected,
                    "stepped-down" => Moment::SteppedDown,
                    "voters-changed" => Moment::VotersKnown,
                    "assigned" => Moment::OwnerKnown,
                    "fence-proved" => Moment::Proven,
                    "peer-lost" => Moment::PeerLost,
                    "peer-back" => Moment::PeerBack,
                    "peer-rebooted" => Moment::PeerRebooted,
                    "started" => Moment::Started,
                    _ => return,
                };
                self.moment(moment);
            }
            _ => {}
        }
    }

    fn watch_message(&mut self, node: NodeId, message: &Message) {
        match message {
            Message::Accept { ballot, state } => {
                let proposed = (*ballot, state.version);
                if std::mem::replace(&mut self.moments.proposed, proposed) != proposed {
                    self.watch_proposal(node, state);
                }
            }
            Message::Accepted { .. } => self.moment(Moment::Accepted),
            Message::Promise { .. } => self.moment(Moment::Promised),
            Message::Prepare { .. } => self.moment(Moment::Campaigns),
            Message::Transfer { .. } => self.moment(Moment::Transfers),
            _ => {}
        }
    }

    fn watch_proposal(&mut self, node: NodeId, next: &ClusterState) {
        let durable = self.machines[&node].had.as_ref().and_then(|had| had.durable());
        let Some(committed) = durable.map(|durable| &durable.committed) else {
            return;
        };
        let changed = |releasing: bool| {
            next.groups.iter().any(|(name, entry)| {
                let before = committed.groups.get(name).map(|before| &before.assignment);
                let is_releasing = matches!(entry.assignment, Assignment::Releasing { .. });
                before != Some(&entry.assignment) && is_releasing == releasing
            })
        };
        let (voters, release, owner) = (next.voters != committed.voters, changed(true), changed(false));
        self.moment(Moment::Proposed);
        for (came, moment) in [
            (voters, Moment::VotersProposed),
            (release, Moment::ReleaseProposed),
            (owner, Moment::OwnerProposed),
        ] {
            if came {
                self.moment(moment);
            }
        }
    }

    fn moment(&mut self, moment: Moment) {
        let count = &mut self.moments.counts[moment as usize];
        *count += 1;
        let nth = *count;
        for number in 0..self.strikes.len() {
            let strike = &self.strikes[number];
            let strikes = strike.on.is_some_and(|on| on.moment == moment && on.nth == nth);
            if strikes {
                let at = self.now_us + strike.at_us;
                self.schedule(at, Happening::Strike(number));
            }
        }
    }
}

//! Ambushes: faults that lie in wait for a moment of the protocol instead of an instant of the clock. The windows in which
//! a decision is half made last a millisecond or two; a fault at a random instant hardly ever falls into one.

use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// What a fault waits for. The sentence is about any member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// It proposes other voters.
    VotersProposed,
    /// It proposes that a group leaves a node, which has to stop it first.
    ReleaseProposed,
    /// It proposes another owner for a group.
    OwnerProposed,
    /// It proposes anything.
    Proposed,
    /// It says that it accepted a proposal.
    Accepted,
    /// It promises a ballot.
    Promised,
    /// It asks for promises.
    Campaigns,
    /// It was elected.
    Elected,
    /// It no longer leads.
    SteppedDown,
    /// It knows a commit of other voters.
    VotersKnown,
    /// It knows a commit that gives a group to a node.
    OwnerKnown,
    /// It asks a fence device.
    DeviceAsked,
    /// A fence device gave it a proof.
    Proven,
    /// It hands leadership over.
    Transfers,
    /// It is told to start a group.
    Starts,
    /// It is told to stop a group.
    Stops,
    /// It has lost contact with another.
    PeerLost,
    /// It has contact with another again.
    PeerBack,
    /// It hears another with a new boot.
    PeerRebooted,
    /// It is synced.
    Synced,
    /// It runs again.
    Started,
}

impl Moment {
    /// All of them.
    pub const ALL: [Moment; 21] = [
        Moment::VotersProposed,
        Moment::ReleaseProposed,
        Moment::OwnerProposed,
        Moment::Proposed,
        Moment::Accepted,
        Moment::Promised,
        Moment::Campaigns,
        Moment::Elected,
        Moment::SteppedDown,
        Moment::VotersKnown,
        Moment::OwnerKnown,
        Moment::DeviceAsked,
        Moment::Proven,
        Moment::Transfers,
        Moment::Starts,
        Moment::Stops,
        Moment::PeerLost,
        Moment::PeerBack,
        Moment::PeerRebooted,
        Moment::Synced,
        Moment::Started,
    ];
}

/// The `nth` time (from 1) that a moment comes in the fault phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ambush {
    /// The moment.
    pub moment: Moment,
    /// How often it has to come.
    pub nth: u32,
}

impl Ambush {
    /// Draws one, and how long after its moment it strikes: mostly within a message's way or a write, sometimes later.
    pub fn draw(rng: &mut Rng, moments: &[Moment]) -> (Ambush, u64) {
        let moment = *rng.pick(moments);
        let often = *rng.pick(&[2, 4, 10]);
        let nth = rng.range(1, 1 + often) as u32;
        let within_us = *rng.pick(&[1, 300, 1_500, 20_000, 400_000, 1_500_000]);
        (Ambush { moment, nth }, rng.range(0, within_us))
    }
}

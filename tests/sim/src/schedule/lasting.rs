//! The fault that is not healed, and that the cluster has to get over by itself (L1).

use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// A fault that stays. Each names a data node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lasting {
    /// It loses power.
    PowerLoss(u8),
    /// It loses power while `had` is restarted everywhere else: the others never hear it again.
    PowerLossUnheard(u8),
    /// Its agent process never comes back. With a watchdog that others may count on, its fence devices are dead too, and the
    /// boot after the reset hangs.
    AgentGone(u8),
    /// It hears nobody, but is heard.
    Deaf(u8),
    /// It can write nothing.
    FullDisk(u8),
}

impl Lasting {
    /// Draws one, at one of `nodes` data nodes.
    #[must_use]
    pub fn draw(rng: &mut Rng, nodes: u8) -> Lasting {
        let kinds = [
            Lasting::PowerLoss,
            Lasting::PowerLossUnheard,
            Lasting::AgentGone,
            Lasting::Deaf,
            Lasting::FullDisk,
        ];
        let kind = *rng.pick(&kinds);
        kind(rng.range(1, u64::from(nodes) + 1) as u8)
    }

    /// The node.
    #[must_use]
    pub fn victim(self) -> u8 {
        match self {
            Lasting::PowerLoss(node)
            | Lasting::PowerLossUnheard(node)
            | Lasting::AgentGone(node)
            | Lasting::Deaf(node)
            | Lasting::FullDisk(node) => node,
        }
    }
}

//! Who is believed to be the primary, for clients of Sentinel.

use holdfast_proto::time::Time;

use super::keeper::{FRESH, Keeper, follows};
use super::state::{Believed, Duty};
use crate::roles::{Peer, RolesView};

impl Keeper {
    /// Who is the primary, for clients of Sentinel: here while it is promoted, elsewhere while it is heard.
    pub(super) fn belief(&self, view: &RolesView, now: Time) -> Believed {
        let facts = self.state.facts();
        let port = self.state.params.port;
        let until = now + FRESH.max(2 * self.lease);
        let address = |peer: &Peer| {
            peer.addresses
                .first()
                .map(|address| (peer.name.clone(), *address))
        };
        if facts.duty == Duty::Promoted {
            let others = facts.info.replicas.iter().filter(|replica| replica.online);
            return Believed {
                primary: address(&view.own).filter(|_| view.primary.as_ref() == Some(&view.own.name)),
                until,
                own: true,
                replicas: others
                    .filter_map(|replica| Some((replica.address?, replica.port)))
                    .collect(),
            };
        }
        let heard = |peer: &&Peer| {
            self.remotes
                .seen(&peer.name, FRESH)
                .is_some_and(|info| info.is_master)
                || (facts.info.link_up && follows(&facts.info, peer, port))
        };
        Believed {
            primary: view.remote_primary().filter(heard).and_then(address),
            until,
            own: false,
            replicas: address(&view.own)
                .filter(|_| facts.info.link_up)
                .map(|(_, at)| (at, port))
                .into_iter()
                .collect(),
        }
    }
}

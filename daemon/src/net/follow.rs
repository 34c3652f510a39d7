//! Follows the configuration in force: endpoints, links, dialers and pins.

use std::sync::Arc;

use holdfast_proto::ids::NodeId;
use holdfast_proto::wire::Purpose;

use super::directory::{links_between, own_addresses};
use super::peers::Link;
use super::refusal::{CODE_GOODBYE, CODE_REFUSED};
use super::routing::{Listening, Shared, lock};
use super::tls::proven_pin;
use super::{NetError, accept, dial, endpoint};

impl Shared {
    /// Brings endpoints, links and connections in line with the configuration in force.
    pub fn follow(self: &Arc<Self>) -> Result<(), NetError> {
        let listened = self.follow_endpoints();
        self.follow_peers();
        self.follow_pins();
        listened
    }

    fn follow_endpoints(self: &Arc<Self>) -> Result<(), NetError> {
        let config = self.directory.config();
        let wanted = own_addresses(&config, self.me.node);
        if wanted.is_empty() {
            return Err(NetError::NotAMember(self.me.node));
        }
        let mut endpoints = lock(&self.endpoints);
        if endpoints
            .iter()
            .map(|listening| listening.address)
            .eq(wanted.iter().copied())
        {
            return Ok(());
        }
        let mut old = std::mem::take(&mut *endpoints);
        for (index, address) in wanted.into_iter().enumerate() {
            let kept = old.iter().position(|listening| listening.address == address);
            let endpoint = match kept {
                Some(at) => old.swap_remove(at).endpoint,
                None => endpoint::open(address, &self.keys, Some(self.server.clone()))
                    .map_err(|source| NetError::Bind { address, source })?,
            };
            if kept.is_none() {
                self.spawn(accept::run(Arc::clone(self), endpoint.clone(), index));
            }
            endpoints.push(Listening { address, endpoint });
        }
        old.iter().for_each(|listening| {
            listening
                .endpoint
                .close(CODE_GOODBYE, b"the link left the configuration")
        });
        Ok(())
    }

    fn follow_peers(self: &Arc<Self>) {
        let config = self.directory.config();
        let mut peers = lock(&self.peers);
        for member in config.members().filter(|member| *member != self.me.node) {
            peers.entry(member).or_default();
        }
        // A peer that left stays in the table, so that its sequence numbers go on if it comes back.
        for (node, peer) in peers.iter_mut() {
            let member = config.members().any(|member| member == *node);
            let wanted = if member {
                links_between(&config, self.me.node, *node)
            } else {
                Vec::new()
            };
            let keeps = |index: usize, link: &Link| wanted.contains(&(index, link.endpoint, link.address));
            peer.links.retain(|index, link| {
                let keep = keeps(*index, link);
                if !keep {
                    link.end(CODE_REFUSED, "the link left the configuration");
                }
                keep
            });
            for (index, endpoint, address) in wanted {
                peer.links.entry(index).or_insert_with(|| {
                    let mut link = Link::new(endpoint, address);
                    if self.me.node > *node {
                        self.dial(*node, index, &mut link);
                    }
                    link
                });
            }
        }
    }

    fn dial(self: &Arc<Self>, peer: NodeId, index: usize, link: &mut Link) {
        for purpose in [Purpose::Beats, Purpose::Messages] {
            let dialer = tokio::spawn(dial::keep(Arc::clone(self), peer, index, purpose));
            link.dialers.push(dialer.abort_handle());
        }
    }

    /// Closes connections whose key is pinned no more.
    fn follow_pins(&self) {
        for (node, peer) in lock(&self.peers).iter() {
            let pins = self.directory.pins(*node);
            for lane in peer.links.values().flat_map(Link::lanes) {
                if !proven_pin(&lane.connection).is_some_and(|pin| pins.contains(&pin)) {
                    lane.connection
                        .close(CODE_REFUSED, b"its key was taken out of the configuration");
                }
            }
        }
    }
}

//! Who is who: addresses and key pins of the configuration in force, replaced as a whole when it changes.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use holdfast_proto::config::{Config, KeyPin};
use holdfast_proto::ids::NodeId;

/// The configuration in force, shared by the TLS verifiers and every connection.
#[derive(Debug)]
pub struct Directory {
    config: RwLock<Arc<Config>>,
}

impl Directory {
    pub fn new(config: Arc<Config>) -> Directory {
        Directory {
            config: RwLock::new(config),
        }
    }

    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn replace(&self, config: Arc<Config>) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// Pins of `node`: two during a rotation, none for who is not a member.
    pub fn pins(&self, node: NodeId) -> Vec<KeyPin> {
        let config = self.config();
        if node.is_witness() {
            config
                .witness
                .as_ref()
                .map(|witness| witness.keys.clone())
                .unwrap_or_default()
        } else {
            config
                .node(node)
                .map(|section| section.keys.clone())
                .unwrap_or_default()
        }
    }

    /// The member whose key this is.
    pub fn owner_of(&self, pin: KeyPin) -> Option<NodeId> {
        self.config()
            .members()
            .find(|member| self.pins(*member).contains(&pin))
    }

    /// The member that has `address` among its links.
    pub fn member_at(&self, address: IpAddr) -> Option<NodeId> {
        let config = self.config();
        let witness = config
            .witness
            .as_ref()
            .filter(|witness| witness.address == address);
        let node = config.nodes.iter().find(|node| node.links.contains(&address));
        node.map(|node| node.id).or(witness.map(|_| NodeId::WITNESS))
    }
}

/// Addresses that a member listens on, one per link.
pub fn own_addresses(config: &Config, me: NodeId) -> Vec<SocketAddr> {
    if me.is_witness() {
        let witness = config.witness.iter();
        return witness
            .map(|witness| SocketAddr::new(witness.address, witness.port))
            .collect();
    }
    let links = config
        .node(me)
        .map(|node| node.links.as_slice())
        .unwrap_or_default();
    links
        .iter()
        .map(|link| SocketAddr::new(*link, config.cluster.port))
        .collect()
}

/// Links between `me` and `peer`: index, own endpoint, the peer's address. The witness has one address, which every
/// link of a data node tries to reach, as long as both speak the same IP version.
pub fn links_between(config: &Config, me: NodeId, peer: NodeId) -> Vec<(usize, usize, SocketAddr)> {
    let (own, theirs) = (own_addresses(config, me), own_addresses(config, peer));
    let pairs = own.len().max(theirs.len());
    (0..pairs)
        .filter_map(|index| {
            let endpoint = if me.is_witness() { 0 } else { index };
            let address = theirs.get(if peer.is_witness() { 0 } else { index })?;
            let here = own.get(endpoint)?;
            (here.is_ipv4() == address.is_ipv4()).then_some((index, endpoint, *address))
        })
        .collect()
}

//! The demo's two switches and who is plugged into them.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use super::config;
use super::link::{self, Card, Carries};

/// The switches; a node's first link is on the first.
pub const BRIDGES: [&str; 2] = ["lan1", "lan2"];
/// Prefix length of both networks.
pub const PREFIX: u8 = 24;
/// The virtual IP, on the first network.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 100);
/// Host number of the client.
const CLIENT_HOST: u8 = 9;
/// Added to a node's host number for that of the eye on it.
const EYE_HOST: u8 = 20;

/// Address of host `host` on network `lan` (0 or 1).
pub fn address(lan: usize, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, lan as u8 + 1, host)
}

/// Name of a machine's interface on network `lan`, as the machine sees it.
pub fn interface(lan: usize) -> String {
    format!("eth{lan}")
}

/// Hardware address of host `host` on network `lan`.
fn mac(lan: usize, host: u8) -> [u8; 6] {
    [0x02, 0x48, 0x46, 0, lan as u8 + 1, host]
}

/// Name of the switch port of machine `name` on network `lan`.
fn port(name: &str, lan: usize) -> String {
    format!("{name}-{lan}")
}

/// Makes the switches.
pub fn build() -> io::Result<()> {
    link::set_up("lo", true)?;
    BRIDGES.iter().try_for_each(|bridge| link::add_bridge(bridge))
}

/// Plugs machine `name` with network namespace `namespace` into the first `links` switches.
pub fn plug(name: &str, host: u8, links: usize, namespace: &OwnedFd) -> io::Result<()> {
    for (lan, bridge) in BRIDGES.iter().enumerate().take(links) {
        // A network card keeps its hardware address through a power cycle, and so do its neighbours' ARP tables.
        let card = Card {
            name: &interface(lan),
            mac: mac(lan, host),
            namespace,
        };
        link::add_port(bridge, &port(name, lan), host.into(), &card)?;
        link::inside(namespace, || {
            link::add_address(&interface(lan), address(lan, host), PREFIX)?;
            link::set_up(&interface(lan), true)
        })?;
        link::set_up(&port(name, lan), true)?;
    }
    Ok(())
}

/// Pulls all plugs of machine `name`: the carrier is gone at once, and so are its interfaces.
pub fn unplug(name: &str, host: u8) -> io::Result<()> {
    if plugged(name) {
        link::remove_group(host.into())
    } else {
        Ok(())
    }
}

/// Takes the carrier away from machine `name`.
pub fn carrier_off(name: &str) -> io::Result<()> {
    ports(name).try_for_each(|port| link::set_up(&port, false))
}

/// True when machine `name` has any plug in.
pub fn plugged(name: &str) -> bool {
    ports(name).next().is_some()
}

/// Sets what the ports of machine `name` carry.
pub fn set(name: &str, carries: Carries) -> io::Result<()> {
    ports(name).try_for_each(|port| link::set_port(&port, carries))
}

fn ports(name: &str) -> impl Iterator<Item = String> {
    let name = name.to_string();
    (0..BRIDGES.len())
        .map(move |lan| port(&name, lan))
        .filter(|port| link::exists(port))
}

/// The client's machine: a network namespace on the first switch.
pub fn client() -> io::Result<OwnedFd> {
    let namespace = link::new_namespace()?;
    plug("client", CLIENT_HOST, 1, &namespace)?;
    Ok(namespace)
}

/// A machine that looks for the virtual IP at `node` and nowhere else: a network namespace on the first switch.
pub fn eye(node: &str) -> io::Result<OwnedFd> {
    let machine = config::machines()
        .into_iter()
        .find(|machine| machine.name == node);
    let host = machine.map(|machine| machine.host).unwrap_or_default();
    let namespace = link::new_namespace()?;
    plug(&format!("eye-{node}"), EYE_HOST + host, 1, &namespace)?;
    link::inside(&namespace, || {
        link::add_neighbour(&interface(0), VIP, mac(0, host))
    })?;
    Ok(namespace)
}

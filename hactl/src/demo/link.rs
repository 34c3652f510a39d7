//! Network namespaces, bridges, veth pairs and addresses.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns, unshare};

use super::netlink::{Netlink, Request};

const CREATE: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;
const CHANGE: i32 = libc::NLM_F_ACK;
const UP: u32 = libc::IFF_UP as u32;
const VETH_INFO_PEER: u16 = 1;
const IFLA_GROUP: u16 = 27;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_FLUSH: u16 = 24;
const IFLA_BRPORT_MCAST_FLOOD: u16 = 27;
const IFLA_BRPORT_BCAST_FLOOD: u16 = 30;
const BR_STATE_DISABLED: u8 = 0;
const BR_STATE_FORWARDING: u8 = 3;

/// Makes a network namespace with its loopback up. It lives as long as someone holds the descriptor.
pub fn new_namespace() -> io::Result<OwnedFd> {
    aside(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        set_up("lo", true)?;
        Ok(File::open("/proc/thread-self/ns/net")?.into())
    })
}

/// Runs `work` on a thread that has entered network namespace `namespace`.
pub fn inside<T: Send>(namespace: &OwnedFd, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    aside(|| {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
        work()
    })
}

fn aside<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread of a network namespace panicked")))
}

/// Makes a bridge and brings it up.
pub fn add_bridge(name: &str) -> io::Result<()> {
    let request = Request::new(libc::RTM_NEWLINK, CREATE)
        .link(libc::AF_UNSPEC, 0, UP, UP)
        .name(libc::IFLA_IFNAME, name)
        .nest(libc::IFLA_LINKINFO, |info| {
            info.name(libc::IFLA_INFO_KIND, "bridge")
        });
    Netlink::open(0)?.apply(request)
}

/// The machine's end of a cable.
pub struct Card<'a> {
    /// Name of the interface.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The machine's network namespace.
    pub namespace: &'a OwnedFd,
}

/// Makes a veth pair: `port` here, on `bridge`, and `card` on the machine's side. Both ends are still down.
/// The port belongs to `group`, with which it is removed.
pub fn add_port(bridge: &str, port: &str, group: u32, card: &Card<'_>) -> io::Result<()> {
    let mut netlink = Netlink::open(0)?;
    let namespace = (card.namespace.as_raw_fd() as u32).to_ne_bytes();
    netlink.apply(
        Request::new(libc::RTM_NEWLINK, CREATE)
            .link(libc::AF_UNSPEC, 0, 0, 0)
            .name(libc::IFLA_IFNAME, port)
            .attr(IFLA_GROUP, &group.to_ne_bytes())
            .nest(libc::IFLA_LINKINFO, |info| {
                info.name(libc::IFLA_INFO_KIND, "veth")
                    .nest(libc::IFLA_INFO_DATA, |data| {
                        data.nest(VETH_INFO_PEER, |peer| {
                            peer.link(libc::AF_UNSPEC, 0, 0, 0)
                                .name(libc::IFLA_IFNAME, card.name)
                                .attr(libc::IFLA_ADDRESS, &card.mac)
                                .attr(libc::IFLA_NET_NS_FD, &namespace)
                        })
                    })
            }),
    )?;
    let master = if_nametoindex(bridge)?;
    let index = if_nametoindex(port)?;
    netlink.apply(
        Request::new(libc::RTM_NEWLINK, CHANGE)
            .link(libc::AF_UNSPEC, index, 0, 0)
            .attr(libc::IFLA_MASTER, &master.to_ne_bytes()),
    )
}

/// Brings an interface of this namespace up or down.
pub fn set_up(name: &str, up: bool) -> io::Result<()> {
    let index = if_nametoindex(name)?;
    let request =
        Request::new(libc::RTM_NEWLINK, CHANGE).link(libc::AF_UNSPEC, index, if up { UP } else { 0 }, UP);
    Netlink::open(0)?.apply(request)
}

/// Removes the interfaces of this namespace that belong to `group`, and with them the other ends of their pairs, in
/// one go: the kernel waits for its readers once and not once for each.
pub fn remove_group(group: u32) -> io::Result<()> {
    let request = Request::new(libc::RTM_DELLINK, CHANGE)
        .link(libc::AF_UNSPEC, 0, 0, 0)
        .attr(IFLA_GROUP, &group.to_ne_bytes());
    Netlink::open(0)?.apply(request)
}

/// True when this namespace has an interface called `name`.
pub fn exists(name: &str) -> bool {
    if_nametoindex(name).is_ok()
}

/// Adds an address to an interface of this namespace.
pub fn add_address(name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let index = if_nametoindex(name)?;
    let broadcast = Ipv4Addr::from_bits(address.to_bits() | (u32::MAX >> prefix));
    let request = Request::new(libc::RTM_NEWADDR, CREATE)
        .address(prefix, index)
        .attr(libc::IFA_LOCAL, &address.octets())
        .attr(libc::IFA_ADDRESS, &address.octets())
        .attr(libc::IFA_BROADCAST, &broadcast.octets());
    Netlink::open(0)?.apply(request)
}

/// Says for good, to this namespace, that `address` is at hardware address `mac`.
pub fn add_neighbour(name: &str, address: Ipv4Addr, mac: [u8; 6]) -> io::Result<()> {
    let index = if_nametoindex(name)?;
    let request = Request::new(libc::RTM_NEWNEIGH, CREATE)
        .neighbour(index)
        .attr(libc::NDA_DST, &address.octets())
        .attr(libc::NDA_LLADDR, &mac);
    Netlink::open(0)?.apply(request)
}

/// Deletes an address from an interface of this namespace.
pub fn delete_address(name: &str, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let index = if_nametoindex(name)?;
    let request = Request::new(libc::RTM_DELADDR, CHANGE)
        .address(prefix, index)
        .attr(libc::IFA_LOCAL, &address.octets());
    Netlink::open(0)?.apply(request)
}

/// What a switch port carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Everything.
    All,
    /// Only what the node sends: nothing is delivered to it.
    OutwardOnly,
    /// Nothing. The carrier stays up, as with a switch that lost its mind.
    Nothing,
}

/// Sets what a bridge port carries.
pub fn set_port(port: &str, carries: Carries) -> io::Result<()> {
    let index = if_nametoindex(port)?;
    let delivers = [u8::from(carries != Carries::OutwardOnly)];
    let state = if carries == Carries::Nothing {
        BR_STATE_DISABLED
    } else {
        BR_STATE_FORWARDING
    };
    // A port that neither learns nor floods gets no frame: its forgotten addresses are unknown to the bridge.
    let request = Request::new(libc::RTM_SETLINK, CHANGE)
        .link(libc::AF_BRIDGE, index, 0, 0)
        .nest(libc::IFLA_PROTINFO, |port| {
            port.attr(IFLA_BRPORT_STATE, &[state])
                .attr(IFLA_BRPORT_LEARNING, &delivers)
                .attr(IFLA_BRPORT_UNICAST_FLOOD, &delivers)
                .attr(IFLA_BRPORT_MCAST_FLOOD, &delivers)
                .attr(IFLA_BRPORT_BCAST_FLOOD, &delivers)
                .attr(IFLA_BRPORT_FLUSH, &[])
        });
    Netlink::open(0)?.apply(request)
}

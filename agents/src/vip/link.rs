//! Which interface an address belongs on.

use std::io;

use super::address::Vip;
use super::netlink::{self, Assigned, Link};
use crate::agent::AgentError;

/// Where the addresses of a resource go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The interface.
    pub link: Link,
    /// The addresses on it, each with whether its prefix needs a route of its own.
    pub targets: Vec<(Assigned, bool)>,
}

/// Reads links and addresses of this network namespace.
///
/// # Errors
/// In words, when the kernel refuses.
pub fn survey() -> Result<(Vec<Link>, Vec<Assigned>), AgentError> {
    let wrong = |error: io::Error| AgentError(format!("cannot read the network interfaces: {error}"));
    Ok((
        netlink::links().map_err(wrong)?,
        netlink::addresses().map_err(wrong)?,
    ))
}

fn name_of(links: &[Link], index: u32) -> &str {
    links
        .iter()
        .find(|link| link.index == index)
        .map_or("?", |link| &link.name)
}

/// Finds the interface for `vips`: the one named, or the one that has an address of its own in their subnet.
///
/// # Errors
/// There is none, or more than one; names the candidates.
pub fn place(
    vips: &[Vip],
    interface: Option<&str>,
    links: &[Link],
    addresses: &[Assigned],
) -> Result<Placement, AgentError> {
    let index = match interface {
        Some(name) => links
            .iter()
            .find(|link| link.name == name)
            .map(|link| link.index)
            .ok_or_else(|| {
                let known: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
                AgentError(format!(
                    "there is no interface {name:?} here; there are: {}",
                    known.join(", ")
                ))
            })?,
        None => search(vips, links, addresses)?,
    };
    let link = links.iter().find(|link| link.index == index).cloned();
    let link =
        link.ok_or_else(|| AgentError::new("the interface vanished while it was looked at; try again"))?;
    let own: Vec<_> = addresses
        .iter()
        .filter(|a| a.index == index && !vips.iter().any(|vip| vip.ip == a.vip.ip))
        .collect();
    let targets = vips.iter().map(|vip| {
        let has_route = own
            .iter()
            .any(|a| a.vip.prefix == vip.prefix && a.vip.subnet_contains(vip.ip));
        (Assigned { index, vip: *vip }, !has_route)
    });
    Ok(Placement {
        targets: targets.collect(),
        link,
    })
}

fn search(vips: &[Vip], links: &[Link], addresses: &[Assigned]) -> Result<u32, AgentError> {
    let mut chosen: Option<(u32, Vip)> = None;
    for vip in vips {
        let is_vip = |a: &Assigned| vips.iter().any(|vip| vip.ip == a.vip.ip);
        let mut candidates: Vec<u32> = addresses
            .iter()
            .filter(|a| !is_vip(a) && a.vip.subnet_contains(vip.ip))
            .map(|a| a.index)
            .collect();
        if candidates.is_empty() {
            // A leftover of ours shows where it was.
            candidates = addresses
                .iter()
                .filter(|a| a.vip.ip == vip.ip)
                .map(|a| a.index)
                .collect();
        }
        candidates.sort_unstable();
        candidates.dedup();
        let index = match candidates[..] {
            [index] => index,
            [] => {
                let known: Vec<_> = addresses
                    .iter()
                    .map(|a| format!("{} {}", name_of(links, a.index), a.vip))
                    .collect();
                return Err(AgentError(format!(
                    "no interface here has an address in the subnet of {vip}; set `interface`. There are: {}",
                    known.join(", ")
                )));
            }
            _ => {
                let names: Vec<_> = candidates.iter().map(|index| name_of(links, *index)).collect();
                return Err(AgentError(format!(
                    "{vip} could go on any of {}, which have addresses in its subnet; set `interface` to one",
                    names.join(", ")
                )));
            }
        };
        match chosen {
            Some((other, first)) if other != index => {
                return Err(AgentError(format!(
                    "{first} belongs on {} and {vip} on {}; make them two resources, or set `interface`",
                    name_of(links, other),
                    name_of(links, index)
                )));
            }
            _ => chosen = Some((index, *vip)),
        }
    }
    chosen
        .map(|(index, _)| index)
        .ok_or_else(|| AgentError::new("no address"))
}

/// Refuses an interface on which an address would be of no use.
///
/// # Errors
/// It is down or has no carrier.
pub fn check_usable(link: &Link) -> Result<(), AgentError> {
    if !link.is_up() {
        return Err(AgentError(format!(
            "interface {0} is down; `ip link set {0} up`",
            link.name
        )));
    }
    if !link.has_carrier() {
        return Err(AgentError(format!(
            "interface {} has no carrier; check its cable and switch port",
            link.name
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            flags: (libc::IFF_UP | libc::IFF_LOWER_UP) as u32,
            mac: None,
        }
    }

    fn at(index: u32, text: &str) -> Assigned {
        Assigned {
            index,
            vip: text.parse().unwrap(),
        }
    }

    #[test]
    fn finds_the_interface_by_subnet() {
        let links = [link(2, "eth0"), link(3, "eth1")];
        let addresses = [at(2, "10.0.0.1/24"), at(3, "10.0.1.1/24"), at(3, "fd00::1/64")];
        let vips = ["10.0.1.100/24".parse().unwrap(), "fd00::100/64".parse().unwrap()];
        let placed = place(&vips, None, &links, &addresses).unwrap();
        assert_eq!(placed.link.name, "eth1");
        assert!(
            placed.targets.iter().all(|(_, route)| !route),
            "eth1 has both routes already"
        );
        let placed = place(&vips, Some("eth0"), &links, &addresses).unwrap();
        assert_eq!(placed.link.name, "eth0");
        assert!(placed.targets.iter().all(|(_, route)| *route));
    }

    #[test]
    fn names_the_candidates() {
        let links = [link(2, "eth0"), link(3, "eth1")];
        let addresses = [at(2, "10.0.0.1/24"), at(3, "10.0.0.2/24"), at(3, "10.9.0.1/16")];
        let place = |text: &str, interface| place(&[text.parse().unwrap()], interface, &links, &addresses);
        let error = place("10.0.0.9/24", None).unwrap_err().0;
        assert!(error.contains("eth0, eth1"), "{error}");
        let error = place("172.16.0.9/24", None).unwrap_err().0;
        assert!(error.contains("eth0 10.0.0.1/24"), "{error}");
        let error = place("10.0.0.9/24", Some("eth7")).unwrap_err().0;
        assert!(error.contains("eth7") && error.contains("eth0"), "{error}");
    }
}

//! The lab's network: bridges in a namespace of their own, and a cable from each node to each of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::place::Place;
use crate::sh;

/// Two links between the nodes, and the management network of their power supplies.
pub const LANS: u8 = 3;
/// The number of the management network.
pub const MANAGEMENT: u8 = 2;
/// The harness' host number in each network: the client, and the power controller.
pub const HARNESS: u8 = 254;
/// The redis group's address.
pub const VIP: &str = "10.81.0.100";

/// The address of `host` in network `lan`.
#[must_use]
pub fn address(lan: u8, host: u8) -> String {
    format!("10.81.{lan}.{host}")
}

/// The switches of the lab.
#[derive(Clone, Debug)]
pub struct Net {
    place: Place,
    netns: String,
    cables: Arc<Mutex<Cables>>,
}

/// Who is cabled. Held while cables change: a node may be fenced in the instant in which somebody pulls its cable.
#[derive(Debug, Default)]
struct Cables {
    /// Nodes that have power, and so cards.
    attached: BTreeSet<String>,
    /// Cables that are pulled; they stay so when the node boots.
    pulled: BTreeSet<(String, u8)>,
}

impl Net {
    /// Makes the switches.
    pub fn new(place: &Place) -> Result<Net> {
        let net = Net {
            place: place.clone(),
            netns: place.netns("lan"),
            cables: Arc::default(),
        };
        sh::run("ip", &["netns", "add", &net.netns])?;
        net.ip(&["link", "set", "lo", "up"])?;
        for lan in 0..LANS {
            let bridge = format!("br{lan}");
            net.ip(&[
                "link",
                "add",
                &bridge,
                "type",
                "bridge",
                "forward_delay",
                "0",
                "mcast_snooping",
                "0",
            ])?;
            net.ip(&[
                "addr",
                "add",
                &format!("{}/24", address(lan, HARNESS)),
                "dev",
                &bridge,
            ])?;
            net.ip(&["link", "set", &bridge, "up"])?;
            whole_frames(&net.netns, &bridge)?;
        }
        // Only a bridge answers for its addresses, not a port that is off it for a while.
        let sysctl = ["sysctl", "-q", "-w", "net.ipv4.conf.all.arp_ignore=1"];
        sh::run("ip", &[&["netns", "exec", &net.netns], &sysctl[..]].concat())?;
        sh::run(
            "ip",
            &[
                "netns",
                "exec",
                &net.netns,
                "nft",
                "add table bridge lab; add chain bridge lab cut { type filter hook forward priority 0; }",
            ],
        )?;
        Ok(net)
    }

    /// Name of the network's namespace.
    #[must_use]
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// Gives the harness one more address in network `lan`; it may have it already.
    pub fn alias(&self, lan: u8, host: u8) -> Result<()> {
        self.ip(&[
            "addr",
            "replace",
            &format!("{}/24", address(lan, host)),
            "dev",
            &format!("br{lan}"),
        ])
    }

    /// Makes the namespace of node `name`, cabled to the networks.
    pub fn attach(&self, name: &str, host: u8) -> Result<()> {
        let mut cables = self.cables();
        let node = self.place.netns(name);
        sh::run("ip", &["netns", "add", &node])?;
        for lan in 0..LANS {
            let (port, card) = (port(name, lan), format!("eth{lan}"));
            let bridge = format!("br{lan}");
            // In one step: a box that waits for the cable would find it off the bridge, and it would be put there afterwards.
            self.ip(&[
                "link", "add", &port, "master", &bridge, "type", "veth", "peer", "name", &card, "netns",
                &node,
            ])?;
            let is_pulled = cables.pulled.contains(&(name.to_string(), lan));
            self.ip(&["link", "set", &port, if is_pulled { "down" } else { "up" }])?;
            let cidr = format!("{}/24", address(lan, host));
            sh::run("ip", &["-n", &node, "addr", "add", &cidr, "dev", &card])?;
            sh::run("ip", &["-n", &node, "link", "set", &card, "up"])?;
            whole_frames(&node, &card)?;
        }
        sh::run("ip", &["-n", &node, "link", "set", "lo", "up"])?;
        cables.attached.insert(name.to_string());
        Ok(())
    }

    /// Takes the cables of node `name` away, and its addresses with them: a machine without power has none.
    pub fn detach(&self, name: &str) -> Result<()> {
        let mut cables = self.cables();
        cables.attached.remove(name);
        for lan in 0..LANS {
            // Already gone is as good.
            let _ = self.ip(&["link", "del", &port(name, lan)]);
        }
        let _ = sh::run("ip", &["netns", "del", &self.place.netns(name)]);
        Ok(())
    }

    /// Pulls (`up` false) or plugs the cable of `name` in network `lan`. While the node has no power this counts for its next
    /// boot.
    pub fn cable(&self, name: &str, lan: u8, up: bool) -> Result<()> {
        let mut cables = self.cables();
        let cable = (name.to_string(), lan);
        if up {
            cables.pulled.remove(&cable);
        } else {
            cables.pulled.insert(cable);
        }
        if !cables.attached.contains(name) {
            return Ok(());
        }
        self.ip(&["link", "set", &port(name, lan), if up { "up" } else { "down" }])
    }

    /// Plugs every cable of `name`, which is a new machine.
    pub fn plug(&self, name: &str) {
        self.cables().pulled.retain(|(node, _)| node != name);
    }

    fn cables(&self) -> std::sync::MutexGuard<'_, Cables> {
        self.cables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what `one` and `other` send each other on both links; their cards see nothing wrong.
    pub fn part(&self, one: &str, other: &str) -> Result<()> {
        for lan in 0..MANAGEMENT {
            for (from, to) in [(one, other), (other, one)] {
                let rule = format!(
                    "add rule bridge lab cut iifname {} oifname {} drop",
                    port(from, lan),
                    port(to, lan)
                );
                self.nft(&rule)?;
            }
        }
        Ok(())
    }

    /// Undoes every [`Net::part`].
    pub fn heal(&self) -> Result<()> {
        self.nft("flush chain bridge lab cut")
    }

    /// Puts the calling thread into the lab's network, where the client and the power controller are.
    pub fn enter(&self) -> Result<()> {
        let path = format!("/run/netns/{}", self.netns);
        let file = File::open(&path).context(path)?;
        setns(file, CloneFlags::CLONE_NEWNET).context("setns")
    }

    /// Runs `ip` in the network's namespace.
    pub fn ip(&self, args: &[&str]) -> Result<()> {
        let args = [&["-n", &self.netns], args].concat();
        sh::run("ip", &args).map(|_| ())
    }

    /// Has `nft` carry out `rule` there.
    pub fn nft(&self, rule: &str) -> Result<()> {
        sh::run("ip", &["netns", "exec", &self.netns, "nft", rule]).map(|_| ())
    }
}

/// Has the card send frames as they are on a real cable: no longer than that, and with their checksums.
fn whole_frames(netns: &str, card: &str) -> Result<()> {
    let ethtool = ["ethtool", "-K", card, "tx", "off", "gso", "off", "tso", "off"];
    sh::run("ip", &[&["netns", "exec", netns], &ethtool[..]].concat()).map(|_| ())
}

/// The switch's end of a cable.
#[must_use]
pub fn port(name: &str, lan: u8) -> String {
    format!("{name}-{lan}")
}

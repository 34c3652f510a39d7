//! The validated configuration. Built only by the parser (`config::parse`) and by tests.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{GroupSection, JobSection, SbdTimeouts, Timers};
use crate::ids::{ClusterId, GroupName, NodeId};

/// A whole, validated configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The TOML text it was parsed from, as the operator wrote it. It is what the register replicates.
    pub source: String,
    /// Cluster-wide settings.
    pub cluster: ClusterSection,
    /// Data nodes in file order.
    pub nodes: Vec<NodeSection>,
    /// The witness, if there is one that is a `had` of its own.
    pub witness: Option<WitnessSection>,
    /// The witness, if it is kept in a register: an existing etcd cluster, or shared disks.
    pub register: Option<RegisterSection>,
    /// The disks that nodes are fenced by, if there are any.
    pub sbd: Option<SbdSection>,
    /// Fence devices in file order.
    pub fences: Vec<FenceSection>,
    /// Groups in file order.
    pub groups: Vec<GroupSection>,
    /// Jobs in file order.
    pub jobs: Vec<JobSection>,
    /// Where each group is in `groups`: a cluster may have thousands.
    pub(super) places: BTreeMap<GroupName, usize>,
}

/// `[cluster]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSection {
    /// Name, shown everywhere.
    pub name: String,
    /// Identity for the lifetime of the cluster (`id`, written by `hactl cluster init`).
    pub id: ClusterId,
    /// The lease length: how long silence lasts before a node is given up (`detection`, or by `profile`).
    pub detection_ms: u32,
    /// UDP port of the peer protocol (default 7946).
    pub port: u16,
    /// How long the node that is not the survivor of a pair waits before it fences (default 5000).
    pub fence_delay_ms: u32,
    /// How long the witness may be silent before a pair goes on without it (default 10 x detection, at least 5000).
    pub witness_grace_ms: u32,
    /// How long a node that was not heard since our own boot may take to appear before it is fenced (default 60000).
    pub startup_grace_ms: u32,
    /// How often each node tests the fence devices of the others (default 3600000).
    pub fence_test_interval_ms: u32,
    /// Addresses of which at least one must answer before this node fences anybody.
    pub ping: Vec<IpAddr>,
    /// Automatic moves of one group within `flap_window_ms` before the group is held stopped (default 3).
    pub flap_budget: u32,
    /// Window of the flap budget (default 600000).
    pub flap_window_ms: u32,
    /// Nodes run groups that require fencing only with an armed watchdog (default false).
    pub watchdog_required: bool,
}

/// `[[node]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSection {
    /// Number of the node; its position in the file unless `id` says otherwise.
    pub id: NodeId,
    /// Host name of the node.
    pub name: String,
    /// One address per link, all used side by side.
    pub links: Vec<IpAddr>,
    /// SHA-256 pins of the node's public key, hex; two during rotation.
    pub keys: Vec<KeyPin>,
    /// Whether this node needs an armed watchdog, where it differs from the cluster's.
    pub watchdog_required: Option<bool>,
}

/// `[witness]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessSection {
    /// Name shown for it (default `witness`).
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port (default the cluster's).
    pub port: u16,
    /// Its key pins.
    pub keys: Vec<KeyPin>,
}

/// `[witness]` with `etcd` or `disks`: what the witness knows stands in a register, and no process serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterSection {
    /// Name shown for it (default `etcd` or `disks`).
    pub name: String,
    /// Where it is.
    pub place: RegisterPlace,
}

/// Where a register is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterPlace {
    /// In two keys of an etcd cluster.
    Etcd(EtcdSection),
    /// On one or three of the disks of `[sbd]`, by their paths.
    Disks(Vec<String>),
}

impl std::fmt::Display for RegisterPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RegisterPlace::Etcd(etcd) => write!(f, "in etcd at {}", etcd.endpoints.join(", ")),
            RegisterPlace::Disks(disks) => write!(f, "on {}", disks.join(", ")),
        }
    }
}

/// `[witness]` with `etcd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSection {
    /// Members of etcd, each `host:port`, tried in turn.
    pub endpoints: Vec<String>,
    /// What its keys begin with (default `/holdfast`); the cluster's id follows.
    pub prefix: String,
    /// How it is encrypted; plain HTTP without.
    pub tls: Option<RegisterTls>,
    /// User of etcd, if it asks for one.
    pub user: Option<String>,
    /// File that holds the password of that user.
    pub password_file: Option<String>,
}

/// TLS to etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterTls {
    /// File with the certificates (PEM) that etcd's own is checked with.
    pub ca_file: String,
    /// Files with the certificate (PEM) that this side shows, and its key.
    pub identity: Option<(String, String)>,
}

/// SHA-256 of a SubjectPublicKeyInfo.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPin(pub [u8; 32]);

impl std::fmt::Display for KeyPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for KeyPin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for KeyPin {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("a key pin is 64 hex digits, this has {} characters", text.len());
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let digit = |letter: u8| char::from(letter).to_digit(16);
        let mut pin = [0u8; 32];
        for (byte, pair) in pin.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            // Digit by digit: `from_str_radix` would take a sign, and two spellings would be one key.
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else {
                return Err("a key pin is hex digits only".to_string());
            };
            *byte = (high << 4 | low) as u8;
        }
        Ok(KeyPin(pin))
    }
}

/// `[sbd]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SbdSection {
    /// Paths of the disks, the same on every node.
    pub devices: Vec<String>,
    /// For disks that are still to be made; what stands on a disk overrides them.
    pub timeouts: SbdTimeouts,
    /// Time allowed for one read or write (default 3000).
    pub io_timeout_ms: u32,
}

/// What a fence device cuts, which decides what its proof is valid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FenceKind {
    /// Ends the node's boot. May also stand in for its vote in a pair.
    Power,
    /// Cuts the node off its storage or network: releases groups, does not vote.
    Storage,
}

/// `[[fence]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceSection {
    /// The node it fences.
    pub node: NodeId,
    /// A ClusterLabs fence agent (`fence_ipmilan`), or `exec` for a program with the same contract.
    pub agent: String,
    /// Parameters given on the agent's standard input. Secrets are named by `*_file` keys and read by had-agentd.
    pub params: BTreeMap<String, String>,
    /// The next level is tried when a level fails (default 1).
    pub level: u8,
    /// Devices of one level with the same method are all needed together; methods race (default: one without a name).
    pub method: Option<String>,
    /// What the device cuts (default power; storage for the known fabric agents).
    pub kind: FenceKind,
    /// Whole time allowed for off and its read-back (default 30000).
    pub timeout_ms: u32,
    /// Action asked of the device: `off` or `reboot` (default `reboot`, which counts once the off half is proven).
    pub action: FenceAction,
}

/// What is asked of a fence device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FenceAction {
    /// Power off and leave it so.
    Off,
    /// Power off, prove it, power on.
    Reboot,
}

impl Config {
    /// The section of data node `node`.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&NodeSection> {
        self.nodes.iter().find(|section| section.id == node)
    }

    /// A member's name for people: from the config, or its number if it is not in it.
    #[must_use]
    pub fn name_of(&self, node: NodeId) -> String {
        if node.is_witness() {
            return self.witness_name().unwrap_or("witness").into();
        }
        self.node(node)
            .map_or_else(|| node.to_string(), |section| section.name.clone())
    }

    /// The member called `name`.
    #[must_use]
    pub fn node_by_name(&self, name: &str) -> Option<NodeId> {
        self.nodes
            .iter()
            .find(|section| section.name == name)
            .map(|section| section.id)
            .or_else(|| {
                self.witness_name()
                    .filter(|witness| *witness == name)
                    .map(|_| NodeId::WITNESS)
            })
    }

    /// The section of group `name`.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&GroupSection> {
        self.places.get(name).and_then(|place| self.groups.get(*place))
    }

    /// The section of job `name`.
    #[must_use]
    pub fn job(&self, name: &str) -> Option<&JobSection> {
        self.jobs.iter().find(|job| &*job.name == name)
    }

    /// The disks that the witness is kept on; none unless it is.
    #[must_use]
    pub fn witness_disks(&self) -> &[String] {
        match self.register.as_ref().map(|register| &register.place) {
            Some(RegisterPlace::Disks(disks)) => disks,
            _ => &[],
        }
    }

    /// True when there is a witness of any kind.
    #[must_use]
    pub fn has_witness(&self) -> bool {
        self.witness_name().is_some()
    }

    /// The name of the witness, of whichever kind it is.
    #[must_use]
    pub fn witness_name(&self) -> Option<&str> {
        let register = self.register.as_ref().map(|register| register.name.as_str());
        self.witness
            .as_ref()
            .map(|witness| witness.name.as_str())
            .or(register)
    }

    /// All members: data nodes and the witness.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        let witness = self.has_witness().then_some(NodeId::WITNESS);
        witness.into_iter().chain(self.nodes.iter().map(|node| node.id))
    }

    /// Fence devices of `node`, by level then file order.
    #[must_use]
    pub fn fences_of(&self, node: NodeId) -> Vec<&FenceSection> {
        let mut devices: Vec<_> = self.fences.iter().filter(|fence| fence.node == node).collect();
        devices.sort_by_key(|fence| fence.level);
        devices
    }

    /// The timers derived from this configuration.
    #[must_use]
    pub fn timers(&self) -> Timers {
        Timers::derive(&self.cluster)
    }
}

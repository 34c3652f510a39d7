//! Settings that are legal and probably not what the operator wants.

use std::time::Duration;

use super::group::default_requires;
use super::redact::is_secret_key;
use super::values::show_ms;
use super::{Config, EtcdSection, FenceKind, GroupSection, JobSection, RegisterPlace, Requires, SBD_AGENT};

/// A setting that is legal and unwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A short stable name (`single-node`, `no-fence-device`).
    pub kind: &'static str,
    /// What it is, what it leads to, and what to do about it.
    pub text: String,
}

/// Below this a busy machine without a real-time deciding thread is taken for dead.
const DETECTION_WISE_MS: u32 = 300;

/// What is legal and unwise in `config`.
#[must_use]
pub fn findings(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    membership(config, &mut found);
    links(config, &mut found);
    keys(config, &mut found);
    fencing(config, &mut found);
    shared_disks(config, &mut found);
    methods(config, &mut found);
    for group in &config.groups {
        group_findings(group, &mut found);
    }
    for job in &config.jobs {
        job_findings(job, &mut found);
    }
    found
}

/// The texts of [`findings`].
#[must_use]
pub fn warnings(config: &Config) -> Vec<String> {
    findings(config).into_iter().map(|finding| finding.text).collect()
}

fn add(found: &mut Vec<Finding>, kind: &'static str, text: impl Into<String>) {
    found.push(Finding {
        kind,
        text: text.into(),
    });
}

/// The file is copied to every member, and to wherever these are backed up: no place for a secret.
fn job_findings(job: &JobSection, found: &mut Vec<Finding>) {
    let names = job.env.lines().filter_map(|line| line.split_once('='));
    let secret: Vec<&str> = names
        .map(|(name, _)| name)
        .filter(|name| is_secret_key(name))
        .collect();
    if !secret.is_empty() {
        let text = format!(
            "job {} gets what looks like a secret in its environment ({}): this file is on every member and in its backups; \
             keep the secret in a file on each node that only the job's user can read, and give the job its path",
            job.name,
            secret.join(", ")
        );
        add(found, "plain-secret", text);
    }
}

fn register_in_etcd(register: &EtcdSection, found: &mut Vec<Finding>) {
    let local = |endpoint: &&String| {
        let host = endpoint.rsplit_once(':').map_or("", |(host, _)| host);
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    };
    if let Some(endpoint) = register.endpoints.iter().find(local) {
        let text = format!(
            "etcd at {endpoint} is another one on each node: unless they are members of one etcd cluster, the nodes have \
             no witness in common"
        );
        add(found, "loopback-etcd", text);
    }
    if register.tls.is_none() {
        let text = "etcd without TLS (`ca_file`): whoever can reach it or listens on the way can vote in this cluster, and \
                    reads its password";
        add(found, "plain-etcd", text);
    }
}

fn membership(config: &Config, found: &mut Vec<Finding>) {
    let nodes = config.nodes.len();
    if nodes == 1 {
        let text = "there is one data node: nothing can take over from it until a second one joins";
        add(found, "single-node", text);
    } else if nodes.is_multiple_of(2) && !config.has_witness() {
        let text = if nodes == 2 {
            "two data nodes without a witness: when they lose each other, groups move only after a power fence \
             device proved one of them off; a [witness] on any third machine removes that wait"
                .to_string()
        } else {
            format!(
                "{nodes} data nodes without a witness: half of them cannot go on alone; a [witness] lets them"
            )
        };
        add(found, "no-witness", text);
    }
    if nodes == 2 && !config.has_witness() && config.cluster.ping.is_empty() {
        let text = "without a witness and without `ping` targets a node cannot tell that it is the one cut off: set \
                    cluster.ping to a gateway or two";
        add(found, "no-ping", text);
    }
    if let Some(RegisterPlace::Etcd(etcd)) = config.register.as_ref().map(|register| &register.place) {
        register_in_etcd(etcd, found);
    }
    if config.cluster.detection_ms < DETECTION_WISE_MS {
        let text = format!(
            "a detection time of {} is below the profile `fast` ({}): a short stall of a busy machine looks like death",
            show_ms(config.cluster.detection_ms),
            show_ms(DETECTION_WISE_MS)
        );
        add(found, "short-detection", text);
    }
}

fn links(config: &Config, found: &mut Vec<Finding>) {
    let single: Vec<&str> = config
        .nodes
        .iter()
        .filter(|node| node.links.len() == 1)
        .map(|node| node.name.as_str())
        .collect();
    if config.nodes.len() > 1 && !single.is_empty() {
        let text = format!(
            "one link only on {}: its loss is taken for the loss of the node; add an independent second link",
            single.join(", ")
        );
        add(found, "single-link", text);
    }
    let most = config
        .nodes
        .iter()
        .map(|node| node.links.len())
        .max()
        .unwrap_or(0);
    let fewer: Vec<&str> = config
        .nodes
        .iter()
        .filter(|node| node.links.len() < most)
        .map(|node| node.name.as_str())
        .collect();
    if !fewer.is_empty() {
        let text = format!(
            "fewer links on {} than on other nodes: links are paired by position, those beyond are not used",
            fewer.join(", ")
        );
        add(found, "uneven-links", text);
    }
    if config
        .nodes
        .iter()
        .flat_map(|node| &node.links)
        .any(std::net::IpAddr::is_loopback)
    {
        add(
            found,
            "loopback-link",
            "a loopback address is used as a link: that is for trials on one machine only",
        );
    }
}

fn keys(config: &Config, found: &mut Vec<Finding>) {
    let witness = config
        .witness
        .iter()
        .map(|witness| (&witness.name, &witness.keys));
    let bare: Vec<&str> = config
        .nodes
        .iter()
        .map(|node| (&node.name, &node.keys))
        .chain(witness)
        .filter(|(_, keys)| keys.is_empty())
        .map(|(name, _)| name.as_str())
        .collect();
    if !bare.is_empty() {
        let text = format!(
            "no key pin for {}: nobody can connect under that name until it joins",
            bare.join(", ")
        );
        add(found, "no-key", text);
    }
}

fn fencing(config: &Config, found: &mut Vec<Finding>) {
    if config.nodes.len() < 2
        || !config
            .groups
            .iter()
            .any(|group| group.requires == Requires::Fencing)
    {
        return;
    }
    let has = |node: &super::NodeSection, kind: Option<FenceKind>| {
        config
            .fences
            .iter()
            .any(|fence| fence.node == node.id && kind.is_none_or(|kind| fence.kind == kind))
    };
    let names = |kind: Option<FenceKind>| -> Vec<&str> {
        config
            .nodes
            .iter()
            .filter(|node| !has(node, kind))
            .map(|node| node.name.as_str())
            .collect()
    };
    let bare = names(None);
    if !bare.is_empty() {
        let text = format!(
            "no fence device for {}: groups that require fencing leave it only by its watchdog or by your word \
             (`hactl fence confirm`)",
            bare.join(", ")
        );
        add(found, "no-fence-device", text);
    } else if !names(Some(FenceKind::Power)).is_empty() {
        let text = format!(
            "only storage fencing for {}: it releases groups, but if the witness is lost it cannot stand in for a vote",
            names(Some(FenceKind::Power)).join(", ")
        );
        add(found, "no-power-device", text);
    }
}

/// A level in which some devices have a method and others have none.
fn methods(config: &Config, found: &mut Vec<Finding>) {
    for node in &config.nodes {
        let devices = config.fences_of(node.id);
        let mixed = devices.iter().find(|device| {
            let level = || devices.iter().filter(|other| other.level == device.level);
            device.method.is_some() && level().any(|other| other.method.is_none())
        });
        if let Some(device) = mixed {
            let text = format!(
                "level {} of the fence devices of {}: some have a `method` and some have none; those without one are a method of \
                 their own, which races with the others: give each a `method`",
                device.level, node.name
            );
            add(found, "half-named-methods", text);
        }
    }
}

fn shared_disks(config: &Config, found: &mut Vec<Finding>) {
    let Some(sbd) = &config.sbd else { return };
    if sbd.devices.len() != 3 {
        let effect = if sbd.devices.len() == 1 {
            "while it cannot be read nobody is fenced by it, and a node that is not part of a quorum then is reset"
        } else {
            "with one of them lost nobody is fenced by them, and with both a node that is not part of a quorum is reset"
        };
        let text = format!("[sbd] has {} of at most 3 disks: {effect}", sbd.devices.len());
        add(found, "few-disks", text);
    }
    let patience = sbd
        .timeouts
        .patience(Duration::from_millis(sbd.io_timeout_ms.into()));
    let by_disks = config.fences.iter().any(|fence| fence.agent == SBD_AGENT);
    let delay = Duration::from_millis(config.cluster.fence_delay_ms.into());
    if by_disks && config.nodes.len() == 2 && delay <= patience {
        let text = format!(
            "fence_delay is {}, and a node may take {} to read the order that ends it: without the witness both nodes could \
             order each other to end; make it longer",
            show_ms(config.cluster.fence_delay_ms),
            show_ms(u32::try_from(patience.as_millis()).unwrap_or(u32::MAX))
        );
        add(found, "short-fence-delay", text);
    }
}

fn group_findings(group: &GroupSection, found: &mut Vec<Finding>) {
    let strictest = group
        .resources
        .iter()
        .map(default_requires)
        .max()
        .unwrap_or(Requires::Nothing);
    if group.requires < strictest && !group.is_every_node() {
        let effect = match group.requires {
            Requires::Nothing => "it may run on two nodes at once whenever they lose each other",
            _ => "a node that hangs and wakes up may still run it for a moment beside the new one",
        };
        let text = format!(
            "group {} requires less than its resources do by themselves: {effect}; its data must bear that",
            group.name
        );
        add(found, "loose-requires", text);
    }
    for resource in &group.resources {
        let environment = resource.params.get("env").map_or("", String::as_str);
        for (key, _) in environment.lines().filter_map(|line| line.split_once('=')) {
            if is_secret_key(key) {
                let text = format!(
                    "resource {} of group {} has the secret {key} in its environment in plain text: let the program \
                     read it from a file",
                    resource.name, group.name
                );
                add(found, "plain-secret", text);
            }
        }
    }
}

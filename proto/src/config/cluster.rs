//! Reads `[cluster]`, `[[node]]` and `[witness]`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::diagnostic::Problem;
use super::etcd::{RegisterDraft, read_register};
use super::reader::{At, Span, Table};
use super::witness_disks;
use super::{ClusterSection, KeyPin, NodeSection, WitnessSection, values, watchdog};
use crate::ids::{ClusterId, NodeId};

/// UDP port of the peer protocol unless set.
pub const PORT_DEFAULT: u16 = 7946;
/// The profiles and their detection time in milliseconds.
pub const PROFILES: [(&str, u32); 3] = [("fast", 300), ("balanced", 1000), ("wan", 5000)];
/// Detection time allowed, in milliseconds.
pub const DETECTION_MS: RangeInclusive<u32> = 100..=60_000;
/// Most links of one node.
pub const LINKS_MAX: usize = 8;

const HOUR_MS: u32 = 3_600_000;
const BALANCED_MS: u32 = 1000;

/// `[[node]]` with the places that later checks point at.
pub(super) struct NodeDraft {
    pub section: NodeSection,
    pub name: At<String>,
    pub id_span: Span,
    pub links: Vec<At<IpAddr>>,
}

/// `[witness]` with the places that later checks point at.
pub(super) struct WitnessDraft {
    pub section: WitnessSection,
    pub name_span: Span,
    pub address_span: Span,
}

pub(super) fn read_cluster(root: &Table) -> Option<ClusterSection> {
    let Some(table) = root.table("cluster", "[cluster]", "write [cluster]") else {
        if root.span_of("cluster").is_none() {
            let message = "the table [cluster] is missing";
            let hint = "`hactl cluster init` writes a configuration to begin with";
            root.problems.add(Problem::new(0..0, message).hint(hint));
        }
        return None;
    };
    table.only(&[
        "name",
        "id",
        "profile",
        "detection",
        "port",
        "fence_delay",
        "witness_grace",
        "startup_grace",
        "fence_test_interval",
        "ping",
        "flap_budget",
        "flap_window",
        watchdog::KEY,
    ]);
    let name = table.needed_text("name", "a name for people, such as name = \"shop-db\"");
    if let Some(name) = &name {
        check_name(&table, name, "cluster");
    }
    let detection_ms = read_detection(&table);
    Some(ClusterSection {
        name: name.map(|name| name.value.to_string()).unwrap_or_default(),
        id: read_cluster_id(&table).unwrap_or_default(),
        detection_ms,
        port: read_port(&table).unwrap_or(PORT_DEFAULT),
        fence_delay_ms: read_fence_delay(&table, detection_ms),
        witness_grace_ms: read_witness_grace(&table, detection_ms),
        startup_grace_ms: read_startup_grace(&table, detection_ms),
        fence_test_interval_ms: table
            .duration_ms("fence_test_interval", 60_000..=7 * 24 * HOUR_MS)
            .map_or(HOUR_MS, |ms| ms.value),
        ping: read_addresses(&table, "ping")
            .into_iter()
            .map(|address| address.value)
            .collect(),
        flap_budget: table
            .number("flap_budget", 1..=1000)
            .map_or(3, |number| number.value),
        flap_window_ms: table
            .duration_ms("flap_window", 1000..=24 * HOUR_MS)
            .map_or(600_000, |ms| ms.value),
        watchdog_required: watchdog::read_required(&table).unwrap_or(false),
    })
}

fn read_cluster_id(table: &Table) -> Option<ClusterId> {
    let hint = "it is 16 hex digits, written by `hactl cluster init`, the same on every member for ever";
    let text = table.needed_text("id", hint)?;
    let hex = text.value.len() == 16 && text.value.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u64::from_str_radix(text.value, 16) {
        Ok(id) if hex && id != 0 => Some(ClusterId(id)),
        _ => {
            let message = format!("\"{}\" is not a cluster id", text.value.escape_debug());
            table.problems.add(Problem::new(text.span, message).hint(hint));
            None
        }
    }
}

fn read_detection(table: &Table) -> u32 {
    let detection = table.duration_ms("detection", DETECTION_MS);
    let profile = table.text("profile");
    if let (Some(detection), Some(profile)) = (table.span_of("detection"), table.span_of("profile")) {
        let problem = Problem::new(profile, "`profile` and `detection` set the same thing")
            .hint("keep one of them")
            .related(detection, "the detection time is set here as well");
        table.problems.add(problem);
    }
    if let Some(detection) = detection {
        return detection.value;
    }
    let Some(profile) = profile else {
        return BALANCED_MS;
    };
    match PROFILES.iter().find(|(name, _)| *name == profile.value) {
        Some((_, detection_ms)) => *detection_ms,
        None => {
            let message = format!("unknown profile \"{}\"", profile.value.escape_debug());
            table.problems.add_unknown(
                profile.span,
                message,
                profile.value,
                PROFILES.iter().map(|(name, _)| *name),
            );
            BALANCED_MS
        }
    }
}

fn read_port(table: &Table) -> Option<u16> {
    let port = table.number("port", 1..=65_535)?;
    u16::try_from(port.value).ok()
}

fn read_fence_delay(table: &Table, detection_ms: u32) -> u32 {
    let default = detection_ms.saturating_mul(2).max(5000);
    let Some(delay) = table.duration_ms("fence_delay", 1..=HOUR_MS) else {
        return default;
    };
    if delay.value <= detection_ms {
        let message = format!(
            "`fence_delay` must be longer than the detection time, {}",
            values::show_ms(detection_ms)
        );
        let hint = "it is the head start of one node of a pair: shorter, and both may fence each other";
        table.problems.add(Problem::new(delay.span, message).hint(hint));
    }
    delay.value
}

fn read_witness_grace(table: &Table, detection_ms: u32) -> u32 {
    let default = detection_ms.saturating_mul(10).max(5000);
    let Some(grace) = table.duration_ms("witness_grace", 1..=HOUR_MS) else {
        return default;
    };
    let least = detection_ms.saturating_mul(2);
    if grace.value < least {
        let message = format!(
            "`witness_grace` must be at least twice the detection time: {} or more",
            values::show_ms(least)
        );
        let hint = "shorter, and one lost moment of the witness would cost it its vote";
        table.problems.add(Problem::new(grace.span, message).hint(hint));
    }
    grace.value
}

fn read_startup_grace(table: &Table, detection_ms: u32) -> u32 {
    let default = detection_ms.saturating_mul(2).max(60_000);
    let Some(grace) = table.duration_ms("startup_grace", 1..=24 * HOUR_MS) else {
        return default;
    };
    if grace.value <= detection_ms {
        let message = format!(
            "`startup_grace` must be longer than the detection time, {}",
            values::show_ms(detection_ms)
        );
        let hint = "a node that is still booting would be fenced";
        table.problems.add(Problem::new(grace.span, message).hint(hint));
    }
    grace.value
}

/// Reports a name that is not one.
pub(super) fn check_name(table: &Table, name: &At<&str>, of: &str) {
    if let Some(fault) = values::name_fault(name.value) {
        let message = format!(
            "\"{}\" cannot be the name of a {of}: {fault}",
            name.value.escape_debug()
        );
        table.problems.add(Problem::new(name.span.clone(), message));
    }
}

fn read_address(table: &Table, key: &str, text: &At<&str>) -> Option<At<IpAddr>> {
    let fault = match text.value.parse::<IpAddr>() {
        Ok(address) => match values::peer_address_fault(address) {
            None => return Some(At::new(address, text.span.clone())),
            Some(fault) => fault,
        },
        Err(_) => "this is not an IP address",
    };
    let message = format!("\"{}\" cannot be in `{key}`: {fault}", text.value.escape_debug());
    let hint = if text.value.contains('/') {
        "write the address without a prefix length"
    } else if text.value.chars().any(|c| c.is_ascii_alphabetic()) && !text.value.contains(':') {
        "names are not resolved: a failing name service must not cost a failover"
    } else {
        ""
    };
    table
        .problems
        .add(Problem::new(text.span.clone(), message).hint(hint));
    None
}

fn read_addresses(table: &Table, key: &str) -> Vec<At<IpAddr>> {
    table
        .texts(key)
        .iter()
        .filter_map(|text| read_address(table, key, text))
        .collect()
}

fn read_keys(table: &Table) -> Vec<KeyPin> {
    let pins = table.texts("keys");
    if pins.len() > 2 {
        let span = pins[2].span.clone();
        let hint = "two are enough: the old one and the new one, while a key is being rotated";
        table
            .problems
            .add(Problem::new(span, "more than two key pins").hint(hint));
    }
    let parse = |text: &At<&str>| match text.value.parse::<KeyPin>() {
        Ok(pin) => Some(pin),
        Err(fault) => {
            let hint = "`had keygen` prints the pin of a node's key";
            table
                .problems
                .add(Problem::new(text.span.clone(), fault).hint(hint));
            None
        }
    };
    pins.iter().filter_map(parse).collect()
}

pub(super) fn read_nodes(root: &Table) -> Vec<NodeDraft> {
    let tables = root.tables("node", "[[node]]");
    if tables.is_empty() && root.span_of("node").is_none() {
        let hint = "write [[node]] once for each server, with its name and its links";
        root.problems
            .add(Problem::new(0..0, "there is no data node").hint(hint));
    }
    if let Some(beyond) = tables.get(usize::from(NodeId::DATA_MAX)) {
        let message = format!(
            "{} data nodes: a cluster has at most {}",
            tables.len(),
            NodeId::DATA_MAX
        );
        root.problems.add(Problem::new(beyond.span.clone(), message));
    }
    tables
        .iter()
        .take(NodeId::DATA_MAX.into())
        .enumerate()
        .map(|(index, table)| read_node(index, table))
        .collect()
}

fn read_node(index: usize, table: &Table) -> NodeDraft {
    table.only(&["name", "links", "keys", "id", watchdog::KEY]);
    let name = table.needed_text("name", "the server's host name, such as name = \"db1\"");
    if let Some(name) = &name
        && let Some(fault) = values::host_name_fault(name.value)
    {
        let message = format!(
            "\"{}\" cannot be a node's name: {fault}",
            name.value.escape_debug()
        );
        table
            .problems
            .add(Problem::new(name.span.clone(), message).hint("use the server's host name"));
    }
    let links = read_addresses(table, "links");
    if table.span_of("links").is_none() || table.is_empty_list("links") {
        table.missing(
            "links",
            "one address per link, such as links = [\"10.0.0.1\", \"192.168.7.1\"]",
        );
    }
    if let Some(beyond) = links.get(LINKS_MAX) {
        let message = format!("{} links: a node has at most {LINKS_MAX}", links.len());
        table.problems.add(Problem::new(beyond.span.clone(), message));
    }
    let id = table.number("id", 1..=NodeId::DATA_MAX.into());
    // `index` is below DATA_MAX, so both fit.
    let number = id.as_ref().map_or(index as u8 + 1, |id| id.value as u8);
    let name = name.map_or(At::new(String::new(), table.span.clone()), |name| {
        At::new(name.value.to_string(), name.span)
    });
    NodeDraft {
        section: NodeSection {
            id: NodeId(number),
            name: name.value.clone(),
            links: links.iter().map(|link| link.value).collect(),
            keys: read_keys(table),
            watchdog_required: watchdog::read_required(table),
        },
        id_span: id.map_or(table.span.clone(), |id| id.span),
        name,
        links,
    }
}

/// The witness: a `had` of its own, or a register in etcd or on shared disks.
pub(super) fn read_witness(root: &Table, cluster_port: u16) -> (Option<WitnessDraft>, Option<RegisterDraft>) {
    let Some(table) = root.table("witness", "[witness]", "write [witness]") else {
        return (None, None);
    };
    if let (Some(span), Some(_)) = (table.span_of("disks"), table.span_of("etcd")) {
        let problem = Problem::new(span, "a witness is kept in etcd or on shared disks, not in both");
        table.problems.add(problem.hint("remove `etcd` or `disks`"));
        (None, None)
    } else if table.span_of("etcd").is_some() {
        (None, read_register(&table))
    } else if table.span_of("disks").is_some() {
        (None, witness_disks::read_register(&table))
    } else {
        (read_had(&table, cluster_port), None)
    }
}

fn read_had(table: &Table, cluster_port: u16) -> Option<WitnessDraft> {
    table.only(&["name", "address", "port", "keys"]);
    let name = table
        .text("name")
        .map_or(At::new("witness", table.span.clone()), |name| name);
    if let Some(fault) = values::host_name_fault(name.value) {
        let message = format!(
            "\"{}\" cannot be the witness's name: {fault}",
            name.value.escape_debug()
        );
        table.problems.add(Problem::new(name.span.clone(), message));
    }
    let address = table
        .needed_text("address", "the witness's address, such as address = \"10.0.0.3\"")
        .and_then(|text| read_address(table, "address", &text))?;
    Some(WitnessDraft {
        section: WitnessSection {
            name: name.value.to_string(),
            address: address.value,
            port: read_port(table).unwrap_or(cluster_port),
            keys: read_keys(table),
        },
        name_span: name.span,
        address_span: address.span,
    })
}

//! The cluster configuration: model, parser, diagnostics and derived timers.
//!
//! Parsing takes two passes. The first reads each section by itself, keeping the place of every value; the
//! second checks what sections say about each other. Both collect errors instead of stopping at the first.

mod check;
mod cluster;
mod diagnostic;
mod etcd;
mod fence;
mod findings;
mod group;
mod job;
mod kinds;
mod model;
mod model_group;
mod model_job;
mod reader;
mod redact;
mod roles;
mod sbd;
mod schema;
mod suggest;
mod timers;
mod values;
mod watchdog;
mod witness_disks;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use toml::de::DeTable;

pub use cluster::{DETECTION_MS, LINKS_MAX, PORT_DEFAULT, PROFILES};
pub use diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics};
pub use etcd::ETCD_ENDPOINTS_MAX;
pub use fence::{EXEC_AGENT, IPMI_AGENT, REDFISH_AGENT, STORAGE_AGENTS};
pub use findings::{Finding, findings, warnings};
pub use group::{PROBES_MAX, RESOURCES_MAX};
pub use kinds::{KindSpec, ParamForm, ParamSpec, RESOURCE_KINDS};
pub use model::*;
pub use model_group::*;
pub use model_job::*;
pub use roles::Roles;
pub use sbd::{SBD_AGENT, SBD_DISKS_MAX, SBD_IO_TIMEOUT_MS, SbdTimeouts, order_is_certain_after};
pub use schema::RESOURCE_KEYS;
pub use timers::Timers;

use diagnostic::Problem;
use group::GroupDraft;
use reader::{Problems, Table};

/// Most groups of one cluster.
pub const GROUPS_MAX: usize = 5000;
/// Longest configuration accepted, in bytes.
pub const CONFIG_BYTES_MAX: usize = 2 << 20;

/// Parses and validates a configuration. `file` is the name that errors give it.
///
/// # Errors
/// Every error found, with its place in the file and what to do about it.
pub fn parse(text: &str, file: &str) -> Result<Config, Diagnostics> {
    let problems = Problems::default();
    let config = read(text, &problems);
    let found = problems.into_inner();
    match config {
        Some(config) if found.is_empty() => Ok(config),
        _ => Err(Diagnostics::new(file, text, found)),
    }
}

/// The configuration in `text`; `None` only when a problem says why.
fn read(text: &str, problems: &Problems) -> Option<Config> {
    if text.len() > CONFIG_BYTES_MAX {
        let message = format!(
            "the configuration has {} bytes, the limit is {CONFIG_BYTES_MAX}",
            text.len()
        );
        problems.add(Problem::new(0..0, message));
        return None;
    }
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    if !syntax_errors.is_empty() {
        // What was recovered is full of holes: checking it would report errors that are none.
        for error in syntax_errors {
            problems.add(Problem::new(error.span().unwrap_or(0..0), error.message()));
        }
        return None;
    }
    let root = Table::new("the configuration", document.get_ref(), 0..0, problems);
    root.only(&["cluster", "node", "witness", "sbd", "fence", "group", "job"]);
    let cluster = cluster::read_cluster(&root);
    let nodes = cluster::read_nodes(&root);
    let port = cluster.as_ref().map_or(PORT_DEFAULT, |cluster| cluster.port);
    let (witness, register) = cluster::read_witness(&root, port);
    let by_name: BTreeMap<&str, _> = nodes
        .iter()
        .map(|node| (node.name.value.as_str(), node.section.id))
        .collect();
    let sbd = sbd::read_sbd(&root);
    let fences = fence::read_fences(&root, &by_name, sbd.as_ref());
    let groups = group::read_groups(&root, &by_name);
    let jobs = job::read_jobs(&root);
    witness_disks::check(&root, register.as_ref(), sbd.as_ref());
    check::check_members(&nodes, witness.as_ref(), register.as_ref(), problems);
    check::check_exclusive(&nodes, witness.as_ref(), &groups, problems);
    check::check_relations(&groups, problems);
    roles::check(&groups, problems);
    job::check(&jobs, &groups, problems);
    let sections: Vec<NodeSection> = nodes.iter().map(|node| node.section.clone()).collect();
    if let Some(cluster) = &cluster {
        watchdog::check_required(&root, cluster, &sections, sbd.as_ref());
    }
    if problems.is_empty() {
        // Only over a file that is right otherwise: a device that did not parse is not a device that is missing.
        check::check_fencing(
            &nodes,
            root.span_of("witness").is_some(),
            &fences,
            &groups,
            problems,
        );
    }
    let groups: Vec<GroupSection> = groups.into_iter().map(finished).collect();
    let names = groups.iter().map(|group| group.name.clone());
    Some(Config {
        places: names.zip(0..).collect(),
        source: text.to_string(),
        cluster: cluster?,
        nodes: nodes.into_iter().map(|node| node.section).collect(),
        witness: witness.map(|witness| witness.section),
        register: register.map(|register| register.section),
        sbd,
        fences,
        groups,
        jobs: jobs.into_iter().map(|job| job.section).collect(),
    })
}

/// The group with its relations, which were resolved and found to name groups that exist.
fn finished(draft: GroupDraft) -> GroupSection {
    let names =
        |list: Vec<reader::At<crate::ids::GroupName>>| list.into_iter().map(|name| name.value).collect();
    GroupSection {
        with: names(draft.with),
        apart_from: names(draft.apart_from),
        after: names(draft.after),
        ..draft.section
    }
}

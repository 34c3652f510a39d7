//! Reads `[[fence]]`.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::cluster::check_name;
use super::diagnostic::Problem;
use super::reader::{At, Span, Table};
use super::redact::is_secret_key;
use super::sbd::SBD_AGENT;
use super::schema::path_fault;
use super::{FenceAction, FenceKind, FenceSection, SbdSection};
use crate::ids::NodeId;

/// Fence agents that cut a node off its storage or its network instead of its power.
pub const STORAGE_AGENTS: [&str; 6] = [
    "fence_scsi",
    "fence_mpath",
    "fence_brocade",
    "fence_cisco_mds",
    "fence_ifmib",
    "fence_sanbox2",
];
/// The agent that runs a program with the same contract.
pub const EXEC_AGENT: &str = "exec";
/// IPMI 2.0 by `ipmitool`, which verifies the machine.
pub const IPMI_AGENT: &str = "ipmi";
/// Redfish over HTTPS, which verifies the machine.
pub const REDFISH_AGENT: &str = "redfish";

/// A device that needs no fence agent: its parameters are known here.
struct Own {
    agent: &'static str,
    needed: &'static [&'static str],
    optional: &'static [&'static str],
}

const OWN: [Own; 2] = [
    Own {
        agent: IPMI_AGENT,
        needed: &["ip", "username", "password_file"],
        optional: &["uuid", "ipport", "cipher", "privlvl"],
    },
    Own {
        agent: REDFISH_AGENT,
        needed: &["ip", "username", "password_file"],
        optional: &["uuid", "ipport", "certificate", "authorities", "system"],
    },
];
const OWN_EXAMPLE: &str = "write params = { ip = \"10.0.9.1\", username = \"ha\", password_file = \"/etc/holdfast/secrets/db1-bmc\" }";

impl Own {
    fn find(agent: &str) -> Option<&'static Own> {
        OWN.iter().find(|own| own.agent == agent)
    }

    fn params(&self) -> impl Iterator<Item = &'static str> + Clone + '_ {
        self.needed.iter().chain(self.optional).copied()
    }
}

const TIMEOUT_DEFAULT_MS: u32 = 30_000;

pub(super) fn read_fences(
    root: &Table,
    nodes: &BTreeMap<&str, NodeId>,
    sbd: Option<&SbdSection>,
) -> Vec<FenceSection> {
    let tables = root.tables("fence", "[[fence]]");
    let read = |table: &Table| Some((read_fence(table, nodes, sbd)?, table.span.clone()));
    let fences: Vec<(FenceSection, Span)> = tables.iter().filter_map(read).collect();
    for (index, (fence, span)) in fences.iter().enumerate() {
        let level =
            |(other, _): &&(FenceSection, Span)| other.node == fence.node && other.level == fence.level;
        let together = fences
            .iter()
            .filter(level)
            .filter(|(other, _)| other.method == fence.method);
        if fence.agent == SBD_AGENT && together.count() > 1 {
            let message = "a device of agent \"sbd\" shares its method with another one";
            let hint = "give it a level or a `method` of its own: a disk has no power state that could be read together with \
                        theirs";
            root.problems.add(Problem::new(span.clone(), message).hint(hint));
        }
        let mut before = fences[..index].iter().filter(level);
        let same = |(other, _): &&(FenceSection, Span)| {
            other.method != fence.method && other.agent == fence.agent && other.params == fence.params
        };
        if let Some((_, first)) = before.find(same) {
            let message = "the same device in two methods of a level: it would race with itself";
            let problem = Problem::new(span.clone(), message).related(first.clone(), "it is here as well");
            root.problems
                .add(problem.hint("devices that are needed together have the same `method`"));
        }
    }
    fences.into_iter().map(|(fence, _)| fence).collect()
}

fn read_fence(
    table: &Table,
    nodes: &BTreeMap<&str, NodeId>,
    sbd: Option<&SbdSection>,
) -> Option<FenceSection> {
    table.only(&[
        "node", "agent", "params", "level", "method", "kind", "timeout", "action",
    ]);
    let node = table
        .needed_text("node", "the node that the device cuts off")
        .and_then(|name| resolve_node(table, &name, nodes));
    let agent = read_agent(table);
    let on_disks = agent.as_ref().filter(|agent| agent.value == SBD_AGENT);
    let params = match on_disks {
        Some(agent) => super::sbd::params(table, agent, sbd),
        None => read_params(table, agent.as_ref().map_or("", |agent| agent.value)),
    };
    let level = table.number("level", 1..=9).map_or(1, |level| level.value as u8);
    let method = table.text("method");
    if let Some(method) = &method {
        check_name(table, method, "method");
    }
    let given = table.duration_ms("timeout", 1000..=600_000);
    let timeout_ms = match (on_disks, sbd) {
        (Some(_), Some(sbd)) => super::sbd::fence_timeout_ms(table, given, sbd, TIMEOUT_DEFAULT_MS),
        _ => given.map_or(TIMEOUT_DEFAULT_MS, |timeout| timeout.value),
    };
    let storage_agent = agent
        .as_ref()
        .is_some_and(|agent| STORAGE_AGENTS.contains(&agent.value));
    let kind = choice(
        table,
        "kind",
        &[("power", FenceKind::Power), ("storage", FenceKind::Storage)],
    );
    if let Some(kind) = &kind
        && kind.value == FenceKind::Power
        && storage_agent
    {
        let message = "this agent cuts storage or network, it is no power device";
        let hint =
            "a node cut off its storage goes on running: remove `kind`, and add a power device for its vote";
        table
            .problems
            .add(Problem::new(kind.span.clone(), message).hint(hint));
    }
    if let Some(kind) = &kind
        && kind.value == FenceKind::Storage
        && on_disks.is_some()
    {
        let message = "an order on shared disks ends the node, it does not cut its storage";
        table
            .problems
            .add(Problem::new(kind.span.clone(), message).hint("remove `kind`"));
    }
    let default_kind = if storage_agent {
        FenceKind::Storage
    } else {
        FenceKind::Power
    };
    let kind = kind.map_or(default_kind, |kind| kind.value);
    let action = choice(
        table,
        "action",
        &[("off", FenceAction::Off), ("reboot", FenceAction::Reboot)],
    );
    if kind == FenceKind::Storage
        && let Some(action) = &action
        && action.value == FenceAction::Reboot
    {
        let message = "a storage device has no reboot";
        table
            .problems
            .add(Problem::new(action.span.clone(), message).hint("write action = \"off\""));
    }
    let default_action = if kind == FenceKind::Storage {
        FenceAction::Off
    } else {
        FenceAction::Reboot
    };
    Some(FenceSection {
        node: node?,
        agent: agent?.value.to_string(),
        params,
        level,
        method: method.map(|method| method.value.to_string()),
        kind,
        timeout_ms,
        action: action.map_or(default_action, |action| action.value),
    })
}

/// The data node called `name`; reports a name that nobody has.
pub(super) fn resolve_node(table: &Table, name: &At<&str>, nodes: &BTreeMap<&str, NodeId>) -> Option<NodeId> {
    let found = nodes.get(name.value).copied();
    if found.is_none() {
        let message = format!("there is no data node called \"{}\"", name.value.escape_debug());
        table
            .problems
            .add_unknown(name.span.clone(), message, name.value, nodes.keys().copied());
    }
    found
}

fn read_agent<'a>(table: &Table<'a>) -> Option<At<&'a str>> {
    let hint = "\"ipmi\", \"redfish\", \"sbd\", a fence agent such as \"fence_apc\", or \"exec\" for a program of your own";
    let agent = table.needed_text("agent", hint)?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let fence_agent = agent
        .value
        .strip_prefix("fence_")
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(plain));
    let own = Own::find(agent.value).is_some() || agent.value == SBD_AGENT;
    if fence_agent || own || agent.value == EXEC_AGENT {
        return Some(agent);
    }
    let message = format!(
        "\"{}\" is not the name of a fence agent",
        agent.value.escape_debug()
    );
    table.problems.add(Problem::new(agent.span, message).hint(hint));
    None
}

/// One of a few words.
pub(super) fn choice<T: Copy>(table: &Table, key: &str, choices: &[(&'static str, T)]) -> Option<At<T>> {
    let text = table.text(key)?;
    let found = choices.iter().find(|(word, _)| *word == text.value);
    if found.is_none() {
        let message = format!("`{key}` cannot be \"{}\"", text.value.escape_debug());
        table.problems.add_unknown(
            text.span.clone(),
            message,
            text.value,
            choices.iter().map(|(word, _)| *word),
        );
    }
    found.map(|(_, value)| At::new(*value, text.span))
}

fn read_params(table: &Table, agent: &str) -> BTreeMap<String, String> {
    let mut params = BTreeMap::new();
    let Some(given) = table.table("params", "`params`", "write params = { ip = \"10.0.9.1\" }") else {
        if table.span_of("params").is_none() {
            match agent {
                EXEC_AGENT => {
                    table.missing("params", "write params = { program = \"/usr/local/sbin/power\" }")
                }
                agent if Own::find(agent).is_some() => table.missing("params", OWN_EXAMPLE),
                _ => {}
            }
        }
        return params;
    };
    if agent == EXEC_AGENT && given.span_of("program").is_none() {
        given.missing("program", "such as program = \"/usr/local/sbin/power\"");
    }
    let own = Own::find(agent);
    for key in own.iter().flat_map(|own| own.needed) {
        if given.span_of(key).is_none() {
            given.missing(key, OWN_EXAMPLE);
        }
    }
    for (key, value) in given.entries() {
        if is_secret_key(key.value) {
            let message = format!("the secret `{}` is in plain text", key.value);
            let hint = format!(
                "put it into a file that only root can read and write {}_file = \"/etc/holdfast/secrets/NAME\"",
                key.value
            );
            table.problems.add(Problem::new(key.span, message).hint(hint));
        } else if key.value == "action" {
            let hint = "set `action` of the [[fence]] itself";
            table
                .problems
                .add(Problem::new(key.span, "`action` does not belong into `params`").hint(hint));
        } else if let Some(own) = own.filter(|own| own.params().all(|known| known != key.value)) {
            let message = format!(
                "a device `{agent}` has no parameter `{}`",
                key.value.escape_debug()
            );
            table
                .problems
                .add_unknown(key.span, message, key.value, own.params());
        } else if let Some(text) = param_text(&given, key.value, value) {
            params.insert(key.value.to_string(), text);
        }
    }
    params
}

fn param_text(given: &Table, key: &str, value: &toml::Spanned<DeValue<'_>>) -> Option<String> {
    let text = match value.get_ref() {
        DeValue::String(_) => given.text(key)?.value.to_string(),
        DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        other => {
            let message = format!(
                "`{key}` must be a string, a number, true or false, this is {}",
                other.type_str()
            );
            given.problems.add(Problem::new(value.span(), message));
            return None;
        }
    };
    if (key.ends_with("_file") || key == "program")
        && let Some(fault) = path_fault(&text)
    {
        given
            .problems
            .add(Problem::new(value.span(), format!("`{key}` is invalid: {fault}")));
        return None;
    }
    Some(text)
}

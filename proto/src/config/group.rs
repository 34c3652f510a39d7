//! Reads `[[group]]`, its resources and their probes.

use std::collections::BTreeMap;

use super::cluster::check_name;
use super::diagnostic::Problem;
use super::fence::resolve_node;
use super::kinds::{KindSpec, RESOURCE_KINDS};
use super::reader::{At, Span, Table};
use super::roles::{self, RolesDraft};
use super::schema::{Exclusive, read_command, read_params};
use super::values::host_port_fault;
use super::{GROUPS_MAX, GroupSection, ProbeKind, ProbeSection, Requires, ResourceSection, RunOn};
use crate::ids::{GroupName, NodeId};

/// Most resources of one group.
pub const RESOURCES_MAX: usize = 256;
/// Most probes of one resource.
pub const PROBES_MAX: usize = 16;
/// Longest `send` and `expect` of a probe.
const SAID_BYTES_MAX: usize = 256;

const HOUR_MS: u32 = 3_600_000;
/// Time for an OCF agent to start: they are shell scripts around whole services.
const OCF_START_MS: u32 = 60_000;
/// Time for an OCF agent to stop.
const OCF_STOP_MS: u32 = 60_000;

/// `[[group]]` with the places that later checks point at.
pub(super) struct GroupDraft {
    pub section: GroupSection,
    pub name_span: Span,
    /// Where `requires` is set, or the group's name.
    pub requires_span: Span,
    pub with: Vec<At<GroupName>>,
    pub apart_from: Vec<At<GroupName>>,
    pub after: Vec<At<GroupName>>,
    pub roles: RolesDraft,
    pub exclusive: Vec<At<Exclusive>>,
}

pub(super) fn read_groups(root: &Table, nodes: &BTreeMap<&str, NodeId>) -> Vec<GroupDraft> {
    let tables = root.tables("group", "[[group]]");
    if let Some(beyond) = tables.get(GROUPS_MAX) {
        let message = format!("{} groups: a cluster has at most {GROUPS_MAX}", tables.len());
        root.problems.add(Problem::new(beyond.span.clone(), message));
    }
    let mut groups: Vec<GroupDraft> = tables
        .iter()
        .take(GROUPS_MAX)
        .filter_map(|table| read_group(table, nodes))
        .collect();
    roles::tie_to_primaries(&mut groups);
    groups
}

fn read_group(table: &Table, nodes: &BTreeMap<&str, NodeId>) -> Option<GroupDraft> {
    table.only(&[
        "name",
        "prefer",
        "requires",
        "with",
        "apart_from",
        "after",
        "run",
        "on_possible_loss",
        "follows",
        "role",
        "max_lag",
        "max_restarts",
        "restart_window",
        "resource",
    ]);
    let name = table.needed_text("name", "such as name = \"mysql\"");
    if let Some(name) = &name {
        check_name(table, name, "group");
    }
    let (resources, exclusive) = read_resources(table);
    let roles = roles::read(table);
    let strictest = match roles.run() {
        RunOn::EveryNode => Requires::Nothing,
        RunOn::OneNode => resources
            .iter()
            .map(default_requires)
            .max()
            .unwrap_or(Requires::Fencing),
    };
    let requires = read_requires(table);
    let name = name?;
    let section = GroupSection {
        name: name.value.into(),
        prefer: read_prefer(table, nodes),
        requires: requires.as_ref().map_or(strictest, |requires| requires.value),
        run: roles.run(),
        on_possible_loss: roles.on_possible_loss(),
        follows: roles.follows(),
        with: Vec::new(),
        apart_from: Vec::new(),
        after: Vec::new(),
        max_restarts: table
            .number("max_restarts", 0..=1000)
            .map_or(3, |number| number.value),
        restart_window_ms: table
            .duration_ms("restart_window", 1000..=24 * HOUR_MS)
            .map_or(600_000, |ms| ms.value),
        resources,
    };
    let names = |key: &str| -> Vec<At<GroupName>> {
        table
            .texts(key)
            .into_iter()
            .map(|text| At::new(text.value.into(), text.span))
            .collect()
    };
    Some(GroupDraft {
        section,
        requires_span: requires.map_or(name.span.clone(), |requires| requires.span),
        name_span: name.span,
        with: names("with"),
        apart_from: names("apart_from"),
        after: names("after"),
        roles,
        exclusive,
    })
}

/// What the kind of `resource` needs by itself.
pub(super) fn default_requires(resource: &ResourceSection) -> Requires {
    KindSpec::find(&resource.kind).map_or(Requires::Fencing, |spec| spec.requires)
}

fn read_requires(table: &Table) -> Option<At<Requires>> {
    let text = table.text("requires")?;
    let words = [
        ("fencing", Requires::Fencing),
        ("lease", Requires::Lease),
        ("nothing", Requires::Nothing),
    ];
    let found = words.iter().find(|(word, _)| *word == text.value);
    if found.is_none() {
        let message = format!("`requires` cannot be \"{}\"", text.value.escape_debug());
        table.problems.add_unknown(
            text.span.clone(),
            message,
            text.value,
            words.iter().map(|(word, _)| *word),
        );
    }
    found.map(|(_, requires)| At::new(*requires, text.span))
}

fn read_prefer(table: &Table, nodes: &BTreeMap<&str, NodeId>) -> Vec<NodeId> {
    let mut preferred = Vec::new();
    for name in table.texts("prefer") {
        let Some(node) = resolve_node(table, &name, nodes) else {
            continue;
        };
        if preferred.contains(&node) {
            let message = format!("\"{}\" is named twice in `prefer`", name.value);
            table.problems.add(Problem::new(name.span, message));
        } else {
            preferred.push(node);
        }
    }
    preferred
}

fn read_resources(group: &Table) -> (Vec<ResourceSection>, Vec<At<Exclusive>>) {
    let tables = group.tables("resource", "[[group.resource]]");
    if tables.is_empty()
        && group
            .span_of("resource")
            .is_none_or(|_| group.is_empty_list("resource"))
    {
        let message = "the group has no resource";
        let hint = "write [[group.resource]] below it, with a name, a type and its parameters";
        group
            .problems
            .add(Problem::new(group.span.clone(), message).hint(hint));
    }
    if let Some(beyond) = tables.get(RESOURCES_MAX) {
        let message = format!("{} resources: a group has at most {RESOURCES_MAX}", tables.len());
        group.problems.add(Problem::new(beyond.span.clone(), message));
    }
    let mut resources = Vec::new();
    let mut exclusive = Vec::new();
    let mut names: BTreeMap<String, Span> = BTreeMap::new();
    for table in tables.iter().take(RESOURCES_MAX) {
        let Some((name, resource)) = read_resource(table, &mut exclusive) else {
            continue;
        };
        if let Some(first) = names.get(&resource.name) {
            let message = format!("the group has two resources called \"{}\"", resource.name);
            let problem = Problem::new(name, message).related(first.clone(), "the first of them");
            table.problems.add(problem);
            continue;
        }
        names.insert(resource.name.clone(), name);
        resources.push(resource);
    }
    (resources, exclusive)
}

fn read_resource(table: &Table, exclusive: &mut Vec<At<Exclusive>>) -> Option<(Span, ResourceSection)> {
    let name = table.needed_text("name", "such as name = \"vip\"");
    if let Some(name) = &name {
        check_name(table, name, "resource");
    }
    let kinds = || RESOURCE_KINDS.iter().map(KindSpec::written);
    let listed: Vec<&str> = kinds().collect();
    let kind = table.needed_text("type", &format!("one of: {}", listed.join(", ")))?;
    let Some(spec) = KindSpec::find(kind.value) else {
        let message = format!("unknown resource type \"{}\"", kind.value.escape_debug());
        table
            .problems
            .add_unknown(kind.span, message, kind.value, kinds());
        return None;
    };
    let is_ocf = spec.kind == "ocf";
    let params = read_params(spec, table);
    exclusive.extend(params.exclusive);
    let probes = read_probes(table);
    let name = name?;
    let resource = ResourceSection {
        name: name.value.to_string(),
        kind: kind.value.to_string(),
        params: params.values,
        probes,
        start_timeout_ms: table
            .duration_ms("start_timeout", 100..=HOUR_MS)
            .map_or(if is_ocf { OCF_START_MS } else { 20_000 }, |ms| ms.value),
        stop_timeout_ms: table
            .duration_ms("stop_timeout", 100..=HOUR_MS)
            .map_or(if is_ocf { OCF_STOP_MS } else { 10_000 }, |ms| ms.value),
    };
    Some((name.span, resource))
}

fn read_probes(resource: &Table) -> Vec<ProbeSection> {
    let tables = resource.tables("probe", "[[group.resource.probe]]");
    if let Some(beyond) = tables.get(PROBES_MAX) {
        let message = format!("{} probes: a resource has at most {PROBES_MAX}", tables.len());
        resource.problems.add(Problem::new(beyond.span.clone(), message));
    }
    tables.iter().take(PROBES_MAX).filter_map(read_probe).collect()
}

fn read_probe(table: &Table) -> Option<ProbeSection> {
    table.only(&[
        "tcp", "http", "exec", "interval", "timeout", "failures", "of", "send", "expect",
    ]);
    let given: Vec<Span> = ["tcp", "http", "exec"]
        .iter()
        .filter_map(|key| table.span_of(key))
        .collect();
    if given.is_empty() {
        let hint = "such as tcp = \"127.0.0.1:6379\"";
        let message = "a probe needs one of the keys `tcp`, `http`, `exec`";
        table
            .problems
            .add(Problem::new(table.span.clone(), message).hint(hint));
    }
    if let [_, second, ..] = given.as_slice() {
        let message = "a probe has one of `tcp`, `http`, `exec`, not several";
        let hint = "write [[group.resource.probe]] once for each";
        table
            .problems
            .add(Problem::new(second.clone(), message).hint(hint));
    }
    talks_over_tcp(table);
    let interval_ms = table
        .duration_ms("interval", 50..=HOUR_MS)
        .map_or(1000, |ms| ms.value);
    let timeout_ms = table
        .duration_ms("timeout", 10..=HOUR_MS)
        .map_or(1000, |ms| ms.value);
    let of = table.number("of", 1..=64);
    let failures = table.number("failures", 1..=64);
    let (failures, of) = match (failures, of) {
        (None, None) => (3, 5),
        (None, Some(of)) => (of.value.div_ceil(2), of.value),
        (Some(failures), None) => (failures.value, failures.value.max(5)),
        (Some(failures), Some(of)) => {
            if failures.value > of.value {
                let message = format!(
                    "{} failures among {} probes can never happen",
                    failures.value, of.value
                );
                let problem =
                    Problem::new(failures.span, message).related(of.span, "the number of probes looked at");
                table.problems.add(problem);
            }
            (failures.value, of.value)
        }
    };
    Some(ProbeSection {
        kind: read_probe_kind(table)?,
        interval_ms,
        timeout_ms,
        failures,
        of,
    })
}

fn read_probe_kind(table: &Table) -> Option<ProbeKind> {
    let refuse = |text: &At<&str>, fault: &str, hint: &str| {
        let message = format!("\"{}\" cannot be probed: {fault}", text.value.escape_debug());
        table
            .problems
            .add(Problem::new(text.span.clone(), message).hint(hint));
    };
    if let Some(text) = table.text("tcp") {
        match host_port_fault(text.value) {
            None => {
                return Some(ProbeKind::Tcp {
                    target: text.value.to_string(),
                    send: said(table, "send"),
                    expect: said(table, "expect"),
                });
            }
            Some(fault) => refuse(&text, fault, "such as tcp = \"127.0.0.1:6379\""),
        }
    }
    if let Some(text) = table.text("http") {
        match http_fault(text.value) {
            None => return Some(ProbeKind::Http(text.value.to_string())),
            Some(fault) => refuse(&text, fault, "such as http = \"http://127.0.0.1:8080/health\""),
        }
    }
    let command = read_command("exec", table)?;
    Some(ProbeKind::Exec(command.split('\n').map(str::to_string).collect()))
}

/// What is sent, or what an answer begins with.
fn said(table: &Table, key: &str) -> String {
    let Some(text) = table.any_text(key) else {
        return String::new();
    };
    if text.value.len() > SAID_BYTES_MAX {
        let message = format!(
            "`{key}` has {} bytes, at most {SAID_BYTES_MAX} are possible",
            text.value.len()
        );
        table.problems.add(Problem::new(text.span, message));
    }
    text.value.to_string()
}

/// `send` and `expect` belong to `tcp`, and what is sent is for an answer.
fn talks_over_tcp(table: &Table) {
    let [tcp, send, expect] = ["tcp", "send", "expect"].map(|key| table.span_of(key));
    if let (None, Some(span)) = (&tcp, send.as_ref().or(expect.as_ref())) {
        let message = "`send` and `expect` belong to a `tcp` probe";
        table.problems.add(Problem::new(span.clone(), message));
    } else if let (Some(span), None) = (&send, &expect) {
        let message = "`send` without `expect`: a connection alone would be enough";
        let hint = "such as send = \"PING\\r\\n\", expect = \"+PONG\"";
        table.problems.add(Problem::new(span.clone(), message).hint(hint));
    }
}

fn http_fault(url: &str) -> Option<&'static str> {
    if url.starts_with("https://") {
        return Some("https is not probed: use an exec probe with a client that knows your certificates");
    }
    let Some(rest) = url.strip_prefix("http://") else {
        return Some("the URL must begin with http://");
    };
    if url
        .chars()
        .any(|c| c.is_whitespace() || c.is_ascii_control() || !c.is_ascii())
    {
        return Some("the URL holds a blank or a character that is not ASCII");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Some("user names and passwords in URLs are not sent");
    }
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.contains(']'));
    let with_port = if has_port {
        authority.to_string()
    } else {
        format!("{authority}:80")
    };
    host_port_fault(&with_port)
}

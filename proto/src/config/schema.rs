//! What each kind of resource takes. The one place to add a kind: parser, hints and documentation follow it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::diagnostic::Problem;
use super::reader::{At, Table};
use super::values;
use super::{Requires, Roles};
use crate::ocf;

/// A kind of resource.
#[derive(Clone, Copy, Debug)]
pub struct KindSpec {
    /// Its name, the value of `type`.
    pub kind: &'static str,
    /// What a takeover needs when it is in a group.
    pub requires: Requires,
    /// Whether it has roles: runs on every node, and is promoted on one.
    pub roles: Roles,
    /// Its parameters.
    pub params: &'static [ParamSpec],
}

/// A parameter of a kind.
#[derive(Clone, Copy, Debug)]
pub struct ParamSpec {
    /// The key.
    pub key: &'static str,
    /// What the value must be.
    pub form: ParamForm,
    /// It must be given.
    pub required: bool,
}

/// What a parameter's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamForm {
    /// One address with prefix length, or a list of them.
    Addresses,
    /// The name of a network interface.
    Interface,
    /// The name of a systemd unit; `.service` is added if there is no suffix.
    Unit,
    /// A program by absolute path, and its arguments.
    Command,
    /// The name of a user.
    User,
    /// An absolute path.
    Path,
    /// A block device, folder or image file by absolute path, or `UUID=`, `LABEL=`, `PARTUUID=`, `PARTLABEL=`.
    Device,
    /// A word of letters, digits, `.`, `_` and `-`.
    Word,
    /// A text that is not empty.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `true` or `false`; the agent gets the word.
    Flag,
    /// A table of environment variables.
    Environment,
    /// A duration in this range of milliseconds; the agent gets the number, its key with `_ms` at the end.
    Millis(u32, u32),
    /// A duration of whole seconds in this range; the agent gets the number, its key with `_s` at the end.
    Seconds(u32, u32),
    /// A table of the parameters of an OCF agent; the agent gets each as `param.NAME`.
    AgentParams,
    /// A whole number in this range.
    Number(u32, u32),
}

const fn required(key: &'static str, form: ParamForm) -> ParamSpec {
    ParamSpec {
        key,
        form,
        required: true,
    }
}

const fn optional(key: &'static str, form: ParamForm) -> ParamSpec {
    ParamSpec {
        key,
        form,
        required: false,
    }
}

/// Every kind of resource.
pub const RESOURCE_KINDS: &[KindSpec] = &[
    KindSpec {
        kind: "vip",
        requires: Requires::Lease,
        roles: Roles::Never,
        params: &[
            required("address", ParamForm::Addresses),
            optional("interface", ParamForm::Interface),
            optional("duplicate_check", ParamForm::Millis(0, 5000)),
            optional("announce_interval", ParamForm::Seconds(1, 3600)),
        ],
    },
    KindSpec {
        kind: "systemd",
        requires: Requires::Fencing,
        roles: Roles::Never,
        params: &[required("unit", ParamForm::Unit)],
    },
    KindSpec {
        kind: "exec",
        requires: Requires::Fencing,
        roles: Roles::Never,
        params: &[
            required("command", ParamForm::Command),
            optional("user", ParamForm::User),
            optional("cwd", ParamForm::Path),
            optional("env", ParamForm::Environment),
        ],
    },
    KindSpec {
        kind: "filesystem",
        requires: Requires::Fencing,
        roles: Roles::Never,
        params: &[
            required("device", ParamForm::Device),
            required("path", ParamForm::Path),
            optional("fstype", ParamForm::Word),
            optional("uuid", ParamForm::Word),
            optional("options", ParamForm::Text),
            optional("fsck", ParamForm::OneOf(&["preen", "none"])),
            optional("kill_users", ParamForm::Flag),
        ],
    },
    KindSpec {
        // The whole family `ocf:PROVIDER:TYPE`.
        kind: "ocf",
        requires: Requires::Fencing,
        roles: Roles::When("promotable", "true"),
        params: &[
            optional("params", ParamForm::AgentParams),
            optional("promotable", ParamForm::Flag),
            optional("notify", ParamForm::Flag),
            optional("monitor_interval", ParamForm::Millis(100, 86_400_000)),
            optional("monitor_timeout", ParamForm::Millis(100, 3_600_000)),
            optional("check_level", ParamForm::OneOf(&["10", "20"])),
            optional("check_interval", ParamForm::Millis(1000, 86_400_000)),
            optional("ocf_root", ParamForm::Path),
        ],
    },
    KindSpec {
        kind: "galera",
        requires: Requires::Fencing,
        roles: Roles::Always,
        params: &[
            optional("command", ParamForm::Command),
            optional("user", ParamForm::User),
            optional("socket", ParamForm::Path),
            optional("datadir", ParamForm::Path),
            optional("port", ParamForm::Number(1, 65_535)),
            optional("link", ParamForm::Number(1, 8)),
            optional("probe_interval", ParamForm::Millis(100, 60_000)),
            optional("probe_timeout", ParamForm::Millis(100, 60_000)),
        ],
    },
    KindSpec {
        kind: "mysqld",
        requires: Requires::Fencing,
        roles: Roles::When("mode", "replication"),
        params: &[
            optional("mode", ParamForm::OneOf(&["storage", "replication"])),
            optional("unit", ParamForm::Unit),
            optional("command", ParamForm::Command),
            optional("user", ParamForm::User),
            optional("socket", ParamForm::Path),
            optional("datadir", ParamForm::Path),
            optional("port", ParamForm::Number(1, 65_535)),
            optional("link", ParamForm::Number(1, 8)),
            optional("replication_user", ParamForm::User),
            optional("tls_ca", ParamForm::Path),
            optional("tls_cert", ParamForm::Path),
            optional("tls_key", ParamForm::Path),
            optional("private_link", ParamForm::Flag),
            optional("durability", ParamForm::OneOf(&["full", "as-configured"])),
            optional("rejoin", ParamForm::OneOf(&["automatic", "reclone", "manual"])),
            optional("lag_alarm", ParamForm::Seconds(1, 86_400)),
            optional("probe_interval", ParamForm::Millis(100, 60_000)),
            optional("probe_timeout", ParamForm::Millis(100, 60_000)),
            optional("probe_failures", ParamForm::Number(1, 20)),
            optional("probe_of", ParamForm::Number(1, 20)),
        ],
    },
    KindSpec {
        kind: "redis",
        // What WAIT acknowledged is on the replica: a primary without a permit has nothing that would be missed.
        requires: Requires::Lease,
        roles: Roles::Always,
        params: &[
            optional("unit", ParamForm::Unit),
            optional("command", ParamForm::Command),
            optional("user", ParamForm::User),
            optional("cwd", ParamForm::Path),
            optional("env", ParamForm::Environment),
            optional("config", ParamForm::Path),
            optional("port", ParamForm::Number(1, 65_535)),
            optional("socket", ParamForm::Path),
            optional("username", ParamForm::Word),
            optional("password_file", ParamForm::Path),
            optional("min_replicas", ParamForm::OneOf(&["in_sync", "off"])),
            optional("max_lag", ParamForm::Seconds(2, 3600)),
            optional("sentinel_port", ParamForm::Number(1, 65_535)),
            optional("sentinel_name", ParamForm::Word),
            optional("probe_timeout", ParamForm::Millis(100, 60_000)),
            optional("probe_failures", ParamForm::Number(1, 100)),
            optional("probe_of", ParamForm::Number(1, 100)),
        ],
    },
    KindSpec {
        kind: "drbd",
        requires: Requires::Fencing,
        roles: Roles::Always,
        params: &[required("resource", ParamForm::Word)],
    },
    KindSpec {
        kind: "rabbitmq",
        requires: Requires::Fencing,
        roles: Roles::Never,
        params: &[
            required("node_name", ParamForm::Text),
            optional("unit", ParamForm::Unit),
            optional("command", ParamForm::Command),
            optional("user", ParamForm::User),
            optional("cwd", ParamForm::Path),
            optional("env", ParamForm::Environment),
            optional("env_file", ParamForm::Path),
            optional("data_dir", ParamForm::Path),
            optional("address", ParamForm::Text),
            optional("port", ParamForm::Number(1, 65_535)),
            optional("management_port", ParamForm::Number(1, 65_535)),
            optional("username", ParamForm::Text),
            optional("password_file", ParamForm::Path),
            optional("vhost", ParamForm::Text),
            optional("probe_interval", ParamForm::Millis(100, 600_000)),
            optional("probe_timeout", ParamForm::Millis(100, 600_000)),
            optional("probe_failures", ParamForm::Number(1, 100)),
            optional("probe_of", ParamForm::Number(1, 100)),
        ],
    },
    #[cfg(test)]
    KindSpec {
        kind: "test-copy",
        requires: Requires::Lease,
        roles: Roles::When("cwd", "/replicated"),
        params: &[optional("cwd", ParamForm::Path)],
    },
];

/// Keys of every resource, whatever its kind.
pub const RESOURCE_KEYS: [&str; 5] = ["name", "type", "start_timeout", "stop_timeout", "probe"];

/// Systemd's suffixes of units that can be started.
const UNIT_SUFFIXES: [&str; 6] = [".service", ".socket", ".mount", ".target", ".timer", ".path"];

/// What stands before the value in a device that is no path.
const DEVICE_TAGS: [&str; 4] = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="];

impl KindSpec {
    /// The kind called `name`, or the family that it belongs to.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static KindSpec> {
        let family = ocf::parts(name).map(|_| "ocf");
        let wanted = family.unwrap_or(if name == "ocf" { "" } else { name });
        RESOURCE_KINDS.iter().find(|spec| spec.kind == wanted)
    }

    /// How the configuration writes it.
    #[must_use]
    pub fn written(&self) -> &'static str {
        match self.kind {
            "ocf" => "ocf:PROVIDER:TYPE",
            kind => kind,
        }
    }
}

impl ParamSpec {
    /// The key under which the agent gets the value: with the unit, where there is one.
    #[must_use]
    pub fn agent_key(&self) -> String {
        let unit = match self.form {
            ParamForm::Millis(..) => "_ms",
            ParamForm::Seconds(..) => "_s",
            _ => "",
        };
        format!("{}{unit}", self.key)
    }
}

/// What only one group in the cluster may have: a virtual address or a unit.
#[derive(Clone, Debug)]
pub(super) enum Exclusive {
    Address(IpAddr),
    Unit(String),
}

/// The parameters of one resource as its agent gets them.
#[derive(Default)]
pub(super) struct Params {
    pub values: BTreeMap<String, String>,
    pub exclusive: Vec<At<Exclusive>>,
}

/// Reads the parameters of a resource of kind `spec`.
pub(super) fn read_params(spec: &KindSpec, table: &Table) -> Params {
    let known: Vec<&str> = RESOURCE_KEYS
        .iter()
        .copied()
        .chain(spec.params.iter().map(|param| param.key))
        .collect();
    table.only(&known);
    let mut params = Params::default();
    for param in spec.params {
        if table.span_of(param.key).is_none() {
            if param.required {
                let message = format!("a {} resource needs the key `{}`", spec.kind, param.key);
                let hint = format!("for example {}", example(param));
                table
                    .problems
                    .add(Problem::new(table.span.clone(), message).hint(hint));
            }
            continue;
        }
        if param.form == ParamForm::AgentParams {
            params.values.extend(read_agent_params(param.key, table));
        } else if let Some(value) = read_param(param, table, &mut params.exclusive) {
            params.values.insert(param.agent_key(), value);
        }
    }
    params
}

fn example(param: &ParamSpec) -> &'static str {
    match param.form {
        ParamForm::Addresses => "address = \"10.0.0.100/24\"",
        ParamForm::Interface => "interface = \"eth0\"",
        ParamForm::Unit => "unit = \"redis-server.service\"",
        ParamForm::Command => "command = [\"/usr/bin/program\", \"--flag\"]",
        ParamForm::User => "user = \"www-data\"",
        ParamForm::Path => "cwd = \"/var/lib/app\"",
        ParamForm::Device => "device = \"/dev/drbd0\"",
        ParamForm::Word => "resource = \"r0\"",
        ParamForm::Text => "options = \"noatime\"",
        ParamForm::OneOf(words) => words.first().copied().unwrap_or_default(),
        ParamForm::Flag => "true",
        ParamForm::Environment => "env = { KEY = \"value\" }",
        ParamForm::Millis(..) => "a duration such as \"5ms\"",
        ParamForm::Seconds(..) => "a duration such as \"60s\"",
        ParamForm::AgentParams => "params = { ip = \"10.0.0.100\" }",
        ParamForm::Number(..) => "a whole number",
    }
}

fn read_param(param: &ParamSpec, table: &Table, exclusive: &mut Vec<At<Exclusive>>) -> Option<String> {
    match param.form {
        ParamForm::Addresses => read_addresses(param.key, table, exclusive),
        ParamForm::Unit => read_unit(param.key, table, exclusive),
        ParamForm::Command => read_command(param.key, table),
        ParamForm::Environment => read_environment(param.key, table),
        ParamForm::Millis(least, most) => table
            .duration_ms(param.key, least..=most)
            .map(|span| span.value.to_string()),
        ParamForm::Seconds(least, most) => read_seconds(param.key, table, least * 1000..=most * 1000),
        ParamForm::Number(least, most) => table
            .number(param.key, least..=most)
            .map(|number| number.value.to_string()),
        ParamForm::Interface => checked(param, table, |name| {
            let plain = |c: char| !c.is_whitespace() && c != '/' && c != ':';
            let fits = !name.is_empty() && name.len() <= 15 && name.chars().all(plain);
            (!fits).then_some("an interface name has 1 to 15 characters, without spaces, `/` and `:`")
        }),
        ParamForm::User => checked(param, table, |name| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '$');
            (name.is_empty() || name.starts_with('-') || name.len() > 32 || !name.chars().all(plain))
                .then_some("a user name has 1 to 32 letters, digits, `-`, `_` or `.`")
        }),
        ParamForm::Path => checked(param, table, path_fault),
        ParamForm::Device => checked(param, table, |device| {
            let tagged = DEVICE_TAGS
                .iter()
                .any(|tag| device.len() > tag.len() && device.starts_with(tag));
            (!tagged && !device.starts_with('/')).then_some(
                "a device is an absolute path, or UUID=, LABEL=, PARTUUID= or PARTLABEL= with a value",
            )
        }),
        ParamForm::Word => checked(param, table, |word| {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            (word.is_empty() || word.starts_with('-') || word.len() > 64 || !word.chars().all(plain))
                .then_some("it has 1 to 64 letters, digits, `-`, `_` or `.`")
        }),
        ParamForm::Text => checked(param, table, |text| {
            (text.trim().is_empty() || text.len() > 1024).then_some("it has 1 to 1024 characters")
        }),
        ParamForm::OneOf(words) => read_one_of(param.key, words, table),
        // Read by the caller: one value is not enough for it.
        ParamForm::AgentParams => None,
        ParamForm::Flag => table.flag(param.key).map(|flag| flag.value.to_string()),
    }
}

fn read_one_of(key: &str, words: &[&'static str], table: &Table) -> Option<String> {
    let text = table.text(key)?;
    if words.contains(&text.value) {
        return Some(text.value.to_string());
    }
    let message = format!("`{key}` cannot be \"{}\"", text.value.escape_debug());
    table
        .problems
        .add_unknown(text.span, message, text.value, words.iter().copied());
    None
}

pub(super) fn path_fault(path: &str) -> Option<&'static str> {
    (!path.starts_with('/')).then_some("the path must be absolute: it begins with `/`")
}

fn checked(
    param: &ParamSpec,
    table: &Table,
    fault: impl FnOnce(&str) -> Option<&'static str>,
) -> Option<String> {
    let text = table.text(param.key)?;
    if let Some(fault) = fault(text.value) {
        let message = format!("`{}` is invalid: {fault}", param.key);
        let hint = format!("for example {}", example(param));
        table.problems.add(Problem::new(text.span, message).hint(hint));
        return None;
    }
    Some(text.value.to_string())
}

fn read_addresses(key: &str, table: &Table, exclusive: &mut Vec<At<Exclusive>>) -> Option<String> {
    let texts = table.text_or_texts(key);
    let mut addresses = Vec::new();
    for text in &texts {
        match values::virtual_address(text.value) {
            Ok((address, prefix)) => {
                exclusive.push(At::new(Exclusive::Address(address), text.span.clone()));
                addresses.push(format!("{address}/{prefix}"));
            }
            Err(fault) => {
                let message = format!(
                    "\"{}\" is not a virtual address: {fault}",
                    text.value.escape_debug()
                );
                let hint = "an address and the prefix length of its network, such as \"10.0.0.100/24\"";
                table
                    .problems
                    .add(Problem::new(text.span.clone(), message).hint(hint));
            }
        }
    }
    not_empty(key, table, texts.is_empty())?;
    Some(addresses.join("\n"))
}

/// Reports an empty list, unless its type was wrong and is reported already.
fn not_empty(key: &str, table: &Table, empty: bool) -> Option<()> {
    if !empty {
        return Some(());
    }
    let span = table.span_of(key)?;
    if table.is_empty_list(key) {
        table
            .problems
            .add(Problem::new(span, format!("`{key}` is an empty list")));
    }
    None
}

fn read_unit(key: &str, table: &Table, exclusive: &mut Vec<At<Exclusive>>) -> Option<String> {
    let text = table.text(key)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@' | '\\');
    if text.value.is_empty() || text.value.len() > 255 || !text.value.chars().all(plain) {
        let message = format!(
            "\"{}\" is not the name of a systemd unit",
            text.value.escape_debug()
        );
        table
            .problems
            .add(Problem::new(text.span, message).hint("for example unit = \"redis-server.service\""));
        return None;
    }
    let suffixed = UNIT_SUFFIXES.iter().any(|suffix| text.value.ends_with(suffix));
    let unit = if suffixed {
        text.value.to_string()
    } else {
        format!("{}.service", text.value)
    };
    exclusive.push(At::new(Exclusive::Unit(unit.clone()), text.span));
    Some(unit)
}

/// A program and its arguments, joined with newlines.
pub(super) fn read_command(key: &str, table: &Table) -> Option<String> {
    let words = table.texts(key);
    not_empty(key, table, words.is_empty())?;
    let program = words.first()?;
    if let Some(fault) = path_fault(program.value) {
        let message = format!("`{key}` is invalid: {fault}");
        let hint = "no shell runs it and no PATH is searched; arguments are separate strings";
        table
            .problems
            .add(Problem::new(program.span.clone(), message).hint(hint));
        return None;
    }
    Some(words.iter().map(|word| word.value).collect::<Vec<_>>().join("\n"))
}

fn read_seconds(key: &str, table: &Table, range_ms: RangeInclusive<u32>) -> Option<String> {
    let span = table.duration_ms(key, range_ms)?;
    if !span.value.is_multiple_of(1000) {
        table
            .problems
            .add(Problem::new(span.span, format!("`{key}` must be whole seconds")));
        return None;
    }
    Some((span.value / 1000).to_string())
}

/// The parameters of an OCF agent: text, whole numbers, `true` and `false`, as the agent gets them.
fn read_agent_params(key: &str, table: &Table) -> Vec<(String, String)> {
    let hint = "write params = { ip = \"10.0.0.100\" }";
    let Some(given) = table.table(key, "`params`", hint) else {
        return Vec::new();
    };
    let mut values = Vec::new();
    for (name, _) in given.entries() {
        if let Some(fault) = ocf::param_name_fault(name.value) {
            let message = format!("\"{}\" is invalid: {fault}", name.value.escape_debug());
            given.problems.add(Problem::new(name.span, message));
        } else if let Some(value) = given.scalar(name.value) {
            values.push((format!("{}{}", ocf::PARAM_PREFIX, name.value), value));
        }
    }
    values
}

pub(super) fn read_environment(key: &str, table: &Table) -> Option<String> {
    let environment = table.table(key, "`env`", "write env = { KEY = \"value\" }")?;
    let mut lines = Vec::new();
    for (name, _) in environment.entries() {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.value.is_empty()
            || !name.value.chars().all(plain)
            || name.value.starts_with(|c: char| c.is_ascii_digit())
        {
            let message = format!(
                "\"{}\" is not the name of an environment variable",
                name.value.escape_debug()
            );
            table.problems.add(Problem::new(name.span, message));
        } else if let Some(value) = environment.text(name.value) {
            lines.push(format!("{}={}", name.value, value.value));
        }
    }
    Some(lines.join("\n"))
}

//! Reads the parameters of a resource, as `kinds` says for its kind.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::diagnostic::Problem;
use super::kinds::{KindSpec, ParamForm, ParamSpec};
use super::reader::{At, Table};
use super::values;
use crate::ocf;

/// Keys of every resource, whatever its kind.
pub const RESOURCE_KEYS: [&str; 5] = ["name", "type", "start_timeout", "stop_timeout", "probe"];

/// Systemd's suffixes of units that can be started.
const UNIT_SUFFIXES: [&str; 6] = [".service", ".socket", ".mount", ".target", ".timer", ".path"];

/// What stands before the value in a device that is no path.
const DEVICE_TAGS: [&str; 4] = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="];

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

//! OCF resource agents: how the configuration names them, and what they say of themselves.
//!
//! The names follow the OCF Resource Agent API 1.1. Descriptions are read liberally: what real agents get wrong (a missing
//! type, an unknown role, a default in the wrong form) is left out and never keeps an agent from being used.

use std::collections::BTreeMap;

use crate::markup::{attribute, tags};

/// How every kind of this family begins.
pub const PREFIX: &str = "ocf:";
/// Where agents are, unless the configuration says otherwise.
pub const ROOT_DEFAULT: &str = "/usr/lib/ocf";
/// Agents' parameters stand among the resource's own under this prefix.
pub const PARAM_PREFIX: &str = "param.";
/// Bound on parameters, actions and options kept of a description.
const ITEMS_MAX: usize = 1000;
/// Longest list of names in a sentence.
const NAMES_MAX: usize = 60;
/// Words in a parameter's name that mark its value as private.
const PRIVATE_WORDS: [&str; 5] = ["passw", "secret", "token", "credential", "apikey"];

/// Provider and type of `ocf:PROVIDER:TYPE`. None when it is not of that form, or would leave the agents' folder.
#[must_use]
pub fn parts(kind: &str) -> Option<(&str, &str)> {
    let (provider, agent) = kind.strip_prefix(PREFIX)?.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    let is_name = |name: &str| {
        !name.is_empty() && name.len() <= 64 && !name.starts_with('.') && name.chars().all(plain)
    };
    (is_name(provider) && is_name(agent)).then_some((provider, agent))
}

/// Why `name` cannot be the name of an agent's parameter: it becomes part of the name of an environment variable.
#[must_use]
pub fn param_name_fault(name: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 128 || !name.chars().all(plain) {
        return Some("a parameter's name has letters, digits, `_`, `-` and `.`");
    }
    name.starts_with("CRM_meta_")
        .then_some("parameters CRM_meta_* are set by Holdfast itself")
}

/// True when the value of the parameter `name` is not to be shown.
#[must_use]
pub fn is_private(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_place = ["_file", "_script", "_path"]
        .iter()
        .any(|end| name.ends_with(end));
    !is_place && PRIVATE_WORDS.iter().any(|word| name.contains(word))
}

/// A time as agents write it: `20`, `20s`, `500ms`, `2min`. None when it is none.
#[must_use]
pub fn time_ms(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit_ms = match text[digits..].trim() {
        "" | "s" | "sec" => 1000,
        "ms" | "msec" => 1,
        "us" | "usec" => return Some(number / 1000),
        "m" | "min" => 60_000,
        "h" | "hr" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(unit_ms)
}

/// One parameter of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// It must be given.
    pub required: bool,
    /// No two resources may share its value.
    pub unique: bool,
    /// A change needs `reload-agent` only.
    pub reloadable: bool,
    /// It is an old spelling.
    pub deprecated: bool,
    /// Its value is not to be shown.
    pub private: bool,
    /// `string`, `boolean`, `integer`, `second` or `select`.
    pub kind: String,
    /// The value when none is given.
    pub default: Option<String>,
    /// What a `select` takes.
    pub options: Vec<String>,
}

/// One action of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// Time that it may take.
    pub timeout_ms: Option<u64>,
    /// Pause between two of them.
    pub interval_ms: Option<u64>,
    /// `OCF_CHECK_LEVEL` that this line is about.
    pub depth: u32,
    /// True for the promoted role, false for the unpromoted one; None for any.
    pub promoted: Option<bool>,
}

/// What an agent says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Its own name.
    pub name: String,
    /// Parameters in its order.
    pub parameters: Vec<Parameter>,
    /// Actions in its order.
    pub operations: Vec<Operation>,
}

/// What is wrong with the parameters of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// It cannot be run with these.
    pub errors: Vec<String>,
    /// It can, but perhaps not as meant.
    pub warnings: Vec<String>,
}

/// Reads what `meta-data` printed.
///
/// # Errors
/// It is no agent's description, in words.
pub fn parse(text: &str) -> Result<Metadata, String> {
    let mut found = Metadata::default();
    let mut current: Option<Parameter> = None;
    let mut is_agent = false;
    for (tag, attributes) in tags(text) {
        match tag {
            "resource-agent" => {
                is_agent = true;
                found.name = attribute(attributes, "name").unwrap_or_default();
            }
            "parameter" if found.parameters.len() < ITEMS_MAX => current = parameter(attributes),
            "deprecated" => {
                if let Some(parameter) = &mut current {
                    parameter.deprecated = true;
                }
            }
            "content" => {
                if let Some(parameter) = &mut current {
                    parameter.kind = attribute(attributes, "type").unwrap_or_default();
                    parameter.default = attribute(attributes, "default");
                }
            }
            "option" => {
                let open = current
                    .as_mut()
                    .filter(|parameter| parameter.options.len() < ITEMS_MAX);
                if let Some(parameter) = open {
                    parameter.options.extend(attribute(attributes, "value"));
                }
            }
            "/parameter" => found.parameters.extend(current.take()),
            "action" if found.operations.len() < ITEMS_MAX => {
                found.operations.extend(operation(attributes));
            }
            _ => {}
        }
    }
    if !is_agent || found.operations.is_empty() {
        return Err("it printed no description of an OCF agent".to_owned());
    }
    Ok(found)
}

fn parameter(attributes: &str) -> Option<Parameter> {
    let name = attribute(attributes, "name").filter(|name| param_name_fault(name).is_none())?;
    let is_true =
        |key: &str| attribute(attributes, key).is_some_and(|value| matches!(value.as_str(), "1" | "true"));
    Some(Parameter {
        required: is_true("required"),
        unique: is_true("unique") || attribute(attributes, "unique-group").is_some(),
        reloadable: is_true("reloadable"),
        private: is_true("private") || is_private(&name),
        name,
        ..Parameter::default()
    })
}

fn operation(attributes: &str) -> Option<Operation> {
    let time = |key: &str| attribute(attributes, key).as_deref().and_then(time_ms);
    Some(Operation {
        name: attribute(attributes, "name")?,
        timeout_ms: time("timeout"),
        interval_ms: time("interval").filter(|interval| *interval > 0),
        depth: attribute(attributes, "depth")
            .and_then(|depth| depth.trim().parse().ok())
            .unwrap_or(0),
        promoted: match attribute(attributes, "role").as_deref() {
            Some("Promoted" | "Master") => Some(true),
            Some("Unpromoted" | "Slave") => Some(false),
            _ => None,
        },
    })
}

impl Metadata {
    /// The parameter called `name`.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// True when the agent lists the action.
    #[must_use]
    pub fn has(&self, action: &str) -> bool {
        self.operations.iter().any(|operation| operation.name == action)
    }

    /// The line about `monitor` at `depth` in a role; what names no role counts for any.
    #[must_use]
    pub fn monitor(&self, promoted: bool, depth: u32) -> Option<&Operation> {
        let of = |role: Option<bool>| {
            self.operations.iter().find(|operation| {
                operation.name == "monitor" && operation.depth == depth && operation.promoted == role
            })
        };
        of(Some(promoted)).or_else(|| of(None))
    }

    /// Time that the agent says `action` may take.
    #[must_use]
    pub fn timeout_ms(&self, action: &str) -> Option<u64> {
        let mut lines = self.operations.iter();
        lines
            .find(|operation| operation.name == action)
            .and_then(|line| line.timeout_ms)
    }

    /// Holds the parameters of a resource against the description.
    #[must_use]
    pub fn check(&self, params: &BTreeMap<String, String>) -> Findings {
        let mut findings = Findings::default();
        for (name, value) in params {
            match self.parameter(name) {
                None => findings.errors.push(format!(
                    "agent {} has no parameter {name:?}; it has: {}",
                    self.name,
                    self.names()
                )),
                Some(parameter) => findings.warnings.extend(parameter.doubt(value)),
            }
        }
        for parameter in &self.parameters {
            let given = params.get(&parameter.name).is_some_and(|value| !value.is_empty());
            if parameter.required && !given && parameter.default.is_none() {
                findings.errors.push(format!(
                    "agent {} needs the parameter {:?}",
                    self.name, parameter.name
                ));
            }
        }
        findings
    }

    fn names(&self) -> String {
        let current = self.parameters.iter().filter(|parameter| !parameter.deprecated);
        let names: Vec<_> = current.map(|parameter| parameter.name.as_str()).collect();
        match names.get(..NAMES_MAX) {
            Some(first) => format!("{} and {} more", first.join(", "), names.len() - NAMES_MAX),
            None if names.is_empty() => "none".to_owned(),
            None => names.join(", "),
        }
    }
}

impl Parameter {
    /// Why `value` may not be what was meant. No error: agents take more than they describe.
    fn doubt(&self, value: &str) -> Option<String> {
        let named = |expected: &str| {
            let shown = if self.private {
                "its value".to_owned()
            } else {
                format!("{value:?}")
            };
            Some(format!(
                "parameter {:?}: {shown} is not {expected}, which the agent asks for",
                self.name
            ))
        };
        match self.kind.as_str() {
            "boolean" if !is_boolean(value) => named("a yes or no"),
            "integer" if value.trim().parse::<i64>().is_err() => named("a whole number"),
            "select" if !self.options.is_empty() && !self.options.iter().any(|option| option == value) => {
                named(&format!("one of {}", self.options.join(", ")))
            }
            _ if self.deprecated => Some(format!("parameter {:?} is an old spelling", self.name)),
            _ => None,
        }
    }
}

/// What `ocf_is_true` of the agents' library knows, and its opposites.
fn is_boolean(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    matches!(
        value.as_str(),
        "yes" | "true" | "1" | "ja" | "on" | "no" | "false" | "0" | "nein" | "off" | "y" | "n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="db" version="1.0"><version>1.0</version>
<longdesc lang="en">a < b & it's unescaped</longdesc>
<parameters>
<parameter name="ip" unique="1" required="1"><content type="string" default="" /></parameter>
<parameter name="port" unique-group="p" required="0" reloadable="1"><content type="integer" default="1"/></parameter>
<parameter name="config" required="1"><content type="string"/></parameter>
<parameter name="passwd"><content type="integer"/></parameter>
<parameter name="mode"><deprecated/><content type="select"><option value="a"/><option value='b'/></content></parameter>
<parameter name="bad name"><content type="string"/></parameter>
</parameters>
<actions>
<action name="start" timeout="20" /><action name="stop" timeout="2min"/>
<action name="monitor" depth="0" timeout="30s" interval="20s" />
<action name="monitor" role="Master" depth="0" timeout="30s" interval="10s" />
<action name="monitor" depth="10" timeout="30s" interval="60s" />
</actions></resource-agent>"#;

    fn check(pairs: &[(&str, &str)]) -> Findings {
        let params = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        parse(SAMPLE).unwrap().check(&params)
    }

    #[test]
    fn reads_an_agent() {
        let found = parse(SAMPLE).unwrap();
        let names: Vec<_> = found.parameters.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["ip", "port", "config", "passwd", "mode"]);
        let flags = |name: &str| {
            let p = found.parameter(name).unwrap();
            (p.required, p.unique, p.reloadable, p.deprecated, p.private)
        };
        assert_eq!(flags("ip"), (true, true, false, false, false));
        assert_eq!(flags("port"), (false, true, true, false, false));
        assert_eq!(flags("passwd"), (false, false, false, false, true));
        assert!(flags("mode").3);
        assert_eq!(found.timeout_ms("stop"), Some(120_000));
        let interval = |promoted, depth| found.monitor(promoted, depth).and_then(|line| line.interval_ms);
        assert_eq!(interval(true, 0), Some(10_000));
        assert_eq!(interval(false, 0), Some(20_000));
        assert_eq!(interval(false, 10), Some(60_000));
        assert_eq!(interval(false, 20), None);
    }

    #[test]
    fn parameters_are_held_against_the_description() {
        let good = check(&[("config", "/x"), ("port", "12")]);
        assert_eq!(good, Findings::default());
        let errors = check(&[("confg", "x")]).errors;
        assert_eq!(
            errors,
            [
                "agent db has no parameter \"confg\"; it has: ip, port, config, passwd",
                "agent db needs the parameter \"config\""
            ]
        );
        let doubts = check(&[
            ("config", "x"),
            ("port", "a"),
            ("mode", "c"),
            ("passwd", "hunter2"),
        ])
        .warnings;
        assert_eq!(doubts.len(), 3, "{doubts:?}");
        assert!(
            doubts.iter().all(|doubt| !doubt.contains("hunter2")),
            "{doubts:?}"
        );
    }

    #[test]
    fn kinds_name_an_agent_inside_its_folder() {
        assert_eq!(parts("ocf:heartbeat:IPaddr2"), Some(("heartbeat", "IPaddr2")));
        for bad in [
            "ocf:heartbeat",
            "ocf::x",
            "ocf:a:",
            "ocf:..:x",
            "ocf:a:b:c",
            "ocf:a:b/c",
            "ocf:a:.hidden",
            "lsb:x",
        ] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }

    #[test]
    fn times_are_read_as_agents_write_them() {
        let ms = [
            ("20", 20_000),
            ("20s", 20_000),
            ("500ms", 500),
            ("2 min", 120_000),
            ("1h", 3_600_000),
        ];
        for (text, expected) in ms {
            assert_eq!(time_ms(text), Some(expected), "{text}");
        }
        for bad in ["", "x", "-1", "5 parsecs", "99999999999999999999"] {
            assert_eq!(time_ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn survives_garbage() {
        for end in 0..SAMPLE.len() {
            let _ = parse(&SAMPLE[..end]);
        }
        for text in ["", "<", "<a b=\">", "<resource-agent", "\u{fffd}<é='"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

//! Reads a fence agent's own description of its parameters and actions.
//!
//! Not by an XML library: agents print unescaped text in places, and a description that cannot be read must not keep a
//! node from being fenced.

use holdfast_proto::markup::{attribute, tags};

/// One parameter an agent takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameter {
    /// Its key.
    pub name: String,
    /// It must be given.
    pub required: bool,
    /// An older spelling that is still accepted.
    pub deprecated: bool,
    /// The older spelling that this one replaces.
    pub obsoletes: Option<String>,
    /// `string`, `boolean`, `integer`, `second` or `select`.
    pub kind: String,
    /// It has a value when none is given.
    pub has_default: bool,
    /// What a `select` accepts.
    pub options: Vec<String>,
}

/// An agent's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Parameters in the agent's order.
    pub parameters: Vec<Parameter>,
    /// Names of actions.
    pub actions: Vec<String>,
}

/// Bound on parameters and actions kept.
const ITEMS_MAX: usize = 1000;

/// Parses what `metadata` printed.
///
/// # Errors
/// It is not a fence agent's description, in words.
pub fn parse(text: &str) -> Result<Metadata, String> {
    let mut found = Metadata::default();
    let mut current: Option<Parameter> = None;
    let mut is_agent = false;
    let is_true = |value: Option<String>| value.is_some_and(|value| value == "1" || value == "true");
    for (name, attributes) in tags(text) {
        match name {
            "resource-agent" => is_agent = true,
            "parameter" if found.parameters.len() < ITEMS_MAX => {
                current = attribute(attributes, "name")
                    .filter(|name| is_name(name))
                    .map(|name| Parameter {
                        name,
                        required: is_true(attribute(attributes, "required")),
                        deprecated: is_true(attribute(attributes, "deprecated")),
                        obsoletes: attribute(attributes, "obsoletes").filter(|name| is_name(name)),
                        ..Parameter::default()
                    });
            }
            "content" => {
                if let Some(parameter) = &mut current {
                    parameter.kind = attribute(attributes, "type").unwrap_or_default();
                    parameter.has_default = attribute(attributes, "default").is_some();
                }
            }
            "option" => {
                if let Some(parameter) = current
                    .as_mut()
                    .filter(|parameter| parameter.options.len() < ITEMS_MAX)
                {
                    let value = attribute(attributes, "value");
                    parameter
                        .options
                        .extend(value.filter(|value| !value.contains(char::is_control)));
                }
            }
            "/parameter" => found.parameters.extend(current.take()),
            "action" if found.actions.len() < ITEMS_MAX => {
                found.actions.extend(attribute(attributes, "name"))
            }
            _ => {}
        }
    }
    if !is_agent || found.actions.is_empty() {
        return Err("it printed no description of a fence agent".to_owned());
    }
    Ok(found)
}

/// A parameter's name stands at the head of a line of the agent's input: nothing may end that line.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.'))
}

impl Metadata {
    /// The parameter of that name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// True when the agent lists the action.
    #[must_use]
    pub fn has_action(&self, name: &str) -> bool {
        self.actions.iter().any(|action| action == name)
    }
}

#[cfg(test)]
pub(super) const SAMPLE: &str = r#"<?xml version="1.0" ?>
<resource-agent name="fence_x" shortdesc="a > b" >
<longdesc>less < more & unescaped</longdesc>
<!-- <parameter name="ghost"> -->
<parameters>
 <parameter name="action" unique="0" required="1"><content type="string" default="reboot"  /></parameter>
 <parameter name="ip" unique="0" required="1" obsoletes="ipaddr"><content type="string"  /></parameter>
 <parameter name="ipaddr" unique="0" required="1" deprecated="1"><content type="string"  /></parameter>
 <parameter name='password' required="0"><content type="string" /></parameter>
 <parameter name="ipport" required="0"><content type="integer" default="623"/></parameter>
 <parameter name="lanplus" required="0"><content type="boolean" default="0"/></parameter>
 <parameter name="auth" required="0"><content type="select"><option value="md5" /><option value="none"/></content></parameter>
 <parameter name="identity_file" required="0"><content type="string"/></parameter>
</parameters>
<actions><action name="on" automatic="0"/><action name="off"/><action name="status" /></actions>
</resource-agent>"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_agent() {
        let found = parse(SAMPLE).unwrap();
        let names: Vec<_> = found.parameters.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "action",
                "ip",
                "ipaddr",
                "password",
                "ipport",
                "lanplus",
                "auth",
                "identity_file"
            ]
        );
        assert!(found.parameter("ip").unwrap().required);
        assert_eq!(
            found.parameter("ip").unwrap().obsoletes.as_deref(),
            Some("ipaddr")
        );
        assert!(found.parameter("ipaddr").unwrap().deprecated);
        assert_eq!(found.parameter("auth").unwrap().options, ["md5", "none"]);
        assert_eq!(found.actions, ["on", "off", "status"]);
    }

    /// Found by fuzzing: a name with a line feed in it added a line to the agent's input.
    #[test]
    fn a_name_that_is_no_name_is_left_out() {
        let text = SAMPLE.replace("name=\"lanplus\"", "name=\"lan\naction=on\nplus\"");
        let found = parse(&text).unwrap();
        assert!(
            found
                .parameters
                .iter()
                .all(|parameter| !parameter.name.contains('\n'))
        );
        assert!(found.parameter("ip").is_some() && found.parameter("auth").is_some());
    }

    #[test]
    fn survives_garbage() {
        for end in 0..SAMPLE.len() {
            let _ = parse(&SAMPLE[..end]);
        }
        for text in ["", "<", "<a b=\">", "<!--", "<parameter name=", "\u{fffd}<é='"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

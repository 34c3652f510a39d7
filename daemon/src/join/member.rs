//! Adds a member to the text of a configuration, leaving every other byte, comments included, as it is.

use std::net::IpAddr;
use std::ops::Range;

use holdfast_proto::config::KeyPin;
use serde::Deserialize;

/// A member to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMember {
    /// Name.
    pub name: String,
    /// One address per link; a witness has one.
    pub links: Vec<IpAddr>,
    /// Pin of its key.
    pub pin: KeyPin,
    /// It is to be the witness.
    pub witness: bool,
}

impl NewMember {
    /// Refuses what could not stand in a configuration.
    pub(super) fn check(&self) -> Result<(), String> {
        let letters = |name: &str| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if self.name.is_empty() || self.name.len() > 64 || !letters(&self.name) {
            return Err("a member's name has 1 to 64 letters, digits, '-', '_' or '.'".into());
        }
        if self.witness && self.links.len() > 1 {
            return Err("a witness has one address: give one with --links".into());
        }
        Ok(())
    }
}

/// What is looked at in the text; the rest is left to the parser of the configuration.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    node: Vec<Section>,
    witness: Option<toml::Spanned<Section>>,
}

#[derive(Deserialize)]
struct Section {
    name: Option<toml::Spanned<String>>,
    links: Option<Vec<String>>,
    address: Option<toml::Spanned<String>>,
    etcd: Option<toml::Value>,
    keys: Option<toml::Spanned<Vec<String>>>,
}

/// `config` with `member` in it: appended, or, if a member of that name and address is there already (its disk was
/// replaced, or the operator wrote it down before), with its key pin.
///
/// # Errors
/// When the text is no TOML, or another member stands in the way; a sentence says which.
pub fn append_member(config: &str, member: &NewMember) -> Result<String, String> {
    member.check()?;
    let document: Document = toml::from_str(config)
        .map_err(|error| format!("the configuration is not valid TOML: {}", error.message()))?;
    let text = if member.witness {
        witness(config, member, document.witness)
    } else {
        node(config, member, &document.node)
    }?;
    // Members that are written inline leave no place to add one to.
    match toml::from_str::<toml::Table>(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(
            "the configuration in force has its members on one line (node = [{ ... }]), and nothing can be added there: \
             write each of them as [[node]], the witness as [witness], and apply that with 'hactl config apply' first"
                .into(),
        ),
    }
}

fn node(config: &str, member: &NewMember, nodes: &[Section]) -> Result<String, String> {
    let name = |section: &Section| {
        section
            .name
            .as_ref()
            .map(|name| name.get_ref().clone())
            .unwrap_or_default()
    };
    let Some(section) = nodes.iter().find(|section| name(section) == member.name) else {
        let links = member
            .links
            .iter()
            .map(|link| format!("\"{link}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let text = format!(
            "\n[[node]]\nname = \"{}\"\nlinks = [{links}]\nkeys = [\"{}\"]\n",
            member.name, member.pin
        );
        return Ok(appended(config, &text));
    };
    let known = section.links.clone().unwrap_or_default();
    let given: Vec<_> = member.links.iter().map(ToString::to_string).collect();
    // Who joins without --links is known by one of its addresses only.
    if !given.iter().all(|link| known.contains(link)) {
        return Err(format!(
            "the configuration has a node called {} with the links {}, this one has {}: give another name with --node, \
             or correct the links",
            member.name,
            known.join(", "),
            given.join(", ")
        ));
    }
    with_pin(config, member, section)
}

fn witness(
    config: &str,
    member: &NewMember,
    section: Option<toml::Spanned<Section>>,
) -> Result<String, String> {
    let Some(address) = member.links.first() else {
        return Err("a witness needs an address".into());
    };
    let Some(section) = section else {
        let text = format!(
            "\n[witness]\nname = \"{}\"\naddress = \"{address}\"\nkeys = [\"{}\"]\n",
            member.name, member.pin
        );
        return Ok(appended(config, &text));
    };
    let section = section.into_inner();
    if section.etcd.is_some() {
        return Err(
            "the configuration has a witness that is kept in etcd: take [witness] out of it with 'hactl config apply' \
             first"
                .into(),
        );
    }
    let known = section
        .address
        .as_ref()
        .map(|known| known.get_ref().clone())
        .unwrap_or_default();
    if known != address.to_string() {
        return Err(format!(
            "the configuration has a witness at {known}, this one is at {address}: change the address in the \
             configuration with 'hactl config apply' first"
        ));
    }
    with_pin(config, member, &section)
}

/// Puts the pin in the place of what `keys` holds; a pin that is there already stays.
fn with_pin(config: &str, member: &NewMember, section: &Section) -> Result<String, String> {
    let pin = member.pin.to_string();
    if let Some(keys) = &section.keys {
        if keys.get_ref().contains(&pin) {
            return Ok(config.into());
        }
        return Ok(spliced(config, keys.span(), &format!("[\"{pin}\"]")));
    }
    let anchor = section
        .address
        .as_ref()
        .or(section.name.as_ref())
        .map(toml::Spanned::span);
    let end = anchor
        .ok_or_else(|| format!("the section of {} has no name", member.name))?
        .end;
    Ok(spliced(config, end..end, &format!("\nkeys = [\"{pin}\"]")))
}

fn spliced(text: &str, range: Range<usize>, with: &str) -> String {
    format!("{}{with}{}", &text[..range.start], &text[range.end..])
}

fn appended(config: &str, text: &str) -> String {
    let end = if config.is_empty() || config.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{config}{end}{text}")
}

//! What the services' own configuration on this node says that does not go with a pair, for `hactl config check`.

use std::path::Path;

use holdfast_guards::{Disk, Node, Scope};
use holdfast_proto::config::Config;
use serde::Serialize;

/// A finding, in parts for programs and as a line for people.
#[derive(Serialize)]
pub struct Warned {
    check: &'static str,
    file: String,
    line: Option<usize>,
    what: String,
    why: String,
    instead: String,
    /// All of it.
    #[serde(skip)]
    pub text: String,
}

/// Reads the services' files below `root`; without it those of this machine, if it is a node of the cluster: elsewhere they
/// are about something else.
#[must_use]
pub fn warned(config: &Config, root: Option<&Path>) -> Vec<Warned> {
    let disk = match root {
        Some(root) => Disk::below(root),
        None if is_node(config) => Disk::here(),
        None => return Vec::new(),
    };
    let findings = holdfast_guards::check(&Scope::of(config), &Node::new(&disk));
    let warned = findings.into_iter().map(|finding| Warned {
        text: finding.to_string(),
        check: finding.check,
        file: finding.file,
        line: finding.line,
        what: finding.what,
        why: finding.why,
        instead: finding.instead,
    });
    warned.collect()
}

/// Whether this machine has the name of a node.
fn is_node(config: &Config) -> bool {
    let Ok(name) = nix::unistd::gethostname() else {
        return false;
    };
    let full = name.to_string_lossy();
    let short = full.split('.').next().unwrap_or_default();
    config
        .nodes
        .iter()
        .any(|node| node.name == full || node.name == short)
}

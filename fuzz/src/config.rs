//! The configuration: parsed from operators' files and from what peers send.

use holdfast_agents::{fuzzing, probe};
use holdfast_daemon::{agentd_link::translate, plan};
use holdfast_proto::config::{self, Config, Diagnostics};
use holdfast_proto::ids::BootId;

use crate::memory::bounded;
use crate::samples;
use crate::text::{lines, one_line};

/// Memory for each byte of a file: keys and values are kept with their places, errors with the lines they are about.
const FACTOR: usize = 256;

/// A secret that inputs may hold, and what has to stand before it for it to count as one.
const SECRET: &str = "Zq7Secret7qZ";
const BEFORE_SECRET: [&str; 8] = [
    "password = \"",
    "password = '",
    "\"passwd\" = \"",
    "token=\"",
    "secret = \"\"\"",
    "secret = '''",
    "password = [\"",
    "password = [\"a\", \"",
];

/// Parses the bytes as a file, if they are text.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let secret = holds_secret(text);
    match bounded(text.len(), FACTOR, || config::parse(text, "holdfast.toml")) {
        Ok(config) => accepted(&config, secret),
        Err(found) => refused(text, &found, secret),
    }
}

/// True when [`SECRET`] is in `text`, and everywhere as the value of a key whose value must not be shown.
fn holds_secret(text: &str) -> bool {
    let mut places = text.match_indices(SECRET).peekable();
    places.peek().is_some()
        && places.all(|(at, _)| BEFORE_SECRET.iter().any(|before| text[..at].ends_with(before)))
}

fn no_secret(secret: bool, shown: &str) {
    assert!(
        !(secret && shown.contains(SECRET)),
        "a secret is shown in {shown}"
    );
}

/// What an operator is told about a file that is refused.
fn refused(text: &str, found: &Diagnostics, secret: bool) {
    assert!(!found.entries().is_empty(), "refused without a reason");
    for entry in found.entries() {
        one_line(&entry.message);
        one_line(&entry.hint);
        no_secret(secret, &entry.message);
        no_secret(secret, &entry.hint);
        let line = text
            .split('\n')
            .nth(entry.line - 1)
            .expect("the line is in the file");
        assert!(
            (1..=line.chars().count() + 1).contains(&entry.column),
            "{}:{}",
            entry.line,
            entry.column
        );
    }
    let plain = found.render(false);
    assert!(!plain.is_empty());
    lines(&plain);
    for shown in [plain, found.render(true), found.to_string(), found.summary()] {
        no_secret(secret, &shown);
    }
}

/// A configuration that is accepted holds together, travels, and its agents take what it gives them.
fn accepted(config: &Config, secret: bool) {
    let again = config::parse(&config.source, "again").expect("its own source parses");
    assert_eq!(*config, again, "another configuration from the same source");
    let timers = config.timers();
    assert!(timers.heartbeat < timers.lease);
    for finding in config::findings(config) {
        one_line(&finding.text);
        no_secret(secret, &finding.text);
    }
    let sample: &Config = samples::config();
    for (old, new) in [(sample, config), (config, sample)] {
        let shown = plan::text(old, new);
        lines(&shown);
        no_secret(secret, &shown);
        let _ = plan::check(old, new);
    }
    for member in config.members() {
        let name = config.name_of(member);
        assert_eq!(
            config.node_by_name(&name),
            Some(member),
            "{name} is not found by its name"
        );
        let _ = translate::attach(config, member, BootId(7));
    }
    for resource in config.groups.iter().flat_map(|group| &group.resources) {
        if let Err(error) = fuzzing::accepts(&resource.kind, &resource.params, "") {
            panic!("the configuration takes what the agent refuses: {error}");
        }
    }
    for spec in samples::specs(config) {
        for probe in spec.resources.iter().flat_map(|resource| &resource.probes) {
            if let Err(error) = probe::validate(probe) {
                panic!("the configuration takes a probe that the agent refuses: {error}");
            }
        }
    }
}

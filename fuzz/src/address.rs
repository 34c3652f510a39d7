//! Addresses, prefixes, spans, names and pins, in the configuration's grammar and in the agents': what the one takes, the
//! other must not refuse.

use holdfast_agents::vip::address::{Vip, parse_list};
use holdfast_agents::{fuzzing, probe};
use holdfast_daemon::{args, fuzzing as had};
use holdfast_proto::agent::ProbeSpec;
use holdfast_proto::config::{self, KeyPin};

use crate::samples;
use crate::text::{head, lines, one_line};

/// Keys of the sample configuration that a word can stand in for. The first byte of the input chooses.
const PLACES: [(&str, &str); 9] = [
    ("\"10.0.0.100/24\"", "address"),
    ("\"10.0.0.254\"", "ping"),
    ("\"192.168.7.1\"", "link"),
    ("\"10.0.0.3\"", "witness"),
    ("\"1s\"", "span"),
    ("\"127.0.0.1:80\"", "tcp"),
    ("\"http://127.0.0.1/health\"", "url"),
    ("\"nginx.service\"", "unit"),
    ("\"db2\"", "name"),
];

/// Puts the rest of the input, as text, in one place of a good configuration, and into each small parser.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let ([place], rest) = head(data);
    let Ok(word) = std::str::from_utf8(rest) else {
        return;
    };
    in_configuration(usize::from(place) % PLACES.len(), word);
    addresses(word);
    pins(word);
    node_names(word);
    for kind in ["tcp", "http", "exec", word] {
        let spec = ProbeSpec {
            kind: kind.into(),
            target: word.into(),
            ..ProbeSpec::default()
        };
        if let Err(error) = probe::validate(&spec) {
            one_line(&error.0);
        }
    }
}

fn in_configuration(place: usize, word: &str) {
    let (old, _) = PLACES[place];
    let new = toml::Value::String(word.into()).to_string();
    let text = samples::CONFIG.replace(old, &new);
    match config::parse(&text, "f") {
        Ok(_) => crate::config::check(text.as_bytes()),
        Err(found) => lines(&found.render(false)),
    }
}

fn addresses(word: &str) {
    match parse_list(word) {
        Ok(vips) => {
            assert!(!vips.is_empty());
            for vip in vips {
                assert_eq!(vip.to_string().parse::<Vip>().ok(), Some(vip));
                assert!(vip.subnet_contains(vip.ip));
                assert_eq!(fuzzing::through_netlink(3, vip), Some((3, vip)));
            }
        }
        Err(error) => one_line(&error.0),
    }
}

fn pins(word: &str) {
    match word.parse::<KeyPin>() {
        Ok(pin) => assert_eq!(pin.to_string(), word.to_ascii_lowercase()),
        Err(error) => one_line(&error),
    }
}

/// The file that names this node.
fn node_names(word: &str) {
    let Some(name) = had::name_in(word) else {
        assert!(word.trim().is_empty());
        return;
    };
    match args::find_node(samples::config(), name) {
        Ok(node) => assert_eq!(samples::config().name_of(node), name),
        Err(error) => one_line(&error.to_string()),
    }
}

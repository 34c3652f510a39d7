//! Edits of a configuration's text: what is added when a node joins or a cluster begins must leave a file that is right
//! right, and every other byte where it was.

use std::net::IpAddr;

use holdfast_daemon::join::{NewMember, append_member};
use holdfast_daemon::office::strip_header;
use holdfast_hactl::commands::template::completed;
use holdfast_proto::config::{self, Config, KeyPin};

use crate::text::{head, lines};

/// The first two bytes say who joins, the rest is the file.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let ([kind, number], rest) = head(data);
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let before = config::parse(text, "before").ok();
    let member = member(kind, number);
    match append_member(text, &member) {
        Ok(after) => joined(before.as_ref(), &member, text, &after),
        Err(why) => lines(&why),
    }
    match completed(text, "00000000000000ff", "db1", &"ab".repeat(32)) {
        Ok(after) => began(before.as_ref(), text, &after),
        Err(why) => lines(&why),
    }
    assert!(text.ends_with(strip_header(text)));
}

fn member(kind: u8, number: u8) -> NewMember {
    let name = match number % 4 {
        0 => "db1".to_string(),
        1 => "witness".to_string(),
        _ => format!("n{number}"),
    };
    let v6 = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(number) + 1]);
    let links = match kind % 3 {
        0 => vec![IpAddr::from([10, 0, 0, number.max(1)])],
        1 => vec![v6],
        _ => vec![IpAddr::from([10, 0, 0, number.max(1)]), v6],
    };
    NewMember {
        name,
        links: if kind >= 128 { links[..1].to_vec() } else { links },
        pin: KeyPin([number; 32]),
        witness: kind >= 128,
    }
}

/// A file that was right stays TOML; if it is right, the member is in it with its key and nobody else changed.
fn joined(before: Option<&Config>, member: &NewMember, text: &str, after: &str) {
    assert!(after.len() >= text.len() || before.is_none() || after.contains(&member.pin.to_string()));
    let Some(before) = before else { return };
    let table = after.parse::<toml::Table>();
    assert!(table.is_ok(), "no TOML any more: {table:?}\n{after}");
    let Ok(now) = config::parse(after, "after") else {
        return;
    };
    let node = now.node_by_name(&member.name).expect("the member is in it");
    assert_eq!(node.is_witness(), member.witness);
    let others = |config: &Config| -> Vec<String> {
        config
            .nodes
            .iter()
            .filter(|node| node.name != member.name)
            .map(|node| format!("{node:?}"))
            .collect()
    };
    assert_eq!(others(before), others(&now), "another node changed");
    assert_eq!(before.groups, now.groups);
    assert_eq!(before.fences, now.fences);
}

/// Identity and key are added where they were missing; what was there stays.
fn began(before: Option<&Config>, text: &str, after: &str) {
    assert!(after.len() + 1 >= text.len());
    let Some(before) = before else { return };
    let now = config::parse(after, "after").unwrap_or_else(|found| panic!("{found}\n{after}"));
    assert_eq!(
        before.cluster.id, now.cluster.id,
        "a cluster changed its identity"
    );
    assert_eq!(before.groups, now.groups);
}

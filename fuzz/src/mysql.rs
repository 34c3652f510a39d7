//! What servers of MySQL and MariaDB say to a client: from the greeting to rows, and their sets of transactions.

use holdfast_agents::fuzzing::mysqld::{Gtids, Server, session};

use crate::memory::bounded;
use crate::text::{head, one_line};

/// Memory for each byte of what a server says: NULL is a byte of a row, and an empty text when it was read.
const SESSION_FACTOR: usize = 96;
/// The same for sets: of an entry of three numbers a map keeps a node.
const SET_FACTOR: usize = 128;

/// The first byte chooses: a connection, or two sets with a NUL between them.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let ([which], rest) = head(data);
    if which % 3 == 0 {
        let texts = bounded(rest.len(), SESSION_FACTOR, || session(rest));
        texts.iter().for_each(|text| one_line(text));
        return;
    }
    let version = if which % 3 == 1 {
        "10.11.9-MariaDB"
    } else {
        "9.7.0"
    };
    let server = Server::parse(version);
    let text = String::from_utf8_lossy(rest);
    let (one, other) = text.split_once('\0').unwrap_or((&text, ""));
    let set = |text: &str| {
        let parsed = bounded(text.len(), SET_FACTOR, || Gtids::parse(server, text));
        parsed.inspect_err(|why| one_line(why)).ok()
    };
    if let (Some(one), Some(other)) = (set(one), set(other)) {
        alone(server, &one);
        compared(server, &one, &other);
        compared(server, &other, &one);
    }
}

/// The set that `text`, printed by us, describes.
fn read(server: Server, text: &str) -> Gtids {
    Gtids::parse(server, text).expect("what was printed is read")
}

fn alone(server: Server, set: &Gtids) {
    let nothing = read(server, "");
    assert!(set.contains(set) && set.contains(&nothing));
    assert!(set.minus(set).0.is_empty());
    one_line(&set.history());
    if !server.mariadb {
        assert_eq!(read(server, &set.minus(&nothing).as_set()), *set);
        return;
    }
    assert_eq!(read(server, &set.as_binlog_state()), *set);
    let last = read(server, &set.last_of_domains());
    assert!(set.contains(&last));
    assert_eq!(last.position(), set.position());
}

/// Who has everything of another is not behind it, and what is missing is missing.
fn compared(server: Server, one: &Gtids, other: &Gtids) {
    let extra = one.minus(other);
    one_line(&extra.to_string());
    assert_eq!(other.contains(one), extra.0.is_empty());
    assert!(extra.0.iter().all(|(_, first, last)| first <= last));
    if other.contains(one) {
        assert!(other.position() >= one.position());
        assert!(one.history().is_empty() || one.shares_history(other));
    }
    if server.mariadb {
        let all = one.clone().with(other.clone());
        assert!(all.contains(one) && all.contains(other));
    } else {
        let missing = read(server, &extra.as_set());
        assert!(one.contains(&missing));
        assert_eq!(
            missing.minus(other).0,
            extra.0,
            "what both have counts as missing"
        );
        let all = read(
            server,
            &format!("{},{}", extra.as_set(), other.minus(&read(server, "")).as_set()),
        );
        assert!(all.contains(one) && all.contains(other));
    }
}

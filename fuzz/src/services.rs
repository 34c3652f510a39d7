//! The services' own files, as the guards read them; DRBD's configuration, events and handlers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use holdfast_agents::fuzzing;
use holdfast_guards::{Memory, Node, Scope, check as judge};
use holdfast_proto::drbd::{Answer, Request, options};

use crate::memory::bounded;
use crate::samples::parsed;
use crate::text::{head, one_line};

/// A resource of each kind that guards know, and more.
pub const CONFIG: &str = include_str!("services.toml");

/// Files that services read, or are led to. The first byte of a part of the input chooses.
const PATHS: [&str; 20] = [
    "/etc/mysql/my.cnf",
    "/etc/mysql/conf.d/a.cnf",
    "/etc/mysql/conf.d/b.cnf",
    "/var/lib/mysql/grastate.dat",
    "/run/mariadb-wsrep-new-cluster",
    "/etc/redis/redis.conf",
    "/etc/redis/more.conf",
    "/etc/rabbitmq/rabbitmq.conf",
    "/etc/rabbitmq/conf.d/10.conf",
    "/etc/rabbitmq/advanced.config",
    "/etc/nginx/nginx.conf",
    "/etc/nginx/conf.d/a.conf",
    "/etc/haproxy/haproxy.cfg",
    "/etc/systemd/system-preset/a.preset",
    "/usr/lib/systemd/system-preset/99.preset",
    "/etc/systemd/system/multi-user.target.wants/mariadb.service",
    "/usr/lib/systemd/system/mariadb.service",
    "/etc/sysctl.d/a.conf",
    "/proc/sys/net/ipv4/ip_nonlocal_bind",
    "/usr/sbin/mariadbd",
];

/// Memory for each byte: files may include others, and what was read of each is kept with its place.
const FACTOR: usize = 1024;
/// A secret that inputs may hold, and what has to stand before it for it to count as one.
const SECRET: &str = "Zq7Secret7qZ";
const BEFORE_SECRET: [&str; 5] = [
    "requirepass ",
    "masterauth ",
    "password = ",
    "wsrep_sst_auth = sst:",
    "default_pass = ",
];

/// The first byte chooses: files, or DRBD's words.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let ([which], rest) = head(data);
    if which % 4 == 0 {
        return guarded(rest);
    }
    let text = String::from_utf8_lossy(rest);
    match which % 4 {
        1 => dumped(&text),
        2 => bounded(rest.len(), 256, || fuzzing::drbd::follow(&text)),
        _ => asked(&text),
    }
}

/// Files, each after the number of its path, with a NUL between two.
fn guarded(data: &[u8]) {
    static SCOPE: LazyLock<Scope> = LazyLock::new(|| Scope::of(&parsed(CONFIG)));
    let mut files = BTreeMap::new();
    for part in data.split(|byte| *byte == 0) {
        let ([path], text) = head(part);
        files.insert(PATHS[usize::from(path) % PATHS.len()].to_owned(), text.to_vec());
    }
    let files = Memory(files);
    let read = || judge(&SCOPE, &Node::new(&files));
    let found = bounded(data.len(), FACTOR, read);
    assert_eq!(found, read(), "another judgement of the same files");
    let secret = holds_secret(&files);
    for finding in found {
        let shown = finding.to_string();
        one_line(&shown);
        assert!(
            !(secret && shown.contains(SECRET)),
            "a secret is shown in {shown}"
        );
        if let Some(line) = finding.line {
            let text = String::from_utf8_lossy(&files.0[&finding.file]).into_owned();
            assert!((1..=text.split('\n').count()).contains(&line), "{shown}");
        }
    }
}

/// True when [`SECRET`] is in a file, and everywhere as a value that must not be shown.
fn holds_secret(files: &Memory) -> bool {
    let texts = files.0.values().map(|bytes| String::from_utf8_lossy(bytes));
    let mut is_there = false;
    for text in texts {
        for (at, _) in text.match_indices(SECRET) {
            let line = &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
            if !BEFORE_SECRET.contains(&line) {
                return false;
            }
            is_there = true;
        }
    }
    is_there
}

fn dumped(text: &str) {
    let resources = bounded(text.len(), 256, || options::read(text));
    for dumped in resources.values() {
        for finding in dumped.findings() {
            one_line(&finding.text);
        }
    }
}

/// Lines between the kernel's handlers, `hactl` and the agent.
fn asked(text: &str) {
    for line in text.lines() {
        if let Some(request) = Request::from_line(line) {
            assert_eq!(Request::from_line(&request.to_line()), Some(request));
        }
        if let Some(answer) = Answer::from_line(line) {
            let again = answer.to_line();
            one_line(&again);
            assert!(Answer::from_line(&again).is_none_or(|again| again.code == answer.code));
        }
    }
}

//! Redis and Valkey: persistence, a role left in the file, and whether others can reach it.

use std::net::IpAddr;

use crate::finding::{Finding, Place, shown};
use crate::front;
use crate::node::Node;
use crate::scope::{Scope, Service};

/// Files read in all: what includes itself twice would multiply.
const FILES_MAX: usize = 64;
/// How deep files may include others.
const DEPTH_MAX: usize = 8;
/// Where the packages put it.
const FILES: [&str; 3] = [
    "/etc/redis/redis.conf",
    "/etc/redis.conf",
    "/etc/valkey/valkey.conf",
];

/// Where a server keeps its data on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Its working folder, as it stands there: may be relative. None: where it is started.
    pub folder: Option<String>,
    /// It appends what is written to files.
    pub appends: bool,
    /// Name of the folder of these files, below `folder`.
    pub append_folder: String,
    /// How the names of these files begin.
    pub append_file: String,
    /// Name of its snapshot, in `folder`.
    pub snapshot: String,
}

impl Default for Storage {
    /// What a server does that is told nothing.
    fn default() -> Self {
        Storage {
            folder: None,
            appends: false,
            append_folder: "appendonlydir".into(),
            append_file: "appendonly.aof".into(),
            snapshot: "dump.rdb".into(),
        }
    }
}

/// What is read of a configuration.
#[derive(Debug, Default)]
struct Settings {
    file: String,
    files: usize,
    storage: Storage,
    /// Whether snapshots are taken; None while nothing is said, which means that they are.
    saves: Option<(bool, Place)>,
    appends: Option<(bool, Place)>,
    replica_of: Option<(String, Place)>,
    bind: Option<(Vec<String>, Place)>,
    is_protected: Option<(bool, Place)>,
    has_password: bool,
}

/// Judges the file of one server.
pub fn check(scope: &Scope, service: &Service, node: &Node<'_>, findings: &mut Vec<Finding>) {
    let named = service
        .command
        .iter()
        .skip(1)
        .find(|word| word.ends_with(".conf"));
    let named = named.or(service.params.get("config")).map(String::as_str);
    let Some(file) = named.or_else(|| FILES.into_iter().find(|file| node.exists(file))) else {
        return;
    };
    let mut settings = Settings {
        file: file.into(),
        ..Settings::default()
    };
    settings.read(file, node, 0);
    if settings.files == 0 {
        return;
    }
    settings.persistence(findings);
    if let Some((of, place)) = &settings.replica_of {
        findings.push(place.finding(
            "redis-replicaof",
            format!("replicaof {}", shown(of)),
            "who follows whom is decided by the cluster: with this line a restarted primary becomes a replica, of a server \
             that may be old or gone, and takes its data",
            "remove the line, and do not let CONFIG REWRITE put it back",
        ));
    }
    if service.is_addressed || service.has_copies {
        settings.reach(findings);
    }
    if let Some((addresses, place)) = &settings.bind {
        // One that begins with "-" may be missing at the start.
        let needed = addresses.iter().filter_map(|address| address.parse().ok());
        for address in needed {
            front::judge_bind(scope, service, node, address, place, findings);
        }
    }
}

/// Where the server keeps its data that is started with `file` (none: without one) and these words after it, as in `--dir
/// /srv/redis`. None when the file cannot be read.
#[must_use]
pub fn storage(file: Option<&str>, arguments: &[String], node: &Node<'_>) -> Option<Storage> {
    let mut settings = Settings::default();
    if let Some(file) = file {
        settings.read(file, node, 0);
        if settings.files == 0 {
            return None;
        }
    }
    let mut rest = arguments;
    while let Some((word, after)) = rest.split_first() {
        let end = after
            .iter()
            .position(|word| word.starts_with("--"))
            .unwrap_or(after.len());
        if let Some(name) = word.strip_prefix("--") {
            settings.directive(
                &name.to_ascii_lowercase(),
                &after[..end],
                Place::file("its command"),
            );
        }
        rest = &after[end..];
    }
    Some(settings.storage)
}

impl Settings {
    fn read(&mut self, file: &str, node: &Node<'_>, depth: usize) {
        if self.files >= FILES_MAX {
            return;
        }
        let Some(text) = node.text(file) else {
            return;
        };
        self.files += 1;
        for (index, line) in text.lines().enumerate() {
            let words = words(line);
            let Some((name, rest)) = words.split_first() else {
                continue;
            };
            let place = Place::line(file, index + 1);
            let name = name.to_ascii_lowercase();
            if name == "include" && depth < DEPTH_MAX {
                for pattern in rest {
                    for path in node.paths(pattern) {
                        self.read(&path, node, depth + 1);
                    }
                }
            } else {
                self.directive(&name, rest, place);
            }
        }
    }

    fn directive(&mut self, name: &str, rest: &[String], place: Place) {
        let first = rest.first().map(String::as_str).unwrap_or_default();
        let is_yes = first.eq_ignore_ascii_case("yes");
        match name {
            "save" => self.saves = Some((!first.is_empty(), place)),
            "appendonly" => {
                self.storage.appends = is_yes;
                self.appends = Some((is_yes, place));
            }
            "dir" => self.storage.folder = Some(first.into()).filter(|folder: &String| !folder.is_empty()),
            "appenddirname" => first.clone_into(&mut self.storage.append_folder),
            "appendfilename" => first.clone_into(&mut self.storage.append_file),
            "dbfilename" => first.clone_into(&mut self.storage.snapshot),
            "replicaof" | "slaveof" => {
                // What had-agentd writes there itself: an address where nobody listens, so that it does no harm before it is promoted.
                let held = rest == ["127.0.0.1", "1"];
                let none = first.eq_ignore_ascii_case("no") || held;
                self.replica_of = (!none).then(|| (rest.join(" "), place));
            }
            "bind" => self.bind = Some((rest.to_vec(), place)),
            "protected-mode" => self.is_protected = Some((is_yes, place)),
            "requirepass" => self.has_password = !first.is_empty(),
            "user" => self.has_password = true,
            _ => {}
        }
    }

    fn persistence(&self, findings: &mut Vec<Finding>) {
        let appends = self.appends.as_ref().is_some_and(|(on, _)| *on);
        if let Some((false, place)) = &self.saves
            && !appends
        {
            findings.push(place.finding(
                "redis-no-persistence",
                "save \"\" without appendonly yes",
                "a primary that is restarted comes back empty, and its replica throws its own data away to be like it",
                "write appendonly yes",
            ));
        }
    }

    fn reach(&self, findings: &mut Vec<Finding>) {
        let is_loopback = |address: &String| {
            let address = address.trim_start_matches('-');
            address
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
                || address == "localhost"
        };
        if let Some((addresses, place)) = &self.bind {
            if !addresses.is_empty() && addresses.iter().all(is_loopback) {
                findings.push(place.finding(
                    "redis-loopback",
                    format!("bind {}", shown(&addresses.join(" "))),
                    "it listens on the loopback only: neither a client that comes by the virtual address nor the other node \
                     reaches it",
                    "write bind * -::* with requirepass or users, and let a firewall say who may come",
                ));
            }
        } else if self.is_protected.as_ref().is_none_or(|(on, _)| *on) && !self.has_password {
            let place = self
                .is_protected
                .as_ref()
                .map_or_else(|| Place::file(&self.file), |(_, place)| place.clone());
            findings.push(place.finding(
                "redis-protected-mode",
                "protected-mode is on, without a password",
                "it answers to the loopback only: neither a client that comes by the virtual address nor the other node \
                 reaches it",
                "write requirepass or users, or protected-mode no behind a firewall",
            ));
        }
    }
}

/// The words of a line: separated by spaces, in quotes when they hold some. None of a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    if rest.starts_with('#') {
        return words;
    }
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''));
        let (word, after) = match quote {
            Some(quote) => {
                let inner = &rest[1..];
                inner.split_once(quote).unwrap_or((inner, ""))
            }
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Memory;
    use crate::scope::tests::{scope, unit};

    fn names(text: &str) -> Vec<&'static str> {
        let files = Memory::of(&[
            ("/etc/redis/redis.conf", text),
            ("/etc/redis/more.conf", "appendonly yes\n"),
        ]);
        let scope = scope(&unit("redis-server"));
        let mut findings = Vec::new();
        check(&scope, &scope.services[0], &Node::new(&files), &mut findings);
        findings.iter().map(|finding| finding.check).collect()
    }

    #[test]
    fn a_primary_that_would_come_back_empty_is_named() {
        let open = "bind * -::*\n";
        assert_eq!(
            names(&format!("{open}save \"\"\nappendonly no\n")),
            ["redis-no-persistence"]
        );
        assert_eq!(names(&format!("{open}save ''\n")), ["redis-no-persistence"]);
        assert!(names(open).is_empty(), "without a word snapshots are taken");
        assert!(names(&format!("{open}save \"\"\nappendonly yes\n")).is_empty());
        assert!(names(&format!("{open}save \"\"\nsave 900 1\n")).is_empty());
        assert!(names(&format!("{open}save \"\"\ninclude /etc/redis/*ore.conf\n")).is_empty());
    }

    #[test]
    fn a_role_in_the_file_is_named() {
        assert_eq!(names("bind *\nreplicaof 10.0.0.1 6379\n"), ["redis-replicaof"]);
        assert_eq!(names("bind *\nslaveof 10.0.0.1 6379\n"), ["redis-replicaof"]);
        assert!(names("bind *\nreplicaof 127.0.0.1 1\n").is_empty());
        assert!(names("bind *\n# replicaof 10.0.0.1 6379\nreplicaof no one\n").is_empty());
    }

    #[test]
    fn where_the_data_is_follows_from_the_files_and_then_the_command() {
        let files = Memory::of(&[
            (
                "/r.conf",
                "dir /srv/one\ninclude /m.conf\nappenddirname \"aof\"\n",
            ),
            ("/m.conf", "appendonly yes\ndbfilename a.rdb\n"),
        ]);
        let node = Node::new(&files);
        let found = storage(Some("/r.conf"), &[], &node).unwrap();
        assert_eq!(found.folder.as_deref(), Some("/srv/one"));
        assert!(found.appends && found.append_folder == "aof" && found.snapshot == "a.rdb");
        assert_eq!(found.append_file, "appendonly.aof");
        let words: Vec<String> = ["--save", "", "--dir", "/srv/two", "--appendonly", "no"]
            .map(str::to_owned)
            .into();
        let found = storage(Some("/r.conf"), &words, &node).unwrap();
        assert_eq!(
            (found.folder.as_deref(), found.appends),
            (Some("/srv/two"), false)
        );
        assert_eq!(storage(None, &[], &node), Some(Storage::default()));
        assert_eq!(storage(Some("/none.conf"), &[], &node), None);
    }

    #[test]
    fn a_server_that_nobody_reaches_is_named() {
        assert_eq!(names("bind 127.0.0.1 -::1\n"), ["redis-loopback"]);
        assert_eq!(names("port 6379\n"), ["redis-protected-mode"]);
        assert!(names("protected-mode no\n").is_empty());
        assert!(names("requirepass secret\n").is_empty());
        assert_eq!(names("bind 10.0.0.100\n"), ["bind-to-absent-address"]);
        assert!(names("bind -10.0.0.100\n").is_empty());
    }
}

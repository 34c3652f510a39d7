//! Option files of MariaDB and MySQL, as their own library reads them: sections, includes, and the last value wins.

use std::collections::BTreeMap;

use crate::finding::Place;
use crate::node::Node;

/// How deep files may include others; the servers' own limit.
const DEPTH_MAX: usize = 10;
/// Files read in all, the same one counted each time: what includes itself twice would multiply.
const FILES_MAX: usize = 256;
/// Options kept; more than any server has.
const OPTIONS_MAX: usize = 10_000;

/// A setting and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value; None when only the name stands there.
    pub value: Option<String>,
    /// Where.
    pub place: Place,
}

/// What applies to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    settings: BTreeMap<String, Setting>,
    /// The first file that was there, for what is missing.
    pub file: Option<String>,
    files: usize,
}

/// Which server reads the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// MariaDB.
    MariaDb,
    /// MySQL.
    MySql,
}

impl Flavour {
    fn reads(self, section: &str) -> bool {
        // Sections of a version ([mysqld-8.4]) are read too: which version runs is not known here.
        let name = section.split_once('-').map_or(section, |(name, version)| {
            if version.starts_with(|c: char| c.is_ascii_digit()) {
                name
            } else {
                section
            }
        });
        match self {
            Flavour::MySql => matches!(name, "mysqld" | "server"),
            Flavour::MariaDb => matches!(
                name,
                "mysqld" | "server" | "mariadb" | "mariadbd" | "client-server" | "galera"
            ),
        }
    }
}

impl Options {
    /// Reads these files in order, with what they include.
    #[must_use]
    pub fn read(files: &[&str], flavour: Flavour, node: &Node<'_>) -> Options {
        let mut options = Options::default();
        for file in files {
            options.file(file, flavour, node, 0);
        }
        options
    }

    fn file(&mut self, file: &str, flavour: Flavour, node: &Node<'_>, depth: usize) {
        self.files += 1;
        let Some(text) = (self.files <= FILES_MAX).then(|| node.text(file)).flatten() else {
            return;
        };
        self.file.get_or_insert_with(|| file.to_owned());
        let mut applies = false;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(directive) = line.strip_prefix('!') {
                if depth < DEPTH_MAX {
                    self.include(directive, flavour, node, depth + 1);
                }
            } else if let Some(section) = line.strip_prefix('[') {
                let section = section.split(']').next().unwrap_or_default().trim();
                applies = flavour.reads(section);
            } else if applies && !line.is_empty() && !line.starts_with(['#', ';']) {
                self.option(line, Place::line(file, index + 1));
            }
        }
    }

    fn include(&mut self, directive: &str, flavour: Flavour, node: &Node<'_>, depth: usize) {
        if let Some(folder) = directive.strip_prefix("includedir") {
            let folder = folder.trim().trim_end_matches('/');
            for name in node.names(folder) {
                if name.ends_with(".cnf") {
                    self.file(&format!("{folder}/{name}"), flavour, node, depth);
                }
            }
        } else if let Some(file) = directive.strip_prefix("include") {
            self.file(file.trim(), flavour, node, depth);
        }
    }

    fn option(&mut self, line: &str, place: Place) {
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(unquoted(value))),
            None => (line.split('#').next().unwrap_or_default(), None),
        };
        let mut name = name.trim().replace('-', "_").to_ascii_lowercase();
        if let Some(rest) = name.strip_prefix("loose_") {
            name = rest.to_owned();
        }
        let mut value = value;
        for (prefix, meaning) in [("skip_", "OFF"), ("disable_", "OFF"), ("enable_", "ON")] {
            if value.is_none()
                && let Some(rest) = name.strip_prefix(prefix)
                && !KEEPS_ITS_SKIP.contains(&rest)
            {
                name = rest.to_owned();
                value = Some(meaning.to_owned());
                break;
            }
        }
        if self.settings.len() < OPTIONS_MAX || self.settings.contains_key(&name) {
            self.settings.insert(name, Setting { value, place });
        }
    }

    /// The setting under the first of these names that is there, dashes written as underscores.
    #[must_use]
    pub fn get(&self, names: &[&str]) -> Option<&Setting> {
        names.iter().find_map(|name| self.settings.get(*name))
    }

    /// The value as text; what stands there without a value is empty.
    #[must_use]
    pub fn text(&self, names: &[&str]) -> Option<&str> {
        self.get(names).map(Setting::text)
    }

    /// True when the option is on.
    #[must_use]
    pub fn is_on(&self, names: &[&str]) -> bool {
        self.get(names).is_some_and(Setting::is_on)
    }

    /// Where to say that something is missing.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::file(self.file.as_deref().unwrap_or("/etc/mysql/my.cnf"))
    }
}

/// Options whose own name begins with `skip_`.
const KEEPS_ITS_SKIP: [&str; 5] = [
    "networking",
    "name_resolve",
    "grant_tables",
    "show_database",
    "external_locking",
];

impl Setting {
    /// The value; empty when only the name stands there.
    #[must_use]
    pub fn text(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }

    /// True when it is switched on: a name alone is.
    #[must_use]
    pub fn is_on(&self) -> bool {
        let value = self.value.as_deref().map(str::to_ascii_lowercase);
        value.is_none_or(|value| matches!(value.as_str(), "1" | "on" | "true" | "yes" | "force"))
    }
}

/// A value without its quotes, and without a comment behind it.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote)
            && let Some((inner, _)) = rest.split_once(quote)
        {
            return inner.to_owned();
        }
    }
    let bare = value.split('#').next().unwrap_or_default();
    bare.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Memory;

    #[test]
    fn the_last_value_wins_across_includes_in_order() {
        let files = Memory::of(&[
            (
                "/etc/my.cnf",
                "[mysqld]\nserver-id=1\n!includedir /etc/d/\n[client]\nport=1\n[mysqld]\nport = 3307 # ours\n",
            ),
            (
                "/etc/d/10.cnf",
                "server_id = 7\n[mariadb]\nserver_id = '8'\nloose-x=\"a # b\"\nskip-log-bin\n",
            ),
            ("/etc/d/9.cnf", "[mysqld]\nserver_id = 9\nskip-networking\n"),
            ("/etc/d/note.txt", "[mysqld]\nserver_id = 99\n"),
        ]);
        let node = Node::new(&files);
        let options = Options::read(&["/etc/my.cnf", "/absent.cnf"], Flavour::MariaDb, &node);
        // In the order of names, so 10 before 9; a file begins without a section.
        assert_eq!(options.text(&["server_id"]), Some("9"));
        assert_eq!(
            options.get(&["server_id"]).unwrap().place,
            Place::line("/etc/d/9.cnf", 2)
        );
        assert_eq!(options.text(&["port"]), Some("3307"));
        assert_eq!(options.text(&["x"]), Some("a # b"));
        assert!(!options.is_on(&["log_bin"]) && options.get(&["log_bin"]).is_some());
        assert!(options.is_on(&["skip_networking"]));
        let mysql = Options::read(&["/etc/d/10.cnf"], Flavour::MySql, &node);
        assert_eq!(mysql.text(&["server_id"]), None);
    }

    #[test]
    fn a_file_that_includes_itself_ends() {
        let files = Memory::of(&[(
            "/a.cnf",
            "!include /a.cnf\n!include /a.cnf\n!include /a.cnf\n!include /a.cnf\n[mysqld]\nport=1\n",
        )]);
        let options = Options::read(&["/a.cnf"], Flavour::MySql, &Node::new(&files));
        assert_eq!(options.text(&["port"]), Some("1"));
        assert_eq!(options.place(), Place::file("/a.cnf"));
    }
}

//! RabbitMQ: what it does when brokers lose each other.

use crate::finding::{Finding, Place};
use crate::node::Node;
use crate::scope::{Scope, Service};

const MODERN: &str = "/etc/rabbitmq/rabbitmq.conf";
const MORE: &str = "/etc/rabbitmq/conf.d/*.conf";
const CLASSIC: [&str; 2] = ["/etc/rabbitmq/advanced.config", "/etc/rabbitmq/rabbitmq.config"];
const HANDLING: &str = "cluster_partition_handling";

/// Judges the files of one broker.
pub fn check(scope: &Scope, service: &Service, node: &Node<'_>, findings: &mut Vec<Finding>) {
    let _ = service;
    let mut set: Option<(String, Place)> = None;
    let mut brokers = 0;
    for file in [MODERN.to_owned()].into_iter().chain(node.paths(MORE)) {
        let Some(text) = node.text(&file) else {
            continue;
        };
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            match key.trim() {
                HANDLING => set = Some((value.trim().to_owned(), Place::line(&file, index + 1))),
                key if key.starts_with("cluster_formation.classic_config.nodes.") => brokers += 1,
                _ => {}
            }
        }
    }
    // What stands in the classic format overrides.
    for file in CLASSIC {
        if let Some(found) = node.text(file).and_then(|text| atom_after(&text, HANDLING)) {
            set = Some((found.0, Place::line(file, found.1)));
        }
    }
    let brokers = if brokers == 0 { scope.nodes } else { brokers };
    if let Some((value, place)) = set
        && value == "pause_minority"
        && brokers <= 2
    {
        findings.push(place.finding(
            "rabbitmq-pause-minority",
            format!("{HANDLING} = pause_minority with two brokers"),
            "one of two is no majority: when either broker fails, the other one pauses too, and nobody serves",
            format!(
                "write {HANDLING} = autoheal (ignore where mode = \"cluster\" decides which broker goes on), or run a third broker on \
                 the host of the witness"
            ),
        ));
    }
}

/// The atom after `key` and a comma in Erlang terms, and its line: `{key, atom}`. Comments and strings are passed over.
fn atom_after(text: &str, key: &str) -> Option<(String, usize)> {
    let mut before = [Token::Other, Token::Other];
    let mut found = None;
    for (token, line) in Tokens::of(text) {
        if let (Token::Atom(name), Token::Comma, Token::Atom(value)) = (&before[0], &before[1], &token)
            && name == key
        {
            found = Some((value.clone(), line));
        }
        let [_, second] = before;
        before = [second, token];
    }
    found
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Atom(String),
    Comma,
    Other,
}

/// As much of Erlang's syntax as it takes to find atoms.
struct Tokens<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Tokens<'a> {
    fn of(text: &'a str) -> Tokens<'a> {
        Tokens { rest: text, line: 1 }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// What stands between quotes; the first character is one.
    fn quoted(&mut self, quote: char) -> (String, usize) {
        let line = self.line;
        let mut end = self.rest.len();
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == quote {
                end = at + 1;
                break;
            }
        }
        let taken = self.take(end);
        (taken.trim_matches(quote).to_owned(), line)
    }
}

impl Iterator for Tokens<'_> {
    type Item = (Token, usize);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let blank = self.rest.len() - self.rest.trim_start().len();
            self.take(blank);
            if !self.rest.starts_with('%') {
                break;
            }
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.take(end);
        }
        let first = self.rest.chars().next()?;
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '@');
        Some(match first {
            '\'' => {
                let (atom, line) = self.quoted('\'');
                (Token::Atom(atom), line)
            }
            '"' => (Token::Other, self.quoted('"').1),
            c if is_word(c) => {
                let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
                let line = self.line;
                (Token::Atom(self.take(end).to_owned()), line)
            }
            other => {
                let line = self.line;
                self.take(other.len_utf8());
                (if other == ',' { Token::Comma } else { Token::Other }, line)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Memory;
    use crate::scope::tests::{scope, unit};

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files = Memory::of(files);
        let scope = scope(&unit("rabbitmq-server"));
        let mut findings = Vec::new();
        check(&scope, &scope.services[0], &Node::new(&files), &mut findings);
        findings
            .iter()
            .map(|finding| format!("{}:{}", finding.file, finding.line.unwrap_or(0)))
            .collect()
    }

    #[test]
    fn pausing_of_a_minority_of_two_is_named() {
        let text = "listeners.tcp.default = 5672\ncluster_partition_handling = pause_minority # ours\n";
        assert_eq!(found(&[(MODERN, text)]), ["/etc/rabbitmq/rabbitmq.conf:2"]);
        assert!(found(&[(MODERN, "# cluster_partition_handling = pause_minority\n")]).is_empty());
        let later = (
            "/etc/rabbitmq/conf.d/90-x.conf",
            "cluster_partition_handling = autoheal\n",
        );
        assert!(found(&[(MODERN, text), later]).is_empty());
        let third: String = (1..=3)
            .map(|n| format!("cluster_formation.classic_config.nodes.{n} = rabbit@db{n}\n"))
            .collect();
        assert!(found(&[(MODERN, &format!("{text}{third}"))]).is_empty());
    }

    #[test]
    fn so_is_one_in_the_classic_format() {
        let text = "%% {cluster_partition_handling, autoheal}\n[{rabbit,\n  [{log, \"a % b\"},\n   \
                    {'cluster_partition_handling',\n    pause_minority}]}].\n";
        assert_eq!(
            found(&[("/etc/rabbitmq/advanced.config", text)]),
            ["/etc/rabbitmq/advanced.config:5"]
        );
        let other =
            "[{rabbit, [{cluster_partition_handling, {pause_if_all_down, ['rabbit@db1'], ignore}}]}].";
        assert!(found(&[("/etc/rabbitmq/rabbitmq.config", other)]).is_empty());
    }
}

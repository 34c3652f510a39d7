//! Global transaction ids: which transactions a server has, and which of them another one lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::server::Server;

/// Most entries of a set that are read; a server of a pair has a handful.
const ENTRIES_MAX: usize = 10_000;
/// The largest number of a transaction that MySQL gives; MariaDB's have the whole range.
const NUMBER_MAX: u64 = i64::MAX as u64;

/// Transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gtids {
    /// MariaDB: per domain and server of origin the last sequence number. Whoever has one has those before it.
    Domains(BTreeMap<(u32, u32), u64>),
    /// MySQL: per source the intervals of numbers, both ends included, sorted and apart.
    Sources(BTreeMap<String, Vec<(u64, u64)>>),
}

impl Gtids {
    /// Reads what `server` said; several texts are joined with commas.
    ///
    /// # Errors
    /// It is no such set.
    pub fn parse(server: Server, text: &str) -> Result<Gtids, String> {
        let wrong = || {
            let shown: String = text.chars().take(80).collect();
            format!("the server's GTID set cannot be understood: {shown:?}")
        };
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let read = if server.mariadb { domains } else { sources };
        read(entries).ok_or_else(wrong)
    }

    /// True when every transaction of `other` is in here.
    #[must_use]
    pub fn contains(&self, other: &Gtids) -> bool {
        other.minus(self).count() == 0
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Gtids) -> Extra {
        let mut ranges = Vec::new();
        match (self, other) {
            (Gtids::Domains(own), Gtids::Domains(other)) => {
                for ((domain, server), last) in own {
                    let theirs = other.get(&(*domain, *server)).copied().unwrap_or(0);
                    if *last > theirs {
                        // Numbers of a domain are shared by its servers: the range is the most there can be.
                        let before = before_first(own, (*domain, *server), *last, theirs);
                        ranges.push((format!("{domain}-{server}"), before + 1, *last));
                    }
                }
            }
            (Gtids::Sources(own), Gtids::Sources(other)) => {
                let none = Vec::new();
                for (source, intervals) in own {
                    let theirs = other.get(source).unwrap_or(&none);
                    for (first, last) in subtract(intervals, theirs) {
                        ranges.push((source.clone(), first, last));
                    }
                }
            }
            // Servers of two families share no transactions.
            _ => ranges.push(("another family of servers".into(), 1, 1)),
        }
        Extra(ranges)
    }

    /// A number that grows with every transaction: of two sets of one history the larger has more.
    #[must_use]
    pub fn position(&self) -> u64 {
        match self {
            Gtids::Domains(all) => {
                let mut last: BTreeMap<u32, u64> = BTreeMap::new();
                for ((domain, _), number) in all {
                    let most = last.entry(*domain).or_default();
                    *most = (*most).max(*number);
                }
                last.values().fold(0, |sum, number| sum.saturating_add(*number))
            }
            Gtids::Sources(all) => all
                .values()
                .flatten()
                .map(|(first, last)| last - first + 1)
                .fold(0, u64::saturating_add),
        }
    }

    /// MariaDB: the last transaction of each domain, as gtid_slave_pos takes it. Empty for MySQL.
    #[must_use]
    pub fn last_of_domains(&self) -> String {
        let Gtids::Domains(all) = self else {
            return String::new();
        };
        let mut last: BTreeMap<u32, (u64, u32)> = BTreeMap::new();
        for ((domain, server), number) in all {
            let most = last.entry(*domain).or_default();
            *most = (*most).max((*number, *server));
        }
        let texts: Vec<String> = last
            .iter()
            .map(|(domain, (number, server))| format!("{domain}-{server}-{number}"))
            .collect();
        texts.join(",")
    }

    /// MariaDB: all of it as gtid_binlog_state takes it, which counts the last entry of a domain as its newest. Empty for MySQL.
    #[must_use]
    pub fn as_binlog_state(&self) -> String {
        let Gtids::Domains(all) = self else {
            return String::new();
        };
        let mut sorted: Vec<_> = all.iter().collect();
        sorted.sort_by_key(|((domain, _), number)| (*domain, **number));
        let texts: Vec<String> = sorted
            .into_iter()
            .map(|((domain, server), number)| format!("{domain}-{server}-{number}"))
            .collect();
        texts.join(",")
    }

    /// MariaDB: what is in one of them or in both.
    #[must_use]
    pub fn with(mut self, other: Gtids) -> Gtids {
        if let (Gtids::Domains(own), Gtids::Domains(other)) = (&mut self, other) {
            for (origin, number) in other {
                let last = own.entry(origin).or_default();
                *last = (*last).max(number);
            }
        }
        self
    }

    /// Where its transactions came from: servers that share nothing were never one. Empty when it has none.
    #[must_use]
    pub fn history(&self) -> String {
        let origins = self.origins();
        let shown: Vec<&str> = origins.iter().map(String::as_str).take(LISTED_MAX).collect();
        let more = origins.len().saturating_sub(shown.len());
        match (shown.is_empty(), more) {
            (true, _) => String::new(),
            (false, 0) => shown.join(","),
            (false, _) => format!("{} and {more} more", shown.join(",")),
        }
    }

    /// True when both have transactions of one origin.
    #[must_use]
    pub fn shares_history(&self, other: &Gtids) -> bool {
        let theirs = other.origins();
        self.origins().iter().any(|origin| theirs.contains(origin))
    }

    fn origins(&self) -> BTreeSet<String> {
        match self {
            Gtids::Domains(all) => all
                .keys()
                .map(|(domain, server)| format!("{domain}-{server}"))
                .collect(),
            Gtids::Sources(all) => all.keys().cloned().collect(),
        }
    }
}

/// The number before the first of `origin`'s that the other may lack: servers share the numbers of a domain, so the last one of
/// another server before `last` bounds the range too.
fn before_first(own: &BTreeMap<(u32, u32), u64>, origin: (u32, u32), last: u64, theirs: u64) -> u64 {
    own.iter()
        .filter(|((domain, server), _)| *domain == origin.0 && *server != origin.1)
        .map(|(_, number)| *number)
        .filter(|number| *number < last && *number > theirs)
        .max()
        .unwrap_or(theirs)
}

fn domains<'a>(entries: impl Iterator<Item = &'a str>) -> Option<Gtids> {
    let mut all = BTreeMap::new();
    for entry in entries {
        let mut parts = entry.split('-');
        let domain = parts.next()?.parse().ok()?;
        let server = parts.next()?.parse().ok()?;
        let number: u64 = parts.next()?.parse().ok()?;
        // Numbers begin with 1: before that a server has nothing of that origin.
        if number > 0 {
            let last: &mut u64 = all.entry((domain, server)).or_default();
            *last = (*last).max(number);
        }
        if parts.next().is_some() || all.len() > ENTRIES_MAX {
            return None;
        }
    }
    Some(Gtids::Domains(all))
}

fn sources<'a>(entries: impl Iterator<Item = &'a str>) -> Option<Gtids> {
    let mut all: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    let mut count = 0;
    for entry in entries {
        let mut parts = entry.split(':');
        let mut source = parts.next()?.trim().to_ascii_lowercase();
        if !is_uuid(&source) {
            return None;
        }
        for part in parts.map(str::trim) {
            if is_tag(part) {
                // A tag (MySQL 8.3 and later) stands for a stream of its own.
                source = format!("{}:{}", source.get(..36)?, part.to_ascii_lowercase());
                continue;
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let interval: (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            if interval.0 == 0 || interval.1 < interval.0 || interval.1 > NUMBER_MAX {
                return None;
            }
            all.entry(source.clone()).or_default().push(interval);
            count += 1;
            if count > ENTRIES_MAX {
                return None;
            }
        }
    }
    for intervals in all.values_mut() {
        *intervals = merged(std::mem::take(intervals));
    }
    Some(Gtids::Sources(all))
}

/// A source becomes part of statements and of what people read.
fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// As MySQL takes them: a letter or `_`, then digits too, 32 in all.
fn is_tag(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && text.len() <= 32 && text.bytes().all(plain)
}

fn merged(mut intervals: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    intervals.sort_unstable();
    let mut out: Vec<(u64, u64)> = Vec::with_capacity(intervals.len());
    for (first, last) in intervals {
        match out.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

/// `own` without `theirs`; both sorted and apart.
fn subtract(own: &[(u64, u64)], theirs: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut out = Vec::new();
    for (first, last) in own {
        let mut next = *first;
        for (from, to) in theirs.iter().filter(|(from, to)| to >= first && from <= last) {
            if *from > next {
                out.push((next, from - 1));
            }
            next = next.max(to.saturating_add(1));
        }
        if next <= *last {
            out.push((next, *last));
        }
    }
    out
}

/// Transactions that one server has and the other lacks: origin, first and last number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra(pub Vec<(String, u64, u64)>);

/// Ranges that are listed.
const LISTED_MAX: usize = 8;

impl Extra {
    /// All of it as MySQL takes sets.
    #[must_use]
    pub fn as_set(&self) -> String {
        let ranges = self.0.iter();
        let texts: Vec<String> = ranges
            .map(|(origin, first, last)| format!("{origin}:{first}-{last}"))
            .collect();
        texts.join(",")
    }

    /// How many; for MariaDB the most there can be.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0
            .iter()
            .fold(0, |sum, (_, first, last)| sum.saturating_add(last - first + 1))
    }
}

impl fmt::Display for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (origin, first, last)) in self.0.iter().take(LISTED_MAX).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            // 0-1-7 and 0-1-7..9 for MariaDB, uuid:7-9 for MySQL, as people know them from their servers.
            match (origin.contains('-') && origin.len() < 36, first == last) {
                (true, true) => write!(f, "{comma}{origin}-{first}")?,
                (true, false) => write!(f, "{comma}{origin}-{first}..{last}")?,
                (false, true) => write!(f, "{comma}{origin}:{first}")?,
                (false, false) => write!(f, "{comma}{origin}:{first}-{last}")?,
            }
        }
        let more = self.0.len().saturating_sub(LISTED_MAX);
        if more > 0 {
            write!(f, " and {more} more ranges")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maria(text: &str) -> Gtids {
        Gtids::parse(Server::parse("10.11.9-MariaDB"), text).unwrap()
    }

    fn mysql(text: &str) -> Gtids {
        Gtids::parse(Server::parse("9.7.0"), text).unwrap()
    }

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn an_old_primary_with_a_tail_has_more_than_its_successor() {
        let old = maria("0-1-100");
        let new = maria("0-1-99,0-2-105");
        let extra = old.minus(&new);
        assert_eq!((extra.count(), extra.to_string()), (1, "0-1-100".to_owned()));
        assert!(!new.contains(&old));
        assert!(maria("0-1-100,0-2-105").contains(&old));
        assert_eq!(new.position(), 105);
        assert_eq!(maria("0-2-105,0-1-99,3-1-7").last_of_domains(), "0-2-105,3-1-7");
        assert_eq!(new.history(), "0-1,0-2");
        assert!(old.shares_history(&new) && !old.shares_history(&maria("0-3-7")));
        assert_eq!(maria("").history(), "");
        // Found by fuzzing: an origin of which there is nothing counted as history.
        assert_eq!(maria("0-1-0"), maria(""));
    }

    #[test]
    fn the_state_of_a_fetched_copy_names_every_origin_and_the_newest_of_a_domain_last() {
        let primary = maria("0-2-5472,0-1-5900,3-2-9");
        let backup = primary.clone().with(maria("0-1-5932,3-2-9,4-1-1"));
        assert_eq!(backup.as_binlog_state(), "0-2-5472,0-1-5932,3-2-9,4-1-1");
        assert_eq!(backup.last_of_domains(), "0-1-5932,3-2-9,4-1-1");
        assert!(backup.contains(&primary) && !primary.contains(&backup));
    }

    #[test]
    fn a_first_tail_of_an_origin_is_not_counted_from_one() {
        let old = maria("0-2-50,0-1-52");
        let new = maria("0-2-51");
        assert_eq!(old.minus(&new).to_string(), "0-1-51..52");
        assert!(maria("").minus(&new).0.is_empty());
        let nothing = maria("");
        assert_eq!(
            maria("0-1-67,0-2-452").minus(&nothing).to_string(),
            "0-1-1..67, 0-2-68..452"
        );
    }

    #[test]
    fn sets_of_mysql_are_subtracted() {
        let own = mysql(&format!("{A}:1-100:200-210"));
        let other = mysql(&format!("{A}:1-50:60:205"));
        let extra = own.minus(&other);
        assert_eq!(
            extra.0,
            [(A, 51, 59), (A, 61, 100), (A, 200, 204), (A, 206, 210)].map(|(source, first, last)| (
                source.to_owned(),
                first,
                last
            ))
        );
        assert_eq!(own.position(), 111);
        assert!(own.contains(&mysql(&format!("{A}:7-9:3"))));
        assert!(!own.contains(&mysql("4e11fa47-71ca-11e1-9e33-c80aa9429562:1")));
        assert!(extra.to_string().starts_with(&format!("{A}:51-59, ")));
    }

    #[test]
    fn tags_are_streams_of_their_own() {
        let own = mysql(&format!("{A}:1-5:tag:1-2,\n{A}:6"));
        assert_eq!(own.position(), 8);
        assert!(!mysql(&format!("{A}:1-9")).contains(&own));
    }

    #[test]
    fn nonsense_is_refused() {
        for (server, text) in [
            ("MariaDB", "0-1"),
            ("MariaDB", "0-1-2-3"),
            ("MariaDB", "x"),
            ("MySQL", "abc:1"),
            ("MySQL", "3e11fa47-71ca-11e1-9e33-c80aa9429562:5-1"),
            ("MySQL", "3e11fa47-71ca-11e1-9e33-c80aa9429562:0"),
            // Found by fuzzing: the last number there is was never subtracted, and a source went to terminals as it came.
            (
                "MySQL",
                "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-18446744073709551615",
            ),
            ("MySQL", "3e11fa47-71ca-11e1-9e33-c80aa94295\u{1b}[:1"),
            ("MySQL", "3e11fa47-71ca-11e1-9e33-c80aa9429562:tag\u{7}:1"),
            ("MySQL", "3e11fa47-71ca-11e1-9e33-c80aa9429562::1"),
        ] {
            assert!(Gtids::parse(Server::parse(server), text).is_err(), "{text}");
        }
    }
}

//! MariaDB and MySQL: durability, replication, and whether the peer can reach it.

use crate::finding::{Finding, shown};
use crate::galera;
use crate::node::Node;
use crate::options::{Flavour, Options};
use crate::scope::{Scope, Service};

/// Where the servers look, in order.
const FILES: [&str; 2] = ["/etc/my.cnf", "/etc/mysql/my.cnf"];
/// A semi-synchronous wait that ends sooner than this ends in an ordinary outage of the replica.
const SEMI_SYNC_MS_MIN: u64 = 3_600_000;

/// Judges the option files of one server.
pub fn check(scope: &Scope, service: &Service, node: &Node<'_>, findings: &mut Vec<Finding>) {
    let flavour = flavour(service, node);
    let options = read(service, flavour, node);
    if options.file.is_none() {
        return;
    }
    let is_galera = service.kind == "galera" || galera::is_on(&options);
    if is_galera {
        galera::check(scope, &options, node, findings);
    }
    let sets = SetByAgent::of(service);
    durability(&options, flavour, is_galera, sets, findings);
    semi_sync(&options, sets, findings);
    if service.has_copies && !is_galera {
        replication(&options, flavour, sets, findings);
    }
    if service.has_copies || is_galera || service.is_addressed {
        reach(&options, is_galera || service.has_copies, findings);
    }
}

/// The options that apply to a server.
#[must_use]
pub fn read(service: &Service, flavour: Flavour, node: &Node<'_>) -> Options {
    let given = service
        .argument(&["--defaults-file"])
        .or(service.params.get("defaults_file").map(String::as_str));
    match given {
        Some(file) => Options::read(&[file], flavour, node),
        None => Options::read(&FILES, flavour, node),
    }
}

/// Which of the two it is: by what is started, else by what is installed.
#[must_use]
pub fn flavour(service: &Service, node: &Node<'_>) -> Flavour {
    let program = service.command.first().map(String::as_str).unwrap_or_default();
    let unit = service.unit.as_deref().unwrap_or_default();
    let is_named = program.contains("mariadb") || unit.starts_with("mariadb") || service.kind == "galera";
    if is_named || node.exists("/usr/sbin/mariadbd") {
        Flavour::MariaDb
    } else {
        Flavour::MySql
    }
}

/// What the agent of type `mysqld` sets itself in the running server, whatever the files say: at each start in replication mode,
/// before anybody may write. Of that there is nothing to warn.
#[derive(Clone, Copy, Debug, Default)]
struct SetByAgent {
    /// A number of its own where the server has 1, and everything of semi-synchronous replication.
    replication: bool,
    /// `sync_binlog` and `innodb_flush_log_at_trx_commit`; not with `durability = "as-configured"`.
    durability: bool,
}

impl SetByAgent {
    fn of(service: &Service) -> SetByAgent {
        let is = |key: &str, value: &str| service.params.get(key).is_some_and(|given| given.trim() == value);
        let replication = service.kind == "mysqld" && is("mode", "replication");
        SetByAgent {
            replication,
            durability: replication && !is("durability", "as-configured"),
        }
    }
}

fn durability(
    options: &Options,
    flavour: Flavour,
    is_galera: bool,
    sets: SetByAgent,
    findings: &mut Vec<Finding>,
) {
    if sets.durability {
        return;
    }
    if let Some(flush) = options.get(&["innodb_flush_log_at_trx_commit"])
        && !matches!(flush.text(), "1" | "3")
    {
        let why = if is_galera {
            "what was acknowledged within the last second is lost when all nodes lose power together"
        } else {
            "what was acknowledged within the last second is lost when this node loses power"
        };
        findings.push(flush.place.finding(
            "database-flush",
            format!("innodb_flush_log_at_trx_commit = {}", shown(flush.text())),
            why,
            "write innodb_flush_log_at_trx_commit = 1",
        ));
    }
    // MySQL writes a binary log unless it is told not to, and syncs it with each commit.
    let log = options.get(&["log_bin"]);
    let writes_log = log.map_or(flavour == Flavour::MySql, |setting| {
        setting.value.is_none() || setting.text() != "OFF"
    });
    let sync = options.get(&["sync_binlog"]);
    let synced = sync.map_or(flavour == Flavour::MySql, |setting| setting.text() == "1");
    if writes_log && !synced {
        let place = sync.map_or_else(|| options.place(), |setting| setting.place.clone());
        let what = sync.map_or(
            "sync_binlog is not set, and 0 for MariaDB".to_owned(),
            |setting| format!("sync_binlog = {}", shown(setting.text())),
        );
        findings.push(place.finding(
            "database-sync-binlog",
            what,
            "after a power loss the binary log lacks what was acknowledged, so the other node lacks it too, or has what this \
             one lost",
            "write sync_binlog = 1",
        ));
    }
}

/// Semi-synchronous replication whose wait ends by itself: from then on the primary acknowledges alone, and nobody is told.
fn semi_sync(options: &Options, sets: SetByAgent, findings: &mut Vec<Finding>) {
    if sets.replication {
        return;
    }
    for (enabled, timeout) in [
        ("rpl_semi_sync_master_enabled", "rpl_semi_sync_master_timeout"),
        ("rpl_semi_sync_source_enabled", "rpl_semi_sync_source_timeout"),
    ] {
        let set = options.get(&[timeout]);
        if !options.is_on(&[enabled]) && set.is_none() {
            continue;
        }
        let wait_ms = set.and_then(|setting| setting.text().parse::<u64>().ok());
        if wait_ms.is_some_and(|wait_ms| wait_ms >= SEMI_SYNC_MS_MIN) {
            continue;
        }
        let place = set
            .or(options.get(&[enabled]))
            .map_or_else(|| options.place(), |setting| setting.place.clone());
        let what = set.map_or(format!("{timeout} is not set, and 10000 ms"), |setting| {
            format!("{timeout} = {} (ms)", shown(setting.text()))
        });
        findings.push(place.finding(
            "database-semi-sync-timeout",
            what,
            "after that time the primary acknowledges without the replica and says so to nobody: a failover then loses \
             acknowledged transactions",
            format!("write {timeout} = 4294967295, and let Holdfast end the wait when the replica is proven gone"),
        ));
    }
}

fn replication(options: &Options, flavour: Flavour, sets: SetByAgent, findings: &mut Vec<Finding>) {
    let mut missing = |check, what: &str, why: &str, instead: &str| {
        findings.push(options.place().finding(check, what, why, instead));
    };
    match options.text(&["server_id"]) {
        // The number 1 gives way to that of the node.
        None if sets.replication => {}
        None => missing(
            "database-server-id",
            "server_id is not set, and 1 on both nodes",
            "a replica drops all that comes from a server with its own number",
            "write server_id = 1 on one node and server_id = 2 on the other",
        ),
        Some("0") => missing(
            "database-server-id",
            "server_id = 0",
            "a server with the number 0 refuses replicas",
            "write server_id = 1 on one node and server_id = 2 on the other",
        ),
        Some(_) => {}
    }
    let log = options.get(&["log_bin"]);
    let is_off = log.is_some_and(|setting| setting.text().eq_ignore_ascii_case("OFF"));
    if is_off || (log.is_none() && flavour == Flavour::MariaDb) {
        missing(
            "database-log-bin",
            "no binary log is written (log_bin)",
            "the other node can copy nothing from this one, and after a failover nothing goes back",
            "write log_bin = binlog",
        );
    }
    let read_only = ["super_read_only", "read_only"];
    if !read_only.iter().any(|name| options.is_on(&[name])) {
        missing(
            "database-read-only",
            "read_only is not on",
            "a node that comes back takes writes from its start until it is told not to, and these are on no other node",
            "write read_only = ON; the primary is told otherwise when it is promoted",
        );
    }
}

fn reach(options: &Options, has_peers: bool, findings: &mut Vec<Finding>) {
    let who = if has_peers {
        "the other node"
    } else {
        "a client that comes by the virtual address"
    };
    if let Some(skip) = options
        .get(&["skip_networking"])
        .filter(|setting| setting.is_on())
    {
        findings.push(skip.place.finding(
            "database-skip-networking",
            "skip_networking",
            format!("it listens on its socket only: {who} cannot reach it"),
            "remove it",
        ));
    }
    let Some(bind) = options.get(&["bind_address"]) else {
        return;
    };
    let mut addresses = bind.text().split(',').map(str::trim);
    if addresses.all(|address| matches!(address, "127.0.0.1" | "localhost" | "::1")) {
        findings.push(bind.place.finding(
            "database-loopback",
            format!("bind_address = {}", shown(bind.text())),
            format!("it listens on the loopback only: {who} cannot reach it"),
            "write bind_address = * , and let a firewall say who may come",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Memory;
    use crate::scope::tests::{scope, unit};

    fn names(files: &[(&str, &str)], scope: &Scope) -> Vec<&'static str> {
        let files = Memory::of(files);
        let mut findings = Vec::new();
        check(scope, &scope.services[0], &Node::new(&files), &mut findings);
        findings.iter().map(|finding| finding.check).collect()
    }

    #[test]
    fn settings_that_lose_what_was_acknowledged_are_named() {
        let scope = scope(&unit("mariadb"));
        let text = "[mysqld]\nlog_bin\ninnodb-flush-log-at-trx-commit = 2\n";
        assert_eq!(
            names(&[("/etc/my.cnf", text)], &scope),
            ["database-flush", "database-sync-binlog"]
        );
        let safe = "[mysqld]\nlog_bin\nsync_binlog=1\n";
        assert!(names(&[("/etc/my.cnf", safe)], &scope).is_empty());
        assert!(names(&[("/etc/my.cnf", "[mysqld]\nskip-log-bin\n")], &scope).is_empty());
        assert!(names(&[], &scope).is_empty(), "no file, no word");
    }

    #[test]
    fn a_semi_synchronous_wait_that_ends_by_itself_is_named() {
        let scope = scope(&unit("mysql"));
        let with = |more: &str| names(&[("/etc/mysql/my.cnf", &format!("[mysqld]\n{more}\n"))], &scope);
        let found = ["database-semi-sync-timeout"];
        assert_eq!(with("rpl_semi_sync_source_enabled = 1"), found);
        assert_eq!(with("rpl_semi_sync_source_timeout = 10000"), found);
        assert!(
            with("rpl_semi_sync_source_enabled = 1\nrpl_semi_sync_source_timeout = 4294967295").is_empty()
        );
    }

    #[test]
    fn members_of_a_replication_need_numbers_logs_and_read_only() {
        let mut scope = scope(&unit("mariadb"));
        scope.services[0].has_copies = true;
        let found = names(
            &[(
                "/etc/my.cnf",
                "[mysqld]\nbind-address = 127.0.0.1\nskip-networking\n",
            )],
            &scope,
        );
        assert_eq!(
            found,
            [
                "database-server-id",
                "database-log-bin",
                "database-read-only",
                "database-skip-networking",
                "database-loopback"
            ]
        );
        let good = "[mysqld]\nserver_id=1\nlog_bin=binlog\nsync_binlog=1\nread_only\nbind_address=*\n";
        assert!(names(&[("/etc/my.cnf", good)], &scope).is_empty());
    }

    #[test]
    fn what_the_agent_sets_itself_is_not_warned_of() {
        let with = |params: &str, text: &str| {
            let mut scope = scope(&format!(
                "[[group]]\nname = \"g\"\n[[group.resource]]\nname = \"db\"\ntype = \"mysqld\"\nunit = \"mariadb.service\"\n{params}"
            ));
            scope.services[0].has_copies = params.contains("replication");
            names(&[("/etc/my.cnf", &format!("[mysqld]\n{text}"))], &scope)
        };
        let replication = "mode = \"replication\"\nprivate_link = true\n";
        let bare = "log_bin = binlog\nread_only = ON\ninnodb_flush_log_at_trx_commit = 2\nrpl_semi_sync_master_enabled = ON\n";
        assert!(with(replication, bare).is_empty());
        // Still what it cannot set, or what would break its work.
        assert_eq!(
            with(replication, "server_id = 0\nread_only = ON\n"),
            ["database-server-id", "database-log-bin"]
        );
        let configured = format!("{replication}durability = \"as-configured\"\n");
        assert_eq!(
            with(&configured, bare),
            ["database-flush", "database-sync-binlog"]
        );
        assert_eq!(
            with("", bare),
            [
                "database-flush",
                "database-sync-binlog",
                "database-semi-sync-timeout"
            ]
        );
    }

    #[test]
    fn a_file_named_in_the_command_is_the_one_that_counts() {
        let scope = scope(
            "[[group]]\nname = \"g\"\n[[group.resource]]\nname = \"s\"\ntype = \"exec\"\n\
             command = [\"/usr/sbin/mariadbd\", \"--defaults-file=/srv/a.cnf\"]\n",
        );
        let files = [
            ("/etc/my.cnf", "[mysqld]\ninnodb_flush_log_at_trx_commit=0\n"),
            ("/srv/a.cnf", "[mysqld]\nport=3307\n"),
        ];
        assert!(names(&files, &scope).is_empty());
    }
}

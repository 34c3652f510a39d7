//! Galera: what would make a node found a cluster of its own.
//!
//! A node whose list of peers is empty does not join when it is restarted: it becomes the first member of a new cluster, takes
//! writes, and its data goes its own way. So that list belongs into the file, and founding a cluster is an order given once.

use crate::finding::{Finding, Place, shown};
use crate::node::Node;
use crate::options::{Options, Setting};
use crate::scope::Scope;

/// Debian's way to found a cluster: a file with variables for the next start. `galera_new_cluster` takes it away again.
const NEW_CLUSTER_FILE: &str = "/run/mariadb-wsrep-new-cluster";
/// A grastate.dat has a few lines.
const STATE_BYTES_MAX: usize = 4096;

/// What a node remembers of its place in the history of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The history: its cluster's uuid.
    pub uuid: String,
    /// The last transaction; None while it runs and after a crash (`-1`).
    pub seqno: Option<u64>,
    /// It was the last one to leave, so nothing is missing here.
    pub is_safe: bool,
    /// Line of `safe_to_bootstrap`.
    pub safe_line: Option<usize>,
}

impl State {
    /// Reads a grastate.dat. None when it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<State> {
        let mut state = State::default();
        for (index, line) in text.lines().enumerate() {
            let Some((key, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match key.trim() {
                "uuid" => value.clone_into(&mut state.uuid),
                "seqno" => state.seqno = value.parse().ok(),
                "safe_to_bootstrap" => {
                    state.is_safe = value == "1";
                    state.safe_line = Some(index + 1);
                }
                _ => {}
            }
        }
        let is_uuid = state.uuid.len() == 36 && state.uuid.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        (is_uuid && text.len() <= STATE_BYTES_MAX).then_some(state)
    }
}

/// Whether the files switch Galera on.
#[must_use]
pub fn is_on(options: &Options) -> bool {
    options.is_on(&["wsrep_on"])
}

/// Why a start with these options could found a cluster instead of joining one; None if it cannot.
#[must_use]
pub fn founding(options: &Options) -> Option<(&Setting, String)> {
    if let Some(new) = options
        .get(&["wsrep_new_cluster"])
        .filter(|setting| setting.is_on())
    {
        return Some((new, "wsrep_new_cluster".into()));
    }
    let address = options.get(&["wsrep_cluster_address"])?;
    names_nobody(address.text()).then(|| {
        (
            address,
            format!("wsrep_cluster_address = {:?}", shown(address.text())),
        )
    })
}

/// True for `gcomm://` without a host behind it.
fn names_nobody(address: &str) -> bool {
    let hosts = address.trim().strip_prefix("gcomm://");
    hosts.is_some_and(|rest| {
        let hosts = rest.split('?').next().unwrap_or_default();
        hosts.split(',').all(|host| host.trim().is_empty())
    })
}

/// Judges options, state file and what was left behind.
pub fn check(scope: &Scope, options: &Options, node: &Node<'_>, findings: &mut Vec<Finding>) {
    let data = options.text(&["datadir"]).filter(|path| path.starts_with('/'));
    let file = format!(
        "{}/grastate.dat",
        data.unwrap_or("/var/lib/mysql").trim_end_matches('/')
    );
    let state = node.text(&file).and_then(|text| State::parse(&text));
    let founding = founding(options);
    if let Some((setting, what)) = &founding {
        let why = match &state {
            Some(state) if !state.is_safe => {
                "when it is started next it founds a cluster of its own instead of joining the other node; as long as \
                 grastate.dat says safe_to_bootstrap: 0 Galera refuses that, and so it does not start at all"
            }
            _ => {
                "when it is restarted it founds a cluster of its own instead of joining the other node, and both take writes: \
                 the data splits"
            }
        };
        let check = "galera-empty-address";
        let gcomm = scope.gcomm();
        let instead = format!(
            "write wsrep_cluster_address = {gcomm}; a cluster is founded with `hactl galera bootstrap`"
        );
        findings.push(setting.place.finding(check, what.clone(), why, instead));
    } else if options.get(&["wsrep_cluster_address"]).is_none() {
        findings.push(options.place().finding(
            "galera-no-address",
            "wsrep_on is on and wsrep_cluster_address is not set",
            "the node joins nobody and takes no statement",
            format!("write wsrep_cluster_address = {}", scope.gcomm()),
        ));
    }
    if node
        .text(NEW_CLUSTER_FILE)
        .is_some_and(|text| text.contains("wsrep-new-cluster"))
    {
        findings.push(Place::file(NEW_CLUSTER_FILE).finding(
            "galera-new-cluster-left",
            "it was left behind by galera_new_cluster",
            "the next start of the unit founds a cluster of its own",
            format!("rm {NEW_CLUSTER_FILE}"),
        ));
    }
    provider(options, findings);
    if let Some(state) = state {
        judge_state(&state, &file, is_running(options, node), findings);
    }
}

fn provider(options: &Options, findings: &mut Vec<Finding>) {
    let Some(setting) = options.get(&["wsrep_provider_options"]) else {
        return;
    };
    for (option, why) in [
        ("pc.bootstrap", "each start makes a cluster of its own"),
        (
            "pc.ignore_quorum",
            "after a cut both sides go on and take writes: the data splits",
        ),
        (
            "pc.ignore_sb",
            "after a cut both sides go on and take writes: the data splits",
        ),
    ] {
        let pairs = setting.text().split(';').filter_map(|pair| pair.split_once('='));
        let mut values = pairs
            .filter(|(key, _)| key.trim() == option)
            .map(|(_, value)| value.trim());
        if let Some(value) = values.next_back().filter(|value| is_true(value)) {
            findings.push(setting.place.finding(
                "galera-provider-options",
                format!("wsrep_provider_options has {option} = {}", shown(value)),
                why,
                format!("take {option} out"),
            ));
        }
    }
}

fn is_true(value: &str) -> bool {
    matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

/// The position of a node that crashed is in its data, not in this file; so a file that says both was changed by hand, or the
/// node crashed alone.
fn judge_state(state: &State, file: &str, is_running: bool, findings: &mut Vec<Finding>) {
    if is_running || !state.is_safe || state.seqno.is_some() {
        return;
    }
    let place = state
        .safe_line
        .map_or_else(|| Place::file(file), |line| Place::line(file, line));
    findings.push(place.finding(
        "galera-safe-without-position",
        "safe_to_bootstrap: 1 with seqno: -1",
        "it did not end cleanly, or the file was changed by hand: whether this node has everything is not known, and it may \
         found a cluster without what only the other one has",
        "look at the positions of both nodes (`hactl galera position`) and bootstrap the further one (`hactl galera bootstrap`)",
    ));
}

/// Whether a server with these options runs here, by its pid file.
fn is_running(options: &Options, node: &Node<'_>) -> bool {
    let file = options.text(&["pid_file"]).unwrap_or("/run/mysqld/mysqld.pid");
    let pid = node.text(file).and_then(|text| text.trim().parse::<u32>().ok());
    pid.is_some_and(|pid| node.exists(&format!("/proc/{pid}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Memory;
    use crate::options::Flavour;
    use crate::scope::tests::{scope, unit};

    const ON: &str = "[galera]\nwsrep_on = ON\n";

    fn found(files: &[(&str, &str)]) -> Vec<Finding> {
        let files = Memory::of(files);
        let node = Node::new(&files);
        let options = Options::read(&["/etc/my.cnf"], Flavour::MariaDb, &node);
        let mut findings = Vec::new();
        check(&scope(&unit("mariadb")), &options, &node, &mut findings);
        findings
    }

    fn names(files: &[(&str, &str)]) -> Vec<&'static str> {
        found(files).iter().map(|finding| finding.check).collect()
    }

    #[test]
    fn an_empty_list_of_peers_is_named_with_its_line_and_what_to_write() {
        for address in [
            "gcomm://",
            "\"gcomm://\"",
            "gcomm://?pc.wait_prim=no",
            "gcomm:// , ",
        ] {
            let text = format!("{ON}wsrep_cluster_address = {address}\n");
            let findings = found(&[("/etc/my.cnf", &text)]);
            assert_eq!(findings.len(), 1, "{address}");
            assert_eq!(
                (findings[0].check, findings[0].line),
                ("galera-empty-address", Some(3))
            );
            assert!(
                findings[0].instead.contains("gcomm://10.0.0.1,10.0.0.2"),
                "{}",
                findings[0]
            );
        }
        let good = format!("{ON}wsrep_cluster_address = gcomm://10.0.0.1,10.0.0.2?gmcast.segment=1\n");
        assert!(found(&[("/etc/my.cnf", &good)]).is_empty());
        assert_eq!(names(&[("/etc/my.cnf", ON)]), ["galera-no-address"]);
        let new = format!("{good}wsrep-new-cluster\n");
        assert_eq!(names(&[("/etc/my.cnf", &new)]), ["galera-empty-address"]);
    }

    #[test]
    fn what_a_later_file_says_counts() {
        let files = [
            ("/etc/my.cnf", "!includedir /etc/d\n"),
            (
                "/etc/d/60-galera.cnf",
                "[galera]\nwsrep_on=ON\nwsrep_cluster_address=gcomm://10.0.0.1,10.0.0.2\n",
            ),
            (
                "/etc/d/70-pushed.cnf",
                "[mysqld]\nwsrep_cluster_address=gcomm://\n",
            ),
        ];
        let findings = found(&files);
        assert_eq!(
            (findings[0].file.as_str(), findings[0].line),
            ("/etc/d/70-pushed.cnf", Some(2))
        );
    }

    #[test]
    fn a_state_that_was_changed_by_hand_is_named_unless_it_runs() {
        let my = format!("{ON}wsrep_cluster_address = gcomm://10.0.0.1,10.0.0.2\n");
        let uuid = "6c1f2c9e-4a53-11ef-9a0b-5d7f3a1c8e42";
        let state = |seqno: i64, safe: u8| {
            format!(
                "# GALERA saved state\nversion: 2.1\nuuid:    {uuid}\nseqno:   {seqno}\nsafe_to_bootstrap: {safe}\n"
            )
        };
        let with = |text: &str| names(&[("/etc/my.cnf", &my), ("/var/lib/mysql/grastate.dat", text)]);
        assert_eq!(with(&state(-1, 1)), ["galera-safe-without-position"]);
        assert!(with(&state(17, 1)).is_empty());
        assert!(with(&state(-1, 0)).is_empty());
        let running = state(-1, 1);
        let files = [
            ("/etc/my.cnf", my.as_str()),
            ("/var/lib/mysql/grastate.dat", &running),
            ("/run/mysqld/mysqld.pid", "42\n"),
            ("/proc/42", ""),
        ];
        assert!(names(&files).is_empty());
        let parsed = State::parse(&state(17, 1)).unwrap();
        assert_eq!(
            (parsed.uuid.as_str(), parsed.seqno, parsed.is_safe),
            (uuid, Some(17), true)
        );
        assert_eq!(State::parse("uuid: x\nseqno: 4\n"), None);
    }

    #[test]
    fn leftovers_and_options_that_found_a_cluster_are_named() {
        let my = format!(
            "{ON}wsrep_cluster_address = gcomm://10.0.0.1\nwsrep_provider_options = \"gcache.size=1G; pc.ignore_quorum=true\"\n"
        );
        let left = "_WSREP_NEW_CLUSTER=--wsrep-new-cluster\n";
        let found = names(&[("/etc/my.cnf", &my), (NEW_CLUSTER_FILE, left)]);
        assert_eq!(found, ["galera-new-cluster-left", "galera-provider-options"]);
    }
}

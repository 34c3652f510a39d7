//! Parameters of the `mysqld` agent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::agent::{AgentError, AgentMeta, ParamMeta};
use crate::params::{Looks, Reader};

/// Where units are, the first that counts first.
const UNIT_FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Names of the unit in packages.
const UNITS: [&str; 2] = ["mariadb.service", "mysql.service"];

/// The agent's description.
pub const META: AgentMeta = AgentMeta {
    kind: "mysqld",
    summary: "runs MariaDB or MySQL: one server on the group's storage, or a primary and its replicas",
    params: &[
        ParamMeta::optional(
            "mode",
            "storage: one server on storage that follows the group; replication: a server on every node (default: storage)",
        ),
        ParamMeta::optional(
            "unit",
            "the systemd unit (default: the first there is of mariadb.service and mysql.service)",
        ),
        ParamMeta::optional(
            "command",
            "instead of a unit: the server's absolute path, then its arguments; no shell",
        ),
        ParamMeta::optional(
            "user",
            "the user that command runs as (default: had-agentd's own)",
        ),
        ParamMeta::optional("socket", "the server's socket (default: /run/mysqld/mysqld.sock)"),
        ParamMeta::optional("datadir", "its data directory (default: /var/lib/mysql)"),
        ParamMeta::optional("port", "the port of the servers of all nodes (default: 3306)"),
        ParamMeta::optional(
            "seed_port",
            "the port on which a primary of MariaDB sends its data to a node that is to be seeded (default: 4444)",
        ),
        ParamMeta::optional(
            "link",
            "which address of the other node replication uses, counted from 1 (default: 1)",
        ),
        ParamMeta::optional(
            "replication_user",
            "the account of replication, made by the agent, without a password (default: holdfast)",
        ),
        ParamMeta::optional(
            "tls_ca",
            "the authority that signed the certificates of all nodes, for replication",
        ),
        ParamMeta::optional("tls_cert", "this node's certificate for replication"),
        ParamMeta::optional("tls_key", "its key"),
        ParamMeta::optional(
            "private_link",
            "true: replicate without TLS, the account is limited to the nodes' addresses (default: false)",
        ),
        ParamMeta::optional(
            "durability",
            "full: sync_binlog = 1 and innodb_flush_log_at_trx_commit = 1 are set; as-configured (default: full)",
        ),
        ParamMeta::optional(
            "rejoin",
            "what becomes of transactions that only an old primary has: automatic, reclone or manual (default: automatic)",
        ),
        ParamMeta::optional("lag_alarm_s", "lag at which a replica warns (default: 60 s)"),
        ParamMeta::optional("probe_interval_ms", "pause between probes (default: 1000 ms)"),
        ParamMeta::optional("probe_timeout_ms", "how long a probe may take (default: 2000 ms)"),
        ParamMeta::optional("probe_failures", "so many failed probes (default: 3)"),
        ParamMeta::optional("probe_of", "of the last so many mean that it failed (default: 5)"),
    ],
};

/// One server on the group's storage, or a server on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No roles.
    Storage,
    /// Primary and replica.
    Replication,
}

/// What becomes of transactions that only an old primary has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejoin {
    /// They are cut off where the server can, else the data is cloned anew.
    Automatic,
    /// The data is cloned anew.
    Reclone,
    /// Nothing: the operator decides.
    Manual,
}

/// Who runs the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runner {
    /// This systemd unit.
    Unit(String),
    /// had-agentd: program and arguments, and the user.
    Command(Vec<String>, Option<String>),
}

/// Files of TLS between the nodes' servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authority.
    pub ca: PathBuf,
    /// Certificate of this node.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// How it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Probing {
    /// Pause.
    pub interval: Duration,
    /// Longest probe.
    pub timeout: Duration,
    /// What counts as failed.
    pub looks: Looks,
}

/// Checked parameters.
#[derive(Clone, Debug)]
pub struct Params {
    /// With or without roles.
    pub mode: Mode,
    /// Who runs the server.
    pub runner: Runner,
    /// Its socket.
    pub socket: PathBuf,
    /// Its data directory.
    pub datadir: PathBuf,
    /// The port of the servers of all nodes.
    pub port: u16,
    /// The port on which a primary sends its data to a node that is to be seeded.
    pub seed_port: u16,
    /// Index into the addresses of a peer.
    pub link: usize,
    /// Name of the account of replication.
    pub replication_user: String,
    /// Files of TLS between the nodes' servers; None on a private link.
    pub tls: Option<TlsFiles>,
    /// Every commit is synced to disk.
    pub durable: bool,
    /// What becomes of transactions that only an old primary has.
    pub rejoin: Rejoin,
    /// Lag at which a replica warns.
    pub lag_alarm: Duration,
    /// How often is looked, and what counts as failed.
    pub probing: Probing,
}

impl Params {
    /// Checks what was given.
    ///
    /// # Errors
    /// The first parameter that is wrong.
    pub fn read(params: &BTreeMap<String, String>) -> Result<Params, AgentError> {
        let given = Reader::new(META.kind, params);
        let mode = given.choice(
            "mode",
            &[("storage", Mode::Storage), ("replication", Mode::Replication)],
        )?;
        let probing = Probing {
            interval: given.millis("probe_interval_ms", 1..=u32::MAX, 1000)?,
            timeout: given.millis("probe_timeout_ms", 1..=u32::MAX, 2000)?,
            looks: given.looks()?,
        };
        let rejoin = [
            ("automatic", Rejoin::Automatic),
            ("reclone", Rejoin::Reclone),
            ("manual", Rejoin::Manual),
        ];
        let user = given.text("replication_user").unwrap_or("holdfast");
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if user.len() > 32 || !user.chars().all(plain) {
            return Err(given.wrong(format_args!(
                "replication_user {user:?}: an account has up to 32 letters, digits, `-`, `_` and `.`"
            )));
        }
        Ok(Params {
            mode,
            runner: runner(&given)?,
            socket: given
                .path("socket")?
                .unwrap_or_else(|| "/run/mysqld/mysqld.sock".into()),
            datadir: given.path("datadir")?.unwrap_or_else(|| "/var/lib/mysql".into()),
            port: given.port("port")?.unwrap_or(3306),
            seed_port: given.port("seed_port")?.unwrap_or(4444),
            link: given.number("link", 1..=8)?.unwrap_or(1usize) - 1,
            replication_user: user.to_owned(),
            tls: tls(&given, mode)?,
            durable: given.choice("durability", &[("full", true), ("as-configured", false)])?,
            rejoin: given.choice("rejoin", &rejoin)?,
            lag_alarm: Duration::from_secs(given.number("lag_alarm_s", 1..=u32::MAX)?.unwrap_or(60)),
            probing,
        })
    }
}

fn runner(given: &Reader) -> Result<Runner, AgentError> {
    let user = given.text("user").map(str::to_owned);
    match (given.text("unit"), given.text("command")) {
        (Some(_), Some(_)) => Err(given.wrong("it takes a unit or a command, not both")),
        (None, Some(command)) => Ok(Runner::Command(
            command.split('\n').map(str::to_owned).collect(),
            user,
        )),
        (unit, None) if user.is_none() => Ok(Runner::Unit(unit.map_or_else(unit_of_package, str::to_owned))),
        _ => Err(given.wrong("`user` is for `command` only; a unit names its user itself")),
    }
}

/// The first unit that is installed; without any the first name, whose start then says that it is absent.
fn unit_of_package() -> String {
    let installed = |unit: &&str| {
        UNIT_FOLDERS
            .iter()
            .any(|folder| Path::new(folder).join(unit).exists())
    };
    UNITS.into_iter().find(installed).unwrap_or(UNITS[0]).to_owned()
}

fn tls(given: &Reader, mode: Mode) -> Result<Option<TlsFiles>, AgentError> {
    let private = given.choice("private_link", &[("false", false), ("true", true)])?;
    let files = (
        given.path("tls_ca")?,
        given.path("tls_cert")?,
        given.path("tls_key")?,
    );
    match (files, private) {
        ((Some(ca), Some(cert), Some(key)), false) => Ok(Some(TlsFiles { ca, cert, key })),
        ((None, None, None), true) => Ok(None),
        ((None, None, None), false) if mode == Mode::Storage => Ok(None),
        (_, true) => {
            Err(given.wrong("private_link = true means no TLS: leave out tls_ca, tls_cert and tls_key"))
        }
        _ => Err(given.wrong(
            "replication needs tls_ca, tls_cert and tls_key; on a link that only the nodes share, \
             private_link = true does without",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Params, AgentError> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Params::read(&pairs.iter().map(owned).collect())
    }

    #[test]
    fn nothing_need_be_said_for_storage_mode() {
        let params = read(&[]).unwrap();
        assert_eq!(params.mode, Mode::Storage);
        assert_eq!(params.socket, Path::new("/run/mysqld/mysqld.sock"));
        assert!(matches!(params.runner, Runner::Unit(_)));
        assert_eq!((params.port, params.link), (3306, 0));
    }

    #[test]
    fn replication_needs_tls_or_a_private_link() {
        let mode = ("mode", "replication");
        assert!(read(&[mode]).unwrap_err().0.contains("private_link"));
        assert!(read(&[mode, ("private_link", "true")]).unwrap().tls.is_none());
        let files = [mode, ("tls_ca", "/a"), ("tls_cert", "/b"), ("tls_key", "/c")];
        assert!(read(&files).unwrap().tls.is_some());
        assert!(read(&files[..3]).is_err());
        assert!(read(&[mode, ("private_link", "true"), ("tls_ca", "/a")]).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |pairs: &[(&str, &str)]| read(pairs).unwrap_err().0;
        assert!(error(&[("mode", "both")]).contains("mode is storage or replication"));
        assert!(error(&[("port", "70000")]).contains("port"));
        assert!(error(&[("link", "0")]).contains("link"));
        assert!(error(&[("socket", "x.sock")]).contains("absolute"));
        assert!(error(&[("probe_failures", "6"), ("probe_of", "5")]).contains("larger"));
        assert!(error(&[("unit", "a.service"), ("command", "/x")]).contains("not both"));
        assert!(error(&[("unit", "a.service"), ("user", "mysql")]).contains("for `command` only"));
        assert!(error(&[("replication_user", "a b")]).contains("account"));
    }
}

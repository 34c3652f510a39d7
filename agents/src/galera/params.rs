//! Parameters of the `galera` agent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::agent::{AgentError, AgentMeta, ParamMeta};
use crate::mysqld::params as mysqld;
use crate::params::Reader;

/// The agent's description.
pub const META: AgentMeta = AgentMeta {
    kind: "galera",
    summary: "runs a member of a Galera cluster on every node, and founds the cluster once, on one",
    params: &[
        ParamMeta::optional(
            "command",
            "the server's absolute path, then its arguments; no shell (default: /usr/sbin/mariadbd)",
        ),
        ParamMeta::optional("user", "the user it runs as (default: mysql)"),
        ParamMeta::optional("socket", "its socket (default: /run/mysqld/mysqld.sock)"),
        ParamMeta::optional("datadir", "its data directory (default: /var/lib/mysql)"),
        ParamMeta::optional(
            "port",
            "the port of Galera's own traffic, on every node the same (default: 4567)",
        ),
        ParamMeta::optional(
            "link",
            "which address of the nodes Galera uses, counted from 1 (default: 1)",
        ),
        ParamMeta::optional(
            "probe_interval_ms",
            "pause between looks at the server (default: 500 ms)",
        ),
        ParamMeta::optional("probe_timeout_ms", "how long one may take (default: 5000 ms)"),
    ],
};

/// Option files of MariaDB when the command names none.
const OPTION_FILES: [&str; 2] = ["/etc/my.cnf", "/etc/mysql/my.cnf"];

/// Checked parameters.
#[derive(Clone, Debug)]
pub struct Params {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Who it runs as.
    pub user: String,
    /// Its socket.
    pub socket: PathBuf,
    /// Its data directory.
    pub datadir: PathBuf,
    /// Port of Galera.
    pub port: u16,
    /// Index into the addresses of a node.
    pub link: usize,
    /// Pause between looks.
    pub interval: Duration,
    /// Time for one.
    pub timeout: Duration,
}

impl Params {
    /// Checks them.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn read(given: &BTreeMap<String, String>) -> Result<Params, AgentError> {
        META.check_keys(given)?;
        let read = Reader::new(META.kind, given);
        let path =
            |key: &str, default: &str| Ok::<_, AgentError>(read.path(key)?.unwrap_or_else(|| default.into()));
        let command = read.text("command").unwrap_or("/usr/sbin/mariadbd");
        let command: Vec<String> = command.lines().map(str::to_owned).collect();
        if !command.first().is_some_and(|program| program.starts_with('/')) {
            return Err(read.wrong("the command does not begin with an absolute path"));
        }
        // What decides who founds a cluster is the agent's: an argument of the operator's would come in between.
        for word in &command[1..] {
            let name = word.replace('_', "-");
            if name.starts_with("--wsrep-cluster-address") || name.starts_with("--wsrep-new-cluster") {
                return Err(read.wrong(format_args!(
                    "{word} does not belong into the command: the agent says where to join, and founding a \
                     cluster is decided in the register"
                )));
            }
        }
        Ok(Params {
            command,
            user: read.text("user").unwrap_or("mysql").to_owned(),
            socket: path("socket", "/run/mysqld/mysqld.sock")?,
            datadir: path("datadir", "/var/lib/mysql")?,
            port: read.port("port")?.unwrap_or(4567),
            link: read.number("link", 1..=8)?.unwrap_or(1usize) - 1,
            interval: read.millis("probe_interval_ms", 1..=60_000, 500)?,
            timeout: read.millis("probe_timeout_ms", 1..=60_000, 5000)?,
        })
    }

    /// The same process for the agent that runs servers, with these arguments after the operator's own.
    ///
    /// # Errors
    /// It refuses them.
    pub fn runner(&self) -> Result<mysqld::Params, AgentError> {
        mysqld::Params::read(&BTreeMap::from([
            ("command".to_owned(), self.command.join("\n")),
            ("user".to_owned(), self.user.clone()),
            ("socket".to_owned(), self.socket.display().to_string()),
            ("datadir".to_owned(), self.datadir.display().to_string()),
        ]))
    }

    /// The option files that the server reads.
    #[must_use]
    pub fn option_files(&self) -> Vec<String> {
        for word in &self.command[1..] {
            if word == "--no-defaults" {
                return Vec::new();
            }
            if let Some(file) = word.strip_prefix("--defaults-file=") {
                return vec![file.to_owned()];
            }
        }
        OPTION_FILES.map(str::to_owned).to_vec()
    }

    /// The server's program.
    #[must_use]
    pub fn program(&self) -> &Path {
        Path::new(&self.command[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_defaults_and_founding_is_no_argument() {
        let read = |pairs: &[(&str, &str)]| {
            let given = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            Params::read(&given.collect())
        };
        let params = read(&[]).unwrap();
        assert_eq!(
            (params.port, params.link, params.user.as_str()),
            (4567, 0, "mysql")
        );
        assert_eq!(params.option_files(), OPTION_FILES);
        let own = read(&[("command", "/usr/sbin/mariadbd\n--defaults-file=/srv/a.cnf")]).unwrap();
        assert_eq!(own.option_files(), ["/srv/a.cnf"]);
        for words in ["--wsrep-new-cluster", "--wsrep_cluster_address=gcomm://"] {
            let refused = read(&[("command", &format!("/usr/sbin/mariadbd\n{words}"))]).unwrap_err();
            assert!(
                refused.0.contains("does not belong into the command"),
                "{refused}"
            );
        }
        assert!(read(&[("port", "0")]).is_err() && read(&[("socket", "x")]).is_err());
    }
}

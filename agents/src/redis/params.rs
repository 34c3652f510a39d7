//! Parameters of the `redis` agent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::client::{Login, Place};
use crate::agent::{AgentError, AgentMeta, ParamMeta};
use crate::params::{Looks, Reader, password};

/// The agent's description.
pub const META: AgentMeta = AgentMeta {
    kind: "redis",
    summary: "runs Redis or Valkey as primary and replica, without Sentinel",
    params: &[
        ParamMeta::optional(
            "unit",
            "its systemd unit: redis-server.service; this or `command`",
        ),
        ParamMeta::optional(
            "command",
            "redis-server's absolute path, then its arguments, as in `exec`",
        ),
        ParamMeta::optional("user", "with `command`: the user it runs as"),
        ParamMeta::optional("cwd", "with `command`: its working folder (default: /)"),
        ParamMeta::optional(
            "env",
            "with `command`: NAME=VALUE for each variable added to its environment",
        ),
        ParamMeta::optional(
            "config",
            "with `unit`: its configuration, which must include our file (default: /etc/redis/redis.conf)",
        ),
        ParamMeta::optional(
            "port",
            "the port it listens on, on every node the same (default: 6379)",
        ),
        ParamMeta::optional(
            "socket",
            "its unix socket, for our own commands (default: TCP on 127.0.0.1)",
        ),
        ParamMeta::optional(
            "username",
            "user of its access control lists, for us and between the copies (default: none)",
        ),
        ParamMeta::optional(
            "password_file",
            "file with its password, for us and between the copies (default: none)",
        ),
        ParamMeta::optional(
            "min_replicas",
            "in_sync: it takes no writes that the replica might miss; off: it does (default: in_sync)",
        ),
        ParamMeta::optional(
            "max_lag_s",
            "seconds a replica may be silent before it counts no more (default: 5)",
        ),
        ParamMeta::optional(
            "sentinel_port",
            "answer Sentinel's clients on this port (default: do not)",
        ),
        ParamMeta::optional(
            "sentinel_name",
            "the name those clients know it by (default: mymaster)",
        ),
        ParamMeta::optional(
            "probe_timeout_ms",
            "milliseconds in which it must answer (default: 2000)",
        ),
        ParamMeta::optional(
            "probe_failures",
            "of the last `probe_of` looks, one a second, so many must fail (default: 3)",
        ),
        ParamMeta::optional("probe_of", "see `probe_failures` (default: 5)"),
    ],
};

/// What starts and stops the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runner {
    /// systemd: the unit and its configuration.
    Unit(PathBuf),
    /// had-agentd: the program and its arguments, and the folder it runs in.
    Command { words: Vec<String>, cwd: PathBuf },
}

/// Checked parameters.
#[derive(Clone, Debug)]
pub struct Params {
    pub runner: Runner,
    pub port: u16,
    pub socket: Option<PathBuf>,
    pub username: Option<String>,
    pub password_file: Option<PathBuf>,
    /// Writes wait for the copies that are to be whole.
    pub waits: bool,
    pub max_lag_s: u64,
    pub sentinel_port: Option<u16>,
    pub sentinel_name: String,
    pub probe_timeout: Duration,
    pub looks: Looks,
}

impl Params {
    pub fn read(params: &BTreeMap<String, String>) -> Result<Params, AgentError> {
        let read = Reader::new(META.kind, params);
        let runner = match (read.text("unit"), read.text("command")) {
            (Some(_), None) => {
                read.only_with(&["user", "cwd", "env"], "`command`; the unit has its own")?;
                let config = read.path("config")?;
                Runner::Unit(config.unwrap_or_else(|| "/etc/redis/redis.conf".into()))
            }
            (None, Some(command)) => {
                read.only_with(&["config"], "`unit`; name the file in `command`")?;
                Runner::Command {
                    words: command.lines().map(str::to_owned).collect(),
                    cwd: read.path("cwd")?.unwrap_or_else(|| "/".into()),
                }
            }
            _ => return Err(read.wrong("give `unit` or `command`, one of them")),
        };
        let waits = read.choice("min_replicas", &[("in_sync", true), ("off", false)])?;
        let sentinel_name = read.text("sentinel_name").unwrap_or("mymaster");
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
        if sentinel_name.len() > 64 || !sentinel_name.chars().all(plain) {
            return Err(read.wrong(format!(
                "sentinel_name {sentinel_name:?}: up to 64 letters, digits, dots, dashes and underscores"
            )));
        }
        Ok(Params {
            runner,
            port: read.port("port")?.unwrap_or(6379),
            socket: read.path("socket")?,
            username: read.text("username").map(str::to_owned),
            password_file: read.path("password_file")?,
            waits,
            max_lag_s: read.number("max_lag_s", 2..=3600)?.unwrap_or(5),
            sentinel_port: read.port("sentinel_port")?,
            sentinel_name: sentinel_name.to_owned(),
            probe_timeout: read.millis("probe_timeout_ms", 100..=60_000, 2000)?,
            looks: read.looks()?,
        })
    }

    /// Where its commands go.
    pub fn place(&self) -> Place {
        match &self.socket {
            Some(path) => Place::Unix(path.clone()),
            None => Place::Tcp(std::net::Ipv4Addr::LOCALHOST.into(), self.port),
        }
    }

    /// Reads the password, so that it stands nowhere else.
    pub async fn login(&self) -> Result<Login, AgentError> {
        let password = match &self.password_file {
            Some(file) => Some(password(file).await?),
            None => None,
        };
        Ok(Login {
            user: self.username.clone(),
            password,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Params, AgentError> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Params::read(&pairs.collect())
    }

    #[test]
    fn defaults_are_those_of_the_description() {
        let params = read(&[("unit", "redis-server.service")]).unwrap();
        assert_eq!(params.runner, Runner::Unit("/etc/redis/redis.conf".into()));
        assert_eq!((params.port, params.max_lag_s, params.waits), (6379, 5, true));
        assert_eq!((params.looks.failures, params.looks.of), (3, 5));
        assert_eq!(params.sentinel_port, None);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (pairs, said) in [
            (&[][..], "`unit` or `command`"),
            (&[("unit", "a.service"), ("command", "/b")][..], "one of them"),
            (
                &[("unit", "a.service"), ("user", "redis")][..],
                "goes with `command`",
            ),
            (&[("command", "/b"), ("config", "/c")][..], "goes with `unit`"),
            (&[("unit", "a.service"), ("port", "0")][..], "no number from 1"),
            (
                &[("unit", "a.service"), ("min_replicas", "1")][..],
                "is in_sync or off",
            ),
            (&[("unit", "a.service"), ("socket", "x")][..], "absolute"),
            (
                &[("unit", "a.service"), ("probe_failures", "9"), ("probe_of", "2")][..],
                "larger",
            ),
            (&[("unit", "a.service"), ("sentinel_name", "a b")][..], "letters"),
        ] {
            let error = read(pairs).map(|_| ()).unwrap_err();
            assert!(error.0.contains(said), "{error}");
        }
    }

    #[tokio::test]
    async fn a_password_is_read_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let path = file.display().to_string();
        let params = read(&[("command", "/b"), ("password_file", &path)]).unwrap();
        assert!(
            params
                .login()
                .await
                .map(|_| ())
                .unwrap_err()
                .0
                .contains("cannot read")
        );
        std::fs::write(&file, "  \n").unwrap();
        assert!(params.login().await.is_err());
        std::fs::write(&file, "hunter2\n").unwrap();
        assert_eq!(params.login().await.unwrap().password.as_deref(), Some("hunter2"));
    }
}

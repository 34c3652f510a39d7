//! Parameters of the `rabbitmq` agent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::amqp::Account;
use crate::agent::{AgentError, AgentMeta, ParamMeta};
use crate::params::{Looks, Reader, password};

/// Stands for the name of the node in `node_name`.
const NODE: &str = "{node}";

const fn optional(name: &'static str, help: &'static str) -> ParamMeta {
    ParamMeta {
        name,
        required: false,
        help,
    }
}

/// The agent's description.
pub const META: AgentMeta = AgentMeta {
    kind: "rabbitmq",
    summary: "runs a RabbitMQ broker, on storage that follows the group",
    params: &[
        ParamMeta {
            name: "node_name",
            required: true,
            help: "the broker's own name, the same wherever it runs: rabbit@NAME",
        },
        optional("unit", "its systemd unit (default: rabbitmq-server.service)"),
        optional(
            "command",
            "instead of a unit: rabbitmq-server's absolute path, then its arguments",
        ),
        optional("user", "with `command`: the user it runs as"),
        optional("cwd", "with `command`: its working folder (default: /)"),
        optional(
            "env",
            "with `command`: NAME=VALUE for each variable added to its environment",
        ),
        optional(
            "env_file",
            "with a unit: the file that sets NODENAME (default: /etc/rabbitmq/rabbitmq-env.conf)",
        ),
        optional(
            "data_dir",
            "where its databases are (default: /var/lib/rabbitmq/mnesia)",
        ),
        optional("address", "the address that is looked at (default: 127.0.0.1)"),
        optional("port", "the port of AMQP (default: 5672)"),
        optional(
            "management_port",
            "port of its management interface, which is looked at too (default: it is not)",
        ),
        optional(
            "username",
            "an account to look with (default: none, the handshake is enough)",
        ),
        optional("password_file", "file with that account's password"),
        optional("vhost", "the virtual host that the account opens (default: /)"),
        optional("probe_interval_ms", "milliseconds between looks (default: 5000)"),
        optional("probe_timeout_ms", "milliseconds a look may take (default: 5000)"),
        optional(
            "probe_failures",
            "of the last `probe_of` looks so many must fail (default: 3)",
        ),
        optional("probe_of", "see `probe_failures` (default: 5)"),
    ],
};

/// What starts and stops the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runner {
    /// systemd: the unit, and the file that sets the name.
    Unit(String, PathBuf),
    /// had-agentd.
    Command,
}

/// Checked parameters.
#[derive(Clone, Debug)]
pub struct Params {
    pub runner: Runner,
    pub node_name: String,
    pub data_dir: PathBuf,
    pub address: std::net::IpAddr,
    pub port: u16,
    pub management_port: Option<u16>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    vhost: String,
    pub probe_interval: Duration,
    pub probe_timeout: Duration,
    pub looks: Looks,
}

impl Params {
    pub fn read(params: &BTreeMap<String, String>) -> Result<Params, AgentError> {
        let read = Reader::new(META.kind, params);
        let runner = runner(&read)?;
        let node_name = read.text("node_name").unwrap_or_default().to_owned();
        check_node_name(&read, &node_name)?;
        let (username, password_file) = (read.text("username"), read.path("password_file")?);
        if username.is_some() != password_file.is_some() {
            return Err(read.wrong("`username` and `password_file` go together"));
        }
        let vhost = read.text("vhost").unwrap_or("/");
        if vhost.len() > 255 {
            return Err(read.wrong("`vhost` has more than 255 bytes"));
        }
        let address = read.text("address").unwrap_or("127.0.0.1");
        let address = address
            .parse()
            .map_err(|_| read.wrong(format!("address {address:?} is no IP address")))?;
        let millis = |key, default| read.millis(key, 100..=600_000, default);
        Ok(Params {
            runner,
            node_name,
            data_dir: read
                .path("data_dir")?
                .unwrap_or_else(|| "/var/lib/rabbitmq/mnesia".into()),
            address,
            port: read.port("port")?.unwrap_or(5672),
            management_port: read.port("management_port")?,
            username: username.map(str::to_owned),
            password_file,
            vhost: vhost.to_owned(),
            probe_interval: millis("probe_interval_ms", 5000)?,
            probe_timeout: millis("probe_timeout_ms", 5000)?,
            looks: read.looks()?,
        })
    }

    /// The host in the broker's name.
    pub fn host(&self) -> &str {
        self.node_name.split_once('@').map_or("", |(_, host)| host)
    }

    /// Reads the account's password, so that it stands nowhere else.
    pub async fn account(&self) -> Result<Option<Account>, AgentError> {
        let (Some(user), Some(file)) = (&self.username, &self.password_file) else {
            return Ok(None);
        };
        Ok(Some(Account {
            user: user.clone(),
            password: password(file).await?,
            vhost: self.vhost.clone(),
        }))
    }
}

/// One name for all nodes: the database is found by it.
fn check_node_name(read: &Reader, name: &str) -> Result<(), AgentError> {
    let plain = |text: &str, more: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    match name.split_once('@') {
        Some(_) if name.contains(NODE) => Err(read.wrong(format!(
            "node_name {name:?} must be the same on every node: the broker finds its database by it"
        ))),
        Some((own, host)) if plain(own, "_-") && plain(host, "_-.") && name.len() <= 255 => Ok(()),
        _ => Err(read.wrong(format!("node_name {name:?} is not of the form rabbit@NAME"))),
    }
}

fn runner(read: &Reader) -> Result<Runner, AgentError> {
    let only_with = |keys: &[&str], what: &str| match keys.iter().find(|key| read.text(key).is_some()) {
        Some(key) => Err(read.wrong(format!("`{key}` goes with {what}"))),
        None => Ok(()),
    };
    match (read.text("unit"), read.text("command")) {
        (Some(_), Some(_)) => Err(read.wrong("give `unit` or `command`, not both")),
        (None, Some(_)) => {
            only_with(&["env_file"], "a unit; set the environment with `env`")?;
            Ok(Runner::Command)
        }
        (unit, None) => {
            only_with(&["user", "cwd", "env"], "`command`; the unit has its own")?;
            let file = read.path("env_file")?;
            let file = file.unwrap_or_else(|| "/etc/rabbitmq/rabbitmq-env.conf".into());
            Ok(Runner::Unit(
                unit.unwrap_or("rabbitmq-server.service").to_owned(),
                file,
            ))
        }
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
        let params = read(&[("node_name", "rabbit@shop")]).unwrap();
        let file = "/etc/rabbitmq/rabbitmq-env.conf".into();
        assert_eq!(
            params.runner,
            Runner::Unit("rabbitmq-server.service".into(), file)
        );
        assert_eq!(
            (params.port, params.host(), params.vhost.as_str()),
            (5672, "shop", "/")
        );
        assert_eq!((params.looks.failures, params.looks.of), (3, 5));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let name = ("node_name", "rabbit@shop");
        for (pairs, said) in [
            (&[][..], "not of the form"),
            (&[("node_name", "shop")][..], "not of the form"),
            (&[("node_name", "rabbit@{node}")][..], "same on every node"),
            (&[name, ("unit", "a.service"), ("command", "/b")][..], "not both"),
            (&[name, ("user", "rabbitmq")][..], "goes with `command`"),
            (
                &[name, ("command", "/b"), ("env_file", "/c")][..],
                "goes with a unit",
            ),
            (&[name, ("username", "probe")][..], "go together"),
            (&[name, ("address", "localhost")][..], "no IP address"),
            (&[name, ("probe_timeout_ms", "1")][..], "no number from 100"),
            (&[name, ("probe_failures", "6"), ("probe_of", "5")][..], "larger"),
            (&[name, ("data_dir", "mnesia")][..], "absolute"),
        ] {
            let error = read(pairs).map(|_| ()).unwrap_err();
            assert!(error.0.contains(said), "{error}");
        }
    }

    #[tokio::test]
    async fn the_password_is_read_from_its_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let path = file.display().to_string();
        let pairs = [
            ("node_name", "rabbit@shop"),
            ("username", "probe"),
            ("password_file", &path),
        ];
        let params = read(&pairs).unwrap();
        assert!(
            params
                .account()
                .await
                .map(|_| ())
                .unwrap_err()
                .0
                .contains("cannot read")
        );
        std::fs::write(&file, "hunter2\n").unwrap();
        assert_eq!(params.account().await.unwrap().unwrap().password, "hunter2");
        assert!(!format!("{params:?}").contains("hunter2"));
    }
}

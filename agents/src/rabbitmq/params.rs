//! Parameters of the `rabbitmq` agent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::amqp::Account;
use crate::agent::{AgentError, AgentMeta, ParamMeta};
use crate::params::{Looks, Reader, password};

/// Stands for the name of the node in `node_name`.
const NODE: &str = "{node}";
/// What the brokers of a cluster prove to each other that they belong together with.
const COOKIE: &str = "/var/lib/rabbitmq/.erlang.cookie";

/// The agent's description.
pub const META: AgentMeta = AgentMeta {
    kind: "rabbitmq",
    summary: "runs a RabbitMQ broker, on storage that follows the group, or one on each node as a cluster",
    params: &[
        ParamMeta::required(
            "node_name",
            "the broker's own name: rabbit@NAME, the same wherever it runs; in cluster mode with {node} for the node's name",
        ),
        ParamMeta::optional(
            "mode",
            "storage: one broker, on storage that follows the group (default); cluster: one on each node",
        ),
        ParamMeta::optional(
            "third",
            "with mode = cluster: the name of a third broker, on the witness host (default: none)",
        ),
        ParamMeta::optional(
            "cookie_file",
            "with mode = cluster: Erlang's cookie (default: /var/lib/rabbitmq/.erlang.cookie)",
        ),
        ParamMeta::optional(
            "epmd_port",
            "with mode = cluster: the port of epmd (default: 4369)",
        ),
        ParamMeta::optional("unit", "its systemd unit (default: rabbitmq-server.service)"),
        ParamMeta::optional(
            "command",
            "instead of a unit: rabbitmq-server's absolute path, then its arguments",
        ),
        ParamMeta::optional("user", "with `command`: the user it runs as"),
        ParamMeta::optional("cwd", "with `command`: its working folder (default: /)"),
        ParamMeta::optional(
            "env",
            "with `command`: NAME=VALUE for each variable added to its environment",
        ),
        ParamMeta::optional(
            "env_file",
            "with a unit: the file that sets NODENAME (default: /etc/rabbitmq/rabbitmq-env.conf)",
        ),
        ParamMeta::optional(
            "data_dir",
            "where its databases are (default: /var/lib/rabbitmq/mnesia)",
        ),
        ParamMeta::optional("address", "the address that is looked at (default: 127.0.0.1)"),
        ParamMeta::optional("port", "the port of AMQP (default: 5672)"),
        ParamMeta::optional(
            "management_port",
            "port of its management interface, which is looked at too (default: it is not)",
        ),
        ParamMeta::optional(
            "username",
            "an account to look with (default: none, the handshake is enough)",
        ),
        ParamMeta::optional("password_file", "file with that account's password"),
        ParamMeta::optional("vhost", "the virtual host that the account opens (default: /)"),
        ParamMeta::optional(
            "probe_interval_ms",
            "milliseconds between looks (default: 5000, in cluster mode 1000)",
        ),
        ParamMeta::optional(
            "probe_timeout_ms",
            "milliseconds a look may take (default: 5000, in cluster mode 2000)",
        ),
        ParamMeta::optional(
            "probe_failures",
            "of the last `probe_of` looks so many must fail (default: 3)",
        ),
        ParamMeta::optional("probe_of", "see `probe_failures` (default: 5)"),
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

/// What is needed to be one broker of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// A broker on no data node.
    pub third: Option<String>,
    pub cookie_file: PathBuf,
    pub epmd_port: u16,
}

/// Checked parameters.
#[derive(Clone, Debug)]
pub struct Params {
    pub runner: Runner,
    /// None in storage mode.
    pub cluster: Option<Cluster>,
    /// May have [`NODE`] in it.
    node_name: String,
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
        let cluster = cluster(&read)?;
        check_node_name(&read, &node_name, cluster.is_some())?;
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
        // In a cluster it is the looks that find out that the other broker hangs.
        let (interval, timeout) = if cluster.is_some() {
            (1000, 2000)
        } else {
            (5000, 5000)
        };
        Ok(Params {
            runner,
            cluster,
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
            probe_interval: millis("probe_interval_ms", interval)?,
            probe_timeout: millis("probe_timeout_ms", timeout)?,
            looks: read.looks()?,
        })
    }

    /// The name of the broker on `node`; in storage mode it is the same on each.
    pub fn broker(&self, node: &str) -> String {
        self.node_name.replace(NODE, node)
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

fn cluster(read: &Reader) -> Result<Option<Cluster>, AgentError> {
    let is_cluster = read.choice("mode", &[("storage", false), ("cluster", true)])?;
    if !is_cluster {
        read.only_with(&["third", "cookie_file", "epmd_port"], "mode = \"cluster\"")?;
        return Ok(None);
    }
    let third = read.text("third").map(str::to_owned);
    if let Some(third) = third.as_ref().filter(|name| !is_plain_name(name)) {
        return Err(read.wrong(format!("third {third:?} is not of the form rabbit@NAME")));
    }
    Ok(Some(Cluster {
        third,
        cookie_file: read.path("cookie_file")?.unwrap_or_else(|| COOKIE.into()),
        epmd_port: read.port("epmd_port")?.unwrap_or(4369),
    }))
}

/// In storage mode one name for all nodes: the database is found by it. In a cluster each broker has its own.
fn check_node_name(read: &Reader, name: &str, is_cluster: bool) -> Result<(), AgentError> {
    let says_node = name.contains(NODE);
    if is_cluster && name.contains('@') && !says_node {
        return Err(read.wrong(format!(
            "node_name {name:?} would be the same on every node: in a cluster write rabbit@{NODE}"
        )));
    }
    if !is_cluster && says_node {
        return Err(read.wrong(format!(
            "node_name {name:?} must be the same on every node: the broker finds its database by it"
        )));
    }
    if is_plain_name(&name.replace(NODE, "n")) {
        Ok(())
    } else {
        Err(read.wrong(format!("node_name {name:?} is not of the form rabbit@NAME")))
    }
}

/// Nothing that would mean something to Erlang, or to a shell.
fn is_plain_name(name: &str) -> bool {
    let plain = |text: &str, more: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let parts = name.split_once('@');
    parts.is_some_and(|(own, host)| plain(own, "_-") && plain(host, "_-.")) && name.len() <= 255
}

fn runner(read: &Reader) -> Result<Runner, AgentError> {
    match (read.text("unit"), read.text("command")) {
        (Some(_), Some(_)) => Err(read.wrong("give `unit` or `command`, not both")),
        (None, Some(_)) => {
            read.only_with(&["env_file"], "a unit; set the environment with `env`")?;
            Ok(Runner::Command)
        }
        (unit, None) => {
            read.only_with(&["user", "cwd", "env"], "`command`; the unit has its own")?;
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
            (params.port, params.broker("n1").as_str(), params.vhost.as_str()),
            (5672, "rabbit@shop", "/")
        );
        assert_eq!((params.looks.failures, params.looks.of), (3, 5));
    }

    #[test]
    fn a_broker_of_a_cluster_has_the_name_of_its_node() {
        let pairs = [
            ("node_name", "rabbit@{node}"),
            ("mode", "cluster"),
            ("third", "rabbit@w"),
        ];
        let params = read(&pairs).unwrap();
        assert_eq!(params.broker("db1"), "rabbit@db1");
        let cluster = params.cluster.unwrap();
        assert_eq!(
            (cluster.third.as_deref(), cluster.epmd_port),
            (Some("rabbit@w"), 4369)
        );
        assert_eq!(params.probe_interval, Duration::from_secs(1));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let (name, each) = (("node_name", "rabbit@shop"), ("node_name", "rabbit@{node}"));
        for (pairs, said) in [
            (&[][..], "not of the form"),
            (&[("node_name", "shop")][..], "not of the form"),
            (&[("node_name", "rabbit@{node}")][..], "same on every node"),
            (
                &[name, ("mode", "cluster")][..],
                "in a cluster write rabbit@{node}",
            ),
            (&[name, ("third", "rabbit@w")][..], "goes with mode"),
            (&[name, ("mode", "mirror")][..], "is storage or cluster"),
            (&[each, ("mode", "cluster"), ("third", "a'b@c")][..], "third"),
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

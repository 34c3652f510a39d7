//! What has to be right on this node before the broker is started: its name leads to this node, its unit uses that name,
//! and its database is there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::params::{Params, Runner};
use crate::agent::AgentError;

/// What databases that were put aside are called, before their own name.
pub const ASIDE: &str = "aside-";
/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Refuses, in words, what would fail late or start an empty broker.
pub async fn check(params: &Params, broker: &str) -> Result<(), AgentError> {
    let host = broker.split_once('@').map_or("", |(_, host)| host);
    resolves_here(host).await?;
    if let Runner::Unit(_, file) = &params.runner {
        // What RabbitMQ calls a broker that nobody named.
        let machine = nix::unistd::gethostname().unwrap_or_default();
        let machine = machine.to_string_lossy();
        let unnamed = format!("rabbit@{}", machine.split('.').next().unwrap_or_default());
        if params.cluster.is_none() || broker != unnamed {
            names_the_broker(file, broker).await?;
        }
    }
    has_no_other_database(&params.data_dir, broker).await
}

/// Erlang resolves the host in the broker's name, and listens there. It must be this node, on every node: so the name
/// belongs into each one's /etc/hosts.
async fn resolves_here(host: &str) -> Result<(), AgentError> {
    let hint = format!("put the line `127.0.0.1 {host}` into /etc/hosts, on every node");
    let found = tokio::net::lookup_host((host, 0)).await;
    let found: Vec<IpAddr> = found
        .map_err(|error| {
            AgentError(format!(
                "the name {host} of the broker does not resolve ({error}): {hint}"
            ))
        })?
        .map(|address| address.ip())
        .collect();
    for address in &found {
        if tokio::net::TcpListener::bind(SocketAddr::new(*address, 0))
            .await
            .is_ok()
        {
            return Ok(());
        }
    }
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    Err(AgentError(format!(
        "the name {host} of the broker is {} here, which is no address of this node: {hint}",
        found.join(", ")
    )))
}

/// A unit takes the broker's name from a file; by default it is the node's, which differs.
async fn names_the_broker(file: &Path, name: &str) -> Result<(), AgentError> {
    let text = match tokio::fs::metadata(file).await {
        Ok(found) if found.len() <= FILE_BYTES_MAX => tokio::fs::read(file).await,
        Ok(_) => Err(io::Error::other("it is too large")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let shown = file.display();
    let text = text.map_err(|error| AgentError(format!("cannot read {shown}: {error}")))?;
    match node_name(&String::from_utf8_lossy(&text)) {
        Some(found) if found == name => Ok(()),
        Some(found) => Err(AgentError(format!(
            "{shown} names the broker {found}, the resource {name}: they must be the same, on every node"
        ))),
        None => Err(AgentError(format!(
            "{shown} must have the line `NODENAME={name}`, on every node: else the broker is called after its node and does not \
             find the database of the other"
        ))),
    }
}

/// The last word counts, as in a shell.
fn node_name(text: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = line.split_once('=')?;
        let known = matches!(key, "NODENAME" | "RABBITMQ_NODENAME");
        known.then(|| {
            value
                .split('#')
                .next()
                .unwrap_or_default()
                .trim()
                .trim_matches(['"', '\''])
        })
    });
    lines
        .next_back()
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

/// A database of another name means that this one would begin empty beside it. It is not touched, and not renamed: only an
/// operator knows which is right.
async fn has_no_other_database(folder: &Path, name: &str) -> Result<(), AgentError> {
    if tokio::fs::metadata(folder.join(name)).await.is_ok() {
        return Ok(());
    }
    let Ok(mut entries) = tokio::fs::read_dir(folder).await else {
        return Ok(()); // There is none yet.
    };
    while let Ok(Some(entry)) = entries.next_entry().await {
        let other = entry.file_name().to_string_lossy().into_owned();
        let is_database = other.contains('@') && entry.file_type().await.is_ok_and(|kind| kind.is_dir());
        if is_database && !other.ends_with("-plugins-expand") && !other.starts_with(ASIDE) {
            return Err(AgentError(format!(
                "{} has a database of {other} and none of {name}: the broker would begin empty. Set node_name to {other}, \
                 or, if that one is not needed any more, move it away by hand",
                folder.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_read_as_a_shell_would() {
        for (text, name) in [
            ("NODENAME=rabbit@shop", Some("rabbit@shop")),
            (
                "# NODENAME=a@b\nRABBITMQ_NODENAME=\"rabbit@shop\"\n",
                Some("rabbit@shop"),
            ),
            ("export NODENAME=a@b\nNODENAME='c@d' # new", Some("c@d")),
            ("NODE_PORT=5672", None),
            ("NODENAME=", None),
        ] {
            assert_eq!(node_name(text).as_deref(), name, "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_must_lead_here() {
        assert_eq!(resolves_here("localhost").await, Ok(()));
        let absent = resolves_here("no-such-name.invalid").await.unwrap_err().0;
        assert!(absent.contains("/etc/hosts"), "{absent}");
        let elsewhere = resolves_here("192.0.2.1").await.unwrap_err().0;
        assert!(elsewhere.contains("no address of this node"), "{elsewhere}");
    }

    #[tokio::test]
    async fn a_unit_of_another_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("env.conf");
        let said = |result: Result<(), AgentError>| result.unwrap_err().0;
        assert!(said(names_the_broker(&file, "rabbit@shop").await).contains("must have the line"));
        std::fs::write(&file, "NODENAME=rabbit@db1\n").unwrap();
        assert!(said(names_the_broker(&file, "rabbit@shop").await).contains("names the broker rabbit@db1"));
        std::fs::write(&file, "NODENAME=rabbit@shop\n").unwrap();
        assert_eq!(names_the_broker(&file, "rabbit@shop").await, Ok(()));
    }

    #[tokio::test]
    async fn a_database_of_another_name_is_left_alone_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(
            has_no_other_database(&path.join("absent"), "rabbit@shop").await,
            Ok(())
        );
        assert_eq!(has_no_other_database(path, "rabbit@shop").await, Ok(()));
        std::fs::create_dir(path.join("aside-1.rabbit@shop")).unwrap();
        assert_eq!(has_no_other_database(path, "rabbit@shop").await, Ok(()));
        std::fs::create_dir(path.join("rabbit@db1")).unwrap();
        let told = has_no_other_database(path, "rabbit@shop").await.unwrap_err().0;
        assert!(told.contains("a database of rabbit@db1"), "{told}");
        std::fs::create_dir(path.join("rabbit@shop")).unwrap();
        assert_eq!(has_no_other_database(path, "rabbit@shop").await, Ok(()));
    }
}

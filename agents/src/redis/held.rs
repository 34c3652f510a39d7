//! How a Redis is kept from doing harm before it is promoted: it starts *held*.
//!
//! Redis has no state between "replica" and "takes writes", and replicas connect by themselves with whatever answers at
//! their primary's address. So a primary that comes back empty would wipe its replica within a second, long before
//! anybody could look. Held, it is a replica of an address where nobody listens:
//!
//! - it refuses writes, because replicas are read only;
//! - it refuses copies ("Can't SYNC while not connected with my master"), so nothing of it gets to anybody;
//! - should it become a master by itself or by somebody's hand, it still refuses writes: it demands more replicas than can
//!   exist.
//!
//! This has to be true from the first moment on, also when systemd restarts the unit by itself. So it stands in the
//! command line, or in a file that the service's own configuration includes.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::agent::AgentError;

/// Where nobody listens.
pub const HOST: &str = "127.0.0.1";
/// See [`HOST`].
pub const PORT: u16 = 1;
/// Replicas that a held Redis demands before it takes a write: the largest number it can be given.
pub const REPLICAS: u32 = 2_147_483_647;
/// Where the files are.
const FOLDER: &str = "/run/holdfast-redis";
/// Longest configuration that is read.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// The settings, as pairs.
fn settings() -> [(&'static str, String); 4] {
    [
        // By itself a primary waits five seconds for more replicas that want a copy. There are none.
        ("repl-diskless-sync-delay", "0".to_owned()),
        ("replicaof", format!("{HOST} {PORT}")),
        ("replica-read-only", "yes".to_owned()),
        ("min-replicas-to-write", REPLICAS.to_string()),
    ]
}

/// What is added to a command, joined with newlines as the command is.
pub fn arguments() -> String {
    let mut words = vec!["--daemonize".to_owned(), "no".to_owned()];
    for (key, value) in settings() {
        words.push(format!("--{key}"));
        words.extend(value.split(' ').map(str::to_owned));
    }
    words.join("\n")
}

/// The file that a unit's configuration includes.
pub fn file(group: &str, resource: &str) -> PathBuf {
    Path::new(FOLDER).join(format!("{group}.{resource}.conf"))
}

/// Writes the file, readable for the service.
pub async fn write(path: &Path) -> Result<(), AgentError> {
    let mut text =
        String::from("# Written by had-agentd. Held until it is promoted; see docs/agents/redis.md.\n");
    for (key, value) in settings() {
        text.push_str(&format!("{key} {value}\n"));
    }
    put(path, &text)
        .await
        .map_err(|error| AgentError(format!("cannot write {}: {error}", path.display())))
}

async fn put(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    tokio::fs::create_dir_all(folder).await?;
    tokio::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).await?;
    let draft = path.with_extension("draft");
    tokio::fs::write(&draft, text).await?;
    tokio::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o644)).await?;
    tokio::fs::rename(&draft, path).await
}

/// Refuses a configuration that does not include `file` as its last word on these settings: a service that is started
/// with it would be a primary from the first moment on.
pub async fn check_included(config: &Path, file: &Path) -> Result<(), AgentError> {
    let shown = config.display();
    let unread = |error: io::Error| {
        AgentError(format!(
            "cannot read {shown}: {error}; `config` must name the configuration of the unit"
        ))
    };
    let length = tokio::fs::metadata(config).await.map_err(unread)?.len();
    if length > CONFIG_BYTES_MAX {
        return Err(AgentError(format!(
            "{shown} has {length} bytes: that is no configuration"
        )));
    }
    let text = tokio::fs::read(config).await.map_err(unread)?;
    if is_included(&String::from_utf8_lossy(&text), file) {
        return Ok(());
    }
    Err(AgentError(format!(
        "{shown} must end with the line `include {}`: without it this Redis would take writes, and could wipe its replica, \
         before it is promoted",
        file.display()
    )))
}

/// True when `file` is included, and none of the settings follows.
fn is_included(config: &str, file: &Path) -> bool {
    let mut included = false;
    for line in config.lines() {
        let mut words = line.split_whitespace();
        let key = words.next().unwrap_or_default().to_ascii_lowercase();
        let value = words.next().unwrap_or_default().trim_matches(['"', '\'']);
        let overridden = settings().iter().any(|(setting, _)| key == *setting)
            || matches!(
                key.as_str(),
                "slaveof" | "slave-read-only" | "min-slaves-to-write"
            );
        if key == "include" && Path::new(value) == file {
            included = true;
        } else if overridden {
            included = false;
        }
    }
    included
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_include_must_be_the_last_word() {
        let file = file("cache", "redis");
        let line = format!("include {}", file.display());
        for (config, good) in [
            (format!("port 6379\n{line}\n"), true),
            (format!("replicaof 10.0.0.1 6379\n{line}"), true),
            (format!("INCLUDE \"{}\"", file.display()), true),
            (format!("{line}\nslaveof 10.0.0.1 6379"), false),
            (format!("{line}\nMin-Replicas-To-Write 0"), false),
            (format!("# {line}"), false),
            ("include /etc/redis/other.conf".into(), false),
            (String::new(), false),
        ] {
            assert_eq!(is_included(&config, &file), good, "{config}");
        }
    }

    #[test]
    fn a_command_is_held_by_its_last_words() {
        let words = arguments();
        assert!(words.contains("--replicaof\n127.0.0.1\n1\n"), "{words}");
        assert!(words.ends_with("--min-replicas-to-write\n2147483647"), "{words}");
    }

    #[tokio::test]
    async fn the_file_can_be_read_by_the_service() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in/group.redis.conf");
        write(&path).await.unwrap();
        write(&path).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        let config = folder.path().join("redis.conf");
        assert!(
            check_included(&config, &path)
                .await
                .unwrap_err()
                .0
                .contains("cannot read")
        );
        std::fs::write(&config, "port 1").unwrap();
        let refused = check_included(&config, &path).await.unwrap_err().0;
        assert!(refused.contains("must end with the line `include"), "{refused}");
    }
}

//! What a server must be before it is shown to anybody in replication mode: it takes no writes, and can replicate.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::client::{Client, SqlError};
use super::semi_sync;
use super::sessions;
use super::site::{self, Site};
use crate::agent::AgentError;

/// Seconds without a word of the primary after which a replica connects anew.
const NET_TIMEOUT_S: u32 = 10;
/// So many looks at sessions that are to end ...
const LOOKS: u32 = 3;
/// ... with this pause.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Makes it read-only first, then sets what replication needs.
///
/// # Errors
/// It is not made for replication; each reason names the setting.
pub async fn unpromoted(client: &mut Client, site: &Site) -> Result<(), AgentError> {
    client.server().check().map_err(AgentError)?;
    let wrong = |error: SqlError| site::failed("cannot prepare the server for replication", &error);
    let was_read_only = site::is_read_only(client).await.map_err(wrong)?;
    read_only(client).await.map_err(wrong)?;
    if !was_read_only {
        let text = "the server took writes from its start on until it was stopped from that: set read_only = ON in its configuration";
        site.events.note("warn", "mysqld-read-only", text);
        sessions::end(client, &site.params, &[]).await.map_err(wrong)?;
    }
    check(client).await?;
    plugins(client).await.map_err(wrong)?;
    settings(client, site).await.map_err(wrong)
}

/// No client writes from here on. On MySQL not even an administrator.
///
/// # Errors
/// No answer.
pub async fn read_only(client: &mut Client) -> Result<(), SqlError> {
    let name = client.server().read_only();
    client.run(&format!("SET GLOBAL {name}=ON")).await
}

/// Settings that can only be made in the configuration.
async fn check(client: &mut Client) -> Result<(), AgentError> {
    let needed: &[(&str, &str)] = if client.server().mariadb {
        &[("log_bin", "1"), ("log_slave_updates", "1")]
    } else {
        &[
            ("log_bin", "1"),
            ("log_replica_updates", "1"),
            ("gtid_mode", "ON"),
        ]
    };
    let mut missing = Vec::new();
    for (name, value) in needed {
        let found = client.value(&format!("SELECT @@GLOBAL.{name}")).await;
        let found = found.map_err(|error| site::failed("cannot read the server's settings", &error))?;
        if found != *value {
            missing.push(format!("{name} = ON"));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    if !client.server().mariadb {
        missing.push("enforce_gtid_consistency = ON".into());
    }
    Err(AgentError(format!(
        "the server is not set up for replication: put {} into its configuration",
        missing.join(", ")
    )))
}

/// MySQL's semi-synchronous replication and CLONE are plugins.
async fn plugins(client: &mut Client) -> Result<(), SqlError> {
    if client.server().mariadb {
        return Ok(());
    }
    let wanted = [
        ("rpl_semi_sync_source", "semisync_source.so"),
        ("rpl_semi_sync_replica", "semisync_replica.so"),
        ("clone", "mysql_clone.so"),
    ];
    let rows = client
        .rows("SELECT PLUGIN_NAME FROM information_schema.PLUGINS WHERE PLUGIN_STATUS='ACTIVE'")
        .await?;
    let active: Vec<String> = rows.iter().map(|row| row.at(0).to_ascii_lowercase()).collect();
    let missing: Vec<_> = wanted
        .into_iter()
        .filter(|(name, _)| !active.iter().any(|found| found == name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    // Their list is a table: administrators alone may write while it is changed (read_only stays), and nothing of it is
    // logged.
    client.run("SET GLOBAL super_read_only=OFF").await?;
    let mut outcome = client.run("SET GLOBAL read_only=ON").await;
    for (name, library) in missing {
        if outcome.is_ok() {
            outcome = client
                .run(&format!("INSTALL PLUGIN {name} SONAME '{library}'"))
                .await;
        }
    }
    read_only(client).await?;
    outcome
}

async fn settings(client: &mut Client, site: &Site) -> Result<(), SqlError> {
    let server = client.server();
    let own = site.view().own;
    // Servers that were never told have the same number.
    if own.id > 1 && client.value("SELECT @@GLOBAL.server_id").await? == "1" {
        client.run(&format!("SET GLOBAL server_id={}", own.id)).await?;
        client
            .run(&format!("SET SESSION server_id={}", own.id))
            .await
            .or_else(absent)?;
        site.renumbered.store(true, Ordering::SeqCst);
        end_old_numbers(client, site).await?;
    }
    if site.params.durable {
        // With less a power cut takes what was acknowledged while no other node was waited for.
        client.run("SET GLOBAL sync_binlog=1").await?;
        client.run("SET GLOBAL innodb_flush_log_at_trx_commit=1").await?;
    }
    if server.mariadb {
        client.run("SET GLOBAL gtid_strict_mode=ON").await?;
        // A replica that stops connects with its primary once more, to end its connection there. A primary without power does
        // not answer, and a promotion waits for that: five seconds by itself.
        client
            .run("SET GLOBAL rpl_semi_sync_slave_kill_conn_timeout=1")
            .await?;
    }
    client
        .run(&format!(
            "SET GLOBAL {}_net_timeout={NET_TIMEOUT_S}",
            server.replica()
        ))
        .await?;
    // Nobody is acknowledged to here: a replica that waited for replicas of its own would stand still.
    semi_sync::wait_for_nobody(client).await?;
    semi_sync::acknowledge(client, true).await
}

/// Ends the sessions that began before the server had its own number: each keeps the one of its beginning, and a replica drops
/// all that comes under its own number, while it acknowledges it. Several times, and again before a promotion: a session that is
/// just being made is not listed yet. The server is read-only, and what was killed begins no statement any more.
///
/// # Errors
/// No answer.
pub async fn end_old_numbers(client: &mut Client, site: &Site) -> Result<(), SqlError> {
    for _ in 0..LOOKS {
        sessions::end_all(client, &site.params).await?;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

/// 1193 and 1229: MySQL knows this variable for all sessions only.
fn absent(error: SqlError) -> Result<(), SqlError> {
    match error.code() {
        Some(1193 | 1229) => Ok(()),
        _ => Err(error),
    }
}

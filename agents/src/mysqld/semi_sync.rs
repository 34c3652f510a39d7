//! Lossless semi-synchronous replication: the primary acknowledges a transaction when a replica has received it.
//!
//! It never falls back by itself: the time after which a server would is set to its largest value, and it waits without a
//! replica too. Whether it waits is decided by the committed set alone (see [`super::lead`]).

use std::time::Duration;

use super::client::{Client, SqlError};

/// Milliseconds, about 49 days; larger values overflow in some versions.
const NEVER_MS: u32 = u32::MAX;

/// A commit that would wait goes on after a millisecond.
const AT_ONCE_MS: u32 = 1;
/// How long switching off may take.
const SWITCH_LIMIT: Duration = Duration::from_secs(30);

/// What a primary says of its waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SemiSync {
    /// It waits.
    pub waits: bool,
    /// It is switched on.
    pub enabled: bool,
    /// Replicas that acknowledge.
    pub replicas: u64,
    /// Sessions that wait now.
    pub sessions: u64,
    /// Transactions that were waited for with success.
    pub acknowledged: u64,
}

impl SemiSync {
    /// Asks.
    ///
    /// # Errors
    /// No answer.
    pub async fn read(client: &mut Client) -> Result<SemiSync, SqlError> {
        let prefix = client.server().semi_sync_primary();
        let rows = client
            .rows(&format!("SHOW GLOBAL STATUS LIKE '{prefix}%'"))
            .await?;
        let enabled = client.value(&format!("SELECT @@GLOBAL.{prefix}_enabled")).await?;
        let mut found = SemiSync {
            enabled: enabled == "1",
            ..SemiSync::default()
        };
        for row in rows.iter() {
            let (name, value) = (row.at(0).to_ascii_lowercase(), row.at(1));
            let number = value.parse().unwrap_or(0);
            match name.strip_prefix(prefix).unwrap_or_default() {
                "_status" => found.waits = value == "ON",
                "_clients" => found.replicas = number,
                "_wait_sessions" => found.sessions = number,
                "_yes_tx" => found.acknowledged = number,
                _ => {}
            }
        }
        Ok(found)
    }
}

/// From here on every commit waits for `replicas` others. Verified.
///
/// # Errors
/// It could not be switched on.
pub async fn wait_for(client: &mut Client, replicas: usize) -> Result<(), SqlError> {
    let server = client.server();
    let prefix = server.semi_sync_primary();
    // Everything that could make it fall back first; `enabled` last.
    client
        .run(&format!("SET GLOBAL {prefix}_timeout={NEVER_MS}"))
        .await?;
    client
        .run(&format!("SET GLOBAL {prefix}_wait_point='AFTER_SYNC'"))
        .await?;
    client
        .run(&format!("SET GLOBAL {prefix}_wait_no_{}=ON", server.replica()))
        .await?;
    if !server.mariadb {
        let count = replicas.max(1);
        client
            .run(&format!("SET GLOBAL {prefix}_wait_for_replica_count={count}"))
            .await?;
    }
    let seen = SemiSync::read(client).await?;
    if seen.enabled && !seen.waits {
        // It fell back, which only its own switch ends.
        client.run(&format!("SET GLOBAL {prefix}_enabled=OFF")).await?;
    }
    client.run(&format!("SET GLOBAL {prefix}_enabled=ON")).await?;
    if !SemiSync::read(client).await?.waits {
        let text = "semi-synchronous replication was switched on and does not wait";
        return Err(SqlError::Login(text.into()));
    }
    Ok(())
}

/// From here on commits wait for nobody; what waits is acknowledged. Who calls this has the proof that nobody counts on the
/// others' copies.
///
/// # Errors
/// No answer.
pub async fn wait_for_nobody(client: &mut Client) -> Result<(), SqlError> {
    let prefix = client.server().semi_sync_primary();
    // MySQL's switch takes up to a second.
    if SemiSync::read(client).await?.enabled {
        // Not given up early: it must not come into force after a later switch to on.
        let statement = format!("SET GLOBAL {prefix}_enabled=OFF");
        client.run_within(&statement, SWITCH_LIMIT).await?;
    }
    Ok(())
}

/// What is applied from another primary waits no more, at once and without the switch. Only where no client can write and no
/// commit is under way.
///
/// # Errors
/// No answer.
pub async fn let_pass(client: &mut Client) -> Result<(), SqlError> {
    let prefix = client.server().semi_sync_primary();
    client
        .run(&format!("SET GLOBAL {prefix}_timeout={AT_ONCE_MS}"))
        .await
}

/// Whether this server acknowledges as a replica; takes effect when replication starts.
///
/// # Errors
/// No answer.
pub async fn acknowledge(client: &mut Client, yes: bool) -> Result<(), SqlError> {
    let name = client.server().semi_sync_replica();
    let value = if yes { "ON" } else { "OFF" };
    client.run(&format!("SET GLOBAL {name}={value}")).await
}

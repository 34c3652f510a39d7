//! The sessions of clients, and their end.

use super::client::{Client, SqlError};
use super::params::Params;

/// Who else is connected: not the server's own threads, not replicas, not the agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// For KILL.
    pub id: u64,
    /// Its commit waits for a replica: killing it would make it visible here without being there.
    pub awaits_replica: bool,
    /// Who it is has still to be said: a client, a replica, or the agent of another node.
    pub logs_in: bool,
}

/// All sessions of clients.
///
/// # Errors
/// No answer.
pub async fn list(client: &mut Client, params: &Params) -> Result<Vec<Session>, SqlError> {
    let own = u64::from(client.connection());
    let rows = client.rows("SHOW PROCESSLIST").await?;
    let mut found = Vec::new();
    for row in rows.iter() {
        let Some(id) = row.number(&["Id"]).filter(|id| *id != own) else {
            continue;
        };
        let user = row.text(&["User"]);
        let command = row.text(&["Command"]);
        let server_own = matches!(user, "system user" | "event_scheduler")
            || matches!(command, "Daemon" | "Slave_IO" | "Slave_SQL" | "Slave_worker")
            || command.starts_with("Binlog Dump");
        if !server_own && user != params.replication_user {
            let awaits_replica = row.text(&["State"]).starts_with("Waiting for semi-sync ACK");
            found.push(Session {
                id,
                awaits_replica,
                logs_in: user == "unauthenticated user",
            });
        }
    }
    Ok(found)
}

/// Kills the sessions of clients but those whose commit waits for a replica; says how many are still there. `spare`: ids of
/// the agent's own.
///
/// # Errors
/// No answer.
pub async fn end(client: &mut Client, params: &Params, spare: &[u32]) -> Result<usize, SqlError> {
    let mut left = 0;
    for session in list(client, params).await? {
        if session.logs_in {
            continue;
        }
        if spare.iter().any(|id| u64::from(*id) == session.id) {
            continue;
        }
        left += 1;
        if session.awaits_replica {
            continue;
        }
        kill(client, session.id).await?;
    }
    Ok(left)
}

/// Kills the sessions of clients, also of those that log in.
///
/// # Errors
/// No answer.
pub async fn end_all(client: &mut Client, params: &Params) -> Result<(), SqlError> {
    for session in list(client, params).await? {
        kill(client, session.id).await?;
    }
    Ok(())
}

async fn kill(client: &mut Client, id: u64) -> Result<(), SqlError> {
    match client.run(&format!("KILL CONNECTION {id}")).await {
        // 1094: it ended by itself meanwhile.
        Err(error) if error.code() != Some(1094) => Err(error),
        _ => Ok(()),
    }
}

/// Addresses of the replicas that are connected, as the server writes them.
///
/// # Errors
/// No answer.
pub async fn replicas(client: &mut Client) -> Result<Vec<String>, SqlError> {
    let rows = client.rows("SHOW PROCESSLIST").await?;
    let dumps = rows
        .iter()
        .filter(|row| row.text(&["Command"]).starts_with("Binlog Dump"));
    Ok(dumps.map(|row| row.text(&["Host"]).to_owned()).collect())
}

//! Begins to follow a primary, after a look at what this server has and the primary lacks.

use std::sync::Arc;

use super::client::{Client, SqlError, quote};
use super::diverged;
use super::gtid::Gtids;
use super::mark;
use super::seed;
use super::semi_sync;
use super::site::{self, Site};
use super::status::Status;
use crate::roles::Peer;

/// The primary does not have what we ask for: purged, or never had.
pub const FATAL_READ: u32 = 1236;
/// A receiver that lost its primary tries again after so many seconds.
const RETRY_S: u32 = 1;

/// What came of it.
pub enum Attached {
    /// It follows; this is what the primary had.
    Follows(Gtids),
    /// Not yet, and why.
    Waits(String),
    /// It has what the primary lacks, or the primary no longer has what it needs: the obstacle.
    Diverged(String),
}

/// Follows `primary`. The proof that this is right: the register names it, and nothing is here that it lacks.
///
/// # Errors
/// The own server did not answer.
pub async fn attach(
    site: &Arc<Site>,
    client: &mut Client,
    primary: &Peer,
    status: Option<&Status>,
) -> Result<Attached, SqlError> {
    let name = &primary.name;
    let (theirs, promoted) = match look(site, primary).await {
        Ok(found) => found,
        Err(error) => return Ok(Attached::Waits(format!("cannot ask {name} what it has: {error}"))),
    };
    let own = site::applied(client).await?;
    if seed::is_requested(site) && promoted {
        return seed::obey(site, client, primary, (&own, &theirs)).await;
    }
    if !theirs.contains(&own) {
        if !promoted {
            // It may still be applying what it received from here.
            return Ok(Attached::Waits(format!("{name} is not promoted yet")));
        }
        return diverged::extra(site, client, primary, &own, &theirs).await;
    }
    if let Some((FATAL_READ, text)) = status.map(|status| &status.receive_error)
        && promoted
    {
        return diverged::purged(site, client, primary, text).await;
    }
    if let Err(error) = mark::set(&site.params) {
        return Ok(Attached::Waits(format!(
            "cannot write to {}: {error}",
            site.params.datadir.display()
        )));
    }
    let Some(address) = site.address(primary) else {
        return Ok(Attached::Waits(format!("{name} has no address")));
    };
    // Before replication starts: it asks for it once.
    semi_sync::acknowledge(client, true).await?;
    let same =
        status.is_some_and(|status| status.host == address.to_string() && status.port == site.params.port);
    if same {
        client.run("START REPLICA").await?;
        return Ok(Attached::Follows(theirs));
    }
    client.run("STOP REPLICA").await?;
    let statements = if client.server().mariadb {
        mariadb(site, &address.to_string(), &own)
    } else {
        mysql(site, &address.to_string())
    };
    for statement in statements {
        client.run(&statement).await?;
    }
    client.run("START REPLICA").await?;
    site.events
        .note("info", "mysqld-follows", format!("the server follows {name}"));
    Ok(Attached::Follows(theirs))
}

/// What the primary has, and whether it takes writes.
async fn look(site: &Site, primary: &Peer) -> Result<(Gtids, bool), SqlError> {
    let mut client = site.connect(primary).await?;
    // In this order: what a primary has when it is promoted already is all that it took over.
    let promoted = !site::is_read_only(&mut client).await?;
    Ok((site::applied(&mut client).await?, promoted))
}

fn mariadb(site: &Site, host: &str, own: &Gtids) -> Vec<String> {
    let params = &site.params;
    let tls = match &params.tls {
        Some(files) => format!(
            "MASTER_SSL=1, MASTER_SSL_CA={}, MASTER_SSL_CERT={}, MASTER_SSL_KEY={}, MASTER_SSL_VERIFY_SERVER_CERT=0",
            quote(&files.ca.display().to_string()),
            quote(&files.cert.display().to_string()),
            quote(&files.key.display().to_string())
        ),
        None => "MASTER_SSL=0, MASTER_SSL_VERIFY_SERVER_CERT=0".into(),
    };
    vec![
        // What it wrote as a primary counts as applied.
        format!("SET GLOBAL gtid_slave_pos={}", quote(&own.last_of_domains())),
        format!(
            "CHANGE MASTER TO MASTER_HOST={}, MASTER_PORT={}, MASTER_USER={}, MASTER_PASSWORD='', MASTER_USE_GTID=slave_pos, \
             MASTER_CONNECT_RETRY={RETRY_S}, MASTER_HEARTBEAT_PERIOD=1, {tls}",
            quote(host),
            params.port,
            quote(&params.replication_user)
        ),
    ]
}

fn mysql(site: &Site, host: &str) -> Vec<String> {
    let params = &site.params;
    let tls = match &params.tls {
        Some(files) => format!(
            "SOURCE_SSL=1, SOURCE_SSL_CA={}, SOURCE_SSL_CERT={}, SOURCE_SSL_KEY={}, SOURCE_SSL_VERIFY_SERVER_CERT=0",
            quote(&files.ca.display().to_string()),
            quote(&files.cert.display().to_string()),
            quote(&files.key.display().to_string())
        ),
        None => "SOURCE_SSL=0".into(),
    };
    vec![format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST={}, SOURCE_PORT={}, SOURCE_USER={}, SOURCE_PASSWORD='', \
         SOURCE_AUTO_POSITION=1, SOURCE_CONNECT_RETRY={RETRY_S}, SOURCE_RETRY_COUNT=0, SOURCE_HEARTBEAT_PERIOD=1, {tls}",
        quote(host),
        params.port,
        quote(&params.replication_user)
    )]
}

//! From primary to replica, with the next primary about to take over.

use std::time::Duration;

use holdfast_proto::time::Time;

use super::client::{Client, SqlError};
use super::hold;
use super::lead;
use super::semi_sync;
use super::sessions;
use super::site::{self, Site};
use crate::agent::AgentError;
use crate::clock;
use crate::roles::Peer;
use crate::room;

/// Statements that run get so long to end by themselves once nobody new may write.
const GRACE: Duration = Duration::from_millis(150);
/// Pause between looks at what is still there.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Ends its taking writes. When this returns, nothing can write, no client's session is left, and `toward` has everything, as
/// far as it follows.
///
/// # Errors
/// A commit waits for a replica that does not answer, or the server does not do what it is told: then it has to be killed.
pub async fn demote(site: &Site, toward: Option<&Peer>, deadline: Time) -> Result<(), AgentError> {
    if let Some(fault) = room::fault(&site.params.datadir).await {
        // A commit that waits for room cannot be ended without being done: it would be seen here and nowhere else. The kill that follows
        // takes nothing that was acknowledged, because that is on the other node, and the next start cuts off the rest.
        return Err(AgentError(format!("cannot be demoted: {fault}")));
    }
    let mut writer = site.local().await?;
    let mut killer = site.local().await?;
    let begun = clock::now();
    close(site, &mut writer, &mut killer, deadline).await?;
    let wrong = |error: SqlError| site::failed("cannot end the sessions of clients", &error);
    let spare = [writer.connection()];
    while sessions::end(&mut killer, &site.params, &spare)
        .await
        .map_err(wrong)?
        > 0
    {
        late("sessions of clients do not end", deadline)?;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    if let Some(toward) = toward {
        hand_over(site, &mut killer, toward, deadline).await?;
    }
    // No commit is under way and none can begin, so this lets nothing go that waited.
    let wrong = |error: SqlError| site::failed("cannot end semi-synchronous replication", &error);
    semi_sync::let_pass(&mut killer).await.map_err(wrong)?;
    let read_only = site::is_read_only(&mut killer).await;
    if !read_only.map_err(|error| site::failed("cannot look at the server", &error))? {
        return Err(AgentError::new(
            "the server takes writes although it was told not to",
        ));
    }
    let blocked = begun.until(clock::now()).as_millis();
    let text = format!("the server takes no writes any more; that took {blocked} ms");
    site.events.note("info", "mysqld-demoted", text);
    site.seen.say(&format!("{}, replica", killer.server()));
    Ok(())
}

fn late(what: &str, deadline: Time) -> Result<(), AgentError> {
    if clock::now() < deadline {
        return Ok(());
    }
    Err(AgentError(format!("{what} in the time that a demotion may take")))
}

/// Makes it read-only. The statement waits for what writes, so that is killed after a moment; only commits that wait for a
/// replica are not: killed they would be seen here and nowhere else.
async fn close(
    site: &Site,
    writer: &mut Client,
    killer: &mut Client,
    deadline: Time,
) -> Result<(), AgentError> {
    let own = [writer.connection(), killer.connection()];
    let wrong = |error: SqlError| site::failed("cannot make the server read-only", &error);
    let limit = clock::now().until(deadline);
    let name = writer.server().read_only();
    let statement = format!("SET GLOBAL {name}=ON");
    let mut closing = std::pin::pin!(writer.run_within(&statement, limit));
    let mut pause = GRACE;
    loop {
        tokio::select! {
            done = &mut closing => return done.map_err(|error| {
                let waits = "; a commit waits for a replica that does not answer, or a session cannot be killed";
                AgentError(format!("{}{waits}", wrong(error)))
            }),
            () = tokio::time::sleep(pause) => {
                sessions::end(killer, &site.params, &own).await.map_err(wrong)?;
                pause = LOOK_AGAIN;
            }
        }
    }
}

/// Waits until `toward` has everything, as long as it is connected.
async fn hand_over(
    site: &Site,
    client: &mut Client,
    toward: &Peer,
    deadline: Time,
) -> Result<(), AgentError> {
    let wrong = |error: SqlError| site::failed("cannot see what the next primary has", &error);
    let own = site::applied(client).await.map_err(wrong)?;
    let mut remote = None;
    loop {
        if remote.is_none() {
            remote = site.connect(toward).await.ok();
        }
        let theirs = match &mut remote {
            Some(remote) => site::applied(remote).await.ok(),
            None => None,
        };
        match theirs {
            Some(theirs) if theirs.contains(&own) => return Ok(()),
            Some(_) => {}
            None => remote = None,
        }
        if !follows(client, toward).await.map_err(wrong)? {
            // It may still be counted on: then it has received everything that was acknowledged.
            let text = format!("{} does not follow, so nothing is handed over to it", toward.name);
            site.events.note("warn", "mysqld-hand-over", text);
            return Ok(());
        }
        late(
            &format!("{} does not receive or apply everything", toward.name),
            deadline,
        )?;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// True when one of its addresses reads our binary log.
async fn follows(client: &mut Client, toward: &Peer) -> Result<bool, SqlError> {
    let replicas = sessions::replicas(client).await?;
    let is_its = |host: &String| {
        toward.addresses.iter().any(|address| {
            let address = address.to_string();
            let rest = host.strip_prefix(&address);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        })
    };
    Ok(replicas.iter().any(is_its))
}

/// What a server must be that is not promoted, after a restart of had-agentd.
///
/// # Errors
/// No answer.
pub async fn is_promoted(site: &Site) -> Result<bool, AgentError> {
    let mut client = site.local().await?;
    let read_only = site::is_read_only(&mut client).await;
    let read_only = read_only.map_err(|error| site::failed("cannot look at the server", &error))?;
    if read_only && !lead::wishes(site).must_wait(&site.view()) {
        let wrong = |error: SqlError| site::failed("cannot make the server read-only", &error);
        hold::read_only(&mut client).await.map_err(wrong)?;
    }
    Ok(!read_only)
}

//! From replica to primary.

use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_proto::time::Time;

use super::accounts;
use super::client::{Client, SqlError};
use super::follow;
use super::hold;
use super::lead;
use super::mark;
use super::semi_sync;
use super::site::{self, Site};
use super::status::Status;
use super::way::{self, Shut};
use crate::agent::AgentError;
use crate::roles::RolesView;

/// How long a look at what another node has may take.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

/// Those who assigned it may not have known yet that this copy is in doubt.
///
/// # Errors
/// It is.
pub fn refuse(site: &Site) -> Result<(), AgentError> {
    if mark::is_doubtful(site) {
        return Err(AgentError(format!("cannot be promoted: {}", mark::DOUBT)));
    }
    Ok(())
}

/// Lets the server take writes.
///
/// The proof that this is right is the runner's: it holds a permit, and the committed set names this node, so this copy has
/// everything that was acknowledged, once what was received is applied.
///
/// # Errors
/// It is not promoted: a step failed, and it takes no writes.
pub async fn promote(site: &Site, deadline: Time) -> Result<(), AgentError> {
    let mut client = site.local().await?;
    let wrong = |what: &'static str| move |error: SqlError| site::failed(what, &error);
    if !site::is_read_only(&mut client)
        .await
        .map_err(wrong("cannot look at the server"))?
    {
        return Ok(());
    }
    let shut = shut_the_way(site, &mut client).await;
    follow::drain(&mut client, deadline)
        .await
        .map_err(|why| AgentError(format!("cannot be promoted: {why}")))?;
    let step = wrong("cannot end replication");
    client.run("STOP REPLICA").await.map_err(step)?;
    client
        .run("RESET REPLICA ALL")
        .await
        .map_err(wrong("cannot end replication"))?;
    // What looks after the primary from now on asks the others again.
    drop(shut);
    mark::clear(&site.params);
    let step = wrong("cannot set up semi-synchronous replication");
    wait_as_agreed(site, &mut client).await.map_err(step)?;
    let view = site.view();
    open(site, &mut client, &view)
        .await
        .map_err(wrong("cannot let clients write"))?;
    if site::is_read_only(&mut client)
        .await
        .map_err(wrong("cannot look at the server"))?
    {
        return Err(AgentError::new(
            "the server stays read-only although it was told to take writes",
        ));
    }
    site.seen.say(&format!("{}, primary", client.server()));
    Ok(())
}

/// To the primary that this server follows: it may be silent, and nothing here is to wait for it. See [`way`].
async fn shut_the_way(site: &Site, client: &mut Client) -> Option<Shut> {
    let status = Status::read(client).await.ok()??;
    let address = status.host.parse().ok()?;
    match way::shut(address, status.port) {
        Ok(shut) => Some(shut),
        Err(error) => {
            let text = format!(
                "the way to the old primary cannot be shut ({error}): if it does not answer, the promotion waits a second for it"
            );
            site.events.note("warn", "mysqld-way", text);
            None
        }
    }
}

/// Before the first write: commits wait for the others if these are counted on.
async fn wait_as_agreed(site: &Site, client: &mut Client) -> Result<(), SqlError> {
    let view = site.view();
    semi_sync::acknowledge(client, false).await?;
    if lead::wishes(site).must_wait(&view) {
        semi_sync::wait_for(client, view.others.len()).await
    } else {
        semi_sync::wait_for_nobody(client).await
    }
}

/// Lets administrators write, makes the account of replication, lets everybody write: in this order.
async fn open(site: &Site, client: &mut Client, view: &RolesView) -> Result<(), SqlError> {
    if !client.server().mariadb {
        // read_only stays.
        client.run("SET GLOBAL super_read_only=OFF").await?;
    }
    if site.renumbered.load(Ordering::SeqCst) {
        hold::end_old_numbers(client, site).await?;
    }
    // Logged, so that the others have it too; but not when that would wait for one that cannot connect without it.
    let replicated = !lead::wishes(site).must_wait(view);
    accounts::ensure(client, site, view, replicated).await?;
    client.run("SET GLOBAL read_only=OFF").await
}

/// Transactions that another node has and this one lacks were never acknowledged, because this copy is counted on; but somebody
/// may look for them. Asked after the promotion: an old primary without power does not answer, and clients wait.
pub async fn tell_of_errant(site: &Site) {
    for peer in site.view().others {
        let look = async {
            let theirs = site::applied(&mut site.connect(&peer).await?).await?;
            // In this order: what it has from here already is here too.
            let mut local = Client::local(&site.params.socket, site.params.probing.timeout).await?;
            Ok::<_, SqlError>(theirs.minus(&site::applied(&mut local).await?))
        };
        let Ok(Ok(extra)) = tokio::time::timeout(LOOK_LIMIT, look).await else {
            continue;
        };
        if extra.count() > 0 {
            let text = format!(
                "{} has {} transactions that were not received here and never acknowledged: {extra}",
                peer.name,
                extra.count()
            );
            site.events.note("warn", "mysqld-errant", text);
        }
    }
}

//! A replica's data anew from the primary: MySQL's by CLONE, MariaDB's by mariadb-backup.
//!
//! MariaDB has no CLONE, so the agents do it. [`donor`] is the primary's: it sends the stream of `mariadb-backup` to a node whose
//! copy nobody counts on. [`receive`] is the replica's: it unpacks and prepares that beside the data that is there, while the old
//! server still runs. [`swap`] moves it in at the next start, and the old data aside.
//!
//! **The proof** that the old data may go: the committed set names the primary and not this node ([`Site::is_dispensable`]). It is
//! looked at when the work begins, when it is done, and before the data is moved.

pub mod donor;
pub(super) mod frames;
mod receive;
pub mod swap;

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::attach::Attached;
use super::client::{Client, SqlError, quote};
use super::clone;
use super::gtid::{Extra, Gtids};
use super::site::Site;
use crate::agent::AgentError;
use crate::clock;
use crate::roles::{CopyStatus, Peer};

/// Pause after an attempt that failed.
const AGAIN: Duration = Duration::from_secs(60);

/// An operator asks for it.
pub fn is_requested(site: &Site) -> bool {
    site.seed_request.exists()
}

/// Begins what was asked for, or says why not.
///
/// # Errors
/// The own server did not answer.
pub async fn obey(
    site: &Arc<Site>,
    client: &mut Client,
    primary: &Peer,
    (own, theirs): (&Gtids, &Gtids),
) -> Result<Attached, SqlError> {
    let _ = fs::remove_file(&site.seed_request);
    if !site.is_dispensable() {
        let text = "nothing is fetched: the committed set counts on the copy of this node, or does not name the primary";
        refuse(site, text);
        return Ok(Attached::Waits(text.into()));
    }
    site.seed_pause.lock().await.take();
    let extra = own.minus(theirs);
    let what = match extra.count() {
        0 => "an operator asked for it".to_owned(),
        count => format!(
            "an operator asked for it; at least {count} transactions are here that {} lacks: {extra}",
            primary.name
        ),
    };
    let extra = Some(&extra).filter(|extra| extra.count() > 0);
    let outcome = anew(site, client, primary, &what, extra).await?;
    if let Attached::Diverged(text) = &outcome {
        refuse(site, text);
    }
    Ok(outcome)
}

fn refuse(site: &Site, text: &str) {
    if let Err(error) = fs::write(&site.seed_refusal, text) {
        let text = format!("{}: {error}", site.seed_refusal.display());
        site.events.note("warn", "mysqld-seed", text);
    }
    site.events.note("warn", "mysqld-seed", text.to_owned());
}

/// Replaces the data with the primary's. The caller has the proof that nobody counts on this copy.
///
/// # Errors
/// The own server did not answer.
pub async fn anew(
    site: &Arc<Site>,
    client: &mut Client,
    primary: &Peer,
    what: &str,
    extra: Option<&Extra>,
) -> Result<Attached, SqlError> {
    if !client.server().mariadb {
        return clone::clone(site, client, primary, what, extra).await;
    }
    let mut pause = site.seed_pause.lock().await;
    if let Some((until, text)) = &*pause
        && clock::now() < *until
    {
        return Ok(Attached::Diverged(text.clone()));
    }
    let text = format!("{what}; the data is fetched anew from {}", primary.name);
    site.events.note("warn", "mysqld-reclone", text);
    match receive::fetch(site, client, primary).await {
        Ok(()) => {
            let text = format!(
                "the data was fetched from {}: the server is started anew with it",
                primary.name
            );
            site.events.note("info", "mysqld-fetched", text.clone());
            site.events.failed(text);
            // The runner ends this task and the server.
            std::future::pending().await
        }
        Err(why) => {
            let text = format!(
                "{what}; it could not be fetched anew from {}: {why}",
                primary.name
            );
            *pause = Some((clock::now() + AGAIN, text.clone()));
            Ok(Attached::Diverged(text))
        }
    }
}

/// What is said while it goes on.
fn progress(site: &Site, text: &str) {
    site.seen.say(text);
    site.copy.tell(CopyStatus {
        obstacle: text.to_owned(),
        ..CopyStatus::default()
    });
}

/// Before the start of a server: moves in what was fetched.
///
/// # Errors
/// It cannot be moved; the data directory may be half one and half the other, and nothing may be started on it.
pub fn before_start(site: &Site) -> Result<(), AgentError> {
    let fits = |note: &swap::Note| {
        let view = site.view();
        site.is_dispensable() && view.primary.as_deref() == Some(&note.primary) && view.epoch == note.epoch
    };
    match swap::before_start(&site.params, fits).map_err(|error| stuck(site, &error))? {
        swap::Swapped::Nothing => {}
        swap::Swapped::Stale(note) => {
            let text = format!(
                "what was fetched from {} is not used, because that is not the primary of now any more or this copy counts again",
                note.primary
            );
            site.events.note("warn", "mysqld-seed", text);
        }
        swap::Swapped::Done(note) => {
            let aside = swap::replaced(&site.params.datadir, &note);
            let text = format!(
                "the data of {} is in place; what was here is in {}: remove that when nobody needs it",
                note.primary,
                aside.display()
            );
            site.events.note("warn", "mysqld-seeded", text);
        }
    }
    Ok(())
}

fn stuck(site: &Site, error: &io::Error) -> AgentError {
    let datadir = site.params.datadir.display();
    AgentError(format!(
        "data that was fetched cannot be moved into {datadir}: {error}"
    ))
}

/// After the start, before it follows anybody: the position of what was fetched.
///
/// # Errors
/// The server does not take it.
pub async fn after_start(client: &mut Client, site: &Site) -> Result<(), AgentError> {
    let datadir = &site.params.datadir;
    let Some(note) = swap::position(datadir).map_err(|error| stuck(site, &error))? else {
        return Ok(());
    };
    // A backup brings no binary logs, so what this empties is what the server wrote in the last moments.
    let mut statements = vec!["RESET MASTER".to_owned()];
    if !note.gtid.is_empty() {
        let gtids = Gtids::parse(client.server(), &note.gtid).map_err(AgentError)?;
        let last = gtids.last_of_domains();
        statements.push(format!("SET GLOBAL gtid_binlog_state={}", quote(&note.gtid)));
        statements.push(format!("SET GLOBAL gtid_slave_pos={}", quote(&last)));
    }
    for statement in statements {
        client.run(&statement).await.map_err(|error| {
            AgentError(format!(
                "cannot tell the server the position of what was fetched: {statement}: {error}"
            ))
        })?;
    }
    swap::positioned(datadir).map_err(|error| stuck(site, &error))
}

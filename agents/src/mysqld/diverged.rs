//! A server that has transactions which its primary lacks, or that lacks what the primary no longer has.
//!
//! Nothing is thrown away before it is noted, with numbers, and only with a proof: the committed set names the primary and not
//! this node, so no client was ever told that what only this node has is safe.

use std::sync::Arc;

use super::attach::Attached;
use super::client::{Client, SqlError};
use super::gtid::{Extra, Gtids};
use super::params::Rejoin;
use super::seed;
use super::site::Site;
use crate::roles::Peer;

/// It has transactions that the primary lacks.
///
/// # Errors
/// The own server did not answer.
pub async fn extra(
    site: &Arc<Site>,
    client: &mut Client,
    primary: &Peer,
    own: &Gtids,
    theirs: &Gtids,
) -> Result<Attached, SqlError> {
    let extra = &own.minus(theirs);
    let most = if client.server().mariadb { "at most " } else { "" };
    let what = format!(
        "{most}{} transactions are here that {} lacks: {extra}",
        extra.count(),
        primary.name
    );
    if site.params.rejoin == Rejoin::Automatic && !own.shares_history(theirs) {
        let command = site.seed_command();
        let text = format!(
            "{what}; the two never had anything in common, so nothing is thrown away by itself: if this data may go, `{command}`"
        );
        return Ok(Attached::Diverged(text));
    }
    clone_or(site, client, primary, &what, Some(extra)).await
}

/// The primary's binary logs no longer reach back to where this server is.
///
/// # Errors
/// The own server did not answer.
pub async fn purged(
    site: &Arc<Site>,
    client: &mut Client,
    primary: &Peer,
    text: &str,
) -> Result<Attached, SqlError> {
    let what = format!("{} cannot send what is missing here: {text}", primary.name);
    clone_or(site, client, primary, &what, None).await
}

async fn clone_or(
    site: &Arc<Site>,
    client: &mut Client,
    primary: &Peer,
    what: &str,
    extra: Option<&Extra>,
) -> Result<Attached, SqlError> {
    let remedy = match site.params.rejoin {
        Rejoin::Manual => format!("look at them; if they may go, `{}`", site.seed_command()),
        _ if !site.is_dispensable() => {
            "this copy is still counted on, so nothing of it is thrown away; it is cloned anew once it is not"
                .into()
        }
        _ => return seed::anew(site, client, primary, what, extra).await,
    };
    Ok(Attached::Diverged(format!("{what}; {remedy}")))
}

//! The task that looks after a server in replication mode, by its role.

use std::sync::Arc;

use super::demote;
use super::follow;
use super::lead;
use super::seed;
use super::site::Site;
use super::watch::Health;
use crate::agent::AgentError;

/// Looks after the primary, and gives its data to a node that is to be seeded.
pub async fn promoted(site: Arc<Site>) {
    tokio::select! {
        () = lead::run(Arc::clone(&site)) => {}
        () = seed::donor::run(site) => {}
    }
}

/// After a restart of had-agentd: what the server is, is what it was.
pub async fn resume(site: Arc<Site>) {
    let mut health = Health::new(&site.params);
    loop {
        let AgentError(reason) = match demote::is_promoted(&site).await {
            Ok(true) => return promoted(site).await,
            Ok(false) => return follow::run(site).await,
            Err(error) => error,
        };
        // A server that is slow now is asked again; one that hangs fails as it would have.
        let outcome = Err(super::client::SqlError::Login(reason));
        if let Some(reason) = health.judge(outcome, &site.params, &site.events).await {
            site.events.failed(reason);
            return;
        }
        tokio::time::sleep(site.params.probing.interval).await;
    }
}

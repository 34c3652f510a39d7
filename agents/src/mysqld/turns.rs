//! Turns of what looks after a server in replication mode, whatever its role: on a connection that is kept for it, and never
//! beside an action.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::sync::watch;

use super::client::{Client, SqlError};
use super::site::Site;
use super::watch::{Health, Reserved};
use crate::clock;
use crate::roles::RolesView;

/// One after the other, until the server fails.
pub struct Turns {
    /// What their outcomes say of the server.
    pub health: Health,
    site: Arc<Site>,
    reserved: Reserved,
    /// When an outcome was due last.
    judged: Time,
    roles: watch::Receiver<RolesView>,
}

impl Turns {
    /// None taken yet.
    pub fn new(site: &Arc<Site>) -> Turns {
        Turns {
            health: Health::new(&site.params),
            site: Arc::clone(site),
            reserved: Reserved::new(Arc::clone(&site.params)),
            judged: clock::now(),
            roles: site.roles.clone(),
        }
    }

    /// Takes one. Some: its outcome is to be judged. A failure always is; a success as often as the server is to be probed.
    pub async fn take(
        &mut self,
        turn: impl AsyncFnOnce(&mut Client) -> Result<(), SqlError>,
    ) -> Option<Result<(), SqlError>> {
        // A change that comes during the turn ends the rest after it at once.
        self.roles.mark_unchanged();
        let no_action = self.site.turn.lock().await;
        let outcome = match self.reserved.client().await {
            Ok(client) => turn(client).await,
            Err(error) => Err(error),
        };
        drop(no_action);
        if outcome.is_err() {
            self.reserved.drop_client();
        }
        let since = self.judged.until(clock::now());
        if outcome.is_ok() && since < self.site.params.probing.interval {
            return None;
        }
        self.judged = clock::now();
        Some(outcome)
    }

    /// Waits until the next one. True: because what the cluster agreed on has changed.
    pub async fn rest(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => false,
            _ = self.roles.changed() => true,
        }
    }
}

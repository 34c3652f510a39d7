//! Looks after a server that runs: a connection that is kept for it, a probe, the room on its disk.

use std::sync::Arc;

use super::client::{Client, SqlError};
use super::health::{self, Window};
use super::params::Params;
use crate::agent::EventSink;
use crate::room;
use crate::seen::Seen;

/// Too many connections: the server answers, so it lives.
const TOO_MANY: u16 = 1040;

/// A connection that is opened when it is needed and kept: it was there before clients took all the others.
pub struct Reserved {
    params: Arc<Params>,
    client: Option<Client>,
}

impl Reserved {
    /// None open yet.
    pub fn new(params: Arc<Params>) -> Reserved {
        Reserved { params, client: None }
    }

    /// The connection, opened if there is none.
    pub async fn client(&mut self) -> Result<&mut Client, SqlError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => Client::local(&self.params.socket, self.params.probing.timeout).await?,
        };
        Ok(self.client.insert(client))
    }

    /// Closes it, after a failure.
    pub fn drop_client(&mut self) {
        self.client = None;
    }

    async fn probe(&mut self) -> Result<(), SqlError> {
        let outcome = match self.client().await {
            Ok(client) => client.run("SELECT 1").await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            self.drop_client();
        }
        outcome
    }
}

/// Probes, and the verdict on them.
pub struct Health {
    window: Window,
    full: bool,
}

impl Health {
    /// Nothing probed yet.
    pub fn new(params: &Params) -> Health {
        Health {
            window: Window::new(params.probing),
            full: false,
        }
    }

    /// Takes the outcome of a probe in. Some: the server failed, and why; a disk that takes no more is such a reason.
    pub async fn judge(
        &mut self,
        outcome: Result<(), SqlError>,
        params: &Params,
        events: &EventSink,
    ) -> Option<String> {
        match self.silence(outcome, events) {
            Some(reason) => Some(reason),
            None => room::fault(&params.datadir).await,
        }
    }

    /// Takes the outcome of a probe in. Some: the server does not answer.
    pub fn silence(&mut self, outcome: Result<(), SqlError>, events: &EventSink) -> Option<String> {
        let full = outcome
            .as_ref()
            .is_err_and(|error| error.code() == Some(TOO_MANY));
        if full && !self.full {
            let text = "all connections of the server are taken, also the one for administrators: raise max_connections";
            events.note("warn", "mysqld-connections", text);
        }
        self.full = full;
        let load = health::load();
        let good = outcome.is_ok() || full;
        if self.window.push(good, load.is_some()) {
            let (failed, of) = self.window.failed();
            let reason = outcome.err().map(|error| error.to_string()).unwrap_or_default();
            let load = load.map(|load| format!(" ({load})")).unwrap_or_default();
            return Some(format!(
                "the server does not answer: {failed} of the last {of} probes failed: {reason}{load}"
            ));
        }
        None
    }
}

/// Looks after a server in storage mode until it fails.
pub async fn storage(params: Arc<Params>, events: EventSink, seen: Arc<Seen>) {
    let mut reserved = Reserved::new(Arc::clone(&params));
    let mut health = Health::new(&params);
    loop {
        let outcome = reserved.probe().await;
        if let Ok(client) = reserved.client().await {
            seen.say(&client.server().to_string());
        }
        if let Some(reason) = health.judge(outcome, &params, &events).await {
            events.failed(reason);
            return;
        }
        tokio::time::sleep(params.probing.interval).await;
    }
}

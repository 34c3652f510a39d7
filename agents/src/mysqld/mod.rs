//! The `mysqld` agent: MariaDB and MySQL.
//!
//! A server is a process ([`inner`]: a unit or a program) that answers on its socket ([`client`]). In storage mode that is
//! all: one server, on storage that follows the group.

pub mod client;
pub mod gtid;
mod health;
mod inner;
pub mod params;
mod ready;
pub mod server;
pub mod tls;
mod watch;
pub mod wire;

use std::sync::Arc;

use holdfast_proto::time::Time;
use tokio::task::JoinHandle;

use crate::agent::{Action, AgentContext, AgentError, Cutter, Presence, ResourceAgent};
use inner::Inner;
pub use params::META;
use params::Params;
use watch::Seen;

/// One server.
pub struct MysqldAgent {
    context: AgentContext,
    params: Arc<Params>,
    inner: Inner,
    /// Looks after the server from the end of the start on.
    keeper: Option<JoinHandle<()>>,
    seen: Arc<Seen>,
}

/// Builds the agent. Touches nothing.
///
/// # Errors
/// Parameters that are wrong.
pub fn build(context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    META.check_keys(&context.params)?;
    let params = Params::read(&context.params)?;
    if params.mode == params::Mode::Replication {
        return Err(AgentError::new(
            "agent mysqld: this had-agentd has mode = \"storage\" only",
        ));
    }
    let inner = Inner::build(&context, &params, &[])?;
    let seen = Arc::new(Seen::new(context.events.clone()));
    Ok(Box::new(MysqldAgent {
        context,
        params: Arc::new(params),
        inner,
        keeper: None,
        seen,
    }))
}

impl MysqldAgent {
    async fn begin(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.leave();
        self.inner.listen();
        self.inner.end.forget();
        self.seen.say("starting");
        self.inner.agent.start(deadline).await?;
        let client = ready::answer(&self.params, &self.inner.end, &self.context.events).await?;
        self.seen.say(&format!("{}", client.server()));
        self.look_after()
    }

    /// From here on its end is a failure, and it is probed.
    fn look_after(&mut self) -> Result<(), AgentError> {
        self.inner.end.arm().map_err(AgentError)?;
        let watch = watch::storage(
            Arc::clone(&self.params),
            self.context.events.clone(),
            Arc::clone(&self.seen),
        );
        self.keep(tokio::spawn(watch));
        Ok(())
    }

    fn keep(&mut self, task: JoinHandle<()>) {
        self.leave();
        self.keeper = Some(task);
    }

    /// Ends what looks after the server, before an action that does it itself.
    fn leave(&mut self) {
        if let Some(task) = self.keeper.take() {
            task.abort();
        }
    }

    async fn end(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.leave();
        self.inner.end.forget();
        self.seen.say("stopping");
        // SIGTERM is the server's own clean shutdown.
        self.inner.agent.stop(deadline).await?;
        self.seen.say("");
        Ok(())
    }
}

impl ResourceAgent for MysqldAgent {
    fn start(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.begin(deadline))
    }

    fn stop(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.end(deadline))
    }

    fn kill(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        self.leave();
        self.inner.end.forget();
        self.inner.agent.kill(deadline)
    }

    fn freeze(&mut self) -> Result<(), AgentError> {
        self.leave();
        self.inner.agent.freeze()
    }

    /// What ends or freezes the process: it acknowledges nothing and writes nothing from then on.
    fn halter(&self) -> Option<Cutter> {
        self.inner.agent.halter()
    }

    fn probe(&mut self) -> Action<'_, Presence> {
        Box::pin(async move {
            let found = self.inner.agent.probe().await;
            if found == Presence::Inactive
                && tokio::net::UnixStream::connect(&self.params.socket).await.is_ok()
            {
                return Presence::Unknown(format!(
                    "a server that Holdfast did not start answers on {}",
                    self.params.socket.display()
                ));
            }
            found
        })
    }

    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
        Box::pin(async move {
            self.inner.listen();
            self.inner.agent.adopt().await?;
            self.look_after()
        })
    }

    fn detail(&self) -> String {
        let process = self.inner.agent.detail();
        match self.seen.text() {
            text if text.is_empty() => process,
            text => format!("{text}; {process}"),
        }
    }

    fn saved(&self) -> String {
        self.inner.agent.saved()
    }
}

impl Drop for MysqldAgent {
    fn drop(&mut self) {
        self.leave();
    }
}

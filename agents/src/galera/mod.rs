//! The `galera` agent: a member of a Galera cluster on every node, and a cluster that is founded once.
//!
//! Two words stand apart here that Galera's own tools mix up. A member that is started *joins*: the agent names the other nodes
//! on the command line, so no file can make it found a cluster, and a file that tries keeps it from being started at all. A
//! cluster is *founded* by promotion only: the register assigns the group to one node, the one with the furthest copy of those
//! that may go on, and this node founds it under that permit.
//!
//! Promoted means: the node that clients write to (a virtual address with `role = "primary"` goes there), the one that founds a
//! cluster when nobody runs, and the one that goes on when a pair breaks. Galera's other members take writes too, and certify
//! them against all others, so an unpromoted member does no harm by running.

pub mod keeper;
pub mod params;
pub mod place;
pub mod server;
pub mod status;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::agent::{Action, AgentContext, AgentError, Cutter, Presence, ResourceAgent};
use crate::clock;
use crate::mysqld::client::Client;
use crate::roles::Peer;
use crate::seen::Seen;
use keeper::Component;
pub use params::META;
use params::Params;
use place::Place;
use server::{How, Server};
use status::Status;

/// Longest time for a recovery or a start that no action bounds.
const PATIENCE: Duration = Duration::from_secs(600);

/// What actions and keeper share.
pub struct Shared {
    context: AgentContext,
    params: Params,
    server: Mutex<Server>,
    promoted: AtomicBool,
    component: StdMutex<Option<Component>>,
    seen: Seen,
}

impl Shared {
    fn component(&self) -> MutexGuard<'_, Option<Component>> {
        self.component.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn say(&self, text: &str) {
        self.seen.say(text);
    }
}

/// One member.
pub struct GaleraAgent {
    shared: Arc<Shared>,
    halter: Cutter,
    keeper: Option<JoinHandle<()>>,
}

/// Builds the agent. Touches nothing.
///
/// # Errors
/// Parameters that are wrong.
pub fn build(context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    let params = Params::read(&context.params)?;
    let server = Server::build(&context, &params)?;
    let halter = server.halter();
    let shared = Shared {
        seen: Seen::new(context.events.clone()),
        context,
        params,
        server: Mutex::new(server),
        promoted: AtomicBool::new(false),
        component: StdMutex::default(),
    };
    Ok(Box::new(GaleraAgent {
        shared: Arc::new(shared),
        halter,
        keeper: None,
    }))
}

impl GaleraAgent {
    /// Ends what looks after the member, before an action that does it itself.
    fn leave(&mut self) {
        if let Some(task) = self.keeper.take() {
            task.abort();
        }
    }

    fn look_after(&mut self) {
        self.leave();
        self.keeper = Some(tokio::spawn(keeper::keep(Arc::clone(&self.shared))));
    }

    /// Joins, if there is something to join; else waits for that, or to be promoted. Both count as active, because an
    /// unpromoted copy is there to be looked at.
    async fn begin(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.leave();
        let shared = Arc::clone(&self.shared);
        let mut server = shared.server.lock().await;
        if !server.is_up().await {
            server.inner.end.forget();
            // Before anything of the server runs: its recovery opens the port of clients for a moment.
            server.refusal().await?;
            let roles = shared.context.roles.borrow().clone();
            let place = Place::find(&shared.params, clock::now().until(deadline)).await?;
            shared.context.copy.tell(keeper::told(&place, &roles));
            let members = server.members(&roles).await;
            if members.is_empty() {
                shared.say(&format!(
                    "{}: waits for a member to join, or to be promoted",
                    place.text()
                ));
            } else {
                shared.say(&format!("joins {} from {}", members.join(" and "), place.text()));
                server.launch(How::Join, &place, &roles, deadline).await?;
            }
        }
        drop(server);
        self.look_after();
        Ok(())
    }

    /// Becomes the node that is written to.
    ///
    /// The proof for all that follows: the runner has a permit of the epoch in which the register assigned the group to this
    /// node, and that assignment was made only because the node before has given it up, or is proven gone.
    async fn raise(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.leave();
        let shared = Arc::clone(&self.shared);
        let mut server = shared.server.lock().await;
        if !server.is_up().await {
            self.bring_up(&mut server, deadline).await?;
        } else if let Ok(mut client) = Client::local(&shared.params.socket, shared.params.timeout).await
            && let Ok(status) = Status::ask(&mut client).await
            && !status.is_primary
        {
            self.restore(&mut client).await?;
        }
        let status = server.ready().await?;
        drop(server);
        shared.say(&status.text());
        shared.promoted.store(true, Ordering::SeqCst);
        self.look_after();
        Ok(())
    }

    /// No server runs here: joins those that run elsewhere, else founds the cluster from this copy.
    async fn bring_up(&self, server: &mut Server, deadline: Time) -> Result<(), AgentError> {
        let shared = &self.shared;
        server.inner.end.forget();
        server.refusal().await?;
        let roles = shared.context.roles.borrow().clone();
        let place = Place::find(&shared.params, clock::now().until(deadline)).await?;
        let members = server.members(&roles).await;
        if !members.is_empty() {
            return server.launch(How::Join, &place, &roles, deadline).await;
        }
        let obstacle = place.obstacle(&roles);
        if !obstacle.is_empty() {
            let at = place.text();
            return Err(AgentError(format!(
                "the cluster is not founded from the copy at {at}: {obstacle}"
            )));
        }
        let text = format!("nobody runs: founds the cluster from {}", place.text());
        tracing::warn!(group = shared.context.group, "{text}");
        shared.context.events.note("warn", "galera-founds", text);
        server.launch(How::Found, &place, &roles, deadline).await
    }

    /// This member runs and lost the others. Those of them that were promoted are proven gone.
    async fn restore(&self, client: &mut Client) -> Result<(), AgentError> {
        let is_pair = self.shared.component().as_ref().is_some_and(Component::is_pair);
        if !is_pair {
            return Err(AgentError::new(
                "this member is not in the primary component, and had more than one other member, or one that is no node of \
                 this cluster: Galera's own quorum decides which part goes on",
            ));
        }
        keeper::go_on_alone(client).await?;
        let text = "the other member is gone: this node goes on alone";
        self.shared.context.events.note("warn", "galera-restored", text);
        Ok(())
    }

    async fn end(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.leave();
        self.shared.promoted.store(false, Ordering::SeqCst);
        let mut server = self.shared.server.lock().await;
        server.inner.end.forget();
        // SIGTERM: it tells the others that it leaves, and writes its position.
        server.inner.agent.stop(deadline).await?;
        drop(server);
        self.shared.say("");
        Ok(())
    }
}

impl ResourceAgent for GaleraAgent {
    fn start(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.begin(deadline))
    }

    fn stop(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.end(deadline))
    }

    fn kill(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        self.leave();
        self.shared.promoted.store(false, Ordering::SeqCst);
        Box::pin(async move {
            let mut server = self.shared.server.lock().await;
            server.inner.end.forget();
            server.inner.agent.kill(deadline).await
        })
    }

    fn freeze(&mut self) -> Result<(), AgentError> {
        self.leave();
        match self.shared.server.try_lock() {
            Ok(mut server) => server.inner.agent.freeze(),
            Err(_) => (self.halter)(),
        }
    }

    fn probe(&mut self) -> Action<'_, Presence> {
        Box::pin(async { self.shared.server.lock().await.inner.agent.probe().await })
    }

    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
        Box::pin(async {
            let shared = Arc::clone(&self.shared);
            let mut server = shared.server.lock().await;
            server.inner.listen();
            server.inner.agent.adopt().await?;
            server.inner.end.arm().map_err(AgentError)?;
            drop(server);
            self.look_after();
            Ok(())
        })
    }

    fn halter(&self) -> Option<Cutter> {
        Some(Arc::clone(&self.halter))
    }

    fn has_roles(&self) -> bool {
        true
    }

    fn promote(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.raise(deadline))
    }

    /// Writes that still come in here are certified on all members, as Galera does it: nothing is lost by them.
    fn demote<'a>(
        &'a mut self,
        _toward: Option<&'a Peer>,
        _deadline: Time,
    ) -> Action<'a, Result<(), AgentError>> {
        self.shared.promoted.store(false, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(())))
    }

    fn detail(&self) -> String {
        self.shared.seen.text()
    }
}

impl Drop for GaleraAgent {
    fn drop(&mut self) {
        self.leave();
    }
}

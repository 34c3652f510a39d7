//! The `mysqld` agent: MariaDB and MySQL.
//!
//! A server is a process ([`inner`]: a unit or a program) that answers on its socket ([`client`]). In storage mode that is
//! all: one server, on storage that follows the group. In replication mode there is one on every node: [`follow`] looks after
//! those that are not promoted, [`lead`] after the one that is, [`promote`] and [`demote`] are the ways between.

mod accounts;
mod attach;
pub mod client;
mod clone;
mod demote;
mod diverged;
mod follow;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod gtid;
mod health;
mod hold;
pub(crate) mod inner;
mod keeper;
mod lead;
mod mark;
pub mod params;
mod promote;
mod ready;
mod rewind;
mod seed;
mod semi_sync;
pub mod server;
mod sessions;
mod site;
mod status;
pub mod tls;
mod turns;
mod watch;
pub mod way;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::task::JoinHandle;

use crate::agent::{Action, AgentContext, AgentError, Cutter, Presence, ResourceAgent};
use crate::clock;
use crate::roles::{CopyStatus, Peer};
use crate::room;
use crate::seen::Seen;
use inner::Inner;
pub use params::META;
use params::{Mode, Params};
use site::Site;

/// For a server that its own command line starts: it takes no writes from its first moment on, and follows nobody before it is
/// told whom.
const UNPROMOTED: [&str; 4] = [
    "--read-only=ON",
    "--loose-super-read-only=ON",
    "--loose-skip-slave-start",
    "--loose-skip-replica-start",
];

/// A server on a full disk may wait for room instead of ending: it gets so long for a clean end.
const FULL_STOP_LIMIT: Duration = Duration::from_secs(2);

/// One server.
pub struct MysqldAgent {
    context: AgentContext,
    params: Arc<Params>,
    inner: Inner,
    /// A run before the start, see [`rewind`].
    rewinder: Option<Inner>,
    /// Looks after the server from the end of the start on.
    keeper: Option<JoinHandle<()>>,
    seen: Arc<Seen>,
    /// The disk was full when the server was to end.
    was_full: bool,
    /// In replication mode.
    site: Option<Arc<Site>>,
}

/// Builds the agent. Reads the TLS files, touches nothing.
///
/// # Errors
/// Parameters that are wrong.
pub fn build(context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    META.check_keys(&context.params)?;
    let params = Arc::new(Params::read(&context.params)?);
    let seen = Arc::new(Seen::new(context.events.clone()));
    let arguments: &[&str] = match params.mode {
        Mode::Storage => &[],
        Mode::Replication => &UNPROMOTED,
    };
    let inner = Inner::build(&context, &params, arguments)?;
    let site = match params.mode {
        Mode::Storage => None,
        Mode::Replication => Some(Arc::new(Site::new(
            &context,
            Arc::clone(&params),
            Arc::clone(&seen),
        )?)),
    };
    Ok(Box::new(MysqldAgent {
        context,
        params,
        inner,
        rewinder: None,
        keeper: None,
        seen,
        was_full: false,
        site,
    }))
}

impl MysqldAgent {
    async fn begin(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.leave();
        self.open_ways();
        self.inner.listen();
        self.inner.end.forget();
        self.forget_copy();
        if let Some(fault) = room::start_fault(&self.params.datadir, self.was_full).await {
            return Err(AgentError(fault));
        }
        if let Some(site) = self.site.clone() {
            seed::before_start(&site)?;
            self.rewind(&site, deadline).await?;
        }
        self.seen.say("starting");
        self.inner.agent.start(deadline).await?;
        let mut client = ready::answer(&self.params, &self.inner.end, &self.context.events).await?;
        self.seen.say(&client.server().to_string());
        if let Some(site) = &self.site {
            hold::unpromoted(&mut client, site).await?;
            seed::after_start(&mut client, site).await?;
            mark::begin(site)
                .map_err(|error| AgentError(format!("cannot write into the state folder: {error}")))?;
        }
        self.inner.end.arm().map_err(AgentError)?;
        self.was_full = false;
        match self.site.clone() {
            Some(site) => self.keep(follow::run(site)),
            None => self.watch_storage(),
        }
        Ok(())
    }

    /// What a had-agentd that was killed in the middle of a promotion may have left in the kernel.
    fn open_ways(&self) {
        if self.site.is_none() {
            return;
        }
        if let Err(error) = way::open_all(self.params.port) {
            let text = format!(
                "cannot see whether the way to the other node's server is shut ({error}): look at `ip rule` and remove what says \
                 prohibit for port {}",
                self.params.port
            );
            self.context.events.note("warn", "mysqld-way", text);
        }
    }

    /// What was last said of the copy holds no more: its server ends or begins.
    fn forget_copy(&self) {
        if let Some(site) = &self.site {
            site.copy.tell(CopyStatus::default());
        }
    }

    fn watch_storage(&mut self) {
        let events = self.context.events.clone();
        let watch = watch::storage(Arc::clone(&self.params), events, Arc::clone(&self.seen));
        self.keep(watch);
    }

    /// Cuts off what an old primary never got acknowledged, when that is proven to be of no worth.
    async fn rewind(&mut self, site: &Site, deadline: Time) -> Result<(), AgentError> {
        self.end_rewinder(deadline).await?;
        let Some(rewind) = rewind::prepare(site, deadline).await? else {
            return Ok(());
        };
        let (rewinder, params) = rewind::build(&self.context, &self.params)?;
        let rewinder = self.rewinder.insert(rewinder);
        if let Err(error) = rewind::run(site, rewinder, &params, rewind, deadline).await {
            // The start that follows recovers it as any server; what it has too much is found when it is to follow.
            let text = format!("nothing could be cut off the binary log: {error}");
            self.context.events.note("warn", "mysqld-rewind", text);
        }
        self.end_rewinder(deadline).await
    }

    async fn end_rewinder(&mut self, deadline: Time) -> Result<(), AgentError> {
        if let Some(rewinder) = &mut self.rewinder {
            rewinder.agent.kill(deadline).await?;
            self.rewinder = None;
        }
        Ok(())
    }

    /// This looks after the server from now on.
    fn keep(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.leave();
        self.keeper = Some(tokio::spawn(task));
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
        self.end_rewinder(deadline).await?;
        if room::fault(&self.params.datadir).await.is_some() {
            return self.end_on_a_full_disk(deadline).await;
        }
        if let Some(site) = &self.site {
            // Half of the time: the rest is the server's own.
            let half = clock::now().until(deadline) / 2;
            let settled = follow::settle(site, clock::now() + half);
            let _ = tokio::time::timeout(half, settled).await;
        }
        // SIGTERM is the server's own clean shutdown.
        self.inner.agent.stop(deadline).await?;
        self.forget_copy();
        self.seen.say("");
        Ok(())
    }

    /// What is killed recovers at its next start; the clean end is only quicker to start from.
    async fn end_on_a_full_disk(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.was_full = true;
        let clean = self.inner.agent.stop(deadline);
        if !matches!(tokio::time::timeout(FULL_STOP_LIMIT, clean).await, Ok(Ok(()))) {
            self.inner.agent.kill(deadline).await?;
        }
        self.forget_copy();
        self.seen.say("");
        Ok(())
    }

    async fn force(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.leave();
        self.inner.end.forget();
        self.end_rewinder(deadline).await?;
        self.forget_copy();
        self.inner.agent.kill(deadline).await
    }

    fn site(&self) -> Result<Arc<Site>, AgentError> {
        let absent = || AgentError::new("a server in storage mode has no roles");
        self.site.clone().ok_or_else(absent)
    }

    async fn become_primary(&mut self, deadline: Time) -> Result<(), AgentError> {
        let site = self.site()?;
        promote::refuse(&site)?;
        self.leave_between_turns(&site, deadline).await?;
        bounded(deadline, promote::promote(&site, deadline)).await?;
        self.keep(async move {
            tokio::join!(
                promote::tell_of_errant(&site),
                keeper::promoted(Arc::clone(&site))
            );
        });
        Ok(())
    }

    async fn become_replica(&mut self, toward: Option<&Peer>, deadline: Time) -> Result<(), AgentError> {
        let site = self.site()?;
        self.leave_between_turns(&site, deadline).await?;
        bounded(deadline, demote::demote(&site, toward, deadline)).await?;
        self.keep(follow::run(site));
        Ok(())
    }

    /// Ends what looks after the server when none of its statements is under way.
    async fn leave_between_turns(&mut self, site: &Site, deadline: Time) -> Result<(), AgentError> {
        let turn = async {
            let _between = site.turn.lock().await;
            self.leave();
            Ok(())
        };
        bounded(deadline, turn).await
    }
}

/// An action that leaves the server as it is when its time is over.
async fn bounded(
    deadline: Time,
    action: impl Future<Output = Result<(), AgentError>>,
) -> Result<(), AgentError> {
    let limit: Duration = clock::now().until(deadline);
    tokio::time::timeout(limit, action)
        .await
        .unwrap_or_else(|_| Err(AgentError::new("the server did not do it in time")))
}

impl ResourceAgent for MysqldAgent {
    fn start(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.begin(deadline))
    }

    fn stop(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.end(deadline))
    }

    fn kill(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.force(deadline))
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
            self.open_ways();
            self.inner.agent.adopt().await?;
            self.inner.end.arm().map_err(AgentError)?;
            match self.site.clone() {
                Some(site) => self.keep(keeper::resume(site)),
                None => self.watch_storage(),
            }
            Ok(())
        })
    }

    fn has_roles(&self) -> bool {
        self.site.is_some()
    }

    fn promote(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.become_primary(deadline))
    }

    fn demote<'a>(
        &'a mut self,
        toward: Option<&'a Peer>,
        deadline: Time,
    ) -> Action<'a, Result<(), AgentError>> {
        Box::pin(self.become_replica(toward, deadline))
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

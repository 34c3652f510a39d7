//! The `redis` agent: Redis and Valkey as primary and replica, promoted by the cluster and without Sentinel.
//!
//! - [`held`]: how it is kept from doing harm before it is promoted.
//! - [`keeper`]: looks at it; [`follow`]: what an unpromoted one does; [`waiting`]: for whom a primary waits.
//! - [`promote`] and [`demote`]: the two changes of role.
//! - [`copy`]: what is told about the copy here.
//! - [`storage`]: what is done about a full disk; [`launch`] and [`data`]: about one whose data is damaged.
//! - [`sentinel`]: answers the clients of Sentinel.
//! - [`client`], [`resp`], [`info`], [`instance`]: how it is spoken with.
//!
//! The process itself is started and stopped by the `systemd` or the `exec` agent.

mod belief;
mod client;
mod copy;
mod data;
mod demote;
mod follow;
#[cfg(fuzzing)]
pub mod fuzzing;
mod held;
mod info;
mod instance;
mod keeper;
mod launch;
mod memo;
mod params;
mod promote;
mod remote;
mod resp;
mod sentinel;
mod state;
mod storage;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::task::JoinHandle;

use crate::agent::{Action, AgentContext, AgentError, Cutter, Presence, ResourceAgent};
use crate::clock;
use crate::mysqld::inner::Inner;
use crate::roles::{CopyStatus, Peer};
use client::{Fault, Login};
use info::Info;
use instance::Instance;
use keeper::Keeper;
use memo::Memo;
pub use params::META;
use params::{Params, Runner};
use state::{Duty, State};

/// Bound on a look for a probe.
const LOOK: Duration = Duration::from_secs(1);

/// One Redis.
pub struct RedisAgent {
    context: AgentContext,
    params: Params,
    /// Starts and stops the process.
    inner: Inner,
    running: Option<Running>,
}

/// What is there while it is active.
struct Running {
    state: Arc<State>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Builds the agent. Touches nothing.
///
/// # Errors
/// Parameters that are wrong.
pub fn build(context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    META.check_keys(&context.params)?;
    let params = Params::read(&context.params)?;
    let taken: &[&str] = match params.runner {
        Runner::Unit(_) => &["unit"],
        Runner::Command { .. } => &["command", "user", "cwd", "env"],
    };
    let mut inner = context.params.clone();
    inner.retain(|key, _| taken.contains(&key.as_str()));
    if let Some(command) = inner.get_mut("command") {
        *command = format!("{}\n{}", command.trim_end(), held::arguments());
    }
    let build = match params.runner {
        Runner::Unit(_) => crate::systemd::build,
        Runner::Command { .. } => crate::exec::build,
    };
    let inner = Inner::around(&context, inner, build)?;
    Ok(Box::new(RedisAgent {
        context,
        params,
        inner,
        running: None,
    }))
}

impl RedisAgent {
    /// Starts it held, and returns when it has read its data.
    async fn begin(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.inner.listen();
        // What was said of the process before holds no more.
        self.context.copy.tell(CopyStatus {
            obstacle: "its redis begins".into(),
            ..CopyStatus::default()
        });
        let login = self.params.login().await?;
        if let Runner::Unit(config) = &self.params.runner {
            let file = held::file(&self.context.group, &self.context.resource);
            held::check_included(config, &file).await?;
            held::write(&file).await?;
        }
        if self.inner.agent.probe().await != Presence::Active && answers(&self.params, &login).await {
            return Err(stranger(&self.params));
        }
        let state = Arc::new(State::new(self.params.clone(), login));
        let info = self.launch(&state, deadline).await?;
        let mut local = state.local.lock().await;
        Self::check_held(&mut local, &info).await?;
        let own = self.context.roles.borrow().own.addresses.first().copied();
        let prepared = local.prepare(own, self.params.port, &state.login).await;
        prepared.map_err(|fault| promote::wrong("does not take its settings", &fault))?;
        drop(local);
        self.attend(state, info, Duty::Unpromoted).await;
        // From here on its end is a failure.
        self.inner.end.arm().map_err(AgentError)
    }

    /// One that is not held may be an instance that was not started by us, or with another configuration.
    async fn check_held(local: &mut Instance, info: &Info) -> Result<(), AgentError> {
        let demands = local
            .demands()
            .await
            .map_err(|fault| promote::wrong("cannot be asked", &fault))?;
        if !info.is_master && demands == held::REPLICAS {
            return Ok(());
        }
        // Not an instant longer than it has been already.
        let _ = local.refuse_writes().await;
        let _ = local.hold().await;
        Err(AgentError::new(
            "redis came up as a primary that takes writes: the configuration it was started with does not include our file (see \
             `config`), or it ran before",
        ))
    }

    /// Watches it from here on.
    async fn attend(&mut self, state: Arc<State>, info: Info, duty: Duty) {
        let name = format!("redis.{}.{}.json", self.context.group, self.context.resource);
        let memo = Memo::read(self.context.state_dir.join(name)).await;
        let pending = memo.pending(&self.context.roles.borrow());
        {
            let mut facts = state.facts();
            facts.duty = duty;
            facts.info = info;
            memo.whole().clone_into(&mut facts.whole);
            facts.waiting = waiting::Waiting::new(pending, std::collections::BTreeMap::new());
        }
        let keeper = Keeper::new(Arc::clone(&state), &self.context, memo);
        let mut tasks = vec![tokio::spawn(keeper.run())];
        if let Some(port) = self.params.sentinel_port {
            let face = sentinel::Face::new(&state, &self.context, port);
            tasks.push(tokio::spawn(face.run()));
        }
        self.running = Some(Running { state, tasks });
    }

    fn state(&self) -> Result<Arc<State>, AgentError> {
        self.running
            .as_ref()
            .map(|running| Arc::clone(&running.state))
            .ok_or_else(|| AgentError::new("redis was not started here"))
    }

    /// Writes that were taken reach the replica first, if there is one.
    async fn end(&mut self, deadline: Time) -> Result<(), AgentError> {
        if let Some(running) = &self.running
            && running.state.facts().duty == Duty::Promoted
        {
            let half = clock::now() + clock::now().until(deadline) / 2;
            // Its end comes anyway: nothing it says now would keep it.
            let _ = demote::demote(&running.state, None, half).await;
        }
        self.running = None;
        self.inner.end.forget();
        self.inner.agent.stop(deadline).await
    }

    async fn look(&mut self) -> Presence {
        let presence = self.inner.agent.probe().await;
        if presence != Presence::Inactive {
            return presence;
        }
        let login = self.params.login().await.unwrap_or_default();
        match answers(&self.params, &login).await {
            true => Presence::Unknown(stranger(&self.params).0),
            false => Presence::Inactive,
        }
    }

    async fn take_over(&mut self) -> Result<(), AgentError> {
        self.inner.listen();
        self.inner.agent.adopt().await?;
        let state = Arc::new(State::new(self.params.clone(), self.params.login().await?));
        let mut local = state.local.lock().await;
        let looked = async { Ok((local.info().await?, local.demands().await?)) };
        let (info, demands) = looked
            .await
            .map_err(|fault: Fault| promote::wrong("cannot be asked", &fault))?;
        drop(local);
        // One that takes writes was promoted here: nothing else lets it.
        let promoted = info.is_master && demands != held::REPLICAS;
        let duty = if promoted {
            Duty::Promoted
        } else {
            Duty::Unpromoted
        };
        self.attend(state, info, duty).await;
        self.inner.end.arm().map_err(AgentError)
    }
}

/// Whether anything listens where our Redis would.
async fn answers(params: &Params, login: &Login) -> bool {
    let looked = Instance::new(params.place(), login.clone(), LOOK).info().await;
    !matches!(looked, Err(Fault::Connection(_)))
}

fn stranger(params: &Params) -> AgentError {
    AgentError(format!(
        "something that was not started here answers at {}; stop it first",
        params.place()
    ))
}

impl ResourceAgent for RedisAgent {
    fn start(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(async move {
            match self.running {
                Some(_) => Ok(()),
                None => self.begin(deadline).await,
            }
        })
    }

    fn stop(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.end(deadline))
    }

    fn kill(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        self.running = None;
        self.inner.end.forget();
        self.inner.agent.kill(deadline)
    }

    fn freeze(&mut self) -> Result<(), AgentError> {
        self.inner.agent.freeze()
    }

    fn probe(&mut self) -> Action<'_, Presence> {
        Box::pin(self.look())
    }

    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.take_over())
    }

    fn cutter(&self) -> Option<Cutter> {
        self.inner.agent.cutter()
    }

    /// Killed or frozen: a primary without a permit must neither answer nor write.
    fn halter(&self) -> Option<Cutter> {
        self.inner.agent.halter()
    }

    fn has_roles(&self) -> bool {
        true
    }

    fn promote(&mut self, _deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(async move {
            let state = self.state()?;
            promote::promote(&state, &self.context).await
        })
    }

    fn demote<'a>(
        &'a mut self,
        toward: Option<&'a Peer>,
        deadline: Time,
    ) -> Action<'a, Result<(), AgentError>> {
        Box::pin(async move {
            match self.state() {
                Ok(state) => demote::demote(&state, toward, deadline).await,
                Err(_) => Ok(()), // It does not run.
            }
        })
    }

    fn detail(&self) -> String {
        let inner = self.inner.agent.detail();
        let Some(running) = &self.running else {
            return inner;
        };
        let facts = running.state.facts();
        let role = match (facts.duty, &facts.info.master) {
            (Duty::Promoted, _) => "primary".to_owned(),
            (_, Some((host, port))) if *port != held::PORT => {
                let link = if facts.info.link_up {
                    "connected"
                } else {
                    "not connected"
                };
                format!("replica of {host}:{port}, {link}")
            }
            _ => "held".to_owned(),
        };
        format!(
            "{inner}; redis {}, {role}, offset {}",
            facts.info.version, facts.info.offset
        )
    }

    fn saved(&self) -> String {
        self.inner.agent.saved()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_built_around_a_unit_or_a_program() {
        for (pairs, good) in [
            (&[("unit", "redis-server.service")][..], true),
            (
                &[
                    ("command", "/usr/bin/redis-server\n/etc/redis.conf"),
                    ("user", "redis"),
                ][..],
                true,
            ),
            (&[("unit", "redis")][..], false),
            (&[("command", "redis-server")][..], false),
            (&[("unit", "redis-server.service"), ("password", "x")][..], false),
        ] {
            let mut context = crate::agent::tests::context();
            context.params = pairs
                .iter()
                .map(|(key, value)| ((*key).into(), (*value).into()))
                .collect();
            assert_eq!(build(context).is_ok(), good, "{pairs:?}");
        }
    }
}

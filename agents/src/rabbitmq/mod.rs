//! The `rabbitmq` agent: one broker under a name of its own, on storage that follows the group; or a broker on each node, which
//! form a cluster.
//!
//! - [`cluster`]: the second of these.
//! - [`place`]: what has to be right on a node before it is started there.
//! - [`amqp`]: how it is looked at, without an Erlang VM for each look; [`keeper`] does it again and again.
//! - [`erlang`]: how brokers are asked and told what AMQP has no words for, without a VM either.
//!
//! The process itself is started and stopped by the `systemd` or the `exec` agent. Nothing here ever removes or resets a
//! database.

mod amqp;
mod cluster;
mod erlang;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keeper;
mod params;
mod place;

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::task::JoinHandle;

use crate::agent::{Action, AgentContext, AgentError, Cutter, Presence, ResourceAgent};
use crate::clock;
pub use params::META;
use params::{Params, Runner};

/// In storage mode the broker is called the same on each node.
const ANY_NODE: &str = "";
/// Pause between looks at one that begins.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// One broker.
pub struct RabbitmqAgent {
    context: AgentContext,
    params: Arc<Params>,
    /// Its name.
    broker: String,
    /// Starts and stops the process.
    inner: Box<dyn ResourceAgent>,
    keeper: Option<JoinHandle<()>>,
}

/// Builds the agent. Touches nothing.
///
/// # Errors
/// Parameters that are wrong.
pub fn build(context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    META.check_keys(&context.params)?;
    let params = Params::read(&context.params)?;
    if let Some(cluster) = params.cluster.clone() {
        return cluster::build(context, params, cluster);
    }
    let broker = params.broker(ANY_NODE);
    let inner = inner(context.clone(), &params, Some(&broker))?;
    Ok(Box::new(RabbitmqAgent {
        context,
        params: Arc::new(params),
        broker,
        inner,
        keeper: None,
    }))
}

/// What runs the process. A program is told the broker's name; a unit has it from a file.
fn inner(
    mut context: AgentContext,
    params: &Params,
    broker: Option<&str>,
) -> Result<Box<dyn ResourceAgent>, AgentError> {
    match &params.runner {
        Runner::Unit(unit, _) => {
            context.params = [("unit".to_owned(), unit.clone())].into();
            crate::systemd::build(context)
        }
        Runner::Command => {
            let taken = ["command", "user", "cwd", "env"];
            context.params.retain(|key, _| taken.contains(&key.as_str()));
            if let Some(broker) = broker {
                let env = context.params.entry("env".to_owned()).or_default();
                // The last word on a variable counts.
                *env = format!("{}\nRABBITMQ_NODENAME={broker}", env.trim_end());
            }
            crate::exec::build(context)
        }
    }
}

impl RabbitmqAgent {
    /// Starts it, and returns when it can be used: its port opens when everything has been recovered.
    async fn begin(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.leave();
        place::check(&self.params, &self.broker).await?;
        let account = self.params.account().await?;
        let before = self.inner.probe().await;
        if before != Presence::Active && keeper::look(&self.params, None).await.is_ok() {
            return Err(AgentError(format!(
                "a broker that was not started here answers at {}:{}; stop it first",
                self.params.address, self.params.port
            )));
        }
        self.inner.start(deadline).await?;
        while let Err(reason) = keeper::look(&self.params, account.as_ref()).await {
            if self.inner.probe().await != Presence::Active {
                return Err(AgentError(format!(
                    "the broker ended while it started: {}",
                    self.inner.detail()
                )));
            }
            if clock::now() >= deadline {
                return Err(AgentError(format!(
                    "the broker cannot be used yet ({reason}); give it more time with start_timeout"
                )));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.watch(account);
        Ok(())
    }

    fn watch(&mut self, account: Option<amqp::Account>) {
        self.leave();
        let (params, events) = (Arc::clone(&self.params), self.context.events.clone());
        self.keeper = Some(tokio::spawn(keeper::keep(params, account, events)));
    }

    fn leave(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.abort();
        }
    }
}

impl ResourceAgent for RabbitmqAgent {
    fn start(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.begin(deadline))
    }

    fn stop(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        self.leave();
        self.inner.stop(deadline)
    }

    fn kill(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        self.leave();
        self.inner.kill(deadline)
    }

    fn freeze(&mut self) -> Result<(), AgentError> {
        self.inner.freeze()
    }

    fn probe(&mut self) -> Action<'_, Presence> {
        self.inner.probe()
    }

    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
        Box::pin(async move {
            self.inner.adopt().await?;
            let account = self.params.account().await?;
            self.watch(account);
            Ok(())
        })
    }

    fn cutter(&self) -> Option<Cutter> {
        self.inner.cutter()
    }

    fn halter(&self) -> Option<Cutter> {
        self.inner.halter()
    }

    fn detail(&self) -> String {
        format!("{}, {}", self.broker, self.inner.detail())
    }

    fn saved(&self) -> String {
        self.inner.saved()
    }
}

impl Drop for RabbitmqAgent {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_built_around_a_unit_or_a_program() {
        let name = ("node_name", "rabbit@shop");
        for (pairs, good) in [
            (&[name][..], true),
            (&[name, ("unit", "rabbitmq-server.service")][..], true),
            (
                &[
                    name,
                    ("command", "/usr/lib/rabbitmq/bin/rabbitmq-server"),
                    ("env", "HOME=/x"),
                ][..],
                true,
            ),
            (&[("node_name", "rabbit@{node}"), ("mode", "cluster")][..], true),
            (&[name, ("unit", "rabbitmq")][..], false),
            (&[name, ("command", "rabbitmq-server")][..], false),
            (&[name, ("password", "x")][..], false),
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

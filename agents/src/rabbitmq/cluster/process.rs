//! The broker's process: a unit, or a program that is told its name.

use holdfast_proto::time::Time;

use crate::agent::{AgentContext, AgentError, Cutter, Presence, ResourceAgent};
use crate::rabbitmq::inner;
use crate::rabbitmq::params::Params;
use crate::relaunch::Relaunch;

/// One process.
pub struct Process {
    /// Starts, stops, kills, freezes; and reports an end that nobody asked for.
    pub agent: Box<dyn ResourceAgent>,
    /// It was started, or found running, by this agent. If it does not run any more, it ended by itself.
    pub was_up: bool,
    /// Its end is reported by the agent that runs it.
    pub is_watched: bool,
    relaunch: Relaunch,
}

impl Process {
    /// Takes over what an earlier had-agentd started, if it still runs.
    ///
    /// # Errors
    /// Parameters that are wrong.
    pub fn build(context: &AgentContext, params: &Params) -> Result<Process, AgentError> {
        let relaunch = Relaunch::new(context, "rabbitmq");
        let agent = inner(relaunch.resumed(), params, None)?;
        relaunch.is_newest(agent.as_ref());
        Ok(Process {
            agent,
            was_up: false,
            is_watched: false,
            relaunch,
        })
    }

    /// See [`Relaunch::halter`].
    #[must_use]
    pub fn halter(&self) -> Cutter {
        self.relaunch.halter()
    }

    /// Nothing of it runs.
    pub async fn is_down(&mut self) -> bool {
        self.agent.probe().await == Presence::Inactive
    }

    /// Starts it as `broker`. A unit is there when its broker has recovered everything; a program at once.
    ///
    /// # Errors
    /// It did not start.
    pub async fn launch(&mut self, params: &Params, broker: &str, deadline: Time) -> Result<(), AgentError> {
        self.agent = inner(self.relaunch.fresh(), params, Some(broker))?;
        self.relaunch.is_newest(self.agent.as_ref());
        self.is_watched = false;
        self.agent.start(deadline).await?;
        self.was_up = true;
        self.is_watched = true;
        self.relaunch.has_started(self.agent.as_ref())
    }

    /// It runs: from here on its end is noticed. A start that was cut short by a promotion left that out.
    ///
    /// # Errors
    /// It cannot be watched.
    pub async fn found_running(&mut self) -> Result<(), AgentError> {
        if !self.is_watched {
            self.agent.adopt().await?;
            self.is_watched = true;
        }
        self.was_up = true;
        Ok(())
    }

    /// Nobody is to be told when it ends.
    pub fn forget(&mut self) {
        self.was_up = false;
        self.is_watched = false;
    }

    /// Ends it, if need be by force.
    ///
    /// # Errors
    /// Something of it still runs.
    pub async fn end(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.forget();
        if self.agent.stop(deadline).await.is_ok() {
            return Ok(());
        }
        self.agent.kill(deadline).await
    }
}

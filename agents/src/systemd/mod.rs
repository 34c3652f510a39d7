//! The `systemd` agent: starts, stops and watches a unit over D-Bus.
//!
//! Jobs are waited for by their own result, and a unit that dies is noticed by systemd's signal, in milliseconds.

mod bus;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::task::JoinHandle;

use crate::agent::{Action, AgentContext, AgentError, AgentMeta, Cutter, ParamMeta, Presence, ResourceAgent};
use crate::clock;
use crate::params::Reader;
use bus::Bus;
use watch::Shared;

/// The agent's description.
pub const META: AgentMeta = AgentMeta {
    kind: "systemd",
    summary: "starts, stops and watches a systemd unit",
    params: &[ParamMeta::required(
        "unit",
        "the unit with its ending: nginx.service",
    )],
};

/// Endings of units that can be started.
const ENDINGS: [&str; 7] = ["service", "socket", "target", "mount", "timer", "path", "scope"];
/// Pause between looks at a unit that was killed.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// One unit.
pub struct SystemdAgent {
    context: AgentContext,
    unit: String,
    shared: Shared,
    watcher: Option<JoinHandle<()>>,
}

/// Builds the agent. Touches nothing.
///
/// # Errors
/// Parameters that are wrong.
pub fn build(context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    META.check_keys(&context.params)?;
    let unit = Reader::new(META.kind, &context.params).text("unit");
    let unit = unit.unwrap_or_default().to_owned();
    let known = unit
        .rsplit_once('.')
        .is_some_and(|(name, ending)| !name.is_empty() && ENDINGS.contains(&ending));
    let plain = unit
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c));
    if !known || !plain {
        return Err(AgentError(format!(
            "agent systemd: {unit:?} is no unit name; it needs an ending: nginx.service"
        )));
    }
    Ok(Box::new(SystemdAgent {
        context,
        unit,
        shared: Shared::default(),
        watcher: None,
    }))
}

impl SystemdAgent {
    fn wrong(&self, what: &str, error: &impl std::fmt::Display) -> AgentError {
        AgentError(format!("{what} {}: {error}", self.unit))
    }

    async fn begin(&mut self) -> Result<(), AgentError> {
        self.unwatch();
        let bus = Bus::connect().await?;
        let loaded = bus.unit(&self.unit).await?;
        loaded.check_loaded().await?;
        // A unit that failed too often before is refused otherwise.
        bus.reset_failed(&self.unit).await;
        let result = bus.run_job("StartUnit", &self.unit).await?;
        let state = loaded.state().await?;
        if result != "done" || !state.is_up() {
            let hint = format!("see journalctl -u {}", self.unit);
            return Err(AgentError(format!(
                "{} did not start: job {result}, unit {state}; {hint}",
                self.unit
            )));
        }
        if bus.is_enabled(&self.unit).await {
            let text = format!(
                "{0} is enabled: systemd starts it at boot, on every node; systemctl disable {0}",
                self.unit
            );
            self.context.events.note("warn", "unit-enabled", text);
        }
        self.watch();
        Ok(())
    }

    async fn end(&mut self) -> Result<(), AgentError> {
        self.unwatch();
        let bus = Bus::connect().await?;
        let unit = bus.unit(&self.unit).await?;
        if unit.state().await?.is_down() {
            return Ok(());
        }
        let result = bus.run_job("StopUnit", &self.unit).await?;
        let state = unit.state().await?;
        if state.is_down() {
            return Ok(());
        }
        Err(AgentError(format!(
            "{} did not stop: job {result}, unit {state}",
            self.unit
        )))
    }

    async fn end_by_force(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.unwatch();
        let bus = Bus::connect().await?;
        let unit = bus.unit(&self.unit).await?;
        // The stop job keeps systemd from restarting it; the signal ends what the job waits for.
        bus.queue_stop(&self.unit).await?;
        loop {
            let state = unit.state().await?;
            if state.is_down() {
                return Ok(());
            }
            if clock::now() >= deadline {
                return Err(AgentError(format!(
                    "{} is still {state} after SIGKILL",
                    self.unit
                )));
            }
            bus.kill(&self.unit).await;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn look(&mut self) -> Presence {
        let state = async { Bus::connect().await?.unit(&self.unit).await?.state().await };
        match state.await {
            Ok(state) if state.is_up() => Presence::Active,
            Ok(state) if state.is_down() => Presence::Inactive,
            Ok(state) => Presence::Partial(format!("the unit is {state}")),
            Err(error) => Presence::Unknown(self.wrong("cannot look at", &error).0),
        }
    }

    fn watch(&mut self) {
        self.unwatch();
        let follow = watch::follow(
            self.unit.clone(),
            self.shared.clone(),
            self.context.events.clone(),
        );
        self.watcher = Some(tokio::spawn(follow));
    }

    fn unwatch(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
    }
}

impl ResourceAgent for SystemdAgent {
    fn start(&mut self, _deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.begin())
    }

    fn stop(&mut self, _deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.end())
    }

    fn kill(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.end_by_force(deadline))
    }

    fn freeze(&mut self) -> Result<(), AgentError> {
        watch::freeze(&self.shared)
    }

    /// Frozen and not killed: systemd would start it again, if the unit says so.
    fn halter(&self) -> Option<Cutter> {
        let shared = self.shared.clone();
        let named = format!("{} not frozen", self.unit);
        Some(Arc::new(move || {
            watch::freeze(&shared).map_err(|error| AgentError(format!("{named}: {error}")))
        }))
    }

    fn probe(&mut self) -> Action<'_, Presence> {
        Box::pin(self.look())
    }

    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
        self.watch();
        Box::pin(std::future::ready(Ok(())))
    }

    fn detail(&self) -> String {
        let seen = self.shared.text();
        if seen.is_empty() {
            self.unit.clone()
        } else {
            format!("{}: {seen}", self.unit)
        }
    }
}

impl Drop for SystemdAgent {
    fn drop(&mut self) {
        self.unwatch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_names_are_checked() {
        for (unit, good) in [
            ("nginx.service", true),
            ("a@b.service", true),
            ("nginx", false),
            ("x/y.service", false),
        ] {
            let mut test = crate::agent::tests::context();
            test.params.insert("unit".into(), unit.into());
            assert_eq!(build(test).is_ok(), good, "{unit}");
        }
    }
}

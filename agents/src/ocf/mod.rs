//! The OCF host: resources of the kinds `ocf:PROVIDER:TYPE` are run by the agents that Pacemaker users have.
//!
//! - [`settings`]: what the configuration says; `holdfast_proto::ocf` reads what the agent says of itself
//! - `environment`, `action`, `said`, [`code`]: one call of the agent, and what came of it
//! - `monitor`: the recurring looks
//! - `roles`, `part`: promotable resources; `attributes`, [`tools`]: what Pacemaker's tools do for agents
//! - [`provide`]: the other way round, our agents as OCF agents
//!
//! An agent answers for its resource alone: what it says is not running counts as not running.

pub mod action;
mod attributes;
pub mod code;
pub mod environment;
#[cfg(fuzzing)]
pub mod fuzzing;
mod monitor;
mod part;
pub mod provide;
mod roles;
mod said;
pub mod settings;
pub mod tools;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_proto::ocf::{self, Metadata};
use holdfast_proto::time::Time;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::agent::{Action, AgentContext, AgentError, Cutter, Presence, ResourceAgent};
use crate::clock;
use crate::exec::halt::Halt;
use crate::exec::members::Members;
use crate::program;
use crate::roles::Peer;
use action::{Host, Ran};
use code::{Code, describe};
use environment::Call;
use monitor::{Watch, looks};
use part::Part;
pub use settings::META;
use settings::Settings;

/// Time for an agent to describe itself.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a look before the agent was asked how long it takes.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between looks at processes that were killed.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What is wrong with a resource that runs, in words; empty for nothing. Shared with the task that looks at it.
#[derive(Clone, Default)]
pub struct Story(Arc<Mutex<String>>);

impl Story {
    /// Puts `text` in the place of what was said before, which is returned.
    fn replace(&self, text: &str) -> String {
        let mut story = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *story, text.to_owned())
    }

    fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a restarted had-agentd needs to know of the resource.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Saved {
    /// Processes that its actions left behind.
    members: Option<Members>,
    /// It was started.
    active: bool,
    /// It was promoted.
    promoted: bool,
}

/// One resource run by an OCF agent.
pub struct OcfAgent {
    context: AgentContext,
    host: Arc<Host>,
    metadata: Option<Arc<Metadata>>,
    saved: Saved,
    /// The agent refused to start with this code, and nothing was started since.
    refused: Option<Code>,
    watcher: Option<JoinHandle<()>>,
    story: Story,
    halt: Arc<Halt>,
    part: Part,
}

/// Builds the agent. Touches nothing.
///
/// # Errors
/// Settings that are wrong.
pub fn build(kind: &str, context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    let settings = Settings::read(kind, &context.params)?;
    let saved: Saved = serde_json::from_str(&context.saved).unwrap_or_default();
    let halt = Arc::new(Halt::default());
    if let Some(members) = &saved.members {
        halt.cover(members);
    }
    let mut host = Host::new(&context.group, &context.resource, settings, &context.state_dir);
    let own = context.roles.borrow().own.name.clone();
    if !own.is_empty() {
        // The node's name in the cluster, which need not be that of the machine.
        host.node = own;
    }
    let part = Part::new(&context, &host);
    Ok(Box::new(OcfAgent {
        part,
        context,
        host: Arc::new(host),
        metadata: None,
        saved,
        refused: None,
        watcher: None,
        story: Story::default(),
        halt,
    }))
}

impl OcfAgent {
    /// What the agent says of itself, asked once. None, and that is noted, when it says nothing that can be read: it may
    /// work all the same.
    async fn describe(&mut self) -> Option<Arc<Metadata>> {
        if self.metadata.is_none() {
            let program = self.host.settings.program();
            let root = [("OCF_ROOT", self.host.settings.root.as_str())];
            let args = ["meta-data".to_owned()];
            let ran = program::run_with(&program, &args, &root, "", METADATA_TIMEOUT).await;
            let parsed = ran
                .map_err(|error| error.to_string())
                .and_then(|ran| ocf::parse(&ran.stdout));
            match parsed {
                Ok(metadata) => {
                    let private = metadata.parameters.iter().filter(|parameter| parameter.private);
                    // Nobody looks at the resource yet, so the host is ours alone.
                    if let Some(host) = Arc::get_mut(&mut self.host) {
                        host.hide(private.map(|parameter| parameter.name.clone()));
                    }
                    self.metadata = Some(Arc::new(metadata));
                }
                Err(error) => {
                    let text = format!(
                        "{} cannot be asked for its meta-data, so its parameters are not checked: {error}",
                        program.display()
                    );
                    self.context.events.note("warn", "ocf-metadata", text);
                }
            }
        }
        self.metadata.clone()
    }

    /// Holds the parameters against what the agent says of itself.
    async fn check(&mut self) -> Result<(), AgentError> {
        let Some(metadata) = self.describe().await else {
            return Ok(());
        };
        let findings = metadata.check(&self.host.settings.params);
        for warning in findings.warnings {
            self.context.events.note("warn", "ocf-parameter", warning);
        }
        if findings.errors.is_empty() {
            return Ok(());
        }
        Err(AgentError(findings.errors.join("; ")))
    }

    /// Runs an action that changes the resource. Once the permit has lapsed for good, a `stop` only.
    async fn act(&mut self, action: &str, deadline: Time) -> Result<Ran, AgentError> {
        let fresh = || Members::create(&self.context.group, &self.context.resource);
        let members = self.saved.members.get_or_insert_with(fresh).clone();
        let halt = Some(&*self.halt).filter(|_| action != "stop");
        let call = Call {
            more: self.part.variables(),
            ..Call::new(action, deadline.since(clock::now()))
        };
        let ran = self.host.act(&call, &members, halt).await;
        self.part.tell(self.saved.active, self.saved.promoted);
        ran.map_err(|error| AgentError(format!("{action} {error}")))
    }

    /// Asks whether it is there and not promoted: an agent that lets clients write where nobody was promoted has to be
    /// found out before anything rests on it.
    async fn is_unpromoted(&mut self, after: &str, deadline: Time) -> Result<(), AgentError> {
        let call = self.probe_call(deadline.since(clock::now()));
        let failed = |text: String| AgentError(format!("after {after}, {text}"));
        match self.host.look(&call).await {
            Ok(ran) if ran.code.is_active(false) || ran.code == Code::NOT_RUNNING => Ok(()),
            Ok(ran) => Err(failed(describe("monitor", ran.code, &ran.reason))),
            Err(error) => Err(failed(format!("monitor {error}"))),
        }
    }

    /// `monitor` as a probe.
    fn probe_call(&self, timeout: Duration) -> Call<'static> {
        Call {
            more: self.part.variables(),
            ..Call::new("monitor", timeout)
        }
    }

    async fn begin(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.unwatch().await;
        // Until it is known better: a start that was cut off may have started it.
        self.refused = None;
        if let Err(error) = self.check().await {
            self.refused = Some(Code(6)).filter(|_| !self.saved.active);
            return Err(error);
        }
        let was_active = std::mem::replace(&mut self.saved.active, true);
        let ran = self.act("start", deadline).await?;
        if ran.code != Code::SUCCESS {
            if ran.code.is_refusal() && !was_active {
                self.refused = Some(ran.code);
            }
            return Err(AgentError(describe("start", ran.code, &ran.reason)));
        }
        if self.has_roles() && !self.saved.promoted {
            self.is_unpromoted("start", deadline).await?;
        }
        self.part.tell_agent(&self.host, "post", "start", true).await;
        self.watch();
        Ok(())
    }

    /// The runner has checked permit and epoch, and that the cluster has committed this node: that is the proof that no
    /// other is promoted.
    async fn raise(&mut self, deadline: Time) -> Result<(), AgentError> {
        if !self.has_roles() {
            return Err(AgentError::new(
                "it is not promotable: promotable = true is not set",
            ));
        }
        self.unwatch().await;
        self.part.tell_agent(&self.host, "pre", "promote", true).await;
        // Before it is: a promotion that was cut off may have happened.
        self.saved.promoted = true;
        let ran = self.act("promote", deadline).await?;
        if ran.code != Code::SUCCESS {
            return Err(AgentError(describe("promote", ran.code, &ran.reason)));
        }
        self.part.tell_agent(&self.host, "post", "promote", true).await;
        self.watch();
        Ok(())
    }

    /// Done when the agent says so twice: by its exit code, and by a look.
    async fn lower(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.unwatch().await;
        self.part.tell_agent(&self.host, "pre", "demote", true).await;
        let ran = self.act("demote", deadline).await?;
        if ran.code != Code::SUCCESS {
            return Err(AgentError(describe("demote", ran.code, &ran.reason)));
        }
        self.is_unpromoted("demote", deadline).await?;
        self.saved.promoted = false;
        self.part.tell_agent(&self.host, "post", "demote", true).await;
        self.watch();
        Ok(())
    }

    async fn end(&mut self, deadline: Time) -> Result<(), AgentError> {
        if self.saved.promoted
            && let Err(error) = self.lower(deadline).await
        {
            // The standard has it demoted first; a stop ends it either way.
            self.context.events.note(
                "warn",
                "ocf-demote",
                format!("not demoted before its stop: {error}"),
            );
        }
        self.unwatch().await;
        self.part.tell_agent(&self.host, "pre", "stop", true).await;
        let ran = self.act("stop", deadline).await?;
        let nothing_to_stop = ran.code.is_refusal() && self.refused.is_some() && !self.has_processes();
        if ran.code != Code::SUCCESS && !nothing_to_stop {
            return Err(AgentError(describe("stop", ran.code, &ran.reason)));
        }
        self.ended();
        Ok(())
    }

    /// Kills its processes and lets the agent clean up after them. What decides is the agent's word that it is stopped.
    async fn force(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.unwatch().await;
        self.host.clear();
        while let Some(members) = self.saved.members.clone() {
            // A fork may have slipped through between the list and the signal.
            if members.signal(Signal::SIGKILL).is_empty() {
                break;
            }
            if clock::now() >= deadline {
                return Err(AgentError::new("its processes did not end on SIGKILL"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let stopped = self.act("stop", deadline).await;
        if matches!(&stopped, Ok(ran) if ran.code == Code::SUCCESS) {
            self.ended();
            return Ok(());
        }
        let call = self.probe_call(deadline.since(clock::now()));
        let found = self.host.look(&call).await;
        if matches!(&found, Ok(ran) if ran.code == Code::NOT_RUNNING) && !self.has_processes() {
            self.ended();
            return Ok(());
        }
        Err(match stopped {
            Ok(ran) => AgentError(describe("stop", ran.code, &ran.reason)),
            Err(error) => error,
        })
    }

    fn has_processes(&self) -> bool {
        let members = self.saved.members.as_ref();
        members.is_some_and(|members| !members.list().is_empty())
    }

    /// It is stopped. What still runs of it is the agent's business, and is told.
    fn ended(&mut self) {
        if let Some(members) = self.saved.members.take() {
            let left = members.list().len();
            if left > 0 {
                self.context.events.note(
                    "info",
                    "ocf-left",
                    format!("stop succeeded and left {left} processes that its actions had begun"),
                );
            }
            members.remove();
        }
        self.halt.release();
        self.saved = Saved::default();
        self.part.tell(false, false);
        self.refused = None;
        self.story.replace("");
    }

    /// Begins to look at it again and again.
    fn watch(&mut self) {
        let watch = Watch {
            host: Arc::clone(&self.host),
            looks: looks(&self.host.settings, self.metadata.as_deref(), self.saved.promoted),
            promoted: self.saved.promoted,
            part: self.part.clone(),
            events: self.context.events.clone(),
            story: self.story.clone(),
        };
        if let Some(old) = self.watcher.replace(tokio::spawn(watch.run())) {
            old.abort();
        }
    }

    /// Ends a look that is under way: two actions of one resource never run at a time.
    async fn unwatch(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
            let _ = watcher.await;
        }
    }

    async fn look(&mut self) -> Presence {
        self.unwatch().await;
        let metadata = self.describe().await;
        let call = self.probe_call(self.probe_timeout(metadata.as_deref()));
        match self.host.look(&call).await {
            Ok(ran) => ran.code.presence(self.saved.promoted, &ran.reason),
            Err(error) => Presence::Unknown(format!("monitor {error}")),
        }
    }

    fn probe_timeout(&self, metadata: Option<&Metadata>) -> Duration {
        let given = self.host.settings.monitor_timeout;
        let suggested = || metadata?.monitor(false, 0)?.timeout_ms.map(Duration::from_millis);
        given.or_else(suggested).unwrap_or(PROBE_TIMEOUT)
    }
}

impl ResourceAgent for OcfAgent {
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
        match &self.saved.members {
            Some(members) => members.freeze().map_err(AgentError),
            None => Err(AgentError::new("it has no processes of its own")),
        }
    }

    fn halter(&self) -> Option<Cutter> {
        let halt = Arc::clone(&self.halt);
        Some(Arc::new(move || {
            halt.halt();
            Ok(())
        }))
    }

    fn has_roles(&self) -> bool {
        self.host.settings.promotable
    }

    fn promote(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.raise(deadline))
    }

    fn demote<'a>(
        &'a mut self,
        _toward: Option<&'a Peer>,
        deadline: Time,
    ) -> Action<'a, Result<(), AgentError>> {
        Box::pin(self.lower(deadline))
    }

    fn probe(&mut self) -> Action<'_, Presence> {
        Box::pin(self.look())
    }

    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
        Box::pin(async move {
            self.describe().await;
            self.saved.active = true;
            self.watch();
            Ok(())
        })
    }

    fn detail(&self) -> String {
        let mut name = self.host.settings.name();
        if self.has_roles() {
            name += if self.saved.promoted {
                ", promoted"
            } else {
                ", unpromoted"
            };
        }
        match self.story.get() {
            story if story.is_empty() => name,
            story => format!("{name}: {story}"),
        }
    }

    fn saved(&self) -> String {
        serde_json::to_string(&self.saved).unwrap_or_default()
    }
}

impl Drop for OcfAgent {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
        self.host.clear();
    }
}

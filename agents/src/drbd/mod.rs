//! The `drbd` agent: a replicated block device whose role follows the register. In-tree 8.4 and DRBD 9.
//!
//! - [`commands`]: DRBD's programs. [`events`], `stream`: what DRBD says.
//! - `copy`: what that means for the copy of this node. [`crate::wishes`]: which set of whole copies is asked for.
//! - `follow`: says so; `chores`: what needs a program meanwhile.
//! - `door`: the handlers that the kernel calls. `promote`: the way up and down. `resolve`: giving up one side.

mod chores;
pub mod commands;
mod copy;
mod door;
pub mod events;
mod follow;
#[cfg(fuzzing)]
pub mod fuzzing;
mod openers;
mod promote;
mod resolve;
mod shared;
mod stream;

use std::sync::Arc;

use holdfast_proto::drbd::{is_resource_name, options, socket};
use holdfast_proto::time::Time;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::agent::{Action, AgentContext, AgentError, AgentMeta, ParamMeta, Presence, ResourceAgent};
use crate::clock;
use crate::roles::Peer;
use crate::wishes::Wishes;
use commands::Drbd;
use door::Door;
use events::State;
use shared::Shared;

/// The agent's description.
pub const META: AgentMeta = AgentMeta {
    kind: "drbd",
    summary: "a replicated block device: connected on every node, promoted on one",
    params: &[ParamMeta::required(
        "resource",
        "its name in DRBD's own configuration (/etc/drbd.d)",
    )],
};

/// One resource.
pub struct DrbdAgent {
    context: AgentContext,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// Builds the agent. Touches nothing.
///
/// # Errors
/// Parameters that are wrong.
pub fn build(context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    META.check_keys(&context.params)?;
    let resource = context
        .params
        .get("resource")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default();
    if !is_resource_name(&resource) {
        return Err(AgentError(format!(
            "agent drbd: {resource:?} is no name of a DRBD resource"
        )));
    }
    let shared = Shared::new(Drbd { resource }, context.events.clone(), context.roles.clone());
    Ok(Box::new(DrbdAgent {
        context,
        shared: Arc::new(shared),
        tasks: Vec::new(),
    }))
}

impl DrbdAgent {
    async fn begin(&mut self, deadline: Time) -> Result<(), AgentError> {
        commands::load_module().await?;
        let findings = self.findings().await?;
        for finding in &findings {
            let text = format!("{}: {}", self.shared.drbd.resource, finding.text);
            self.context.events.note("warn", "drbd-option", text);
        }
        self.listen()?;
        // On a slow node the chores saw a resource that stands alone, connected it, and the start failed by that.
        let shared = Arc::clone(&self.shared);
        let _at_work = shared.at_work();
        if let Err(refusal) = self.shared.drbd.adm(&["adjust"], deadline).await {
            let hint = match refusal.text.contains("meta data") || refusal.text.contains("metadata") {
                true => "; if this disk is to be a new copy: drbdadm create-md",
                false => "",
            };
            return Err(AgentError(format!("{}{hint}", refusal.text)));
        }
        self.attached(deadline).await?;
        if self.shared.state().is_primary() {
            // Left promoted by somebody; nobody has allowed that here.
            self.lower(deadline).await?;
        }
        Ok(())
    }

    /// Returns when the disks are attached, or cannot be.
    async fn attached(&self, deadline: Time) -> Result<(), AgentError> {
        let settled = |state: &State| {
            let busy = |disk: &str| matches!(disk, "Attaching" | "Negotiating");
            state.exists && !state.devices.is_empty() && !busy(state.worst_disk())
        };
        let state = self.await_state(deadline, settled).await?;
        match state.worst_disk() {
            "Diskless" | "Failed" | "Detaching" => Err(AgentError(format!(
                "{} has no disk here ({}): see dmesg; drbdadm attach {}",
                self.shared.drbd.resource,
                state.worst_disk(),
                self.shared.drbd.resource
            ))),
            _ => Ok(()),
        }
    }

    /// Waits for a state that fulfils `wanted`.
    async fn await_state(
        &self,
        deadline: Time,
        wanted: impl FnMut(&State) -> bool,
    ) -> Result<State, AgentError> {
        let mut states = self.shared.states.subscribe();
        let limit = clock::now().until(deadline);
        match tokio::time::timeout(limit, states.wait_for(wanted)).await {
            Ok(Ok(state)) => Ok(state.clone()),
            _ => Err(AgentError(format!(
                "{} did not get ready in time: {}",
                self.shared.drbd.resource,
                self.detail()
            ))),
        }
    }

    /// What contradicts a managed pair in DRBD's configuration.
    async fn findings(&self) -> Result<Vec<options::Finding>, AgentError> {
        let dump = self.shared.drbd.dump().await?;
        let mut resources = options::read(&dump);
        let resource = &self.shared.drbd.resource;
        match resources.remove(resource) {
            Some(dumped) => Ok(dumped.findings()),
            None => Err(AgentError(format!(
                "DRBD's configuration on this node has no resource {resource}: put it in /etc/drbd.d/{resource}.res, the same on \
                 both nodes"
            ))),
        }
    }

    /// Hears DRBD, and is heard by its handlers.
    fn listen(&mut self) -> Result<(), AgentError> {
        if !self.tasks.is_empty() {
            return Ok(());
        }
        let door = Door::open(&socket(&self.context.state_dir, &self.shared.drbd.resource))?;
        let (sender, called) = mpsc::unbounded_channel();
        let resource = self.shared.drbd.resource.clone();
        let states = self.shared.states.clone();
        let shared = || Arc::clone(&self.shared);
        self.tasks = vec![
            tokio::spawn(stream::follow(resource, states, sender)),
            tokio::spawn(follow::follow(shared(), self.context.copy.clone(), called)),
            tokio::spawn(chores::run(shared())),
            tokio::spawn(door.serve(shared())),
        ];
        Ok(())
    }

    fn silence(&mut self) {
        self.tasks.drain(..).for_each(|task| task.abort());
        self.shared.states.send_replace(State::default());
    }

    async fn end(&mut self, deadline: Time) -> Result<(), AgentError> {
        if !commands::is_loaded() {
            self.silence();
            return Ok(());
        }
        self.lower(deadline).await?;
        let done = self.shared.drbd.adm(&["down"], deadline).await;
        self.silence();
        done?;
        Ok(())
    }

    async fn look(&mut self) -> Presence {
        if !commands::is_loaded() {
            return Presence::Inactive;
        }
        match self.shared.drbd.look().await {
            Ok(state) if state.exists => Presence::Active,
            Ok(_) => Presence::Inactive,
            Err(refusal) => Presence::Unknown(refusal.text),
        }
    }

    async fn take_over(&mut self) -> Result<(), AgentError> {
        self.listen()?;
        let deadline = clock::now() + std::time::Duration::from_secs(10);
        let state = self.await_state(deadline, |state| state.exists).await?;
        if state.is_primary() {
            let mut inner = self.shared.inner();
            inner.promoted = true;
            inner.wishes = Wishes::resumed();
        }
        self.shared.poke.notify_one();
        Ok(())
    }
}

impl ResourceAgent for DrbdAgent {
    fn start(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.begin(deadline))
    }

    fn stop(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.end(deadline))
    }

    fn kill(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.end_by_force(deadline))
    }

    fn probe(&mut self) -> Action<'_, Presence> {
        Box::pin(self.look())
    }

    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.take_over())
    }

    fn has_roles(&self) -> bool {
        true
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

    fn detail(&self) -> String {
        let text = self.shared.inner().text.clone();
        let resource = &self.shared.drbd.resource;
        match text.is_empty() {
            true => resource.clone(),
            false => format!("{resource}: {text}"),
        }
    }
}

impl Drop for DrbdAgent {
    fn drop(&mut self) {
        self.silence();
    }
}

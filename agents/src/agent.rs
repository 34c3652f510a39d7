//! What a resource agent is.
//!
//! The group runner owns one boxed [`ResourceAgent`] per resource and calls it from one task of the current-thread
//! runtime. An agent may spawn tasks of its own (with `tokio::spawn`); they must end when the agent is dropped.
//! Nothing an agent does may block the thread.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::roles::{CopySink, Peer, RolesView};

/// A future of an agent's action. The runner drops it to cancel the action.
pub type Action<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why an action failed: what happened, to what, what to do. Shown to the operator as it is; never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AgentError(pub String);

impl AgentError {
    /// An error that says `text`.
    pub fn new(text: impl Into<String>) -> Self {
        AgentError(text.into())
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The resource is active here, and was found whole.
    Active,
    /// It is not active here.
    Inactive,
    /// It is partly there (some addresses, a unit that failed): a stop is needed before a start.
    Partial(String),
    /// It could not be found out. Treated as possibly running.
    Unknown(String),
}

/// Takes the resource's outside access away at once: synchronous, callable from any thread at any time, done in
/// milliseconds, safe to repeat, and without waiting for a lock that is held across I/O. The thread that enforces
/// permits calls it before anything else when a permit lapses, whatever the rest of the process is doing.
pub type Cutter = Arc<dyn Fn() -> Result<(), AgentError> + Send + Sync>;

/// A resource agent, built for one resource.
///
/// All actions are safe to repeat. An action that ran out of time is dropped at any of its await points; a `stop`
/// follows a dropped or failed `start`.
pub trait ResourceAgent: Send {
    /// The group is about to be started: called for all of its resources before the first of them is. What takes time
    /// and changes nothing may begin here; `start` follows, later or never.
    fn prepare(&mut self) {}

    /// Makes the resource active. Returns only when it is. The runner has checked permit and epoch.
    fn start(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>>;

    /// Makes it inactive, politely. Returns only when it is; stopping what is not there is a success.
    fn stop(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>>;

    /// Next step when `stop` failed or took too long: by force (SIGKILL of everything that belongs to it).
    /// Agents whose `stop` already is forceful need not implement it.
    fn kill(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        self.stop(deadline)
    }

    /// Step after `kill` failed: keep it from running without ending it (cgroup.freeze). The default cannot.
    fn freeze(&mut self) -> Result<(), AgentError> {
        Err(AgentError::new("this agent cannot freeze its resource"))
    }

    /// Looks whether it is active now. Called before a start and after a restart of had-agentd; in the latter case
    /// [`ResourceAgent::adopt`] follows if the answer is `Active`.
    fn probe(&mut self) -> Action<'_, Presence>;

    /// Takes over, without touching it, what a `probe` just found active: from here on watch it and report.
    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>>;

    /// See [`Cutter`]. Asked for before `start` and before `adopt`. None if the resource gives no access by itself.
    fn cutter(&self) -> Option<Cutter> {
        None
    }

    /// Ends or stops for good what the resource does, by force and without asking it; otherwise as a [`Cutter`]. Called
    /// after all cutters of the group when the permit of a group lapses whose successor waits for a margin only: the
    /// resource must neither answer nor write from then on. None if it does neither by itself, or cannot be forced.
    fn halter(&self) -> Option<Cutter> {
        None
    }

    /// True when the resource has roles. Then [`ResourceAgent::start`] makes it active unpromoted, on every eligible node
    /// and without a permit, so it must do no harm there: it takes no writes. It follows the primary that
    /// [`AgentContext::roles`] names, in a task of its own, and says what it sees with [`EventSink::copy`].
    fn has_roles(&self) -> bool {
        false
    }

    /// Lets it take writes. It was started here. The runner has checked permit and epoch, and the cluster has committed that
    /// this node may have all that was acknowledged; before the first write is acknowledged the agent waits for those that
    /// the committed [`crate::roles::InSync`] names. Repeated on what is promoted already: a success.
    fn promote(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        let _ = deadline;
        Box::pin(async { Err(AgentError::new("this agent has no roles")) })
    }

    /// Ends its taking writes, with `toward` about to be promoted (None: nobody yet): what it acknowledged is on the copy of
    /// that node when this returns, as far as that node follows. Returns only when no client can write any more; what is not
    /// promoted is a success. It stays active, unpromoted. When it fails, `kill` follows.
    fn demote<'a>(
        &'a mut self,
        toward: Option<&'a Peer>,
        deadline: Time,
    ) -> Action<'a, Result<(), AgentError>> {
        let _ = (toward, deadline);
        Box::pin(async { Err(AgentError::new("this agent has no roles")) })
    }

    /// For the operator: the address and interface, the unit and its pid, last output lines.
    fn detail(&self) -> String;

    /// What this agent needs after a restart of had-agentd to find its resource again (a pid and its start time).
    /// Stored after each action, given back in [`AgentContext::saved`]. Empty for nothing.
    fn saved(&self) -> String {
        String::new()
    }
}

/// The permit an agent's group runs under, as agents see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitView {
    /// Epoch of the assignment.
    pub epoch: u64,
    /// Expiry. `Time(u64::MAX)` while maintenance is on: then nothing lapses, and lifetimes in the kernel are to be
    /// made unlimited.
    pub until: Time,
}

/// Everything an agent is built from.
#[derive(Clone)]
pub struct AgentContext {
    /// Name of the group.
    pub group: String,
    /// Name of the resource.
    pub resource: String,
    /// Its parameters; lists are joined with newlines. Unknown keys are errors of `build`.
    pub params: BTreeMap<String, String>,
    /// Length of a lease, from which announcement and lifetime intervals are derived.
    pub lease: Duration,
    /// The permit of the group. Changes with every renewal (several times per lease): an agent that needs renewals
    /// follows it in a task of its own; the runner does not call it.
    pub permit: watch::Receiver<PermitView>,
    /// Where health goes.
    pub events: EventSink,
    /// What [`ResourceAgent::saved`] returned before had-agentd was restarted; empty otherwise.
    pub saved: String,
    /// A folder for this had-agentd's files (root only, gone after a reboot).
    pub state_dir: PathBuf,
    /// What the cluster has committed about the roles of the group; changes are to be followed. For resources without roles
    /// it never changes.
    pub roles: watch::Receiver<RolesView>,
    /// Where the agent of a resource with roles says what it sees of its copy of the data.
    pub copy: CopySink,
    /// What silences addresses to the millisecond. Only for groups whose successor waits for the end of the permit and
    /// for nothing else, and not where the operator does without.
    pub gate: Option<crate::vip::gate::Gate>,
}

impl AgentContext {
    /// A file of this resource in that folder; `kind` tells it from the others.
    #[must_use]
    pub fn file(&self, kind: &str) -> PathBuf {
        self.state_dir
            .join(format!("{}.{}.{kind}", self.group, self.resource))
    }
}

/// A health event of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// It is not active any more, or not usable: one sentence. The runner restarts it in place or gives the group up.
    /// At most one per start.
    Failed(String),
    /// It is active, and could go on unpromoted, but is of no use as the primary (its disk is full): one sentence. Said only
    /// while another node has all that was acknowledged. The runner gives the group up here, without trying once more in
    /// place; what has roles is demoted and not stopped. Said again while that lasts.
    GiveWay(String),
    /// Something happened that changes no state; the agent has dealt with it.
    Note {
        /// `info` or `warn`.
        level: &'static str,
        /// Short stable name (`vip-announced`, `vip-restored`).
        kind: &'static str,
        /// One sentence.
        text: String,
        /// When it happened.
        at: Time,
    },
    /// The text of [`ResourceAgent::detail`] changed.
    Detail,
}

/// Where an agent's health events go. Sending never blocks.
#[derive(Clone, Debug)]
pub struct EventSink {
    index: usize,
    sender: mpsc::Sender<(usize, AgentEvent)>,
    failures: mpsc::UnboundedSender<(usize, AgentEvent)>,
}

impl EventSink {
    /// A sink whose events carry `index`, the resource's place in its group. Notes go to `sender` and are dropped when
    /// it is full; failures go to `failures`, of which there is at most one per start, and so does giving way.
    #[must_use]
    pub fn new(
        index: usize,
        sender: mpsc::Sender<(usize, AgentEvent)>,
        failures: mpsc::UnboundedSender<(usize, AgentEvent)>,
    ) -> Self {
        EventSink {
            index,
            sender,
            failures,
        }
    }

    /// The resource failed.
    pub fn failed(&self, reason: impl Into<String>) {
        // The receiver is gone only when the group is: then nobody needs to know.
        let _ = self
            .failures
            .send((self.index, AgentEvent::Failed(reason.into())));
    }

    /// Promoted here it is of no use, and another node could do it: see [`AgentEvent::GiveWay`].
    pub fn give_way(&self, reason: impl Into<String>) {
        // The receiver is gone only when the group is.
        let _ = self
            .failures
            .send((self.index, AgentEvent::GiveWay(reason.into())));
    }

    /// Something worth telling an operator.
    pub fn note(&self, level: &'static str, kind: &'static str, text: impl Into<String>) {
        let note = AgentEvent::Note {
            level,
            kind,
            text: text.into(),
            at: clock::now(),
        };
        let _ = self.sender.try_send((self.index, note));
    }

    /// The detail changed.
    pub fn detail_changed(&self) {
        let _ = self.sender.try_send((self.index, AgentEvent::Detail));
    }
}

/// What an agent is, for documentation, validation and `Attached.kinds`.
#[derive(Clone, Copy, Debug)]
pub struct AgentMeta {
    /// Kind as in the configuration: `vip`, `systemd`, `exec`.
    pub kind: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its parameters.
    pub params: &'static [ParamMeta],
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct ParamMeta {
    /// Key.
    pub name: &'static str,
    /// True when there is no default.
    pub required: bool,
    /// What it means, with unit and default.
    pub help: &'static str,
}

impl ParamMeta {
    /// One that must be given.
    #[must_use]
    pub const fn required(name: &'static str, help: &'static str) -> ParamMeta {
        ParamMeta {
            name,
            required: true,
            help,
        }
    }

    /// One that may be left out.
    #[must_use]
    pub const fn optional(name: &'static str, help: &'static str) -> ParamMeta {
        ParamMeta {
            name,
            required: false,
            help,
        }
    }
}

impl AgentMeta {
    /// Refuses unknown keys, and required ones that are missing or empty.
    ///
    /// # Errors
    /// The first such key, with the keys that exist.
    pub fn check_keys(&self, params: &BTreeMap<String, String>) -> Result<(), AgentError> {
        for key in params.keys() {
            if !self.params.iter().any(|param| param.name == key) {
                let known: Vec<_> = self.params.iter().map(|param| param.name).collect();
                let known = known.join(", ");
                return Err(AgentError(format!(
                    "agent {} has no parameter {key:?}; it has: {known}",
                    self.kind
                )));
            }
        }
        for param in self.params.iter().filter(|param| param.required) {
            if params.get(param.name).is_none_or(|value| value.trim().is_empty()) {
                return Err(AgentError(format!(
                    "agent {} needs the parameter {:?}: {}",
                    self.kind, param.name, param.help
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A context for tests that build an agent without running it.
    pub fn context() -> AgentContext {
        let (notes, _) = mpsc::channel(1);
        let (failures, _) = mpsc::unbounded_channel();
        AgentContext {
            group: "group".into(),
            resource: "resource".into(),
            params: BTreeMap::new(),
            lease: Duration::from_secs(1),
            permit: watch::channel(PermitView {
                epoch: 1,
                until: Time(u64::MAX),
            })
            .1,
            events: EventSink::new(0, notes, failures),
            saved: String::new(),
            state_dir: std::env::temp_dir(),
            roles: watch::channel(RolesView::default()).1,
            copy: CopySink::default(),
            gate: None,
        }
    }

    #[test]
    fn unknown_and_missing_keys_are_refused_by_name() {
        const META: AgentMeta = AgentMeta {
            kind: "systemd",
            summary: "",
            params: &[ParamMeta::required("unit", "the unit")],
        };
        let check = |key: &str| META.check_keys(&BTreeMap::from([(key.to_owned(), "x".to_owned())]));
        assert!(check("unit").is_ok());
        assert!(check("units").unwrap_err().0.contains("it has: unit"));
        assert!(
            META.check_keys(&BTreeMap::new())
                .unwrap_err()
                .0
                .contains("needs the parameter \"unit\"")
        );
    }
}

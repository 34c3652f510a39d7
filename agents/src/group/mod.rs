//! One task per group: starts, stops, watches and restarts its resources in order.
//!
//! - this file: the task; `orders`: what it is told
//! - `admit`: storage that shut the node out lets it in again
//! - `start`, `stop`: the two sequences; `stop` holds the ladder
//! - `failure`: restarts in place, and giving up
//! - [`store`]: what survives a restart of had-agentd
//! - `unpromoted`: the part that needs no permit, on every eligible node
//! - `member`: one resource of the group

mod admit;
mod failure;
mod member;
mod orders;
mod resume;
mod start;
mod stop;
pub mod store;
#[cfg(test)]
pub(crate) mod tests;
mod unpromoted;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_proto::agent::{GroupSpec, GroupStatus, Note};
use holdfast_proto::time::Time;
use tokio::sync::{mpsc, watch};

use crate::agent::{AgentEvent, PermitView};
use crate::clock;
use crate::fence::Fencer;
use crate::guard::Command;
use crate::roles::{Copies, Peer, RolesView};
use crate::vip::gate::Gate;
use member::Member;
use orders::Mailbox;
use store::SavedGroup;
use unpromoted::Unpromoted;

pub use admit::Occupied;
pub use orders::{Handle, Order};

/// Pause between attempts to stop what survived a stop.
const RETRY_STOP: Duration = Duration::from_secs(5);
/// Notes of agents that may wait for the group's task.
const NOTES_MAX: usize = 256;

/// State of a group or resource; the words of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// Nothing of it runs.
    Stopped,
    /// Being started.
    Starting,
    /// All of it runs.
    Running,
    /// Being stopped.
    Stopping,
    /// Stopped after failures.
    Failed,
    /// A stop failed: it may be running.
    Unknown,
}

impl Run {
    /// The word in the protocol.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Run::Stopped => "stopped",
            Run::Starting => "starting",
            Run::Running => "running",
            Run::Stopping => "stopping",
            Run::Failed => "failed",
            Run::Unknown => "unknown",
        }
    }
}

/// What a group's task needs from the process.
#[derive(Clone)]
pub struct Surroundings {
    /// The thread that enforces permits and talks with `had`.
    pub guard: mpsc::UnboundedSender<Command>,
    /// Folder of state files.
    pub state_dir: PathBuf,
    /// Maintenance when the task begins.
    pub maintenance: bool,
    /// Timeout of the armed watchdog, if any.
    pub watchdog: Option<Duration>,
    /// What silences the addresses of groups that only require a lease, if anything does.
    pub gate: Option<Gate>,
    /// Runs fence devices.
    pub fencer: Fencer,
    /// Which groups are other than down.
    pub occupied: Occupied,
}

/// A group on this node.
pub struct Group {
    name: String,
    around: Surroundings,
    mailbox: Mailbox,
    own_sender: mpsc::WeakUnboundedSender<Order>,
    spec: GroupSpec,
    lease: Duration,
    epoch: u64,
    run: Run,
    detail: String,
    since: Time,
    members: Vec<Member>,
    permit: watch::Receiver<PermitView>,
    /// Until the guard has it.
    permit_sender: Option<watch::Sender<PermitView>>,
    /// Epoch of the permit that the guard was given first: a lapse of an older one is not about what runs now.
    armed_epoch: u64,
    /// Set when the permit lapsed: from this instant on everything is stopped by force.
    polite_until: Option<Time>,
    maintenance: bool,
    restarts: VecDeque<Time>,
    /// Why it is not known what of it runs: then nothing may be claimed or done.
    blind: Option<String>,
    /// A failure that may not be acted on yet: maintenance, or no permit since had-agentd was restarted.
    held: Option<(usize, String)>,
    /// Set after a restart of had-agentd until `had` renews the permit: the grace that was assumed.
    grace: Option<Time>,
    notes: mpsc::Receiver<(usize, AgentEvent)>,
    failures: mpsc::UnboundedReceiver<(usize, AgentEvent)>,
    note_sender: mpsc::Sender<(usize, AgentEvent)>,
    failure_sender: mpsc::UnboundedSender<(usize, AgentEvent)>,
    /// What the cluster has committed about roles, for the agents.
    roles: watch::Sender<RolesView>,
    /// What the agents see of their copies.
    copies: watch::Sender<Copies>,
    copies_seen: watch::Receiver<Copies>,
    unpromoted: Unpromoted,
    /// Who is promoted next, for resources that are demoted.
    toward: Option<Peer>,
}

/// What woke the task.
enum Wake {
    Order(Option<Order>),
    Agent(usize, AgentEvent),
    Permit,
    RetryStop,
    RetryUnpromoted,
    Copy,
}

impl Group {
    /// Begins the task of group `name`; with `saved`, it first takes over what runs. When that is an error, what runs
    /// is not known, and the group is left alone.
    pub fn spawn(name: &str, around: Surroundings, saved: Option<Result<SavedGroup, String>>) -> Handle {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (note_sender, notes) = mpsc::channel(NOTES_MAX);
        let (failure_sender, failures) = mpsc::unbounded_channel();
        let (_, permit) = watch::channel(PermitView {
            epoch: 0,
            until: Time::ZERO,
        });
        let roles = watch::Sender::default();
        let copies = watch::Sender::default();
        let group = Group {
            name: name.to_owned(),
            mailbox: Mailbox {
                receiver,
                waiting: VecDeque::new(),
            },
            own_sender: sender.downgrade(),
            spec: GroupSpec::default(),
            lease: Duration::from_secs(1),
            epoch: 0,
            run: Run::Stopped,
            detail: String::new(),
            since: clock::now(),
            members: Vec::new(),
            permit,
            permit_sender: None,
            armed_epoch: 0,
            polite_until: None,
            maintenance: around.maintenance,
            restarts: VecDeque::new(),
            blind: None,
            held: None,
            grace: None,
            notes,
            failures,
            note_sender,
            failure_sender,
            roles: roles.clone(),
            copies_seen: copies.subscribe(),
            copies,
            unpromoted: Unpromoted::default(),
            toward: None,
            around,
        };
        tokio::spawn(group.live(saved));
        Handle {
            orders: sender,
            roles,
        }
    }

    async fn live(mut self, saved: Option<Result<SavedGroup, String>>) {
        match saved {
            Some(Ok(saved)) => self.resume(saved).await,
            Some(Err(damage)) => self.go_blind(damage),
            None => {}
        }
        self.settle_unpromoted().await;
        loop {
            match self.wake().await {
                Wake::Order(None) => return,
                Wake::Order(Some(order)) => self.obey(order).await,
                Wake::Agent(index, event) => self.on_agent(index, event).await,
                Wake::Permit | Wake::RetryStop if self.run == Run::Unknown => self.retry_stop().await,
                Wake::Permit => self.on_permit().await,
                Wake::RetryStop => {}
                Wake::RetryUnpromoted => self.unpromoted.due(),
                Wake::Copy => self.report(),
            }
            self.settle_unpromoted().await;
        }
    }

    async fn wake(&mut self) -> Wake {
        let unknown = self.run == Run::Unknown && self.blind.is_none();
        let down = matches!(self.run, Run::Stopped | Run::Failed) && !self.maintenance;
        let retry_at = self
            .unpromoted
            .retry_at()
            .filter(|_| down && self.blind.is_none());
        let retry_at = retry_at.unwrap_or(Time(u64::MAX));
        let graced = self.grace.is_some() && self.permit.has_changed().is_ok();
        tokio::select! {
            biased;
            order = self.mailbox.next() => Wake::Order(order),
            Some((index, event)) = self.failures.recv() => Wake::Agent(index, event),
            Some((index, event)) = self.notes.recv() => Wake::Agent(index, event),
            Ok(()) = self.permit.changed(), if graced => Wake::Permit,
            Ok(()) = self.copies_seen.changed() => Wake::Copy,
            () = tokio::time::sleep(RETRY_STOP), if unknown => Wake::RetryStop,
            () = clock::sleep_until(retry_at), if retry_at != Time(u64::MAX) => Wake::RetryUnpromoted,
        }
    }

    async fn obey(&mut self, order: Order) {
        if self.blind.is_some() {
            return self.report();
        }
        match order {
            Order::Start {
                permit,
                spec,
                lease,
                storage,
            } => self.order_start(permit, spec, lease, storage).await,
            Order::Stop {
                epoch,
                reason,
                toward,
            } => {
                self.toward = toward;
                self.order_stop(epoch, reason).await;
                self.toward = None;
            }
            Order::Roles(roles) => self.order_roles(*roles).await,
            Order::Restart { epoch, resource } => self.order_restart(epoch, &resource).await,
            Order::Lapsed { epoch, text } => self.on_lapse(epoch, text).await,
            Order::Maintenance(on) => {
                self.maintenance = on;
                if !on {
                    self.release_held().await;
                }
            }
        }
    }

    /// True, and told to `had`, when `epoch` is older than what was seen of this group.
    fn refuses(&mut self, what: &str, epoch: u64) -> bool {
        let old = epoch < self.epoch;
        if old {
            let seen = self.epoch;
            self.note(
                "warn",
                "epoch-refused",
                format!("refused to {what}: epoch {epoch} is older than {seen}"),
            );
            self.report();
        }
        old
    }

    async fn on_permit(&mut self) {
        let renewed = self
            .grace
            .is_some_and(|grace| self.permit.borrow_and_update().until > grace);
        if renewed {
            self.grace = None;
            self.release_held().await;
        }
    }

    async fn on_agent(&mut self, index: usize, event: AgentEvent) {
        match event {
            AgentEvent::Failed(reason) if self.run == Run::Running => self.on_failure(index, reason).await,
            AgentEvent::Failed(reason) if matches!(self.run, Run::Stopped | Run::Failed) => {
                self.on_unpromoted_failure(index, reason).await;
            }
            AgentEvent::GiveWay(reason) if self.run == Run::Running => {
                self.on_giving_way(index, reason).await
            }
            // While it is being stopped: nothing new. What does not run cannot give way.
            AgentEvent::Failed(_) | AgentEvent::GiveWay(_) => {}
            AgentEvent::Note {
                level,
                kind,
                text,
                at,
            } => {
                let group = self.name.clone();
                let text = format!("{}: {text}", self.member_name(index));
                let note = Note {
                    group,
                    text,
                    level: level.into(),
                    kind: kind.into(),
                    at_us: at.0,
                };
                self.tell(Command::Note(note));
            }
            AgentEvent::Detail => self.report(),
        }
    }

    fn member_name(&self, index: usize) -> String {
        self.members
            .get(index)
            .map(|member| member.spec.name.clone())
            .unwrap_or_default()
    }

    /// Saved before it is told: what `had` was told must hold after a crash of this process.
    fn enter(&mut self, run: Run, detail: impl Into<String>) {
        self.run = run;
        let is_down = matches!(run, Run::Stopped | Run::Failed);
        self.around.occupied.note(&self.name, !is_down);
        self.detail = detail.into();
        self.since = clock::now();
        tracing::info!(
            group = self.name,
            epoch = self.epoch,
            run = run.word(),
            "{}",
            self.detail
        );
        self.save();
        self.report();
    }

    fn report(&self) {
        self.tell(Command::Status(GroupStatus {
            group: self.name.clone(),
            epoch: self.epoch,
            run: self.run.word().into(),
            resources: self.members.iter().map(Member::status).collect(),
            restarts: self.restarts.len() as u32,
            detail: self.detail.clone(),
            since_us: self.since.0,
            member: self.member_status(),
        }));
    }

    fn note(&self, level: &str, kind: &str, text: String) {
        let group = self.name.clone();
        self.tell(Command::Note(Note {
            group,
            text,
            level: level.into(),
            kind: kind.into(),
            at_us: clock::now().0,
        }));
    }

    fn tell(&self, command: Command) {
        // The guard outlives all groups, except while the process ends.
        let _ = self.around.guard.send(command);
    }

    fn save(&self) {
        if self.blind.is_some() {
            return;
        }
        if let Err(error) = store::save(&self.around.state_dir, &self.to_saved()) {
            let text = format!("the state of group {} cannot be saved: {error}", self.name);
            self.note("warn", "state-unsaved", text);
        }
    }

    fn to_saved(&self) -> SavedGroup {
        SavedGroup {
            group: self.name.clone(),
            boot: store::boot_id(),
            epoch: self.epoch,
            run: self.run.word().into(),
            spec: Some(self.spec.clone()).filter(|spec| !spec.name.is_empty()),
            lease_ms: self.lease.as_millis() as u64,
            agents: self.members.iter().map(|member| member.agent.saved()).collect(),
            roles: self.unpromoted.roles.clone(),
        }
    }
}

//! The way up and the way down.
//!
//! What allows a promotion: the runner calls it under a permit only, so the cluster has committed this node as the owner, on
//! a release proof about the one before it; and the committed set names this node's copy as whole. DRBD itself is a second
//! lock: it refuses without up-to-date data, and without the answer of the fence-peer handler while the peer is away. It is
//! never forced.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;
use nix::sys::signal::Signal;

use super::commands::{self, Refusal};
use super::events::{Connection, State};
use super::{DrbdAgent, copy, openers};
use crate::agent::{AgentError, ResourceAgent};
use crate::clock;
use crate::filesystem::users;

/// Pause between attempts, unless DRBD says that something changed.
const AGAIN: Duration = Duration::from_millis(200);
/// An attempt to demote is not begun later than this before the deadline.
const LATE: Duration = Duration::from_millis(500);
/// How long a peer that confirmed its stop may still be seen as the primary.
const STALE: Duration = Duration::from_secs(2);

impl DrbdAgent {
    /// Promotes it, and returns when nothing can be acknowledged any more that a node of the committed set lacks.
    pub(super) async fn raise(&mut self, deadline: Time) -> Result<(), AgentError> {
        if let Some(finding) = self
            .findings()
            .await?
            .into_iter()
            .find(|finding| finding.is_error)
        {
            return Err(AgentError(format!(
                "not promoted, because DRBD's configuration contradicts a managed pair: {}",
                finding.text
            )));
        }
        // From here on the handlers are answered, and sets are asked for.
        self.shared.inner().promoted = true;
        let shared = Arc::clone(&self.shared);
        let at_work = shared.at_work();
        if let Err(error) = self.climb(deadline).await {
            // Whatever it has become: a demotion follows. It is not to go on by itself.
            self.shared.poke.notify_one();
            return Err(error);
        }
        self.reconnect(deadline).await;
        drop(at_work);
        self.waits_for_all(deadline).await
    }

    async fn climb(&self, deadline: Time) -> Result<(), AgentError> {
        let begun = clock::now();
        let mut refused = None::<Refusal>;
        let mut states = self.shared.states.subscribe();
        loop {
            let state = states.borrow_and_update().clone();
            self.check(&state)?;
            if state.is_primary() {
                return Ok(());
            }
            if clock::now() >= deadline {
                let why = refused.map_or_else(|| self.detail(), |refusal| refusal.text);
                return Err(AgentError(format!("not promoted in time: {why}")));
            }
            let seen_as_primary = state
                .connections
                .iter()
                .find(|(_, connection)| connection.role == "Primary" && connection.state == "Connected");
            match seen_as_primary {
                Some((name, _)) if self.is_stale(name, begun) => self.cut(deadline).await,
                // It has confirmed its stop: DRBD hears of it in a moment.
                Some(_) => {}
                None if is_ready(&state) => match self.shared.drbd.adm(&["primary"], deadline).await {
                    Ok(_) => {
                        self.await_state(deadline, State::is_primary).await?;
                        return Ok(());
                    }
                    Err(refusal) => refused = Some(refusal),
                },
                // Attaching or negotiating.
                None => {}
            }
            let _ = tokio::time::timeout(AGAIN, states.changed()).await;
        }
    }

    /// Refuses what the cluster has not committed, and data that is not whole.
    fn check(&self, state: &State) -> Result<(), AgentError> {
        let view = self.shared.view();
        if view.primary.as_ref() != Some(&view.own.name) {
            return Err(AgentError(format!(
                "not promoted: the cluster has committed {}",
                view.primary.as_deref().unwrap_or("nobody")
            )));
        }
        if !state.complete {
            return Ok(());
        }
        match state.worst_disk() {
            "UpToDate" | "Consistent" | "Attaching" | "Negotiating" => Ok(()),
            disk => Err(AgentError(format!(
                "{} is not promoted: its disk is {disk}; it would take an operator to force that, and data would be lost",
                self.shared.drbd.resource
            ))),
        }
    }

    /// DRBD still takes the peer for the primary, although this node's permit says that it is not: it was ended by a proof, and
    /// its silence was not noticed yet; or it has stopped, and that was not heard yet.
    fn is_stale(&self, connection: &str, begun: Time) -> bool {
        let view = self.shared.view();
        let ended = copy::node_of(connection, &view).is_some_and(|node| !view.in_sync.nodes.contains(node));
        ended || clock::now().since(begun) >= STALE
    }

    /// Cuts the connection to a peer that is gone, without waiting for DRBD's own timeouts.
    async fn cut(&self, deadline: Time) {
        // If it fails DRBD notices by itself; the loop looks again.
        let _ = self.shared.drbd.adm(&["disconnect", "--force"], deadline).await;
    }

    async fn reconnect(&self, deadline: Time) {
        if self.shared.state().stands_alone() {
            // If it fails the chores try again.
            let _ = self.shared.drbd.adm(&["connect"], deadline).await;
        }
    }

    /// Waits until DRBD waits for all nodes of the committed set, or the set without the others is committed.
    async fn waits_for_all(&self, deadline: Time) -> Result<(), AgentError> {
        let (mut states, mut roles) = (self.shared.states.subscribe(), self.shared.roles.clone());
        loop {
            states.mark_unchanged();
            roles.mark_unchanged();
            self.shared.poke.notify_one();
            // Asks, so that what could still be committed is known.
            let _ = self.shared.wish();
            let missing = self.shared.not_waited_for();
            if missing.is_empty() {
                return Ok(());
            }
            if clock::now() >= deadline {
                return Err(AgentError(format!(
                    "the cluster has not agreed in time to go on without the copy on {}",
                    missing.join(", ")
                )));
            }
            tokio::select! {
                _ = states.changed() => {}
                _ = roles.changed() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// Demotes it. With DRBD 9, what still has the device open gets errors when half of the time is over.
    pub(super) async fn lower(&mut self, deadline: Time) -> Result<(), AgentError> {
        if !commands::is_loaded() {
            return Ok(());
        }
        // Said first: what follows is no failure.
        self.shared.inner().promoted = false;
        let half = clock::now() + clock::now().until(deadline) / 2;
        let mut held = None::<Refusal>;
        loop {
            // One that is begun too late would be killed, and say nothing.
            if let Some(refusal) = held.as_ref().filter(|_| clock::now() + LATE >= deadline) {
                return Err(AgentError(self.with_openers(refusal).await));
            }
            let hard = commands::is_nine() && clock::now() >= half;
            let done = match hard {
                true => self.shared.drbd.setup(&["secondary", "--force"], deadline).await,
                false => self.shared.drbd.adm(&["secondary"], deadline).await,
            };
            let Err(refusal) = done else { break };
            let state = self.shared.drbd.look().await;
            if state.is_ok_and(|state| !state.exists || !state.is_primary()) {
                break;
            }
            if !refusal.is_held_open() {
                return Err(refusal.into());
            }
            held = Some(refusal);
            tokio::time::sleep(AGAIN).await;
        }
        self.shared.poke.notify_one();
        Ok(())
    }

    async fn with_openers(&self, refusal: &Refusal) -> String {
        let minors: Vec<u32> = self
            .shared
            .state()
            .devices
            .values()
            .map(|device| device.minor)
            .collect();
        let found = openers::of(minors).await;
        match found.is_empty() {
            true => refusal.text.clone(),
            false => format!("{}; open in {}", refusal.text, users::named(&found)),
        }
    }

    /// The same by force: programs that have the device open are killed. Mounts are not theirs: the resource above owns those.
    pub(super) async fn end_by_force(&mut self, deadline: Time) -> Result<(), AgentError> {
        if !commands::is_loaded() {
            self.silence();
            return Ok(());
        }
        let minors: Vec<u32> = match self.shared.drbd.look().await {
            Ok(state) => state.devices.values().map(|device| device.minor).collect(),
            Err(_) => Vec::new(),
        };
        users::signal(&openers::of(minors).await, Signal::SIGKILL);
        self.end(deadline).await
    }
}

/// DRBD may be asked.
fn is_ready(state: &State) -> bool {
    let settling =
        |connection: &Connection| matches!(connection.state.as_str(), "Disconnecting" | "TearDown");
    let disks = matches!(state.worst_disk(), "UpToDate" | "Consistent");
    state.complete && disks && !state.connections.values().any(settling)
}

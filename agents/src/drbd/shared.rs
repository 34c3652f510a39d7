//! What the actions of the agent, its follower and its door share.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::commands::Drbd;
use super::copy;
use super::events::State;
use crate::agent::EventSink;
use crate::roles::{InSync, RolesView};
use crate::wishes::Wishes;

/// One resource.
pub struct Shared {
    /// DRBD's programs.
    pub drbd: Drbd,
    /// Where notes and failures go.
    pub events: EventSink,
    /// What DRBD says.
    pub states: watch::Sender<State>,
    /// What is committed.
    pub roles: watch::Receiver<RolesView>,
    /// Wakes the follower.
    pub poke: Notify,
    inner: Mutex<Inner>,
}

/// Changes of a moment, under one lock that is never held across an await point.
#[derive(Default)]
pub struct Inner {
    /// It is promoted here, or about to be, by the cluster's order.
    pub promoted: bool,
    /// Actions of the agent that are at work on the connection.
    pub at_work: usize,
    /// DRBD has found that both sides were written to.
    pub split_brain: bool,
    /// When the connection was lost, for people.
    pub lost_at: Option<String>,
    /// KiB that differed when the resync began.
    pub resync_kib: u64,
    /// Handlers that wait for an answer.
    pub handlers: usize,
    /// Peers that DRBD is giving up, until it says so in its events.
    pub given_up: BTreeSet<String>,
    /// What was asked for.
    pub wishes: Wishes,
    /// For people.
    pub text: String,
}

/// An action is at work on the connection, for as long as this lives: the chores leave it alone. An action may be dropped at
/// any await point, and so is this.
pub struct AtWork<'a>(&'a Shared);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.inner().at_work -= 1;
    }
}

impl Shared {
    /// Of one agent.
    #[must_use]
    pub fn new(drbd: Drbd, events: EventSink, roles: watch::Receiver<RolesView>) -> Shared {
        Shared {
            drbd,
            events,
            states: watch::Sender::new(State::default()),
            roles,
            poke: Notify::new(),
            inner: Mutex::default(),
        }
    }

    /// The changes.
    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the chores away from the connection.
    pub fn at_work(&self) -> AtWork<'_> {
        self.inner().at_work += 1;
        AtWork(self)
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> State {
        self.states.borrow().clone()
    }

    /// What is committed now.
    #[must_use]
    pub fn view(&self) -> RolesView {
        self.roles.borrow().clone()
    }

    /// What is to be asked for now. None while this node is not promoted, or when it is committed.
    pub fn wish(&self) -> Option<InSync> {
        let (state, view) = (self.state(), self.view());
        let mut inner = self.inner();
        let names_us = view.primary.as_ref() == Some(&view.own.name) && !view.own.name.is_empty();
        if !inner.promoted || !names_us {
            return None;
        }
        // What DRBD's events show themselves need not be remembered.
        let whole = copy::whole(&state, &view, &BTreeSet::new());
        inner.given_up.retain(|node| whole.contains(node));
        let nodes = copy::whole(&state, &view, &inner.given_up);
        inner.wishes.ask(&view.in_sync, nodes)
    }

    /// Nodes of the committed set, or that could still be committed into it, for which DRBD does not wait.
    #[must_use]
    pub fn not_waited_for(&self) -> Vec<String> {
        let (state, view) = (self.state(), self.view());
        let inner = self.inner();
        let whole = copy::whole(&state, &view, &inner.given_up);
        let others = view.others.iter().map(|peer| &peer.name);
        others
            .filter(|node| !whole.contains(*node) && !inner.wishes.is_out(&view.in_sync, node))
            .cloned()
            .collect()
    }
}

//! The follower: says what is seen of the copy, asks for sets, notices failures. It runs no program, because a program of
//! DRBD's may wait for a handler, which waits for what is asked for here.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::copy::Seen;
use super::events::{Connection, State};
use super::shared::Shared;
use crate::roles::CopySink;

/// What it remembers.
struct Follower {
    shared: Arc<Shared>,
    copy: CopySink,
    before: State,
    failed: bool,
}

/// Follows until dropped.
pub async fn follow(shared: Arc<Shared>, copy: CopySink, mut called: mpsc::UnboundedReceiver<String>) {
    let mut states = shared.states.subscribe();
    let mut roles = shared.roles.clone();
    let mut follower = Follower {
        shared: Arc::clone(&shared),
        copy,
        before: State::default(),
        failed: false,
    };
    loop {
        let state = shared.state();
        follower.compare(&state);
        follower.tell();
        follower.before = state;
        tokio::select! {
            changed = states.changed() => if changed.is_err() { return },
            // Its sender goes with the group, and this task with it.
            Ok(()) = roles.changed() => {}
            Some(helper) = called.recv() => follower.note_helper(&helper),
            () = shared.poke.notified() => {}
        }
    }
}

impl Follower {
    /// What the change from before to `state` means.
    fn compare(&mut self, state: &State) {
        let whole = |state: &State| state.connections.values().any(Connection::is_whole);
        let syncing = |state: &State| {
            state
                .connections
                .values()
                .any(|connection| connection.activity().is_some())
        };
        let mut inner = self.shared.inner();
        if whole(&self.before) && !whole(state) {
            inner.lost_at = Some(clock_text());
        }
        if whole(state) {
            inner.lost_at = None;
            inner.split_brain = false;
            inner.resync_kib = 0;
        }
        if syncing(state) {
            inner.split_brain = false;
            let kib = state.connections.values().map(Connection::out_of_sync_kib).max();
            inner.resync_kib = inner.resync_kib.max(kib.unwrap_or(0));
        }
        let promoted = inner.promoted;
        drop(inner);
        if let Some(reason) = self.fault(state, promoted).filter(|_| !self.failed) {
            self.failed = true;
            self.shared.events.failed(reason);
        }
    }

    /// Why it cannot be used any more.
    fn fault(&self, state: &State, promoted: bool) -> Option<String> {
        let resource = &self.shared.drbd.resource;
        if !self.before.complete || !state.complete {
            return None;
        }
        if self.before.exists && !state.exists {
            return Some(format!("{resource} was taken down by somebody else"));
        }
        // Promoted and no longer: not by this agent, which says so first.
        if promoted && self.before.is_primary() && !state.is_primary() {
            return Some(format!("{resource} was made {} by somebody else", state.role));
        }
        let remote = state.connections.values().any(|connection| {
            connection.state == "Connected"
                && connection.volumes.values().all(|there| there.disk == "UpToDate")
        });
        (promoted && state.is_primary() && !state.is_up_to_date() && !remote).then(|| {
            format!(
                "{resource} has no up-to-date data left: the disk here is {}, and no other is connected",
                state.worst_disk()
            )
        })
    }

    fn note_helper(&mut self, helper: &str) {
        if helper != "split-brain" && helper != "initial-split-brain" {
            return;
        }
        let resource = &self.shared.drbd.resource;
        if !std::mem::replace(&mut self.shared.inner().split_brain, true) {
            let text = format!(
                "{resource}: both sides were written to while they were apart (split brain). Nothing is thrown away. The cluster's \
                 word on whose copy is whole stands; hactl drbd resolve {resource} --discard NODE gives the other one up"
            );
            self.shared.events.note("warn", "drbd-split-brain", text);
        }
    }

    fn tell(&self) {
        let wish = self.shared.wish();
        let (state, view) = (self.shared.state(), self.shared.view());
        let mut inner = self.shared.inner();
        let seen = Seen {
            state: &state,
            view: &view,
            split_brain: inner.split_brain,
            lost_at: inner.lost_at.as_deref(),
            resync_kib: inner.resync_kib,
        };
        let mut status = seen.status();
        status.wish = wish;
        let text = status.position_text.clone();
        let changed = inner.text != text;
        inner.text = text;
        drop(inner);
        self.copy.tell(status);
        if changed {
            self.shared.events.detail_changed();
        }
    }
}

/// The time of day in UTC, for people.
fn clock_text() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let day = now % 86_400;
    format!("{:02}:{:02}:{:02} UTC", day / 3600, day / 60 % 60, day % 60)
}

//! Chores that need DRBD's programs: counting what is out of sync, connecting what stands alone, and letting a frozen
//! primary go on that nobody asks for any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::events::{Connection, State};
use super::shared::Shared;
use crate::clock;

/// Pause between looks at what is to be done.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// First pause before a connection that stands alone is tried again, and the longest.
const CONNECT_FIRST: Duration = Duration::from_secs(1);
const CONNECT_LAST: Duration = Duration::from_secs(30);
/// How long I/O may stay frozen with nobody asking before it is seen to.
const FROZEN: Duration = Duration::from_secs(3);
/// Time for a command.
const COMMAND: Duration = Duration::from_secs(10);

/// What it remembers.
struct Chores {
    shared: Arc<Shared>,
    connect_at: Option<Instant>,
    connect_pause: Duration,
    frozen_since: Option<Instant>,
}

/// Does them until dropped.
pub async fn run(shared: Arc<Shared>) {
    let mut states = shared.states.subscribe();
    let mut chores = Chores {
        shared: Arc::clone(&shared),
        connect_at: None,
        connect_pause: CONNECT_FIRST,
        frozen_since: None,
    };
    loop {
        // Nothing to be done while all is well, until something changes.
        if states.wait_for(is_untidy).await.is_err() {
            return;
        }
        let state = shared.state();
        chores.count(&state).await;
        chores.connect_again(&state).await;
        chores.thaw(&state).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_untidy(state: &State) -> bool {
    let differs = |connection: &Connection| connection.out_of_sync_kib() > 0 || !connection.is_whole();
    let alone = state.stands_alone() || state.connections.values().any(differs);
    state.exists && (alone || !matches!(state.suspended.as_str(), "" | "no"))
}

impl Chores {
    async fn count(&self, state: &State) {
        if !state.exists {
            return;
        }
        if let Ok(counted) = self.shared.drbd.look().await {
            self.shared.states.send_if_modified(|state| {
                let before = state.clone();
                state.take_counters(&counted);
                *state != before
            });
        }
    }

    /// A connection that stands alone is tried again and again: without a word on whose data is given up that is harmless, and
    /// when an operator has said it on the other node, this side has to be there.
    async fn connect_again(&mut self, state: &State) {
        if !state.stands_alone() || self.shared.inner().at_work > 0 {
            self.connect_at = None;
            if state
                .connections
                .values()
                .any(|connection| connection.state == "Connected")
            {
                self.connect_pause = CONNECT_FIRST;
            }
            return;
        }
        let at = *self
            .connect_at
            .get_or_insert_with(|| Instant::now() + self.connect_pause);
        if Instant::now() < at {
            return;
        }
        self.connect_pause = (self.connect_pause * 2).min(CONNECT_LAST);
        self.connect_at = None;
        // What it says is in its events, or it stays alone and is tried again.
        let _ = self.shared.drbd.adm(&["connect"], clock::now() + COMMAND).await;
    }

    /// A handler that was killed, or gave up, leaves I/O frozen for ever. When the cluster has committed a set without those
    /// that are not connected, which is what the handler would have waited for, it may go on.
    async fn thaw(&mut self, state: &State) {
        let frozen = state.is_primary() && state.suspended.contains("fencing");
        let nobody_asks = {
            let inner = self.shared.inner();
            inner.promoted && inner.handlers == 0
        };
        if !frozen || !nobody_asks {
            self.frozen_since = None;
            return;
        }
        let since = *self.frozen_since.get_or_insert_with(Instant::now);
        let view = self.shared.view();
        let is_ours = view.primary.as_ref() == Some(&view.own.name);
        if since.elapsed() < FROZEN || !is_ours || !self.shared.not_waited_for().is_empty() {
            return;
        }
        self.frozen_since = None;
        let resource = &self.shared.drbd.resource;
        match self.shared.drbd.adm(&["resume-io"], clock::now() + COMMAND).await {
            Ok(_) => {
                let text =
                    format!("{resource}: I/O goes on without the other side, as the cluster has agreed");
                self.shared.events.note("info", "drbd-resumed", text);
            }
            Err(refusal) => self.shared.events.note("warn", "drbd-frozen", refusal.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::super::commands::Drbd;
    use super::*;
    use crate::agent::tests::context;
    use crate::roles::RolesView;

    /// Of a resource that stands alone, and whose pause is over. A resource that no node has.
    fn due() -> (Chores, State) {
        let drbd = Drbd {
            resource: "holdfast-no-such-resource".into(),
        };
        let shared = Shared::new(
            drbd,
            context().events,
            watch::Sender::new(RolesView::default()).subscribe(),
        );
        let state = State {
            exists: true,
            ..State::default()
        };
        assert!(state.stands_alone());
        let chores = Chores {
            shared: Arc::new(shared),
            connect_at: Some(Instant::now()),
            connect_pause: CONNECT_FIRST,
            frozen_since: None,
        };
        (chores, state)
    }

    #[tokio::test]
    async fn a_connection_that_an_action_makes_or_cuts_is_not_made_by_the_chores_meanwhile() {
        let (mut chores, state) = due();
        let shared = Arc::clone(&chores.shared);
        let at_work = shared.at_work();
        chores.connect_again(&state).await;
        assert_eq!(
            chores.connect_pause, CONNECT_FIRST,
            "tried while a start was at work"
        );
        // An action that was dropped is at work no longer.
        drop(at_work);
        chores.connect_at = Some(Instant::now());
        chores.connect_again(&state).await;
        assert_eq!(chores.connect_pause, CONNECT_FIRST * 2, "not tried");
    }
}

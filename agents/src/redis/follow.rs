//! What an unpromoted Redis does: it follows the primary that the cluster has committed, and nobody else.

use std::time::Duration;

use super::info::Info;
use super::keeper::{Keeper, follows};
use super::state::Duty;
use crate::clock;
use crate::roles::{Peer, RolesView};

/// How long it may take to connect before it is told again, perhaps at another address.
const CONNECTING: Duration = Duration::from_secs(3);
/// How often the primary is asked while all is well.
const ASK_EVERY: Duration = Duration::from_secs(1);

impl Keeper {
    /// Follows, and learns how far behind it is.
    pub(super) async fn follow(&mut self, view: &RolesView, info: &Info) {
        if info.is_master {
            self.disarm().await;
        } else {
            self.let_go(info).await;
        }
        if self.hold_for_room(info).await {
            return;
        }
        let Some(primary) = view.remote_primary().cloned() else {
            self.lag.forget();
            self.held_back.clear();
            return;
        };
        let now = clock::now();
        let following = !info.is_master && follows(info, &primary, self.state.params.port);
        let connecting = self.turned_at.is_some_and(|at| at.until(now) < CONNECTING);
        let settled = following && (info.link_up || info.sync_in_progress || connecting);
        let calm = settled && info.link_up && self.state.facts().is_whole();
        if calm && self.asked_at.is_some_and(|at| at.until(now) < ASK_EVERY) {
            return;
        }
        let asked = self.remotes.ask(&primary).await;
        self.asked_at = Some(clock::now());
        let Some((address, theirs)) = asked else { return };
        let listed = |address| {
            theirs
                .replicas
                .iter()
                .any(|replica| replica.address == Some(address))
        };
        if following && !info.link_up && view.own.addresses.iter().any(|own| listed(*own)) {
            // The primary prepares its copy, which may take as long as it has data: that is no reason to begin anew.
            self.turned_at = Some(clock::now());
        }
        if settled {
            self.compare(info, &theirs);
            if info.link_up {
                self.end_misled_clients(true).await;
            }
        } else if theirs.is_master && !theirs.loading {
            self.turn_to(view, info, &primary, address, &theirs).await;
        }
    }

    /// A Redis that became a master without being promoted: the other side handed over (`FAILOVER`), or somebody's hand
    /// did it. It may stay one while the cluster has no other primary, but takes no writes.
    async fn disarm(&mut self) {
        let mut local = self.state.local.lock().await;
        if self.state.facts().duty != Duty::Unpromoted {
            return;
        }
        if local
            .demands()
            .await
            .is_ok_and(|demands| demands == super::held::REPLICAS)
        {
            return;
        }
        if local.refuse_writes().await.is_ok() {
            let text =
                "redis was a master that would have taken writes, and is not promoted; it takes none now";
            self.events.note("warn", "redis-disarmed", text);
        }
    }

    /// A replica that lost its primary is held after a lease. Left alone it would connect with whatever answers at that address
    /// one day and throw its data away for what is there, before anybody looked. A primary that came back with less than it
    /// had is promoted two leases after it told so, at the earliest: see [`super::promote`].
    async fn let_go(&mut self, info: &Info) {
        let held = info
            .master
            .as_ref()
            .is_none_or(|(_, port)| *port == super::held::PORT);
        let now = clock::now();
        let connecting = self.turned_at.is_some_and(|at| at.until(now) < CONNECTING);
        if held || info.link_up || info.sync_in_progress || connecting {
            return;
        }
        let mut local = self.state.local.lock().await;
        let lost = {
            let facts = self.state.facts();
            let lost = facts.link_lost.is_some_and(|lost| lost.until(now) >= self.lease);
            lost && facts.duty == Duty::Unpromoted
        };
        if lost {
            // Tried again with the next look.
            let _ = local.hold().await;
        }
    }

    /// Makes it a replica of a primary that really is one. What is here may be thrown away then: the cluster has committed
    /// that all that was acknowledged is there. The one thing it cannot know is what became of that process since, so
    /// one that is empty gets no data wiped.
    async fn turn_to(
        &mut self,
        view: &RolesView,
        info: &Info,
        primary: &Peer,
        address: std::net::IpAddr,
        theirs: &Info,
    ) {
        if theirs.keys == 0 && info.keys > 0 && !info.is_beginning_of(theirs) {
            let text = format!(
                "it does not follow {}, whose redis is empty and of another history: that would wipe the {} keys here; if \
                 {} is right, run FLUSHALL here, else move the group here",
                primary.name, info.keys, primary.name
            );
            if self.held_back != text {
                self.events.note("warn", "redis-held-back", text.clone());
                self.held_back = text;
            }
            return;
        }
        let mut local = self.state.local.lock().await;
        if self.state.facts().duty != Duty::Unpromoted {
            return;
        }
        // Whatever becomes of it, it must not take writes.
        let turned = match local.refuse_writes().await {
            Ok(()) => local.follow(address, self.state.params.port).await,
            Err(fault) => Err(fault),
        };
        drop(local);
        if let Err(fault) = turned {
            self.held_back = format!("it cannot be made a replica of {}: {fault}", primary.name);
            return;
        }
        self.end_misled_clients(false).await;
        self.held_back.clear();
        self.lag.forget();
        (self.whole_from, self.turned_at) = (None, Some(clock::now()));
        let given_up = info.offset.saturating_sub(theirs.offset2.saturating_sub(1));
        let tail = if info.replid == theirs.replid2 && given_up > 0 {
            format!("; {given_up} bytes that only this copy had, and that no WAIT acknowledged, are given up")
        } else {
            String::new()
        };
        let own = &view.own.name;
        self.events.note(
            "info",
            "redis-follows",
            format!("redis on {own} follows {} at {address}{tail}", primary.name),
        );
    }

    /// How far behind it is, and whether it has caught up since its process began.
    fn compare(&mut self, info: &Info, theirs: &Info) {
        if !info.link_up || !theirs.is_master || theirs.replid != info.replid {
            self.whole_from = None;
            return;
        }
        // `theirs` was asked after `info` said that it is connected: all that was acknowledged before is up to there, and
        // what is acknowledged from here on is acknowledged by this very process.
        self.lag.sample(clock::now(), theirs.offset);
        let from = *self.whole_from.get_or_insert(theirs.offset);
        let mut facts = self.state.facts();
        if info.offset >= from && facts.info.run_id == info.run_id {
            facts.whole.clone_from(&info.run_id);
        }
    }
}

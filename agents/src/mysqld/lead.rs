//! Looks after a promoted server: for whom its commits wait, and which set is to be committed.
//!
//! The rules are those of [`crate::roles`]. Commits wait for the others while these are in the committed set, or in a wish that
//! may still be committed. The larger set is wished when commits already wait and the others have applied a position that was
//! read after that; the smaller one when they have been gone for a lease, and only its commit ends the wait.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;

use super::client::{Client, SqlError};
use super::gtid::Gtids;
use super::semi_sync::{self, SemiSync};
use super::site::{self, Site};
use super::turns::Turns;
use crate::clock;
use crate::roles::{CopyStatus, RolesView};
use crate::room;
use crate::wishes::written::Wishes;

/// Pause between looks.
const TICK: Duration = Duration::from_millis(200);
/// How often the position is told.
const TELL_EVERY: Duration = Duration::from_secs(1);

struct Lead {
    site: Arc<Site>,
    wishes: Wishes,
    /// Commits wait for the others since this position, by our own will.
    joining: Option<Gtids>,
    /// Since when they are missing.
    gone_since: Option<Time>,
    /// Transactions that were waited for, and when that number was new.
    progress: (u64, Time),
    told: Option<(Time, CopyStatus)>,
    warned: &'static str,
}

/// The file with the wishes of a resource.
pub fn wishes(site: &Site) -> Wishes {
    Wishes::load(site.wishes.clone())
}

/// Looks after the server until it fails.
pub async fn run(site: Arc<Site>) {
    let mut turns = Turns::new(&site);
    let mut lead = Lead {
        wishes: wishes(&site),
        joining: None,
        gone_since: None,
        progress: (0, clock::now()),
        told: None,
        warned: "",
        site: Arc::clone(&site),
    };
    loop {
        if let Some(outcome) = turns.take(async |client| lead.turn(client).await).await {
            if let Some(reason) = turns.health.silence(outcome, &site.events) {
                site.events.failed(reason);
                return;
            }
            match room::fault(&site.params.datadir).await {
                // Nothing is to be had from another start here, and clients wait.
                Some(reason) if lead.is_replaceable() => site.events.give_way(reason),
                Some(reason) => {
                    site.events.failed(reason);
                    return;
                }
                None => {}
            }
        }
        turns.rest(TICK).await;
    }
}

impl Lead {
    async fn turn(&mut self, client: &mut Client) -> Result<(), SqlError> {
        let view = self.site.view();
        let semi = SemiSync::read(client).await?;
        let attached = self.attached(&view, &semi, client.server().mariadb);
        if self.wishes.must_wait(&view) {
            self.waiting(client, &view, &semi, attached).await?;
        } else {
            self.alone(client, &view, &semi, attached).await?;
        }
        self.tell(client, &view, &semi).await
    }

    /// True when all others are connected, acknowledge, and nothing is stuck.
    fn attached(&mut self, view: &RolesView, semi: &SemiSync, mariadb: bool) -> bool {
        let now = clock::now();
        if semi.sessions == 0 || semi.acknowledged != self.progress.0 {
            self.progress = (semi.acknowledged, now);
        }
        let others = view.others.len() as u64;
        if mariadb && others > 1 {
            let text = "MariaDB waits for one replica and cannot say for which: with more than one other node none of them is ever counted on";
            self.warn("mysqld-one-replica", text);
            return false;
        }
        if semi.replicas > others {
            let text = "a replica that Holdfast does not know acknowledges transactions: switch its semi-synchronous replication off";
            self.warn("mysqld-foreign-replica", text);
            return false;
        }
        let stuck = self.progress.1.until(now) >= self.site.lease;
        if semi.replicas == others && !stuck {
            self.gone_since = None;
            return true;
        }
        // What is stuck is gone since its last word.
        let since = if stuck { self.progress.1 } else { now };
        self.gone_since = Some(self.gone_since.map_or(since, |before| before.min(since)));
        false
    }

    /// Another node has all that was acknowledged, and follows: the cluster may promote it.
    fn is_replaceable(&self) -> bool {
        self.gone_since.is_none() && self.site.view().waits_for_others()
    }

    fn warn(&mut self, kind: &'static str, text: &str) {
        if self.warned != kind {
            self.warned = kind;
            self.site.events.note("warn", kind, text);
        }
    }

    /// Others are counted on.
    async fn waiting(
        &mut self,
        client: &mut Client,
        view: &RolesView,
        semi: &SemiSync,
        attached: bool,
    ) -> Result<(), SqlError> {
        if !semi.waits {
            let text = "the server did not wait for its replica although it has to: it does again";
            self.site.events.note("warn", "mysqld-semi-sync", text);
            semi_sync::wait_for(client, view.others.len()).await?;
        }
        let lease = self.site.lease;
        let gone = self
            .gone_since
            .is_some_and(|since| since.until(clock::now()) >= lease);
        let alone = BTreeSet::from([view.own.name.clone()]);
        let wished = self.wishes.current(view);
        if !attached && gone && wished.is_none_or(|wish| wish.nodes != alone) {
            self.wish(alone, view);
        }
        Ok(())
    }

    /// Nobody else is counted on, and nobody can be by an old wish.
    async fn alone(
        &mut self,
        client: &mut Client,
        view: &RolesView,
        semi: &SemiSync,
        attached: bool,
    ) -> Result<(), SqlError> {
        match &self.joining {
            Some(position) if attached => {
                if self.have_all(view, position).await {
                    self.joining = None;
                    let nodes = view.others.iter().chain([&view.own]);
                    self.wish(nodes.map(|node| node.name.clone()).collect(), view);
                }
            }
            None if attached => {
                semi_sync::wait_for(client, view.others.len()).await?;
                self.progress.1 = clock::now();
                // Read after the wait began: whatever is beyond is waited for.
                self.joining = Some(site::applied(client).await?);
            }
            _ => {
                self.joining = None;
                if semi.enabled {
                    // The proof: a set without the others is committed, under a generation that no wish with them is above.
                    semi_sync::wait_for_nobody(client).await?;
                    let text = "commits wait for no other node: none is counted on to have them";
                    self.site.events.note("warn", "mysqld-alone", text);
                }
            }
        }
        Ok(())
    }

    /// True when every other node follows as a replica that acknowledges, and has applied `position`.
    async fn have_all(&self, view: &RolesView, position: &Gtids) -> bool {
        for peer in &view.others {
            let Ok(true) = self.has(peer, position).await else {
                return false;
            };
        }
        true
    }

    async fn has(&self, peer: &crate::roles::Peer, position: &Gtids) -> Result<bool, SqlError> {
        let mut client = self.site.connect(peer).await?;
        let name = client.server().semi_sync_replica().replace("_enabled", "_status");
        let rows = client.rows(&format!("SHOW GLOBAL STATUS LIKE '{name}'")).await?;
        if rows.first().is_none_or(|row| row.at(1) != "ON") {
            return Ok(false);
        }
        Ok(site::applied(&mut client).await?.contains(position))
    }

    fn wish(&mut self, nodes: BTreeSet<String>, view: &RolesView) {
        if let Err(error) = self.wishes.wish(nodes, view) {
            let text = format!("cannot write down which nodes are to be counted on: {error}");
            self.site.events.note("warn", "mysqld-wish", text);
        }
    }

    async fn tell(&mut self, client: &mut Client, view: &RolesView, semi: &SemiSync) -> Result<(), SqlError> {
        let now = clock::now();
        let wish = self.wishes.current(view);
        let fresh = self
            .told
            .as_ref()
            .is_some_and(|(at, told)| at.until(now) < TELL_EVERY && told.wish == wish);
        if fresh {
            return Ok(());
        }
        let own = site::applied(client).await?;
        let copy = CopyStatus {
            position: own.position(),
            history: own.history(),
            position_text: site::position_text(client).await?,
            wish,
            readable: true,
            ..CopyStatus::default()
        };
        let waiting = match (semi.waits, self.wishes.must_wait(view)) {
            (true, true) => "waits for its replica",
            (true, false) => "waits for a replica that joins",
            (false, _) => "waits for nobody",
        };
        let read_only = site::is_read_only(client).await?;
        if read_only {
            let text = "somebody made the primary read-only: nobody can write until it is set back";
            self.warn("mysqld-read-only", text);
        }
        let server = client.server();
        let sessions = match semi.sessions {
            0 => String::new(),
            some => format!(", {some} commits wait"),
        };
        self.site
            .seen
            .say(&format!("{server}, primary, {waiting}{sessions}"));
        self.site.copy.tell(copy.clone());
        self.told = Some((now, copy));
        Ok(())
    }
}

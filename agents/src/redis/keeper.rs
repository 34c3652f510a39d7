//! The task that looks at a Redis again and again: whether it answers, whom it follows, for whom it waits.
//!
//! Redis tells nobody when a replica goes, so it is asked several times per lease, over one connection that stays open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::sync::watch;

use super::client::Fault;
use super::copy::{self, Durable, Known};
use super::info::Info;
use super::memo::Memo;
use super::remote::{Lag, Remotes};
use super::state::{Believed, Duty, Facts, LossTold, State};
use super::storage::DiskWatch;
use super::waiting::{Look, Sight};
use crate::agent::{AgentContext, EventSink};
use crate::clock;
use crate::probe::Window;
use crate::roles::{CopySink, CopyStatus, Peer, RolesView};

/// Bounds of the pause between looks; a quarter of a lease otherwise.
const PACE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often a look counts for `probe_failures`, how often another node is asked without need, and how often a position that only moved is
/// told.
const SECOND: Duration = Duration::from_secs(1);
/// What another node answered longer ago than this says nothing about now.
pub(super) const FRESH: Duration = Duration::from_secs(3);

/// Why the keeper ends.
struct Failed(String);

/// See the module.
pub struct Keeper {
    pub(super) state: Arc<State>,
    pub(super) events: EventSink,
    pub(super) remotes: Remotes,
    /// Where the whole copy begins: an offset of the primary that was asked after this process was connected with it.
    pub(super) whole_from: Option<u64>,
    pub(super) lag: Lag,
    /// Why it does not follow; empty while there is no reason.
    pub(super) held_back: String,
    /// When it was told to follow another one.
    pub(super) turned_at: Option<Time>,
    pub(super) asked_at: Option<Time>,
    pub(super) disk: DiskWatch,
    roles: watch::Receiver<RolesView>,
    copy: CopySink,
    memo: Memo,
    pub(super) lease: Duration,
    probes: Window,
    probed_at: Option<Time>,
    told: Option<(CopyStatus, Time)>,
    memo_fault: bool,
}

impl Keeper {
    /// One for the Redis of `state`, whose copy was whole if the memo says so.
    pub fn new(state: Arc<State>, context: &AgentContext, memo: Memo) -> Keeper {
        let probes = Window::new(state.params.looks.failures, state.params.looks.of);
        Keeper {
            remotes: Remotes::new(Arc::clone(&state)),
            events: context.events.clone(),
            whole_from: None,
            lag: Lag::default(),
            held_back: String::new(),
            turned_at: None,
            asked_at: None,
            disk: DiskWatch::default(),
            roles: context.roles.clone(),
            copy: context.copy.clone(),
            memo,
            lease: context.lease,
            probes,
            probed_at: None,
            told: None,
            memo_fault: false,
            state,
        }
    }

    /// Until the Redis failed, which is told.
    pub async fn run(mut self) {
        let pace = (self.lease / 4).clamp(PACE.0, PACE.1);
        let mut roles = self.roles.clone();
        let state = Arc::clone(&self.state);
        loop {
            let view = roles.borrow_and_update().clone();
            let round = tokio::select! {
                biased;
                () = state.nudge.notified() => continue,
                round = self.round(&view) => round,
            };
            if let Err(Failed(reason)) = round {
                self.tell_gone(&reason);
                self.events.failed(reason);
                return;
            }
            let expected = clock::now() + pace;
            tokio::select! {
                () = tokio::time::sleep(pace) => {}
                () = state.nudge.notified() => {}
                Ok(()) = roles.changed() => {}
            }
            if expected.until(clock::now()) > SECOND {
                // This node was stalled: what it did not hear meanwhile says nothing.
                self.probed_at = Some(clock::now());
            }
        }
    }

    async fn round(&mut self, view: &RolesView) -> Result<(), Failed> {
        let (looked, duty) = {
            let mut local = self.state.local.lock().await;
            let looked = local.info().await;
            // Changed only by who holds the lock: it is that of this look.
            (looked, self.state.facts().duty)
        };
        let info = match looked {
            Ok(info) => info,
            Err(fault) => return self.unanswered(&fault),
        };
        self.count_probe(true);
        let before = std::mem::replace(&mut self.state.facts().info, info.clone());
        if !before.run_id.is_empty() && before.run_id != info.run_id {
            self.restarted(view, duty).await?;
        }
        self.look_at_disk(&info).await;
        match duty {
            Duty::Promoted => self.lead(view, &info).await?,
            Duty::Unpromoted => {
                self.notice_loss(&before, &info);
                self.follow(view, &info).await;
                self.judge(view, &info).await;
            }
        }
        self.keep_memo().await;
        self.tell(view);
        Ok(())
    }

    /// Counts a look, at most one a second: true when too many failed.
    fn count_probe(&mut self, passed: bool) -> bool {
        let now = clock::now();
        if self.probed_at.is_some_and(|at| at.until(now) < SECOND) {
            return false;
        }
        self.probed_at = Some(now);
        self.probes.push(passed)
    }

    fn unanswered(&mut self, fault: &Fault) -> Result<(), Failed> {
        // One that says what is wrong is there, and busy ("BUSY", "LOADING") or not configured for us ("NOAUTH").
        if self.count_probe(fault.is_answer()) {
            let (failed, of) = (self.state.params.looks.failures, self.state.params.looks.of);
            let place = self.state.params.place();
            return Err(Failed(format!(
                "redis at {place} failed {failed} of its last {of} looks: {fault}"
            )));
        }
        self.tell_gone(&format!("its redis cannot be asked: {fault}"));
        Ok(())
    }

    /// The process is another one, and not by us: systemd or somebody's hand started it again. It is held.
    async fn restarted(&mut self, view: &RolesView, duty: Duty) -> Result<(), Failed> {
        if duty == Duty::Promoted {
            return Err(Failed(
                "redis was restarted by somebody else (systemd, or by hand): it is no primary any more"
                    .into(),
            ));
        }
        let text = "redis was restarted by somebody else (systemd, or by hand); it goes on as a replica";
        self.events.note("warn", "redis-restarted", text);
        (self.whole_from, self.turned_at) = (None, None);
        let own = view.own.addresses.first().copied();
        let (port, login) = (self.state.params.port, &self.state.login);
        let prepared = self.state.local.lock().await.prepare(own, port, login).await;
        if let Err(fault) = prepared {
            self.events.note(
                "warn",
                "redis-settings",
                format!("redis does not take its settings: {fault}"),
            );
        }
        Ok(())
    }

    /// A copy that is being replaced, or was emptied, is whole no more.
    fn notice_loss(&mut self, before: &Info, info: &Info) {
        let mut facts = self.state.facts();
        if info.link_up || info.is_master {
            facts.link_lost = None;
            return;
        }
        let now = clock::now();
        facts.link_lost.get_or_insert(now);
        if info.loading || (before.keys > 0 && info.keys == 0) {
            facts.whole.clear();
            self.whole_from = None;
        }
    }

    /// What a primary does: waits for those it has to, and wishes the set that it could do with.
    async fn lead(&mut self, view: &RolesView, info: &Info) -> Result<(), Failed> {
        if !info.is_master {
            let of = info
                .master
                .as_ref()
                .map_or_else(String::new, |(host, port)| format!(" of {host}:{port}"));
            return Err(Failed(format!(
                "somebody made redis a replica{of}, and it is the primary here"
            )));
        }
        // What a primary has is all there is.
        self.state.facts().whole.clone_from(&info.run_id);
        let others = self.sights(view, info);
        let look = Look {
            now: clock::now(),
            committed: &view.in_sync,
            own: &view.own.name,
            others: &others,
            offset: info.offset,
            patience: self.lease,
        };
        let count = {
            let mut facts = self.state.facts();
            facts.waiting.look(&look);
            facts.waiting.to_set(&look)
        };
        let mut local = self.state.local.lock().await;
        if self.state.facts().duty != Duty::Promoted {
            return Ok(()); // Demoted while this waited for its turn.
        }
        if let Some(count) = count {
            let wanted = if self.state.params.waits { count } else { 0 };
            if local.demand(wanted).await.is_ok() {
                self.state.facts().waiting.set(count);
            }
        }
        drop(local);
        if !self.disk.trouble.is_empty() {
            self.give_way(view, &others).await;
        }
        Ok(())
    }

    fn sights(&self, view: &RolesView, info: &Info) -> BTreeMap<String, Sight> {
        let params = &self.state.params;
        let sight = |peer: &Peer| {
            let replica = info.replicas.iter().find(|replica| {
                replica.port == params.port && replica.address.is_some_and(|at| peer.addresses.contains(&at))
            });
            Sight {
                good: replica.is_some_and(|replica| replica.online && replica.lag_s <= params.max_lag_s),
                offset: replica.map_or(0, |replica| replica.offset),
            }
        };
        view.others
            .iter()
            .map(|peer| (peer.name.clone(), sight(peer)))
            .collect()
    }

    /// Reads how durable it is, and asks the others while this copy is not known to be whole.
    async fn judge(&mut self, view: &RolesView, info: &Info) {
        if self.state.facts().is_whole() {
            return;
        }
        let mut local = self.state.local.lock().await;
        let save = local.get("save").await;
        let fsync = local.get("appendfsync").await;
        drop(local);
        if let (Ok(save), Ok(fsync)) = (save, fsync) {
            self.state.facts().durable = Durable::read(info.appends, &fsync, &save);
        }
        for peer in &view.others {
            if self.remotes.seen(&peer.name, SECOND).is_none() {
                self.remotes.ask(peer).await;
            }
        }
    }

    /// A wish is told only when it is kept: the next agent must know what may still be committed.
    async fn keep_memo(&mut self) {
        let (pending, whole) = {
            let facts = self.state.facts();
            (facts.waiting.pending().clone(), facts.whole.clone())
        };
        let fault = self.memo.keep(&pending, &whole).await.err();
        if let Some(error) = fault.as_ref().filter(|_| !self.memo_fault) {
            let text = format!("cannot keep what had-agentd has to know after a restart: {error}");
            self.events.note("warn", "redis-state", text);
        }
        self.memo_fault = fault.is_some();
    }

    fn tell(&mut self, view: &RolesView) {
        let now = clock::now();
        let status = {
            let mut facts = self.state.facts();
            let Facts { info, link_lost, .. } = &*facts;
            let lag_ms = self.lag.read(now, info.offset, FRESH).filter(|_| info.link_up);
            let wish = facts.waiting.wish().filter(|_| !self.memo_fault);
            let status = copy::status(&Known {
                info,
                view,
                promoted: facts.duty == Duty::Promoted,
                whole: facts.is_whole(),
                durable: facts.durable,
                other: self.remotes.fullest(FRESH),
                held_back: &self.held_back,
                disk: &self.disk.trouble,
                lag_ms,
                settled: facts.is_loss_known(now, self.lease),
                followed_s_ago: link_lost.map(|lost| lost.until(now).as_secs()),
                wish: wish.cloned(),
            });
            facts.note_told(&status, now, view.epoch);
            status
        };
        self.state.believed.send_replace(self.belief(view, now));
        let moved_only = self.told.as_ref().is_some_and(|(told, at)| {
            let same = CopyStatus {
                position: status.position,
                position_text: status.position_text.clone(),
                lag_ms: told.lag_ms.and(status.lag_ms),
                ..told.clone()
            };
            same == status && at.until(now) < SECOND
        });
        if !moved_only {
            self.copy.tell(status.clone());
            self.told = Some((status, now));
        }
    }

    /// It does not answer: it can neither be promoted nor read.
    fn tell_gone(&mut self, why: &str) {
        self.state.believed.send_replace(Believed::default());
        self.told = None;
        self.copy.tell(CopyStatus {
            obstacle: why.to_owned(),
            ..CopyStatus::default()
        });
    }
}

impl Facts {
    fn note_told(&mut self, status: &CopyStatus, at: Time, epoch: u64) {
        let known = self
            .loss_told
            .as_ref()
            .is_some_and(|told| told.run_id == self.info.run_id);
        if status.possible_loss.is_empty() && status.obstacle.is_empty() {
            self.loss_told = None;
        } else if !known {
            let run_id = self.info.run_id.clone();
            self.loss_told = Some(LossTold { run_id, at, epoch });
        }
    }
}

/// Whether it is a replica of `peer`, connected or not.
pub(super) fn follows(info: &Info, peer: &Peer, port: u16) -> bool {
    info.master.as_ref().is_some_and(|(host, at)| {
        *at == port && host.parse().is_ok_and(|host| peer.addresses.contains(&host))
    })
}

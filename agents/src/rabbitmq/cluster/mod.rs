//! The `rabbitmq` agent in cluster mode: a broker on every node, which are one cluster; a third one elsewhere may belong to it.
//!
//! Promoted means: the node that clients are led to (a virtual address), whose broker goes on when the other one is lost, and
//! from which the other's members of quorum queues are filled. The other broker runs too, and does no harm: with a member on
//! each of two brokers Raft confirms nothing that is not on both.
//!
//! What RabbitMQ cannot do is go on with one member of two: neither is a majority. The register can: when it is committed that
//! only one node has everything, the queues there are shrunk to that member ([`decide`]).
//!
//! - [`facts`]: what brokers say; [`orders`]: what they are told; both over Erlang's own protocol, without a VM for each look
//! - [`keeper`]: the loop; [`decide`]: what follows from what is seen and committed
//! - [`process`], [`database`]: what is on this node

mod database;
mod decide;
pub(super) mod facts;
mod keeper;
mod orders;
mod process;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use super::erlang::node::{Fault, Site};
use super::keeper::look;
use super::params::{Cluster, Params};
use super::place;
use crate::agent::{Action, AgentContext, AgentError, Cutter, Presence, ResourceAgent};
use crate::blocking::blocking;
use crate::clock;
use crate::probe::Window;
use crate::roles::{InSync, Peer, RolesView};
use crate::seen::Seen;
use crate::wishes::written::Wishes;
use database::Database;
use decide::{Other, Sight};
use facts::{Broker, Link};
use keeper::Keeper;
use process::Process;

/// Pause between looks at a broker that begins.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// A broker that starts and waits for others is given so long by a promotion before it is told not to wait.
const WAITS_AT_MOST: Duration = Duration::from_secs(15);
/// For one quick look at the others at a promotion.
const QUICK: Duration = Duration::from_millis(500);

/// What actions and keeper share.
pub struct Shared {
    context: AgentContext,
    params: Params,
    cluster: Cluster,
    desk: Mutex<Desk>,
    is_promoted: AtomicBool,
    seen: Seen,
}

/// What only one of them may use at a time.
pub struct Desk {
    process: Process,
    links: BTreeMap<String, Link>,
    silences: BTreeMap<String, Window>,
    boots: BTreeMap<String, i64>,
    /// Brokers that were started anew and not found whole since.
    unproven: BTreeSet<String>,
    /// Brokers that a promotion found gone.
    given_up: BTreeSet<String>,
    wishes: Wishes,
}

impl Shared {
    fn say(&self, text: &str) {
        self.seen.say(text);
    }

    /// More than two brokers: Raft's own majority decides.
    fn has_third(&self) -> bool {
        self.cluster.third.is_some()
    }

    fn database(&self, view: &RolesView) -> Database {
        Database::new(&self.params.data_dir, &self.params.broker(&view.own.name))
    }

    /// Why a node without a database may not be promoted; empty if it may: somebody has to be the first.
    fn blank_obstacle(&self, view: &RolesView) -> String {
        let is_first = view.in_sync.generation == 0;
        if is_first {
            String::new()
        } else {
            format!(
                "there is no database of the cluster in {}",
                self.params.data_dir.display()
            )
        }
    }

    fn site(&self, view: &RolesView, broker: &str) -> Site {
        let own = self.params.broker(&view.own.name);
        Site {
            name: broker.to_owned(),
            own_name: format!("holdfast-{own}"),
            epmd_port: self.cluster.epmd_port,
            cookie_file: self.cluster.cookie_file.clone(),
            limit: self.params.probe_timeout,
        }
    }

    /// The other brokers, with the nodes that they are on.
    fn others(&self, view: &RolesView) -> Vec<(String, String)> {
        let peers = view.others.iter();
        let peers = peers.map(|peer| (peer.name.clone(), self.params.broker(&peer.name)));
        let third = self.cluster.third.iter();
        peers
            .chain(third.map(|broker| (String::new(), broker.clone())))
            .collect()
    }
}

impl Desk {
    fn link(&mut self, shared: &Shared, view: &RolesView, broker: &str) -> &mut Link {
        let site = || Link::new(shared.site(view, broker));
        self.links.entry(broker.to_owned()).or_insert_with(site)
    }

    fn own_link(&mut self, shared: &Shared, view: &RolesView) -> &mut Link {
        let own = shared.params.broker(&view.own.name);
        self.link(shared, view, &own)
    }

    /// Looks at each of the others. One that hangs is only gone after several looks, unless it was given up at a promotion just
    /// now.
    async fn look_at_others(&mut self, shared: &Shared, view: &RolesView, is_promotion: bool) -> Vec<Other> {
        let mut found = Vec::new();
        for (node, broker) in shared.others(view) {
            let is_given_up = is_promotion && self.given_up.contains(&broker);
            let seen = if is_given_up {
                Err(Fault::Silent(QUICK))
            } else {
                self.link(shared, view, &broker).facts().await
            };
            let looks = shared.params.looks;
            let window = || Window::new(looks.failures, looks.of);
            let silence = self.silences.entry(broker.clone()).or_insert_with(window);
            let is_silent = silence.push(seen.is_ok());
            let sight = match seen {
                Ok(Broker::Running(facts)) => Sight::Running(facts),
                Ok(Broker::Booting) => Sight::Booting,
                // Its kernel answered that nothing is there.
                Err(Fault::Absent(_)) => Sight::Gone,
                Err(_) if is_silent || is_given_up => Sight::Gone,
                Err(_) => Sight::Unsure,
            };
            let before = match &sight {
                Sight::Running(facts) => self.boots.insert(broker.clone(), facts.boot),
                _ => None,
            };
            if matches!(&sight, Sight::Running(facts) if before.is_some_and(|boot| boot != facts.boot)) {
                self.unproven.insert(broker.clone());
            }
            let is_new = self.unproven.contains(&broker);
            found.push(Other {
                node,
                broker,
                sight,
                is_new,
            });
        }
        found
    }

    fn forget_silence(&mut self) {
        self.silences.clear();
    }

    /// Wishes this set, unless it is committed or wished already.
    fn wish(&mut self, shared: &Shared, view: &RolesView, wanted: BTreeSet<String>) {
        let current = self.wishes.current(view);
        let newest = current.as_ref().map_or(&view.in_sync.nodes, |wish| &wish.nodes);
        if *newest == wanted && !(current.is_none() && self.must_wait(view) && wanted.len() == 1) {
            return;
        }
        if let Err(error) = self.wishes.wish(wanted, view) {
            let text = format!("which brokers have everything cannot be written down: {error}");
            shared.context.events.note("error", "rabbitmq-wish", text);
        }
    }

    fn wished(&mut self, view: &RolesView) -> Option<InSync> {
        self.wishes.current(view)
    }

    fn must_wait(&self, view: &RolesView) -> bool {
        self.wishes.must_wait(view)
    }
}

/// One broker of a cluster.
pub struct ClusterAgent {
    shared: Arc<Shared>,
    halter: Cutter,
    keeper: Option<JoinHandle<()>>,
}

/// Builds the agent. Touches nothing.
///
/// # Errors
/// Parameters that are wrong.
pub fn build(
    context: AgentContext,
    params: Params,
    cluster: Cluster,
) -> Result<Box<dyn ResourceAgent>, AgentError> {
    let process = Process::build(&context, &params)?;
    let halter = process.halter();
    let desk = Desk {
        process,
        links: BTreeMap::new(),
        silences: BTreeMap::new(),
        boots: BTreeMap::new(),
        unproven: BTreeSet::new(),
        given_up: BTreeSet::new(),
        wishes: Wishes::load(context.file("rabbitmq-wishes")),
    };
    let shared = Shared {
        seen: Seen::new(context.events.clone()),
        context,
        params,
        cluster,
        desk: Mutex::new(desk),
        is_promoted: AtomicBool::new(false),
    };
    Ok(Box::new(ClusterAgent {
        shared: Arc::new(shared),
        halter,
        keeper: None,
    }))
}

impl ClusterAgent {
    /// Ends what looks after the broker, before an action that does it itself.
    fn leave(&mut self) {
        if let Some(task) = self.keeper.take() {
            task.abort();
        }
    }

    fn look_after(&mut self) {
        self.leave();
        self.keeper = Some(tokio::spawn(keeper::keep(Arc::clone(&self.shared))));
    }

    /// The keeper brings the broker up: it may have to wait for another one, and an unpromoted copy that waits is there to be
    /// looked at all the same.
    async fn begin(&mut self) -> Result<(), AgentError> {
        self.leave();
        let view = self.shared.context.roles.borrow().clone();
        if !view.own.name.is_empty() {
            let own = self.shared.params.broker(&view.own.name);
            place::check(&self.shared.params, &own).await?;
            self.shared.params.account().await?;
        }
        let mut desk = self.shared.desk.lock().await;
        desk.process.forget();
        drop(desk);
        self.look_after();
        Ok(())
    }

    /// Becomes the node that clients are led to.
    async fn raise(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.leave();
        let shared = Arc::clone(&self.shared);
        let view = shared.context.roles.borrow().clone();
        let mut desk = shared.desk.lock().await;
        let desk = &mut *desk;
        let since = clock::now();
        self.give_up(desk, &view).await;
        self.bring_up(desk, &view, deadline).await?;
        let up_ms = since.until(clock::now()).as_millis();
        shared.is_promoted.store(true, Ordering::SeqCst);
        // The first look at once: what is committed already is done before clients come.
        let mut keeper = Keeper::new(&shared, true);
        match keeper.round(&shared, desk, &view).await {
            Ok(true) => {}
            Ok(false) => return Err(AgentError::new("the broker ended while it was promoted")),
            Err(reason) => return Err(AgentError(reason)),
        }
        let ready_ms = since.until(clock::now()).as_millis();
        tracing::info!(group = shared.context.group, up_ms, ready_ms, "promoted");
        self.look_after();
        Ok(())
    }

    /// The broker here stops to wait for others that do not answer, and of which it is committed that they have not everything: a
    /// proof about their node took them out of the set.
    async fn give_up(&self, desk: &mut Desk, view: &RolesView) {
        desk.given_up.clear();
        for (node, broker) in self.shared.others(view) {
            if node.is_empty() || view.in_sync.nodes.contains(&node) {
                continue;
            }
            let look = desk.link(&self.shared, view, &broker).facts();
            if matches!(tokio::time::timeout(QUICK, look).await, Ok(Ok(_))) {
                continue;
            }
            // Where no broker runs here yet there is nothing to tell.
            if let Err(fault) = orders::disconnect(desk.own_link(&self.shared, view), &broker).await {
                tracing::debug!("{broker}: {fault}");
            }
            desk.given_up.insert(broker);
        }
    }

    /// Until the broker here runs.
    ///
    /// A broker that was not the last to stop waits for the others, and after five minutes it gives up. The proof for telling it
    /// not to wait (what `rabbitmqctl force_boot` does): the runner has a permit of the epoch in which the register assigned the
    /// group to this node, which it only does to a node whose copy has everything that was confirmed, or where an operator has
    /// accepted the loss; the node before has given the group up or is proven gone; and no other broker of the cluster runs that
    /// could give this one what it lacks.
    async fn bring_up(&self, desk: &mut Desk, view: &RolesView, deadline: Time) -> Result<(), AgentError> {
        let shared = &self.shared;
        let own = shared.params.broker(&view.own.name);
        let since = clock::now();
        let mut is_told = false;
        loop {
            let seen = match desk.own_link(shared, view).facts().await {
                Ok(Broker::Running(_)) => match look(&shared.params, None).await {
                    Ok(()) => return Ok(()),
                    Err(why) => why,
                },
                Ok(Broker::Booting) => "it starts".to_owned(),
                Err(fault) => fault.to_string(),
            };
            tracing::info!(group = shared.context.group, "{own} cannot be used yet: {seen}");
            let others_run = self.others_run(desk, view).await;
            let is_down = desk.process.is_down().await;
            let waited = since.until(clock::now());
            if is_down {
                if is_told {
                    let detail = desk.process.agent.detail();
                    return Err(AgentError(format!("the broker ended while it started: {detail}")));
                }
                self.allow_start(view, others_run).await?;
                is_told = true;
                desk.process.launch(&shared.params, &own, deadline).await?;
            } else if !others_run && !is_told && waited >= WAITS_AT_MOST {
                // It waits for brokers that do not come.
                desk.process.end(deadline).await?;
            }
            if clock::now() >= deadline {
                return Err(AgentError::new(
                    "the broker does not run yet; give it more time with start_timeout",
                ));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn others_run(&self, desk: &mut Desk, view: &RolesView) -> bool {
        for (_, broker) in self.shared.others(view) {
            let looked = tokio::time::timeout(QUICK, desk.link(&self.shared, view, &broker).facts()).await;
            if matches!(looked, Ok(Ok(Broker::Running(_)))) {
                return true;
            }
        }
        false
    }

    /// What is started here is the cluster from now on.
    async fn allow_start(&self, view: &RolesView, others_run: bool) -> Result<(), AgentError> {
        let database = self.shared.database(view);
        let only_this = view.in_sync.nodes.len() == 1 && view.in_sync.nodes.contains(&view.own.name);
        // Generation 1 is the first promotion ever: then a cluster without data is what is founded.
        let is_first = view.in_sync.generation == 0 || (only_this && view.in_sync.generation == 1);
        match database.is_blank() {
            true if is_first && !others_run => Ok(()),
            true => Err(AgentError(format!(
                "there is no database of the cluster in {}: an empty broker is not made the primary",
                self.shared.params.data_dir.display()
            ))),
            false if others_run => Ok(()),
            // What it does not wait for is not there.
            false => {
                let text = "no other broker runs: this one starts without waiting for them";
                self.shared.context.events.note("warn", "rabbitmq-alone", text);
                blocking(move || database.allow_alone()).await
            }
        }
    }
}

impl ResourceAgent for ClusterAgent {
    fn start(&mut self, _deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.begin())
    }

    fn stop(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        self.leave();
        self.shared.is_promoted.store(false, Ordering::SeqCst);
        Box::pin(async move {
            let mut desk = self.shared.desk.lock().await;
            desk.process.forget();
            desk.process.agent.stop(deadline).await?;
            self.shared.say("");
            Ok(())
        })
    }

    fn kill(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        self.leave();
        self.shared.is_promoted.store(false, Ordering::SeqCst);
        Box::pin(async move {
            let mut desk = self.shared.desk.lock().await;
            desk.process.forget();
            desk.process.agent.kill(deadline).await
        })
    }

    fn freeze(&mut self) -> Result<(), AgentError> {
        self.leave();
        match self.shared.desk.try_lock() {
            Ok(mut desk) => desk.process.agent.freeze(),
            Err(_) => (self.halter)(),
        }
    }

    fn probe(&mut self) -> Action<'_, Presence> {
        Box::pin(async { self.shared.desk.lock().await.process.agent.probe().await })
    }

    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
        Box::pin(async {
            let shared = Arc::clone(&self.shared);
            let mut desk = shared.desk.lock().await;
            desk.process.found_running().await?;
            drop(desk);
            self.look_after();
            Ok(())
        })
    }

    fn halter(&self) -> Option<Cutter> {
        Some(Arc::clone(&self.halter))
    }

    fn has_roles(&self) -> bool {
        true
    }

    fn promote(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.raise(deadline))
    }

    /// The broker goes on as one of the cluster. What clients still publish here is confirmed when both brokers have it, as long
    /// as both have members; and while they have not, no other node is promoted.
    fn demote<'a>(
        &'a mut self,
        _toward: Option<&'a Peer>,
        _deadline: Time,
    ) -> Action<'a, Result<(), AgentError>> {
        self.shared.is_promoted.store(false, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(())))
    }

    fn detail(&self) -> String {
        self.shared.seen.text()
    }
}

impl Drop for ClusterAgent {
    fn drop(&mut self) {
        self.leave();
    }
}

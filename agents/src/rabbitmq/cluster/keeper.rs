//! Looks after the broker: brings it up and into the cluster, tells what its copy is like, and on the promoted node says which
//! brokers have everything and gives quorum queues the members that they should have.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::decide::{self, Other, Sight};
use super::facts::{Broker, Facts};
use super::{Desk, Shared, orders};
use crate::clock;
use crate::probe::Window;
use crate::rabbitmq::erlang::node::Fault;
use crate::rabbitmq::keeper::look as look_at_port;
use crate::roles::{CopyStatus, RolesView};

/// So many looks in a row at brokers that both run, and not together, and the one that is not promoted starts anew: while one
/// of them starts they are apart for a moment.
const APART_LOOKS: u32 = 3;
/// Longest time for a start, a restart or a join that no action bounds.
const PATIENCE: Duration = Duration::from_secs(600);
/// A look that comes later than this was held up on this node, and says nothing about the broker.
const LATE: Duration = Duration::from_secs(2);

/// State of the loop.
pub struct Keeper {
    port: Window,
    apart: u32,
    /// The broker has run since the loop began, so one that does not answer is one that hangs.
    ran: bool,
    /// The look that belongs to a promotion.
    is_first: bool,
    told_shrink: BTreeSet<String>,
}

/// Runs until it is dropped, or the broker failed.
pub async fn keep(shared: Arc<Shared>) {
    let mut roles = shared.context.roles.clone();
    let mut keeper = Keeper::new(&shared, false);
    loop {
        let view = roles.borrow_and_update().clone();
        let mut desk = shared.desk.lock().await;
        let round = keeper.round(&shared, &mut desk, &view).await;
        drop(desk);
        match round {
            Ok(true) => {}
            // It ended by itself, which what started it has told.
            Ok(false) => return,
            Err(reason) => {
                shared.context.events.failed(reason);
                return;
            }
        }
        let due = clock::now() + shared.params.probe_interval;
        tokio::select! {
            () = tokio::time::sleep(shared.params.probe_interval) => {}
            changed = roles.changed() => if changed.is_err() { return },
        }
        if due.until(clock::now()) >= LATE {
            desk_was_late(&shared).await;
        }
    }
}

/// What others did not answer while this node stood still says nothing about them.
async fn desk_was_late(shared: &Shared) {
    let mut desk = shared.desk.lock().await;
    desk.forget_silence();
}

impl Keeper {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(shared: &Shared, is_promotion: bool) -> Keeper {
        let looks = shared.params.looks;
        Keeper {
            port: Window::new(looks.failures, looks.of),
            apart: 0,
            ran: false,
            is_first: is_promotion,
            told_shrink: BTreeSet::new(),
        }
    }

    /// One look and what follows from it. False when the broker ended by itself.
    pub async fn round(
        &mut self,
        shared: &Shared,
        desk: &mut Desk,
        view: &RolesView,
    ) -> Result<bool, String> {
        if view.own.name.is_empty() {
            return Ok(true);
        }
        let others = desk.look_at_others(shared, view, self.is_first).await;
        self.is_first = false;
        if desk.process.is_down().await {
            if desk.process.was_up {
                return if desk.process.is_watched {
                    Ok(false)
                } else {
                    Err("the broker ended".into())
                };
            }
            return self.bring_up(shared, desk, view, &others).await.map(|()| true);
        }
        match desk.own_link(shared, view).facts().await {
            Ok(Broker::Running(facts)) => {
                self.ran = true;
                let watched = desk.process.found_running().await;
                watched.map_err(|error| error.0)?;
                self.runs(shared, desk, view, (&facts, &others)).await?;
            }
            Ok(Broker::Booting) | Err(Fault::Absent(_)) if !self.ran => {
                shared.say("is starting; RabbitMQ waits for the brokers that ran when this one stopped");
                tell(shared, view, None, "it is starting", desk);
                return Ok(true);
            }
            Ok(Broker::Booting) => self.failed(shared, "the broker was stopped inside its Erlang VM")?,
            Err(fault) => self.failed(shared, &fault.to_string())?,
        }
        Ok(true)
    }

    /// Counts a look that failed.
    fn failed(&mut self, shared: &Shared, why: &str) -> Result<(), String> {
        if self.port.push(false) {
            let looks = shared.params.looks;
            return Err(format!(
                "rabbitmq failed {} of its last {} looks: {why}",
                looks.failures, looks.of
            ));
        }
        Ok(())
    }

    async fn runs(
        &mut self,
        shared: &Shared,
        desk: &mut Desk,
        view: &RolesView,
        (facts, others): (&Facts, &[Other]),
    ) -> Result<(), String> {
        let account = shared.params.account().await.map_err(|error| error.0)?;
        match look_at_port(&shared.params, account.as_ref()).await {
            Ok(()) => {
                self.port.push(true);
            }
            Err(why) => self.failed(shared, &why)?,
        }
        let obstacle = if facts.is_khepri && !shared.has_third() {
            "its metadata is in Khepri, of which a pair of brokers loses the majority: add a third broker"
        } else {
            ""
        };
        if !shared.has_third() && facts.handling != "ignore" {
            self.decide_nothing(shared, desk, view, facts).await;
        }
        if shared.is_promoted.load(Ordering::SeqCst) {
            self.lead(shared, desk, view, (facts, others)).await;
        } else {
            self.follow(shared, desk, view, (facts, others)).await?;
        }
        shared.say(&told(facts));
        tell(shared, view, Some(facts), obstacle, desk);
        Ok(())
    }

    /// In a pair RabbitMQ's own handling of partitions is worse than none: `pause_minority` stops both brokers, `autoheal`
    /// restarts the one with fewer clients, which may be the promoted one.
    async fn decide_nothing(&mut self, shared: &Shared, desk: &mut Desk, view: &RolesView, facts: &Facts) {
        let set = orders::leave_partitions_alone(desk.own_link(shared, view)).await;
        let text = format!(
            "cluster_partition_handling was {}, which does not go with two brokers: set to ignore until the broker is started \
             again. Write cluster_partition_handling = ignore into rabbitmq.conf",
            facts.handling
        );
        if set.is_ok() {
            shared
                .context
                .events
                .note("warn", "rabbitmq-partition-handling", text);
        }
    }

    /// The broker of the promoted node.
    async fn lead(
        &mut self,
        shared: &Shared,
        desk: &mut Desk,
        view: &RolesView,
        (facts, others): (&Facts, &[Other]),
    ) {
        let has_third = shared.has_third();
        let mut whole = BTreeSet::new();
        for other in others {
            if !other.is_with(facts) {
                continue;
            }
            if !other.is_filled(facts) {
                if let Err(fault) = orders::grow(desk.own_link(shared, view), &other.broker).await {
                    tracing::warn!("{}: quorum queues get no members there: {fault}", other.broker);
                }
            } else if (other.is_new || !view.in_sync.nodes.contains(&other.node))
                && orders::has_caught_up(desk.own_link(shared, view), &other.broker)
                    .await
                    .unwrap_or(false)
            {
                whole.insert(other.broker.clone());
                desk.unproven.remove(&other.broker);
            }
        }
        let wanted = decide::whole_nodes(view, facts, others, &whole, has_third);
        desk.wish(shared, view, wanted);
        let permitted = shared.context.permit.borrow().until > clock::now();
        let may_go_on = permitted && !desk.must_wait(view);
        for other in decide::to_shrink(facts, others, has_third, may_go_on) {
            self.go_on_without(shared, desk, view, (facts, other)).await;
        }
        let alone = !has_third && may_go_on && others.iter().all(|other| other.is_lost(facts));
        if let Err(fault) = orders::set_alone(desk.own_link(shared, view), alone).await {
            tracing::warn!("the size of new quorum queues cannot be set: {fault}");
        }
    }

    /// The proof is with [`decide::to_shrink`].
    async fn go_on_without(
        &mut self,
        shared: &Shared,
        desk: &mut Desk,
        view: &RolesView,
        (facts, other): (&Facts, &Other),
    ) {
        let count = facts.queues_on(&other.broker);
        let (level, text) = if !facts.can_shrink {
            let text = format!(
                "{count} quorum queues wait for {}: this version of RabbitMQ cannot go on with one of two members",
                other.broker
            );
            ("error", text)
        } else {
            match orders::shrink(desk.own_link(shared, view), &other.broker).await {
                Ok(()) => (
                    "warn",
                    format!(
                        "{count} quorum queues go on without {}, which is gone",
                        other.broker
                    ),
                ),
                Err(fault) => (
                    "error",
                    format!("{count} quorum queues wait for {}: {fault}", other.broker),
                ),
            }
        };
        if self.told_shrink.insert(text.clone()) {
            shared.context.events.note(level, "rabbitmq-shrink", text);
        }
    }

    /// A broker that is not promoted: it starts anew when it runs, and not together with the promoted one.
    ///
    /// Nothing confirmed is lost by that: the committed primary is another node, so this one's members of quorum queues have
    /// confirmed nothing by themselves, and its classic queues stay on its disk.
    async fn follow(
        &mut self,
        shared: &Shared,
        desk: &mut Desk,
        view: &RolesView,
        (facts, others): (&Facts, &[Other]),
    ) -> Result<(), String> {
        let own = shared.params.broker(&view.own.name);
        let Some(primary) = primary(view, others) else {
            self.apart = 0;
            return Ok(());
        };
        let is_stranger = decide::is_stranger(&own, view, primary);
        if !is_stranger && !decide::is_loser(&own, facts, primary) {
            self.apart = 0;
            return Ok(());
        }
        self.apart += 1;
        if self.apart < APART_LOOKS {
            return Ok(());
        }
        self.apart = 0;
        self.ran = false;
        let text = format!(
            "{own} runs, and not together with {}: it is started anew",
            primary.broker
        );
        shared.context.events.note("warn", "rabbitmq-restarts", text);
        // The next look finds it down, and brings it up or has it join.
        let ended = desk.process.end(clock::now() + PATIENCE).await;
        ended.map_err(|error| error.0)
    }

    /// No broker runs.
    async fn bring_up(
        &mut self,
        shared: &Shared,
        desk: &mut Desk,
        view: &RolesView,
        others: &[Other],
    ) -> Result<(), String> {
        self.ran = false;
        let own = shared.params.broker(&view.own.name);
        let database = shared.database(view);
        let primary = primary(view, others).filter(|other| matches!(other.sight, Sight::Running(_)));
        let Some(primary) = primary else {
            if database.is_blank() {
                shared.say("has no database: waits for a broker to join, or to be promoted");
                tell(shared, view, None, &shared.blank_obstacle(view), desk);
                return Ok(());
            }
            return self.launch(shared, desk, view, &own).await;
        };
        if decide::is_stranger(&own, view, primary) && !database.is_blank() {
            let aside = database.move_aside().await.map_err(|error| error.0)?;
            let text = format!(
                "{} does not know {own}, and has everything: the database of {own} was put aside as {}, and it joins anew",
                primary.broker,
                aside.display()
            );
            shared.context.events.note("warn", "rabbitmq-aside", text);
        }
        if !database.is_blank() {
            return self.launch(shared, desk, view, &own).await;
        }
        self.join(shared, desk, view, primary).await
    }

    /// This node's broker has no database, and the primary's runs.
    ///
    /// The proof for having the primary's broker forget this one, if it still counts it: this node sees by itself that there is
    /// no database here and that nothing of the broker runs, and it is committed that others have everything and it has not.
    async fn join(
        &mut self,
        shared: &Shared,
        desk: &mut Desk,
        view: &RolesView,
        primary: &Other,
    ) -> Result<(), String> {
        let own = shared.params.broker(&view.own.name);
        let Sight::Running(theirs) = &primary.sight else {
            return Ok(());
        };
        let set = &view.in_sync.nodes;
        if set.is_empty() || set.contains(&view.own.name) {
            shared.say(
                "has no database, and still counts as whole: waits until the primary goes on without it",
            );
            tell(shared, view, None, &shared.blank_obstacle(view), desk);
            return Ok(());
        }
        if theirs.members.contains(&own) {
            let link = desk.link(shared, view, &primary.broker);
            if let Err(fault) = orders::forget(link, &own).await {
                shared.say(&format!("{} cannot forget {own}: {fault}", primary.broker));
                return Ok(());
            }
        }
        let text = format!("{own} joins {}", primary.broker);
        shared.say(&text);
        shared.context.events.note("info", "rabbitmq-joins", text);
        self.launch(shared, desk, view, &own).await?;
        let until = clock::now() + PATIENCE;
        loop {
            match desk.own_link(shared, view).facts().await {
                Ok(Broker::Running(_)) => break,
                Ok(Broker::Booting) | Err(_) if clock::now() >= until => {
                    return Err(format!("{own} does not start, with an empty database"));
                }
                Ok(Broker::Booting) | Err(_) => tokio::time::sleep(super::LOOK_AGAIN).await,
            }
        }
        let joined = orders::join(desk.own_link(shared, view), &primary.broker).await;
        joined.map_err(|fault| format!("{own} cannot join {}: {fault}", primary.broker))
    }

    async fn launch(
        &mut self,
        shared: &Shared,
        desk: &mut Desk,
        view: &RolesView,
        own: &str,
    ) -> Result<(), String> {
        shared.say("is starting; RabbitMQ waits for the brokers that ran when this one stopped");
        tell(shared, view, None, "it is starting", desk);
        let deadline = clock::now() + PATIENCE;
        let launched = desk.process.launch(&shared.params, own, deadline).await;
        launched.map_err(|error| error.0)
    }
}

/// The broker of the node on which the group is promoted, when that is another.
fn primary<'a>(view: &RolesView, others: &'a [Other]) -> Option<&'a Other> {
    let name = &view.remote_primary()?.name;
    others.iter().find(|other| other.node == *name)
}

fn told(facts: &Facts) -> String {
    let running: Vec<&str> = facts.running.iter().map(String::as_str).collect();
    let apart: Vec<&str> = facts.partitions.iter().map(String::as_str).collect();
    let partitioned = if apart.is_empty() {
        String::new()
    } else {
        format!(", partitioned from {}", apart.join(" and "))
    };
    format!(
        "runs with {}{partitioned}, {} quorum queues",
        running.join(" and "),
        facts.queues
    )
}

/// Tells of this node's copy. `facts`: None while no broker runs.
fn tell(shared: &Shared, view: &RolesView, facts: Option<&Facts>, obstacle: &str, desk: &mut Desk) {
    let is_promoted = shared.is_promoted.load(Ordering::SeqCst);
    let starting_whole = facts.is_none() && view.in_sync.nodes.contains(&view.own.name);
    shared.context.copy.tell(CopyStatus {
        // What it had it has, also while it starts: a promotion waits for that.
        obstacle: if starting_whole && !shared.database(view).is_blank() {
            String::new()
        } else {
            obstacle.to_owned()
        },
        lag_ms: facts.map(|_| 0),
        readable: facts.is_some_and(|facts| facts.partitions.is_empty()),
        wish: is_promoted.then(|| desk.wished(view)).flatten(),
        ..CopyStatus::default()
    });
}

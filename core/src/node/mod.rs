//! The node: one member's whole decision state, and the branching over events.
//!
//! Each event kind has its own file: [`beats`] (heartbeats, leases, permits granted), [`election`], [`register`] (acceptor
//! and proposer) and [`commit`], [`planning`], [`releasing`], [`membership`] and [`flapping`] (what the leader wants next),
//! [`fencing`], [`pair`] and [`countdown`] (proofs about others), [`handover`], [`jobs`], [`local`] (this node's own groups),
//! [`roles`], [`permits`], [`operator`] and [`operator_word`], [`quiet`] (after a boot), [`persistence`], [`timeouts`],
//! [`viewing`], [`telling`] and [`journaling`]. [`encoding`] is for the model checker.

mod beats;
mod commit;
mod countdown;
mod detection;
mod drill;
mod election;
mod encoding;
mod encoding_fences;
mod fence_count;
mod fencing;
mod flapping;
mod handover;
mod jobs;
mod jobs_here;
mod jobs_placing;
mod journaling;
mod ledger;
mod local;
mod membership;
mod operator;
mod operator_word;
mod orders;
mod pair;
mod permits;
mod persistence;
mod planning;
mod quiet;
mod race;
mod register;
mod releasing;
mod required;
mod roles;
mod telling;
#[cfg(test)]
mod tests;
mod timeouts;
mod trust;
mod viewing;
mod viewing_members;
mod watchdog_claim;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::config::{Config, Timers as Spans};
use holdfast_proto::ids::{Ballot, GroupName, NodeId, Version, VoterSet};
use holdfast_proto::peer::{Message, Sender};
use holdfast_proto::state::ClusterState;
use holdfast_proto::time::Time;

use crate::durable::Durable;
use crate::effect::Effect;
use crate::event::{Event, Identity, NetworkHealth};
use crate::journal::Level;
use crate::member::{Heard, Member};
use crate::proof::FenceProof;
use crate::quorum::is_pair;
use crate::timer::{Timer, Timers};
use crate::view::View;

use detection::Detection;
use election::Round;
use fence_count::Fencings;
use fencing::FenceRun;
use flapping::NotedFailure;
use jobs::Jobs;
use local::Local;
use operator::PendingCall;
use orders::Backing;
use permits::Grant;
use persistence::Persistence;
use quiet::quiet_until;
use register::{Leading, PendingAccept};

/// What the shell knows when it starts a node.
#[derive(Clone, Debug)]
pub struct Start {
    /// Who this is.
    pub identity: Identity,
    /// The durable record; absent when the disk holds none, or a damaged one.
    pub durable: Option<Durable>,
    /// The marker of `Effect::MarkSynced` was found with this boot's id.
    pub synced_this_boot: bool,
    /// When this machine booted.
    pub booted_at: Time,
    /// The local configuration file, used for addresses and timers until a committed one is known.
    pub config: Arc<Config>,
}

/// To whom this node, as an acceptor, is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    leader: NodeId,
    ballot: Ballot,
    until: Time,
}

/// What this node is doing about leadership.
#[derive(Clone, Debug)]
enum Role {
    Follower,
    PreVoting(Round),
    Preparing(Round),
    Leading(Box<Leading>),
}

/// One member's whole decision state.
#[derive(Clone, Debug)]
pub struct Node {
    me: Identity,
    now: Time,
    started_at: Time,
    /// It says nothing to others before.
    quiet_until: Time,
    /// It was synced when it started: `had` was restarted within a boot.
    resumed: bool,
    config: Arc<Config>,
    spans: Spans,
    detection: Detection,
    durable: Option<Durable>,
    persistence: Persistence,
    /// The newest (ballot, version) acknowledged in this run.
    acked: Option<(Ballot, Version)>,
    synced: bool,
    bound: Option<Bound>,
    /// Until when somebody may act on the lease of a leadership of this node, also one that it gave up.
    lease_until: Time,
    /// A restarted acceptor helps nobody but its last leader before this.
    no_promise_until: Time,
    pending_accept: Option<PendingAccept>,
    role: Role,
    members: BTreeMap<NodeId, Member>,
    /// Recent rounds of heartbeats: number and send time, to check echoes against.
    rounds: VecDeque<(u64, Time)>,
    beat_seq: u64,
    lateness: Duration,
    /// Silence before this instant is blamed on nobody: this node was stalled or has just started.
    blame_floor: Time,
    /// Since when no pair rules apply here; permits given under them lapse one permit length later.
    lease_rules_since: Time,
    grant: Option<Grant>,
    /// No grant counts that answers a heartbeat sent until then: it told of a better watchdog than there is now.
    grants_after: Option<Time>,
    /// Latest version for which a heartbeat went out early, to get the leader's grant.
    asked_for_grant: Version,
    local: Local,
    jobs: Jobs,
    network: NetworkHealth,
    fences: BTreeMap<NodeId, FenceRun>,
    fencings: BTreeMap<NodeId, Fencings>,
    quorum: Backing,
    proofs: BTreeMap<NodeId, FenceProof>,
    next_fence_id: u64,
    calls: Vec<PendingCall>,
    /// Automatic moves of each group, for the flap budget.
    moves: BTreeMap<GroupName, VecDeque<Time>>,
    /// Since when each failure is known here.
    failures_since: BTreeMap<(GroupName, NodeId), NotedFailure>,
    /// Groups that this node has seen running: only these can have an outage.
    was_running: BTreeSet<GroupName>,
    outage_since: BTreeMap<GroupName, Time>,
    last_outage: BTreeMap<GroupName, Duration>,
    shutting_down: bool,
    timers: Timers,
    outbox: VecDeque<Effect>,
}

/// Rounds of heartbeats whose echoes are accepted.
const ROUNDS_KEPT: usize = 64;

impl Node {
    /// A node that starts at `now`. It remembers `durable`, and nothing else of an earlier run.
    #[must_use]
    pub fn new(now: Time, start: Start) -> Node {
        let config = start
            .durable
            .as_ref()
            .map_or(start.config, |durable| Arc::clone(&durable.committed.config));
        let spans = config.timers();
        let synced = start.synced_this_boot && start.durable.is_some();
        let quiet_until = quiet_until(&config, start.identity.node, start.booted_at);
        // Nobody answers who was not told anything.
        let speaks_at = now.max(quiet_until);
        let mut node = Node {
            me: start.identity,
            now,
            started_at: speaks_at,
            quiet_until,
            resumed: synced,
            spans,
            detection: Detection::settled(spans),
            config,
            persistence: Persistence::of(start.durable.as_ref()),
            durable: start.durable,
            acked: None,
            synced,
            bound: None,
            lease_until: Time::ZERO,
            no_promise_until: now,
            pending_accept: None,
            role: Role::Follower,
            members: BTreeMap::new(),
            rounds: VecDeque::new(),
            beat_seq: 0,
            lateness: Duration::ZERO,
            blame_floor: speaks_at,
            lease_rules_since: now,
            grant: None,
            grants_after: None,
            asked_for_grant: 0,
            local: Local::default(),
            jobs: Jobs::default(),
            network: NetworkHealth {
                any_link_up: true,
                ping_answers: true,
            },
            fences: BTreeMap::new(),
            fencings: BTreeMap::new(),
            quorum: Backing::default(),
            proofs: BTreeMap::new(),
            next_fence_id: 0,
            calls: Vec::new(),
            moves: BTreeMap::new(),
            failures_since: BTreeMap::new(),
            was_running: BTreeSet::new(),
            outage_since: BTreeMap::new(),
            last_outage: BTreeMap::new(),
            shutting_down: false,
            timers: Timers::default(),
            outbox: VecDeque::new(),
        };
        node.follow_spans();
        node.no_promise_until = now + node.detection.owes.lease;
        node.journal("started", Level::Info, node.start_sentence());
        node.tell_quiet();
        if !node.me.node.is_witness() {
            node.timers.set(Timer::Heartbeat, now);
            node.schedule_election(node.first_election_at());
        }
        node
    }

    /// Takes one event in and brings everything that follows from it to rest.
    pub fn handle(&mut self, now: Time, event: Event) {
        assert!(now >= self.now, "time ran backwards: {} after {}", now, self.now);
        self.now = now;
        self.notice_stall();
        match event {
            Event::Message { from, message } => self.on_message(from, message),
            Event::Beat { from, beat } => self.on_beat(from, beat),
            Event::Network(health) => self.on_network(health),
            Event::Agent(event) => self.on_agent(event),
            Event::Fenced { id, result } => self.on_fenced(id, result),
            Event::Persisted(id) => self.on_persisted(id),
            Event::PersistFailed(id, why) => self.on_persist_failed(id, &why),
            Event::Operator { request, call } => self.on_operator(request, call),
            Event::Due(due) => self.on_due(due),
            Event::Timeout => self.on_timeout(),
            Event::Shutdown => self.on_shutdown(),
        }
        self.settle();
    }

    /// Next effect to carry out, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        while let Some(effect) = self.outbox.pop_front() {
            if !self.holds_back(&effect) {
                return Some(effect);
            }
        }
        None
    }

    /// When `Event::Timeout` is due, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        self.timers.next().map(|(at, timer)| (at, timer.reason()))
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The durable record as this node has it in memory; what of it is on disk follows with `Event::Persisted`.
    #[must_use]
    pub fn durable(&self) -> Option<&Durable> {
        self.durable.as_ref()
    }

    /// True when this node leads and its lease has not ended: what S2 is about.
    #[must_use]
    pub fn holds_lease(&self, now: Time) -> bool {
        self.is_established() && self.lease_end() > now
    }

    /// The fence proofs this node holds.
    pub fn fence_proofs(&self) -> impl Iterator<Item = (NodeId, &FenceProof)> {
        self.proofs.iter().map(|(node, proof)| (*node, proof))
    }

    /// The picture for status output.
    #[must_use]
    pub fn view(&self, now: Time) -> View {
        self.make_view(now)
    }

    /// Runs whatever the event made possible, in a fixed order: first what this node must give up, then what it may do.
    fn settle(&mut self) {
        self.check_lease();
        self.progress_pending_accept();
        self.watch_members();
        self.progress_shutdown();
        self.lead();
        self.fence_as_pair();
        self.watch_orders();
        self.progress_fences();
        self.issue_permits();
        self.tell_quorum();
        self.reconcile_local();
        self.report();
        self.note_outages();
        self.arm_countdown();
    }

    fn on_message(&mut self, from: Sender, message: Message) {
        if !self.hear(from) {
            return;
        }
        let node = from.node;
        if shows_state(&message) {
            let member = self.member(node);
            member.seen_state = true;
            member.blank = false;
        }
        match message {
            Message::PreVote { ballot } => self.on_pre_vote(node, ballot),
            Message::PreVoteReply {
                ballot,
                verdict,
                promised,
                voters,
            } => {
                self.on_pre_vote_reply(node, ballot, verdict, promised, voters);
            }
            Message::Prepare { ballot, transfer } => self.on_prepare(node, ballot, transfer),
            Message::Promise {
                ballot,
                accepted_ballot,
                accepted,
                voters,
            } => {
                self.on_promise(node, ballot, accepted_ballot, accepted, voters);
            }
            Message::Refuse {
                ballot,
                promised,
                verdict,
            } => self.on_refuse(node, ballot, promised, verdict),
            Message::Accept { ballot, state } => self.on_accept(node, ballot, state),
            Message::Accepted { ballot, version } => self.on_accepted(node, ballot, version),
            Message::Commit { ballot, state } => self.learn_commit(ballot, state),
            Message::Transfer { ballot } => self.on_transfer(node, ballot),
            Message::Report(report) => self.on_report(node, report),
            Message::Forward { request, call } => self.on_forward(node, request, call),
            Message::ForwardReply { request, outcome } => self.on_forward_reply(request, outcome),
        }
    }

    /// Takes note of a sender; false when it is to be ignored. Votes that a proof stood in for are void from here on,
    /// before anything is answered (architecture.md rule 1).
    fn hear(&mut self, from: Sender) -> bool {
        if from.node == self.me.node || !self.is_known(from.node) || self.is_impostor(from) {
            return false;
        }
        let now = self.now;
        let heard = self.member(from.node).hear(from, now);
        match heard {
            Heard::Old => return false,
            Heard::Same => {}
            Heard::NewIncarnation => {
                self.journal(
                    "peer-heard",
                    Level::Info,
                    format!("{} is heard (boot {})", self.name(from.node), from.boot),
                );
            }
            Heard::NewBoot(_) => self.note_new_boot(from),
        }
        if heard != Heard::Same {
            self.local.report_anew();
            self.forget_fence_of_returned(from);
        }
        true
    }

    fn note_new_boot(&mut self, from: Sender) {
        self.proofs.remove(&from.node);
        let name = self.name(from.node);
        self.journal(
            "peer-rebooted",
            Level::Info,
            format!("{name} is heard again with a new boot ({})", from.boot),
        );
    }

    fn is_known(&self, node: NodeId) -> bool {
        let voter = self.durable.as_ref().is_some_and(|durable| {
            durable.committed.voters.contains(node) || durable.accepted.voters.contains(node)
        });
        voter || self.config.members().any(|member| member == node)
    }

    fn member(&mut self, node: NodeId) -> &mut Member {
        self.members.entry(node).or_default()
    }

    /// All members other than this node: of the configuration, and voters that left it.
    fn others(&self) -> Vec<NodeId> {
        let mut all: VoterSet = self.config.members().collect();
        if let Some(durable) = &self.durable {
            all = all.or(durable.committed.voters).or(durable.accepted.voters);
        }
        all.without(self.me.node).iter().collect()
    }

    fn committed(&self) -> Option<&Arc<ClusterState>> {
        self.durable.as_ref().map(|durable| &durable.committed)
    }

    fn in_pair(&self) -> bool {
        self.durable
            .as_ref()
            .is_some_and(|durable| is_pair(self.me.node, &durable.committed, &durable.accepted))
    }

    fn name(&self, node: NodeId) -> String {
        self.config.name_of(node)
    }

    fn send(&mut self, to: NodeId, message: Message) {
        self.outbox.push_back(Effect::Send { to, message });
    }
}

/// Messages that only a node with register state sends.
fn shows_state(message: &Message) -> bool {
    matches!(
        message,
        Message::Promise { .. } | Message::Accept { .. } | Message::Accepted { .. } | Message::Commit { .. }
    )
}

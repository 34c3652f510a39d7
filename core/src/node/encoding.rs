//! This node's part of a model checker's state (see [`crate::encoding`]).
//!
//! Every struct is taken apart by name, so that a new field does not compile before somebody decided whether a decision
//! depends on it.

use std::time::Duration;

use holdfast_proto::config::Timers as Spans;
use holdfast_proto::ids::{Ballot, NodeId, Version, VoterSet};
use holdfast_proto::time::Time;

use super::election::Round;
use super::encoding_fences::{encode_fence, encode_proofs};
use super::flapping::NotedFailure;
use super::local::{Local, LocalGroup, Order};
use super::permits::Grant;
use super::persistence::{Deferred, Persistence};
use super::register::{Leading, PendingAccept, Proposal};
use super::{Bound, Node, Role};
use crate::durable::Durable;
use crate::effect::Effect;
use crate::encoding::Encoder;
use crate::event::NetworkHealth;
use crate::member::Member;
use crate::timer::{Timer, Timers};

impl Node {
    /// Encodes everything that a later decision can depend on, as seen at `now`. Left out: the journal's and the view's
    /// matters, numbers of heartbeats (so also which round repeats a report), and automatic moves.
    pub fn encode(&self, now: Time, to: &mut Encoder) {
        let Node {
            me: _,
            now: _,
            started_at,
            resumed,
            config: _,
            spans,
            detection,
            durable,
            persistence,
            acked,
            synced,
            bound,
            lease_until,
            no_promise_until,
            pending_accept,
            role,
            members,
            rounds: _,
            beat_seq: _,
            lateness: _,
            blame_floor,
            lease_rules_since,
            grant,
            grants_after,
            asked_for_grant,
            local,
            jobs,
            network,
            fences,
            fencings,
            quiet_until: _,
            quorum: _,
            proofs,
            next_fence_id,
            calls,
            moves: _,
            failures_since,
            was_running: _,
            outage_since: _,
            last_outage: _,
            shutting_down,
            timers,
            outbox,
        } = self;
        let memory = self.memory();
        to.instant(now, Some(*started_at), spans.startup_grace);
        let flags = [*resumed, *synced, *shutting_down];
        flags.into_iter().for_each(|flag| to.flag(flag));
        encode_durable(durable.as_ref(), to);
        encode_persistence(persistence, to);
        encode_acked(*acked, to);
        encode_bound(now, bound.as_ref(), *lease_until, to);
        to.deadline(now, Some(*no_promise_until));
        encode_pending(pending_accept.as_ref(), to);
        encode_role(now, role, memory, to);
        let committed = durable.as_ref().map_or(0, |durable| durable.committed.version);
        for (node, member) in members {
            encode_member(now, *node, member, memory, to);
            encode_first_answer(member.first_answer.filter(|_| !synced), committed, to);
        }
        let floors = [Some(*blame_floor), detection.since, Some(*lease_rules_since)];
        floors.into_iter().for_each(|at| to.instant(now, at, memory));
        encode_grant(now, grant.as_ref(), to);
        encode_asked(now, *asked_for_grant < committed, (*grants_after, spans), to);
        encode_local(now, local, memory, to);
        jobs.encode(to);
        encode_network(*network, to);
        for (node, run) in fences {
            let ended = |method| self.boot_that_ended(*node, run, method) == run.boot;
            encode_fence(now, *node, run, (next_fence_id, &ended, memory), to);
        }
        self.encode_orders(now, to);
        encode_proofs(now, proofs, fencings, memory, to);
        for ((_, node), noted) in failures_since {
            encode_failure(now, *node, noted, self.flap_window(), to);
        }
        encode_timers(now, timers, to);
        to.word((calls.len() as u64) << 32 | outbox.len() as u64);
    }

    /// The longest span that any rule counts from an instant.
    fn memory(&self) -> Duration {
        let spans = &self.detection.owes;
        let longest = spans
            .fence_delay
            .max(spans.witness_grace)
            .max(spans.fencing_permit);
        spans.lease + longest
    }

    /// Age of the latest sent round of heartbeats; `None` if none was sent. For encodings of heartbeats in flight.
    #[must_use]
    pub fn latest_round(&self) -> Option<(u64, Time)> {
        self.rounds.back().copied()
    }
}

fn encode_acked(acked: Option<(Ballot, Version)>, to: &mut Encoder) {
    to.flag(acked.is_some());
    if let Some((ballot, version)) = acked {
        to.ballot(ballot);
        to.version(version);
    }
}

fn encode_pending(pending: Option<&PendingAccept>, to: &mut Encoder) {
    to.flag(pending.is_some());
    if let Some(PendingAccept { from, ballot, state }) = pending {
        to.word(from.0.into());
        to.ballot(*ballot);
        to.state(state);
    }
}

fn encode_durable(durable: Option<&Durable>, to: &mut Encoder) {
    to.flag(durable.is_some());
    let Some(Durable {
        promised,
        accepted_ballot,
        accepted,
        committed,
    }) = durable
    else {
        return;
    };
    to.ballot(*promised);
    to.ballot(*accepted_ballot);
    to.state(accepted);
    to.state(committed);
}

fn encode_persistence(persistence: &Persistence, to: &mut Encoder) {
    let Persistence {
        next,
        waiting,
        under_way,
        promised,
        failed,
        syncing,
        sealing,
    } = persistence;
    for (id, what) in waiting {
        to.word(next - id.0);
        match what {
            Deferred::Effect(effect) => encode_answer(effect, to),
            Deferred::OwnPromise(ballot) => {
                to.word(2);
                to.ballot(*ballot);
            }
            Deferred::OwnAccept(ballot, version) | Deferred::Commit(ballot, version) => {
                to.word(3);
                to.ballot(*ballot);
                to.version(*version);
            }
            Deferred::Forced(_, ballot) => {
                to.word(5);
                to.ballot(*ballot);
            }
            Deferred::Synced(version) => {
                to.word(4);
                to.version(*version);
            }
        }
    }
    for (id, promised) in under_way {
        to.word(next - id.0);
        to.ballot(*promised);
    }
    to.ballot(*promised);
    to.flag(*failed);
    to.flag(*syncing);
    to.version(sealing.as_ref().map_or(0, |state| state.version));
}

/// An answer that waits for the disk.
fn encode_answer(effect: &Effect, to: &mut Encoder) {
    to.word(1);
    if let Effect::Send { to: node, message } = effect {
        to.word(node.0.into());
        to.message(message);
    }
}

fn encode_bound(now: Time, bound: Option<&Bound>, lease_until: Time, to: &mut Encoder) {
    to.deadline(now, Some(lease_until));
    to.flag(bound.is_some());
    if let Some(Bound {
        leader,
        ballot,
        until,
    }) = bound
    {
        to.word(leader.0.into());
        to.ballot(*ballot);
        to.deadline(now, Some(*until));
    }
}

fn encode_role(now: Time, role: &Role, memory: Duration, to: &mut Encoder) {
    match role {
        Role::Follower => to.word(0),
        Role::PreVoting(round) => {
            to.word(1);
            encode_round(round, to);
        }
        Role::Preparing(round) => {
            to.word(2);
            encode_round(round, to);
        }
        Role::Leading(leading) => {
            to.word(3);
            encode_leading(now, leading, memory, to);
        }
    }
}

fn encode_round(round: &Round, to: &mut Encoder) {
    let Round {
        ballot,
        votes,
        electorate,
        accepted_sets,
        best,
        transfer,
        fast,
    } = round;
    to.ballot(*ballot);
    to.word(votes.0.into());
    to.word(electorate.voters().0.into());
    to.flag(electorate.is_sole());
    for VoterSet(set) in accepted_sets {
        to.word((*set).into());
    }
    to.ballot(best.0);
    to.state(&best.1);
    to.ballot(transfer.unwrap_or_default());
    to.flag(*fast);
}

fn encode_leading(now: Time, leading: &Leading, memory: Duration, to: &mut Encoder) {
    let Leading {
        ballot,
        elected_at,
        old_permits_end,
        established,
        adopting,
        proposal,
    } = leading;
    to.ballot(*ballot);
    to.instant(now, Some(*elected_at), memory);
    to.instant(now, Some(*old_permits_end), memory);
    to.flag(*established);
    to.version(adopting.as_ref().map_or(0, |state| state.version));
    to.flag(proposal.is_some());
    if let Some(Proposal {
        state,
        accepted,
        proposed_at,
        sealing,
    }) = proposal
    {
        to.state(state);
        to.word(accepted.0.into());
        to.instant(now, Some(*proposed_at), memory);
        to.flag(*sealing);
    }
}

fn encode_member(now: Time, node: NodeId, member: &Member, memory: Duration, to: &mut Encoder) {
    let Member {
        boot,
        incarnation,
        seq: _,
        heard_at,
        boot_since,
        run_since,
        alive_at,
        backed_at,
        answered_at,
        synced,
        blank,
        seen_state,
        committed,
        // Encoded with the node.
        first_answer: _,
        ballot,
        watchdog,
        agent_ready,
        agent_away_since,
        report,
        wished_at,
        updated_at,
        reported_lost: _,
    } = member;
    to.word(node.0.into());
    to.boot(node, *boot);
    to.incarnation(node, *incarnation);
    to.flag(heard_at.is_some());
    to.flag(alive_at.is_some_and(|alive_at| alive_at >= *boot_since));
    to.instant(now, Some((*run_since).max(alive_at.unwrap_or_default())), memory);
    to.instant(now, *backed_at, memory);
    to.instant(now, *answered_at, memory);
    to.flag(*synced);
    to.flag(*blank);
    to.flag(*seen_state);
    to.version(*committed);
    to.ballot(*ballot);
    to.flag(watchdog.is_some());
    to.flag(*agent_ready);
    to.instant(now, *agent_away_since, memory);
    for seen in report.groups.values() {
        to.epoch(seen.epoch);
        to.word(seen.run as u64);
        to.member(seen.member.as_deref());
    }
    if *wished_at > Time::ZERO {
        to.flag(alive_at.is_some_and(|alive_at| alive_at >= *wished_at));
    }
    to.instant(now, *updated_at, Duration::from_millis(250));
}

/// All versions before the committed one count alike.
fn encode_first_answer(first_answer: Option<Version>, committed: Version, to: &mut Encoder) {
    to.flag(first_answer.is_some());
    to.version(first_answer.unwrap_or(0).max(committed.saturating_sub(1)));
}

fn encode_failure(now: Time, node: NodeId, noted: &NotedFailure, window: Duration, to: &mut Encoder) {
    let NotedFailure { since, boot, .. } = noted;
    to.instant(now, Some(*since), window);
    to.boot(node, *boot);
}

/// `void`: answers to what was sent until then rest on a watchdog that is gone. Later than a permit lasts, none matters.
fn encode_asked(now: Time, asked: bool, (void, spans): (Option<Time>, &Spans), to: &mut Encoder) {
    to.flag(asked);
    to.instant(now, void, spans.fencing_permit);
}

fn encode_grant(now: Time, grant: Option<&Grant>, to: &mut Encoder) {
    to.flag(grant.is_some());
    if let Some(Grant {
        version,
        lease_until,
        fencing_until,
        withheld,
    }) = grant
    {
        to.version(*version);
        to.deadline(now, Some(*lease_until));
        to.deadline(now, Some(*fencing_until));
        withheld.iter().for_each(|epoch| to.epoch(*epoch));
    }
}

fn encode_local(now: Time, local: &Local, memory: Duration, to: &mut Encoder) {
    let Local {
        attached,
        away_since,
        watchdog,
        groups,
        sent_report,
        report_due,
        // What was told follows from what is committed, and is told anew at worst.
        roles: _,
    } = local;
    to.flag(*attached);
    to.instant(now, *away_since, memory);
    to.flag(watchdog.is_some());
    for group in groups.values() {
        let LocalGroup {
            run,
            epoch,
            restarts: _,
            detail: _,
            permit,
            order,
            member,
        } = group;
        to.word(*run as u64);
        to.member(member.as_deref());
        to.epoch(*epoch);
        to.epoch(permit.as_ref().map_or(0, |permit| permit.epoch));
        to.deadline(now, permit.as_ref().map(|permit| permit.until));
        match order {
            None => to.word(0),
            Some(Order::Start(epoch)) => {
                to.word(1);
                to.epoch(*epoch);
            }
            Some(Order::Stop(epoch)) => {
                to.word(2);
                to.epoch(*epoch);
            }
        }
    }
    to.flag(sent_report.is_some());
    to.flag(*report_due);
}

fn encode_network(network: NetworkHealth, to: &mut Encoder) {
    to.flag(network.any_link_up);
    to.flag(network.ping_answers);
}

fn encode_timers(now: Time, timers: &Timers, to: &mut Encoder) {
    for timer in Timer::ALL {
        to.deadline(now, timers.get(timer));
    }
}

//! Heartbeats: leases backed, permits granted, silence noticed.

use std::time::Duration;

use holdfast_proto::config::Timers as Spans;
use holdfast_proto::ids::{Ballot, NodeId};
use holdfast_proto::peer::{Beat, Heartbeat, HeartbeatAck, Message, Sender, WITHHELD_MAX};
use holdfast_proto::time::Time;

use super::{Bound, Node, ROUNDS_KEPT, Role};
use crate::effect::Effect;
use crate::journal::Level;
use crate::timer::Timer;

impl Node {
    /// Sends one round and sets the time of the next.
    pub(super) fn send_round(&mut self) {
        self.beat_seq += 1;
        if self.rounds.len() == ROUNDS_KEPT {
            self.rounds.pop_front();
        }
        self.rounds.push_back((self.beat_seq, self.now));
        let beat = Beat::Heartbeat(self.heartbeat());
        for to in self.others() {
            self.outbox.push_back(Effect::SendBeat { to, beat });
        }
        self.timers.set(Timer::Heartbeat, self.now + self.spans.heartbeat);
    }

    fn heartbeat(&self) -> Heartbeat {
        let leading = self.leading_ballot();
        let promised = self
            .durable
            .as_ref()
            .map_or(Ballot::ZERO, |durable| durable.promised);
        Heartbeat {
            seq: self.beat_seq,
            sent_at: self.now,
            lateness: self.lateness,
            ballot: leading.unwrap_or(promised),
            leading: leading.is_some(),
            committed: self.committed().map_or(0, |state| state.version),
            synced: self.synced,
            blank: self.durable.is_none(),
            survivor: self.committed().map_or(NodeId::WITNESS, |state| state.survivor),
            watchdog: self.local.watchdog(),
            // A node that is about to end is given nothing new, leadership least of all.
            agent_ready: self.local.is_ready() && !self.shutting_down,
        }
    }

    pub(super) fn on_beat(&mut self, from: Sender, beat: Beat) {
        if !self.hear(from) {
            return;
        }
        match beat {
            Beat::Heartbeat(heartbeat) => self.on_heartbeat(from.node, &heartbeat),
            Beat::Ack(ack) => self.on_ack(from.node, &ack),
        }
    }

    fn on_heartbeat(&mut self, from: NodeId, beat: &Heartbeat) {
        let now = self.now;
        let member = self.member(from);
        if beat.seq <= member.seq {
            return;
        }
        member.seq = beat.seq;
        member.synced = beat.synced;
        member.seen_state |= !beat.blank;
        member.blank &= beat.blank;
        member.committed = beat.committed;
        member.ballot = beat.ballot;
        member.watchdog = beat.watchdog;
        member.agent_away_since = if beat.agent_ready {
            None
        } else {
            member.agent_away_since.or(Some(now))
        };
        member.agent_ready = beat.agent_ready;
        let backs = beat.leading && self.back(from, beat.ballot);
        let ack = self.ack_for(from, beat, backs);
        self.outbox.push_back(Effect::SendBeat {
            to: from,
            beat: Beat::Ack(ack),
        });
        self.bring_up_to_date(from);
    }

    /// The answer to a heartbeat. Whoever gets one with a lease may act on it, so the instant is noted.
    fn ack_for(&mut self, from: NodeId, beat: &Heartbeat, backs: bool) -> HeartbeatAck {
        let promised = self
            .durable
            .as_ref()
            .map_or(Ballot::ZERO, |durable| durable.promised);
        let committed = self.committed().map_or(0, |state| state.version);
        let mut ack = HeartbeatAck {
            seq: beat.seq,
            sent_at: beat.sent_at,
            ballot: promised,
            backs,
            lease_left: Duration::ZERO,
            granted: 0,
            withheld: [0; WITHHELD_MAX],
            withhold_all: true,
            committed,
            blank: self.durable.is_none(),
        };
        let lease_end = if self.is_established() {
            self.lease_end()
        } else {
            self.now
        };
        // A member that does not hear this node would be given permits for ever, and could never be counted down.
        let may_run = !self.is_being_fenced(from) && !self.has_proof_against(from) && !self.is_lost(from);
        if lease_end > self.now && may_run {
            ack.ballot = self.leading_ballot().unwrap_or(promised);
            ack.lease_left = self.now.until(lease_end);
            ack.granted = committed;
            (ack.withheld, ack.withhold_all) = self.withheld_from(from);
            let now = self.now;
            self.member(from).answered_at = Some(now);
        }
        ack
    }

    /// As an acceptor: back the lease of a leader, if nothing else binds this node. A ballot above the promised one is
    /// promised on disk first, so that a restart still knows whom it was bound to.
    fn back(&mut self, leader: NodeId, ballot: Ballot) -> bool {
        if self.ordered_to_end(leader) {
            return false;
        }
        let Some(durable) = &mut self.durable else {
            return false;
        };
        if ballot < durable.promised || ballot.leader() != leader {
            return false;
        }
        let bound_elsewhere = self
            .bound
            .is_some_and(|bound| bound.leader != leader && bound.until > self.now);
        let may_forget = self.now < self.no_promise_until && durable.promised.leader() != leader;
        if bound_elsewhere || may_forget {
            return false;
        }
        if ballot > durable.promised {
            durable.promised = ballot;
            self.step_down("another leader has a higher ballot");
            self.persist();
        }
        if self.persistence.promised < ballot || self.disk_failed() {
            return false;
        }
        if self.bound.is_none_or(|bound| bound.ballot != ballot) {
            let text = format!("follows {} (ballot {ballot})", self.name(leader));
            self.journal("following", Level::Info, text);
        }
        if !matches!(self.role, Role::Follower) {
            self.step_down("another leader is heard");
        }
        self.bound = Some(Bound {
            leader,
            ballot,
            until: self.now + self.detection.owes.lease,
        });
        self.schedule_election(self.now + self.spans.lease);
        true
    }

    fn on_ack(&mut self, from: NodeId, ack: &HeartbeatAck) {
        // Only echoes of this run's own rounds count: a time from another boot's clock must not become a lease.
        if !self.rounds.iter().any(|round| *round == (ack.seq, ack.sent_at)) {
            return;
        }
        let leading = self.leading_ballot();
        let member = self.member(from);
        member.alive_at = member.alive_at.max(Some(ack.sent_at));
        // Votes rest on this word, so it is taken from answers alone: a heartbeat may have been under way for long.
        member.blank = ack.blank && !member.seen_state;
        member.seen_state |= !ack.blank;
        member.first_answer.get_or_insert(ack.committed);
        if from.is_witness() {
            member.committed = ack.committed;
        }
        if ack.backs && leading == Some(ack.ballot) {
            member.backed_at = member.backed_at.max(Some(ack.sent_at));
            self.check_commit();
        }
        self.bring_up_to_date(from);
        self.doubt_proof(from, ack.sent_at);
        if ack.lease_left > Duration::ZERO {
            self.take_grant(from, ack);
        }
    }

    /// Until when this node's own lease runs: from the send time of the heartbeats that a majority of the committed voters
    /// answered. It counts itself as of now, because it helps nobody else while it leads.
    pub(super) fn lease_end(&self) -> Time {
        self.backed_since().map_or(Time::ZERO, |since| {
            since + Spans::shrink(self.detection.claims.lease)
        })
    }

    /// The latest instant as of which a majority of the committed voters backs this leader.
    pub(super) fn backed_since(&self) -> Option<Time> {
        let voters = self.committed()?.voters;
        self.majority_backed_at(voters)
    }

    pub(super) fn majority_backed_at(&self, voters: holdfast_proto::ids::VoterSet) -> Option<Time> {
        let stand_in = if voters.is_data_pair() {
            self.stand_in()
        } else {
            Default::default()
        };
        let mut times: Vec<Time> = voters
            .iter()
            .filter_map(|voter| {
                if voter == self.me.node || stand_in.contains(voter) {
                    return Some(self.now);
                }
                self.members.get(&voter).and_then(|member| member.backed_at)
            })
            .collect();
        times.sort_unstable_by(|left, right| right.cmp(left));
        times.get(voters.len() / 2).copied()
    }

    /// Sends the committed state to a member that is behind, at most once per heartbeat. A blank member may learn it only
    /// once it is no voter any more: what it had promised is lost.
    ///
    /// That is for the leader to do. Where nobody leads, whoever knows more tells those whom it makes voters: a node that a
    /// leader voted in as its last deed, and did not tell, would not campaign, and there may be nobody else who can.
    pub(super) fn bring_up_to_date(&mut self, to: NodeId) {
        let leads = self.is_established() && self.lease_end() > self.now;
        let nobody_leads =
            matches!(self.role, Role::Follower) && self.bound.is_none_or(|bound| bound.until <= self.now);
        let Some(durable) = self.durable.as_ref().filter(|_| leads || nobody_leads) else {
            return;
        };
        let state = durable.committed.clone();
        // Chosen under that ballot or an older one: without a leader it is told only if it is the newest this node accepted.
        let relayed = state.voters.contains(to) && durable.accepted.version == state.version;
        let relayed = relayed.then_some(durable.accepted_ballot);
        let Some(ballot) = self.leading_ballot().filter(|_| leads).or(relayed) else {
            return;
        };
        let is_voter = state.voters.contains(to) || durable.accepted.voters.contains(to);
        let Some(member) = self.members.get_mut(&to) else {
            return;
        };
        let behind = member.committed < state.version && !(member.blank && is_voter);
        let waited = member
            .updated_at
            .is_none_or(|at| at + self.spans.heartbeat <= self.now);
        if behind && waited {
            member.updated_at = Some(self.now);
            self.send(to, Message::Commit { ballot, state });
        }
    }

    /// Notices members that fell silent, and those that are back.
    pub(super) fn watch_members(&mut self) {
        for node in self.others() {
            let lost = self.is_lost(node);
            let Some(member) = self.members.get_mut(&node) else {
                continue;
            };
            if member.reported_lost == lost {
                continue;
            }
            member.reported_lost = lost;
            if !lost {
                self.note_back(node);
            }
            let Some(member) = self.members.get(&node) else {
                continue;
            };
            let lease = self.spans.lease;
            let talks = member
                .heard_at
                .is_some_and(|heard_at| self.now.since(heard_at) < self.spans.heartbeat * 2);
            let name = self.name(node);
            if lost {
                let lease_ms = lease.as_millis();
                let text = if talks {
                    format!(
                        "{name} is heard but answered nothing for {lease_ms} ms: it does not hear this node"
                    )
                } else {
                    format!("{name} was not heard for {lease_ms} ms")
                };
                self.journal("peer-lost", Level::Warn, text);
            } else {
                self.journal("peer-back", Level::Info, format!("{name} is heard again"));
            }
        }
    }

    /// Since when there is no contact with a member; `None` if it was never heard. The witness sends no heartbeats that
    /// could be answered, so for it hearing is contact.
    pub(super) fn silent_since(&self, node: NodeId, floor: Time) -> Option<Time> {
        let member = self.members.get(&node)?;
        if self.me.node.is_witness() {
            return member.heard_at.map(|heard_at| heard_at.max(floor));
        }
        member.silent_since(floor)
    }

    /// When a member counts as lost unless there is contact before: the detection time after the last contact; for one that
    /// was never heard a grace, which is short where this daemon was restarted in the middle of a running cluster.
    pub(super) fn lost_at(&self, node: NodeId) -> Time {
        match self.silent_since(node, self.blame_floor) {
            Some(since) => since + self.spans.lease,
            None if self.resumed => self.started_at + self.spans.resume_grace,
            None => self.started_at + self.spans.startup_grace,
        }
    }

    /// True when there was no contact with a member for as long as it takes to count as lost.
    pub(super) fn is_lost(&self, node: NodeId) -> bool {
        node != self.me.node && self.lost_at(node) <= self.now
    }

    /// True when there was contact with a member within the detection time.
    pub(super) fn is_online(&self, node: NodeId) -> bool {
        node == self.me.node
            || self
                .silent_since(node, Time::ZERO)
                .is_some_and(|since| self.now.since(since) < self.spans.lease)
    }
}

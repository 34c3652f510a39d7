//! Permits: the right to run a group until an instant on this node's own clock.

use holdfast_proto::config::{Requires, Timers as Spans};
use holdfast_proto::ids::{Epoch, GroupName, NodeId, Version};
use holdfast_proto::peer::{HeartbeatAck, WITHHELD_MAX};
use holdfast_proto::state::{Assignment, GroupState};
use holdfast_proto::time::Time;

use super::Node;
use crate::effect::{Effect, Permit};

/// What the leader granted with its latest answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) version: Version,
    /// For groups that move on a lapse: no longer than the leader's lease.
    pub(super) lease_until: Time,
    /// For groups that require fencing: they never move on a lapse, so losing the leader need not stop them.
    pub(super) fencing_until: Time,
    pub(super) withheld: [Epoch; WITHHELD_MAX],
}

impl Node {
    /// Takes a grant from the leader's answer. It runs from when this node *sent* the heartbeat, for what the leader's
    /// lease had left when it answered, taken down for clock drift.
    pub(super) fn take_grant(&mut self, leader: NodeId, ack: &HeartbeatAck) {
        let promised = self.durable.as_ref().map(|durable| durable.promised);
        let current =
            promised.is_some_and(|promised| ack.ballot >= promised) && ack.ballot.leader() == leader;
        if current {
            self.quorum.heard = self.quorum.heard.max(Some(ack.sent_at));
        }
        let outdated = self.grants_after.is_some_and(|after| ack.sent_at <= after);
        if !current || ack.withhold_all || outdated {
            return;
        }
        self.grant = Some(Grant {
            version: ack.granted,
            lease_until: ack.sent_at + Spans::shrink(ack.lease_left),
            fencing_until: ack.sent_at + Spans::shrink(self.detection.claims.fencing_permit),
            withheld: ack.withheld,
        });
    }

    /// Renews this node's permits from whatever entitles it now: its own lease, the pair's rules, or the leader's grant.
    pub(super) fn issue_permits(&mut self) {
        if self.durable.is_none() || !self.synced || self.pending_accept.is_some() {
            return;
        }
        let Some((lease_until, fencing_until, withheld)) = self.entitlement() else {
            return self.ask_for_grant();
        };
        let Some(durable) = &self.durable else { return };
        let me = self.me;
        let mut permits = Vec::new();
        for (group, entry) in &durable.committed.groups {
            let Assignment::Owned { owner, boot, epoch } = &entry.assignment else {
                continue;
            };
            let mine = *owner == me.node && *boot == Some(me.boot) && !withheld.contains(epoch);
            let agreed = durable
                .accepted
                .groups
                .get(group)
                .is_some_and(|accepted| accepted.assignment == entry.assignment);
            if !mine || !agreed {
                continue;
            }
            let requires = self
                .config
                .group(group)
                .map_or(Requires::Fencing, |section| section.requires);
            // A permit of two leases has time: telling it each time would wake the agent process for nothing.
            let (until, step) = if requires == Requires::Fencing {
                (fencing_until, self.spans.heartbeat * 5 / 2)
            } else {
                (lease_until, self.spans.heartbeat / 2)
            };
            if self.local.is_worth_telling(group, *epoch, until, step) {
                let permit = Permit {
                    group: group.clone(),
                    epoch: *epoch,
                    until,
                };
                permits.push((permit, step));
            }
        }
        let fresh = self.local.renew(permits);
        if !fresh.is_empty() {
            self.outbox.push_back(Effect::Permits(fresh));
        }
    }

    /// A group that was just assigned here waits for nothing but the leader's answer to a heartbeat sent after that: send
    /// one now, once per state, instead of when the next round is due.
    fn ask_for_grant(&mut self) {
        let Some(committed) = self.committed() else { return };
        let (me, version) = (self.me, committed.version);
        let lacks_permit = |(group, entry): (&GroupName, &GroupState)| match &entry.assignment {
            Assignment::Owned { owner, boot, epoch } => {
                let held = self
                    .local
                    .groups
                    .get(group)
                    .and_then(|local| local.permit.as_ref());
                let mine = *owner == me.node && *boot == Some(me.boot);
                mine && held.is_none_or(|permit| permit.epoch != *epoch)
            }
            _ => false,
        };
        if self.asked_for_grant < version && committed.groups.iter().any(lacks_permit) {
            self.asked_for_grant = version;
            self.send_round();
        }
    }

    pub(super) fn entitlement(&self) -> Option<(Time, Time, [Epoch; WITHHELD_MAX])> {
        let none = [0; WITHHELD_MAX];
        if !self.honours_its_claim(self.me.node) {
            return None;
        }
        if self.in_pair() {
            // Nobody else can start what is committed to this node without ending its boot.
            let lease = self.now + Spans::shrink(self.detection.claims.lease);
            return Some((
                lease,
                self.now + Spans::shrink(self.detection.claims.fencing_permit),
                none,
            ));
        }
        if self.is_established() {
            let since = self.backed_since()?;
            let lease_end = self.lease_end();
            let (withheld, all) = self.withheld_from(self.me.node);
            let valid = lease_end > self.now && !all;
            return valid.then(|| {
                (
                    lease_end,
                    since + Spans::shrink(self.detection.claims.fencing_permit),
                    withheld,
                )
            });
        }
        let grant = self.grant?;
        let version = self.committed()?.version;
        (grant.version == version).then_some((grant.lease_until, grant.fencing_until, grant.withheld))
    }
}

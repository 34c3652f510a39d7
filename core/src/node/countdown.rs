//! Countdowns: when permits and watchdogs must have ended the groups of a node that is not heard.

use holdfast_proto::config::Timers as Spans;
use holdfast_proto::ids::NodeId;
use holdfast_proto::time::Time;

use super::{Node, Role};
use crate::proof::Countdown;

impl Node {
    /// The countdown about a node that is not heard, in this leader's own ballot. Not valid under the pair's rules.
    pub(super) fn countdown(&self, node: NodeId) -> Option<Countdown> {
        let Role::Leading(leading) = &self.role else {
            return None;
        };
        if !leading.established || self.in_pair() || !self.is_lost(node) {
            return None;
        }
        // A node that was never heard in this run got no permit in it; what earlier leaders gave ends with `old_permits_end`.
        let member = self.members.get(&node);
        let answered = member
            .and_then(|member| member.answered_at)
            .unwrap_or(Time::ZERO)
            .max(self.lease_rules_since);
        let owes = &self.detection.owes;
        let lease = Spans::stretch(owes.lease);
        let lapsed_at = leading.old_permits_end.max(answered + lease) + owes.lapse_margin;
        let fired_at = self.claimed_watchdog(node).map(|timeout| {
            let last_permit = answered.max(leading.elected_at) + Spans::stretch(owes.fencing_permit);
            last_permit + Spans::stretch(timeout) + owes.lapse_margin
        });
        Some(Countdown {
            ballot: leading.ballot,
            node,
            lapsed_at,
            fired_at,
            answered: member.and_then(|member| member.answered_at),
            elected_at: leading.elected_at,
        })
    }

    /// Deadlines that this node waits for without anything being sent or received.
    pub(super) fn countdown_deadlines(&self) -> Vec<Time> {
        let mut deadlines = Vec::new();
        for node in self.others() {
            if let Some(countdown) = self.countdown(node) {
                deadlines.push(countdown.lapsed_at);
                deadlines.extend(countdown.fired_at);
            }
            deadlines.extend(self.stays_out_now(node));
            let away = self.members.get(&node).and_then(|member| member.agent_away_since);
            deadlines.extend(away.map(|since| since + self.agent_patience()));
        }
        deadlines.extend(self.local.away_since().map(|since| since + self.agent_patience()));
        if let Some(due) = self
            .pair_peer()
            .filter(|_| self.in_pair())
            .and_then(|peer| self.pair_fence_due(peer))
        {
            deadlines.push(due);
        }
        deadlines
    }
}

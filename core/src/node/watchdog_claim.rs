//! What the cluster has agreed about watchdogs. A takeover may count on the watchdog of a node that its leader has never
//! heard (after a cold start), so what a node said is committed, and holds until a later state takes it back.
//!
//! The other half is that nobody runs anything without the watchdog that others count on: a leader gives no permit to a node
//! whose word is less than what is committed, or may yet be committed. Where one node's agent process comes back with a
//! weaker watchdog, permits that answer what was said before are void ([`Node::on_watchdog`]).

use std::time::Duration;

use holdfast_proto::ids::NodeId;
use holdfast_proto::state::ClusterState;

use super::{Node, Role};
use crate::placement::Observations;

/// In milliseconds, rounded up: nobody may be counted out before its watchdog fires.
fn in_ms(timeout: Option<Duration>) -> u32 {
    let ms = timeout.map_or(0, |timeout| timeout.as_nanos().div_ceil(1_000_000));
    u32::try_from(ms).unwrap_or(u32::MAX)
}

/// True if a watchdog of `said` does at least what `state` says about `node`.
fn honours(state: &ClusterState, node: NodeId, said: Option<Duration>) -> bool {
    let claimed = state.nodes.get(&node).map_or(0, |entry| entry.watchdog_ms);
    claimed == 0 || said.is_some_and(|timeout| in_ms(Some(timeout)) <= claimed)
}

impl Node {
    /// Timeout of the watchdog of `node` that a takeover may count on.
    pub(super) fn claimed_watchdog(&self, node: NodeId) -> Option<Duration> {
        let claimed = self.committed()?.nodes.get(&node)?.watchdog_ms;
        (claimed != 0).then(|| Duration::from_millis(claimed.into()))
    }

    /// True if `node` has, by its latest word, the watchdog that others count on by any state that is committed or may be.
    pub(super) fn honours_its_claim(&self, node: NodeId) -> bool {
        let said = self.watchdog_of(node);
        let proposed = match &self.role {
            Role::Leading(leading) => leading.proposal.as_ref().map(|proposal| &proposal.state),
            _ => None,
        };
        let durable = self.durable.iter();
        let mut states = durable
            .flat_map(|durable| [&durable.committed, &durable.accepted])
            .chain(proposed);
        states.all(|state| honours(state, node, said))
    }

    /// Writes down what the nodes that are heard say now.
    pub(super) fn follow_watchdogs(&self, next: &mut ClusterState, seen: &Observations) {
        for (node, seen) in seen {
            let Some(entry) = next.nodes.get_mut(node) else {
                continue;
            };
            let said = in_ms(seen.watchdog);
            // While its agent process is away it can start nothing, and comes back with the same one as a rule.
            if !seen.online || !seen.agent_ready || entry.watchdog_ms == said {
                continue;
            }
            entry.watchdog_ms = said;
            let name = self.name(*node);
            next.reason = match said {
                0 => format!("{name} has no armed watchdog any more"),
                _ => format!("{name} has an armed watchdog of {said} ms"),
            };
        }
    }

    /// The agent process is there, with this watchdog. If it is weaker than the one before, every permit of this node rests
    /// on what it is not any more: new ones have to answer a heartbeat that says so.
    pub(super) fn on_watchdog(&mut self, watchdog: Option<Duration>) {
        let before = std::mem::replace(&mut self.local.watchdog, watchdog);
        let weaker = before.is_some_and(|before| watchdog.is_none_or(|now| now > before));
        if weaker {
            self.grant = None;
            self.grants_after = Some(self.now);
            for local in self.local.groups.values_mut() {
                local.permit = None;
            }
        }
    }
}

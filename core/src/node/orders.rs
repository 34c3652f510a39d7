//! Orders on shared disks, and quorum. A node that cannot read its mailbox would be reset by its watchdog; but as long as it
//! is part of a quorum nobody needs that. So it may go on for as long as a look at the disks would count, from each heartbeat
//! that a quorum stood behind. That keeps an order a proof only if nobody stood behind the node after the order was given,
//! and that is what this file sees to.
//!
//! - Who leads grants nothing to a node that is being fenced, and as long as its lease holds nobody else can grant anything.
//! - In a pair each lease needs both nodes, so who ordered the other to end does not back it either.
//! - If neither was so all the time, the order proves nothing: another leader may have stood behind that node.

use std::time::Duration;

use holdfast_proto::ids::{Ballot, NodeId};
use holdfast_proto::time::Time;

use super::Node;
use super::fencing::FenceRun;
use crate::effect::Effect;
use crate::encoding::Encoder;
use crate::event::FenceResult;
use crate::journal::Level;

/// The agent process is told again when a quorum stood behind this node so much later.
const STEP: Duration = Duration::from_millis(250);

/// What the orders of an attempt rest on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// The ballot in which the attempt began, if this node led.
    pub(super) ballot: Option<Ballot>,
    /// Somebody else may have stood behind the node meanwhile.
    pub(super) void: bool,
}

/// The quorum that stands behind this node, for its agent process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backing {
    /// When this node sent the latest heartbeat that a leader with a lease answered.
    pub(super) heard: Option<Time>,
    /// What the agent process was told.
    told: Option<Time>,
}

impl FenceRun {
    /// An order on disks is not answered yet.
    fn has_order_out(&self) -> bool {
        self.outstanding.values().any(|asked| asked.by_order)
    }
}

impl Node {
    /// For a model checker: what depends on shared disks. What is longer ago than a look counts helps the agent process no more.
    pub(super) fn encode_orders(&self, now: Time, to: &mut Encoder) {
        let Some(disks) = &self.config.sbd else { return };
        let io_timeout = Duration::from_millis(disks.io_timeout_ms.into());
        let patience = disks.timeouts.patience(io_timeout);
        to.deadline(now, Some(self.quiet_until));
        let Backing { heard, told } = self.quorum;
        for at in [heard, told] {
            to.instant(now, at, patience);
        }
    }

    /// As of when this node is part of a quorum: when it sent the heartbeats that backed its own lease, or the one that a leader
    /// with a lease answered. In a pair that lost contact there is none.
    fn quorum_since(&self) -> Option<Time> {
        if self.is_established() {
            return self.backed_since().filter(|_| self.lease_end() > self.now);
        }
        self.quorum.heard
    }

    /// Tells the agent process, which may then go on without the disks for a while. Only where there are disks.
    pub(super) fn tell_quorum(&mut self) {
        let Some(since) = self.quorum_since().filter(|_| self.config.sbd.is_some()) else {
            return;
        };
        if self.quorum.told.is_none_or(|told| told + STEP <= since) {
            self.quorum.told = Some(since);
            self.outbox.push_back(Effect::Quorum(since));
        }
    }

    /// An order on disks is out for the other node of a pair: it is not backed meanwhile.
    pub(super) fn ordered_to_end(&self, node: NodeId) -> bool {
        self.in_pair() && self.fences.get(&node).is_some_and(FenceRun::has_order_out)
    }

    /// Notices when this node ceases to be the only one that could stand behind a node that it ordered to end.
    pub(super) fn watch_orders(&mut self) {
        let leads = self.leading_ballot().filter(|_| self.holds_lease(self.now));
        let peer = self.pair_peer().filter(|_| self.in_pair());
        for (node, run) in &mut self.fences {
            let in_charge = peer == Some(*node) || leads.is_some() && run.standing.ballot == leads;
            run.standing.void |= run.has_order_out() && !in_charge;
        }
    }

    /// What an order on disks showed, if it still proves anything.
    pub(super) fn judge_order(&mut self, node: NodeId, result: FenceResult) -> FenceResult {
        let void = self.fences.get(&node).is_some_and(|run| run.standing.void);
        if !void || !result.off_read_back {
            return result;
        }
        let name = self.name(node);
        let error = format!(
            "the order on the shared disks proves nothing: while it stood this node did not hold the lease all the time, so another \
             one may have let {name} go on without its disks"
        );
        self.journal("order-void", Level::Warn, format!("{name}: {error}"));
        FenceResult {
            off_read_back: false,
            error,
            ..result
        }
    }
}

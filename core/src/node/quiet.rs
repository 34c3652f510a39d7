//! Silence after a boot, where there are shared disks. An order on a disk is certain only when it has stood for some seconds,
//! and the boot that it ended may be back before. Heard that early, the new boot would take the proof from whoever gave the
//! order (architecture.md rule 1: it votes only until that node is heard), who has to give another one if the new boot is not
//! well either: each order would end a boot, and none would ever count. So a node says nothing until every order that can have
//! ended the boot before has stood long enough, and its sender had time to act on it. SBD calls this SBD_DELAY_START.
//!
//! To others it looks as if all that this node sends were lost, so no promise depends on it.

use std::time::Duration;

use holdfast_proto::config::{Config, Timers as Spans};
use holdfast_proto::ids::NodeId;
use holdfast_proto::operator::OperatorOutcome;
use holdfast_proto::time::Time;

use super::Node;
use crate::effect::Effect;
use crate::journal::Level;

/// When a node that booted at `booted_at` first speaks. An order that ended the boot before was written before that.
pub(super) fn quiet_until(config: &Config, me: NodeId, booted_at: Time) -> Time {
    match &config.sbd {
        Some(disks) if !me.is_witness() => {
            // Then its sender is elected, and commits that it goes on alone.
            let acts = config.timers().lease * 2;
            booted_at + Spans::stretch(disks.order_is_certain_after()) + acts
        }
        _ => booted_at,
    }
}

impl Node {
    pub(super) fn is_quiet(&self) -> bool {
        self.now < self.quiet_until
    }

    /// What is not sent now.
    pub(super) fn holds_back(&self, effect: &Effect) -> bool {
        self.is_quiet() && matches!(effect, Effect::Send { .. } | Effect::SendBeat { .. })
    }

    pub(super) fn tell_quiet(&mut self) {
        if let Some(sentence) = self.quiet_sentence() {
            self.journal("quiet", Level::Info, sentence);
        }
    }

    /// Why this node says nothing to others.
    pub(super) fn quiet_sentence(&self) -> Option<String> {
        let left = self.now.until(self.quiet_until);
        self.is_quiet().then(|| {
            format!(
                "this node says nothing to others for another {} s: an order on the shared disks may have ended its boot before, \
                 and has to stand until then",
                seconds(left)
            )
        })
    }

    /// The answer to what a leader would have to be asked for.
    pub(super) fn refusal_while_quiet(&self) -> Option<OperatorOutcome> {
        self.quiet_sentence().map(OperatorOutcome::NoQuorum)
    }
}

fn seconds(span: Duration) -> u128 {
    span.as_millis().div_ceil(1000)
}

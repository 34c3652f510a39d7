//! How long one node has seen the register unchanged, on its own clock.

use holdfast_proto::ids::{Ballot, BootId};
use holdfast_proto::time::Time;

use super::record::Head;

/// Since when the backing that stands in the register is known here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch(pub(super) Option<(BootId, Ballot, u64, Time)>);

impl Watch {
    /// Takes in what was found by a read or a write that has ended now.
    pub(super) fn see(&mut self, head: &Head, now: Time) {
        if self.since(head).is_none() {
            self.0 = Some((head.register, head.backing, head.backed, now));
        }
    }

    /// Since when `head`'s backing has not been renewed, as far as is known here.
    pub(super) fn since(&self, head: &Head) -> Option<Time> {
        let (register, backing, backed, since) = self.0?;
        let same = (register, backing, backed) == (head.register, head.backing, head.backed);
        same.then_some(since)
    }
}

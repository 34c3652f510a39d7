//! The node: one member's whole decision state.

use std::sync::Arc;

use holdfast_proto::config::Config;
use holdfast_proto::time::Time;

use crate::durable::Durable;
use crate::effect::Effect;
use crate::event::{Event, Identity};
use crate::view::View;

/// What the shell knows when it starts a node.
#[derive(Clone, Debug)]
pub struct Start {
    /// Who this is.
    pub identity: Identity,
    /// The durable record; absent when the disk holds none, or a damaged one.
    pub durable: Option<Durable>,
    /// The marker of `Effect::MarkSynced` was found with this boot's id.
    pub synced_this_boot: bool,
    /// The local configuration file, used for addresses and timers until a committed one is known.
    pub config: Arc<Config>,
}

/// One member's whole decision state.
#[derive(Clone, Debug)]
pub struct Node {}

impl Node {
    /// A node that starts at `now`.
    #[must_use]
    pub fn new(_now: Time, _start: Start) -> Node {
        unimplemented!()
    }

    /// Takes one event in.
    pub fn handle(&mut self, _now: Time, _event: Event) {}

    /// Next effect to carry out, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        None
    }

    /// When `Event::Timeout` is due, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Time, &'static str)> {
        None
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        unimplemented!()
    }

    /// The picture for status output.
    #[must_use]
    pub fn view(&self, _now: Time) -> View {
        unimplemented!()
    }
}

//! Holdfast's decision core: who may run what, and which proof allows it.
//!
//! The crate is deterministic. It reads no clock, socket, file or random source: time and everything else come in
//! as an [`event::Event`] to [`node::Node::handle`], and what is to be done comes out as an [`effect::Effect`] from
//! [`node::Node::poll_effect`]. The same code runs in `had`, in the simulator and in the model checker.
//!
//! Read [`node`] first; [`quorum`], [`proof`] and [`placement`] hold the rules as small pure pieces; [`witness`] is
//! the acceptor whose record stands in etcd.

pub mod durable;
pub mod effect;
pub mod encoding;
pub mod event;
pub mod journal;
pub mod member;
pub mod node;
pub mod placement;
pub mod proof;
pub mod quorum;
pub mod timer;
pub mod view;
pub mod witness;

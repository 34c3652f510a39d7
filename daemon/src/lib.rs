//! `had`: feeds the decision core with QUIC, timers, disk and the agent process, and carries out its effects.
//!
//! - [`shell`]: the deciding thread, the one owner of the core.
//! - [`agentd_link`]: the way to `had-agentd`.
//! - [`register`]: the way to a witness that is kept in etcd.
//! - [`office`]: the ordinary thread. [`control`]: the operators' socket, with the [`journal`] and the views of [`status`].
//! - [`rt`], [`sys`], [`clock`]: scheduling, capabilities, time.

pub mod agentd_link;
pub mod args;
pub mod clock;
pub mod control;
pub mod fence_tests;
#[cfg(fuzzing)]
pub mod fuzzing;
mod in_force;
pub mod init;
pub mod jobs;
pub mod join;
pub mod journal;
pub mod keys;
pub mod logging;
pub mod net;
pub mod notify;
pub mod office;
pub mod plan;
pub mod register;
pub mod rt;
pub mod run;
pub mod shell;
pub mod status;
pub mod store;
pub mod sys;
pub mod tokens;

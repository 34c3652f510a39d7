//! `had-agentd`: runs resource and fence agents, holds the watchdog, and enforces permits.
//!
//! - [`agent`]: what a resource agent is; [`registry`] lists the ones built in (vip, systemd, exec).
//! - [`clock`], [`sys`]: time and system calls.

pub mod agent;
pub mod clock;
pub mod registry;
pub mod sys;

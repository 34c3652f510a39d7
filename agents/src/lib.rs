//! `had-agentd`: runs resource and fence agents, holds the watchdog, and enforces permits.
//!
//! Two threads. The [`guard`] enforces [`permits`], talks with `had` and pets the [`watchdog`]; it never blocks. The
//! agents' thread runs the [`supervisor`], one task per [`group`], their agents and their [`probe`]s.
//!
//! - [`agent`]: what a resource agent is; [`registry`] lists the ones built in: [`vip`], [`systemd`], [`exec`], [`filesystem`],
//!   [`drbd`], [`ocf`], [`redis`], [`rabbitmq`].
//! - [`sbd`]: the watch on shared disks.
//! - [`service_config`]: the running check of the services' own configuration.
//! - [`leftovers`]: fence agents that outlived the had-agentd before this one.
//! - [`jobs`]: programs that run at set times.
//! - [`rt`], [`clock`], [`blocking`], [`sys`]: privileges and scheduling, time, what may wait for a disk, system calls.

pub mod agent;
pub mod blocking;
pub mod clock;
pub mod drbd;
pub mod exec;
pub mod fence;
pub mod filesystem;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod galera;
pub mod group;
pub mod guard;
pub mod jobs;
pub mod leftovers;
pub mod mysqld;
pub mod ocf;
pub mod params;
pub mod permits;
pub mod probe;
pub mod program;
pub mod rabbitmq;
pub mod redis;
pub mod register;
pub mod registry;
pub mod relaunch;
pub mod roles;
pub mod room;
pub mod rt;
pub mod sbd;
pub mod seen;
pub mod service_config;
pub mod supervisor;
pub mod sys;
pub mod systemd;
pub mod vip;
pub mod watchdog;
pub mod wishes;

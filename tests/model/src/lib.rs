//! Exhaustive exploration of small clusters, with stateright over the real core.
//!
//! The state is a whole cluster ([`world::World`]): each machine holds a real [`holdfast_core::node::Node`], a disk, and an
//! agent process that enforces permits by itself; around them are a network, fence devices and true time. Nothing of the
//! core is modelled, everything around it is. `cargo xtask model --help` lists the options.
//!
//! # What is explored
//!
//! The core counts microseconds and sends eight heartbeats a lease, so to interleave everything freely would never end.
//! Exploration is *delay-bounded* (Emmi, Qadeer, Rakamarić, "Delay-bounded scheduling", POPL 2011) instead: one schedule is
//! the default (everything arrives at once and in order, every timer fires, every device works), and each deviation from
//! it costs one of a budget ([`bounds::Budget`]). Within the budget *every* combination at *every* choice is tried, with no
//! bound on time: a schedule ends where it meets a state that is known. What ends a deviation (a link heals, a late packet
//! arrives, a machine gets power, a late fence device acts) costs nothing, but is a choice as well.
//!
//! Choices ([`action::Action`]) are:
//!
//! - at each message of the register: it arrives, is lost, or is late (and so overtaken);
//! - at each write: it is done, the disk stalls, or `had` or the machine dies before it is done;
//! - at the end of each instant at which anything but heartbeats happened, and otherwise twice within a lease, faults:
//!   a link cut, cut one way, or holding everything back for more than a lease or for longer than any permit; power lost;
//!   `had` killed, or hung past its lease; a machine paused past its lease or past every permit; a fence device that
//!   refuses, pretends, acts after it was given up, or acts at once and answers late; a stop that hangs; a return with an
//!   empty disk; an operator who confirms a fence, forces quorum or moves a group.
//!
//! A witness that is kept in etcd is not modelled either: each node has the real proxy ([`world::register`]). Each write to the
//! register and each answer to one may be lost or late, or come when whoever asked is gone, and the register may be replaced
//! by an empty one, and come back.
//!
//! Nodes that order each other to end on a shared disk have one that each of them may cease to reach ([`world::shared`]). An
//! order may fail, be written late, or be looked at late; who reads it obeys as late as it may, and who does not is not petted.
//!
//! Operators say what is true: `fence confirm` only of a machine without power, `quorum force` only where every other machine
//! is off and this one knows the newest committed state (which is what `hactl quorum force` shows).
//!
//! # What is a state
//!
//! Two worlds that behave alike are one state ([`world::encoding`], [`holdfast_core::encoding`]): instants count as ages,
//! and versions, ballots, epochs, boots and runs as distances to the newest. So a cluster at rest after a failover is the
//! same whatever led to it, and the number of states is finite. The encoding forgets sentences and the numbers of heartbeats
//! (thus also which of them repeats a report), and what is longer ago than any rule counts.
//!
//! # What is checked
//!
//! In every state, after every step: S1, S2, S3, S4, S6 and the core's own assertions ([`promises`]). S6 is checked of each
//! power proof that a node holds, and of each commit: a group is taken from a node only when it no longer runs there,
//! whatever the proof was; and of each storage proof, that the boot it is held against has no disks. Some states
//! (`--heal-every`) are healed, and then the cluster has to become whole within a minute ([`healing`]): "some owner stays
//! possible", of which stateright's `eventually` would see little in a graph with cycles.
//!
//! # What is not
//!
//! Clock drift and exact coincidence of timers (they fire on a grid of 25 ms), disks that lie, heartbeats lost one by one
//! (links are), groups that fail, the hour in which fencings count (no schedule is that long; the wait that follows from
//! them is there), more than two groups, changes of the configuration, jobs, and groups with roles: their sets and wishes, and the copies that
//! these speak of, would multiply the states of each of these configurations. The simulator (`tests/sim`) has
//! these, without being exhaustive.

pub mod action;
pub mod bounds;
pub mod cli;
pub mod configs;
pub mod healing;
pub mod model;
pub mod promises;
pub mod report;
pub mod setup;
pub mod world;

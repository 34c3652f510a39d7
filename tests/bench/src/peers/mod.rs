//! Configurations of the cluster managers that Holdfast is compared with.

pub mod cib;
pub mod corosync;

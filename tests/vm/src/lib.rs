//! Real kernels under test: two Debian machines in QEMU, each with a hardware watchdog and a management board, and a
//! witness beside them.
//!
//! No KVM, no module of the host's, no daemon: software emulation, a network namespace, and states that were saved once
//! the machines had booted, so that a scenario begins within two seconds.

pub mod beacon;
pub mod bmc;
pub mod client;
pub mod cluster;
pub mod database;
pub mod events;
pub mod guest;
pub mod image;
pub mod lab;
pub mod ledger;
pub mod machine;
pub mod net;
pub mod place;
pub mod power;
pub mod qemu;
pub mod qmp;
pub mod saved;
pub mod scenarios;
pub mod vm;
pub mod watch;
pub mod witness;

pub use holdfast_lab::{reaper, sh};

//! Tests of the program `hactl` as an operator or a script runs it.

mod acting;
mod demo;
mod drill;
mod files;
mod looking;
mod sbd;
mod support;

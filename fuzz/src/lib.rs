//! The checks behind the fuzz targets: one module per target, each with `check(bytes)`, which panics when a property does
//! not hold. `seeds` makes the first corpus of each from real encodings.
//!
//! Properties beyond "no panic": what decodes encodes back and is the same ([`sameness`]), memory stays in proportion to
//! the input ([`memory`]), text for people holds no control characters ([`text`]), secrets stay out of it ([`config`]).

pub mod address;
pub mod agent;
pub mod calendar;
pub mod config;
pub mod control;
pub mod core;
pub mod edit;
pub mod erlang;
pub mod frame;
pub mod hello;
pub mod join;
pub mod keys;
pub mod memory;
pub mod message;
pub mod metadata;
pub mod mysql;
pub mod netlink;
pub mod ocf;
pub mod output;
pub mod redis;
pub mod sameness;
pub mod samples;
pub mod saved;
pub mod sbd;
pub mod seed;
pub mod seeds;
pub mod services;
pub mod store;
pub mod stream;
pub mod text;

//! The tests of the redis agent once more, with Valkey.

#![allow(missing_docs)]

#[path = "redis.rs"]
mod redis;

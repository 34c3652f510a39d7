//! The mysqld agent with real servers: MariaDB from Debian, MySQL from Debian sid where it was unpacked. Needs root, skips by
//! name what is not there.

#![allow(missing_docs)]

mod certificates;
#[path = "../netns/mod.rs"]
mod netns;
mod node;
mod pair;
mod replication;
mod seed;
mod server;
mod storage;
mod way;

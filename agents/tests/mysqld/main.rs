//! The mysqld agent with real servers: MariaDB from Debian, MySQL from Debian sid where it was unpacked. Needs root, skips by
//! name what is not there.

#![allow(missing_docs)]
#![allow(dead_code)] // The tests of replication use the rest.

mod node;
mod server;
mod storage;

//! Calls functions in a running Erlang node, as `rabbitmqctl` does, without starting an Erlang VM for each call: a hidden node
//! that connects, proves that it knows the cookie, and sends what `rpc:call` sends.
//!
//! - [`term`]: the terms; [`node`]: the connection; [`handshake`]: how it begins.

pub mod handshake;
pub mod node;
pub mod term;

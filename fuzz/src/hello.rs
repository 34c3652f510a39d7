//! The first words on a connection, from whoever holds any key.

use holdfast_proto::wire::{Hello, HelloReply};

use crate::memory::bounded;
use crate::sameness::settled;
use crate::text::one_line;

/// Decodes the bytes as a hello and as its answer.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    match bounded(data.len(), 16, || Hello::decode(data)) {
        Ok(hello) => one_line(&hello.daemon_version),
        Err(error) => one_line(&error.to_string()),
    }
    settled(data, Hello::decode, Hello::encode);
    match bounded(data.len(), 16, || HelloReply::decode(data)) {
        Ok(HelloReply::Accepted { daemon_version, .. }) => one_line(&daemon_version),
        Ok(HelloReply::Refused { sentence, .. }) => one_line(&sentence),
        Err(error) => one_line(&error.to_string()),
    }
    settled(data, HelloReply::decode, HelloReply::encode);
    // What the other side says as a reason when it closes a connection.
    one_line(&holdfast_daemon::net::clean(data));
}

//! How a machine becomes a member: one token, made on a member, carried by the operator, valid once and for an hour.
//!
//! The token holds the member's addresses, the pin of its key (so that the newcomer knows whom it talks to), and a
//! secret (so that the member knows who comes). The newcomer proves its own key in the TLS handshake, over ALPN
//! `holdfast-join/1` on the port of the peer protocol. The member commits a configuration with the newcomer in it and
//! answers with its text.

mod client;
mod member;
pub(crate) mod protocol;
mod server;
mod token;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use holdfast_proto::config::KeyPin;
use tokio::sync::oneshot;

pub use client::{JoinArgs, join};
pub use member::{NewMember, append_member};
pub(crate) use server::serve;
pub use token::{JoinTokens, Token, TokenError};

/// ALPN identifier of the join protocol.
pub const ALPN: &[u8] = b"holdfast-join/1";

/// Somebody showed a valid token and wants to become a member. The token is spent when the answer is `Ok`.
#[derive(Debug)]
pub struct JoinRequest {
    /// Who, with which addresses and key.
    pub member: NewMember,
    /// The answer: the text of the committed configuration, or a sentence that says why not.
    pub reply: oneshot::Sender<Result<String, String>>,
}

impl JoinRequest {
    /// Name of the newcomer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.member.name
    }

    /// Pin of the key that it proved to hold.
    #[must_use]
    pub fn pin(&self) -> KeyPin {
        self.member.pin
    }

    /// Its addresses.
    #[must_use]
    pub fn links(&self) -> &[IpAddr] {
        &self.member.links
    }
}

//! The application hello: who dials, whom, and for what. A peer is up only after it was answered.

use std::fmt;

use super::schema::{AcceptedHelloWire, HelloAnswer, HelloReplyWire, HelloWire, RefusedHelloWire};
use super::{FIELDS_MAX, WireError, boot, bounded, invalid, node, required};
use crate::ids::{ClusterId, Incarnation, NodeId};
use crate::peer::Sender;

/// Longest version string or sentence taken from a stranger.
const TEXT_BYTES_MAX: usize = 1024;

/// First message on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The cluster that the dialler belongs to.
    pub cluster: ClusterId,
    /// The dialler, in its boot and run.
    pub from: Sender,
    /// Whom it means to reach.
    pub to: NodeId,
    /// Version of its `had`, for people.
    pub daemon_version: String,
    /// Version of its codec.
    pub wire_version: u32,
    /// Index of the link in the node's `links`.
    pub link: u8,
    /// What the connection carries.
    pub purpose: Purpose,
}

/// What a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Heartbeats, on datagrams.
    Beats,
    /// Messages, on streams.
    Messages,
}

/// The answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelloReply {
    /// Welcome.
    Accepted {
        /// The answerer, in its boot and run.
        from: Sender,
        /// Version of its `had`.
        daemon_version: String,
        /// Version of its codec.
        wire_version: u32,
    },
    /// Not welcome.
    Refused {
        /// Why, for programs.
        refusal: Refusal,
        /// Why, and what to do about it, for people.
        sentence: String,
    },
}

/// Why a hello was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The dialler belongs to another cluster.
    WrongCluster,
    /// The dialler meant to reach somebody else.
    WrongNode,
    /// The dialler is not in the configuration.
    UnknownNode,
    /// The dialler's key is not the one that the configuration pins for it.
    WrongKey,
    /// No codec in common.
    WrongVersion,
    /// The answerer cannot take another connection now.
    Busy,
}

impl Refusal {
    const ALL: [Refusal; 6] = [
        Refusal::WrongCluster,
        Refusal::WrongNode,
        Refusal::UnknownNode,
        Refusal::WrongKey,
        Refusal::WrongVersion,
        Refusal::Busy,
    ];

    /// The stable word for it, on the wire and in output.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::WrongCluster => "wrong-cluster",
            Refusal::WrongNode => "wrong-node",
            Refusal::UnknownNode => "unknown-node",
            Refusal::WrongKey => "wrong-key",
            Refusal::WrongVersion => "wrong-version",
            Refusal::Busy => "busy",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Hello {
    /// The hello as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let purpose = match self.purpose {
            Purpose::Beats => 1,
            Purpose::Messages => 2,
        };
        prost::Message::encode_to_vec(&HelloWire {
            cluster: self.cluster.0,
            from: Some(self.from.node.0.into()),
            to: Some(self.to.0.into()),
            boot: Some(self.from.boot.into()),
            incarnation: self.from.incarnation.0,
            daemon_version: self.daemon_version.clone(),
            wire_version: self.wire_version,
            link: self.link.into(),
            purpose,
        })
    }

    /// The hello in `bytes`.
    ///
    /// # Errors
    /// When the bytes do not decode, or lack or misuse a field.
    pub fn decode(bytes: &[u8]) -> Result<Hello, WireError> {
        let wire: HelloWire = bounded(bytes, FIELDS_MAX, "hello")?;
        let purpose = match wire.purpose {
            0 => return Err(WireError::Missing("hello.purpose")),
            1 => Purpose::Beats,
            2 => Purpose::Messages,
            other => return Err(invalid("hello.purpose", other)),
        };
        Ok(Hello {
            cluster: ClusterId(wire.cluster),
            from: Sender {
                node: node(wire.from, "hello.from")?,
                boot: boot(wire.boot, "hello.boot")?,
                incarnation: Incarnation(wire.incarnation),
            },
            to: node(wire.to, "hello.to")?,
            daemon_version: short_text(wire.daemon_version, "hello.daemon_version")?,
            wire_version: wire.wire_version,
            link: u8::try_from(wire.link).map_err(|_| invalid("hello.link", wire.link))?,
            purpose,
        })
    }
}

impl HelloReply {
    /// The answer as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let answer = match self {
            HelloReply::Accepted {
                from,
                daemon_version,
                wire_version,
            } => HelloAnswer::Accepted(AcceptedHelloWire {
                node: Some(from.node.0.into()),
                boot: Some(from.boot.into()),
                incarnation: from.incarnation.0,
                daemon_version: daemon_version.clone(),
                wire_version: *wire_version,
            }),
            HelloReply::Refused { refusal, sentence } => HelloAnswer::Refused(RefusedHelloWire {
                code: refusal.as_str().into(),
                sentence: sentence.clone(),
            }),
        };
        prost::Message::encode_to_vec(&HelloReplyWire { answer: Some(answer) })
    }

    /// The answer in `bytes`.
    ///
    /// # Errors
    /// When the bytes do not decode, or lack or misuse a field.
    pub fn decode(bytes: &[u8]) -> Result<HelloReply, WireError> {
        let wire: HelloReplyWire = bounded(bytes, FIELDS_MAX, "hello reply")?;
        match required(wire.answer, "hello_reply.answer")? {
            HelloAnswer::Accepted(accepted) => Ok(HelloReply::Accepted {
                from: Sender {
                    node: node(accepted.node, "hello_reply.node")?,
                    boot: boot(accepted.boot, "hello_reply.boot")?,
                    incarnation: Incarnation(accepted.incarnation),
                },
                daemon_version: short_text(accepted.daemon_version, "hello_reply.daemon_version")?,
                wire_version: accepted.wire_version,
            }),
            HelloAnswer::Refused(refused) => {
                let known = Refusal::ALL
                    .into_iter()
                    .find(|refusal| refusal.as_str() == refused.code);
                Ok(HelloReply::Refused {
                    refusal: known.ok_or_else(|| invalid("hello_reply.code", refused.code.escape_debug()))?,
                    sentence: short_text(refused.sentence, "hello_reply.sentence")?,
                })
            }
        }
    }
}

/// Text that ends up in logs and on terminals: bounded, and no control characters.
fn short_text(text: String, field: &'static str) -> Result<String, WireError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(invalid(field, format_args!("{} bytes", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(field, "it holds control characters"));
    }
    Ok(text)
}

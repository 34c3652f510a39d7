//! The codec of everything peers say that is not a heartbeat: protobuf, with conversions to the native types.
//!
//! Bounded twice: no message is longer than [`MESSAGE_BYTES_MAX`], and no list has more entries than a cluster
//! can have, which is counted before anything is allocated for them. Lists travel as encoded entries
//! (`bytes`), so that each level is counted and decoded on its own.

mod hello;
mod job;
mod message;
mod operator;
mod schema;
mod state;
mod version;

#[cfg(test)]
mod tests;

use std::time::Duration;

use prost::encoding::{DecodeContext, decode_key, skip_field};

pub use hello::{Hello, HelloReply, Purpose, Refusal};
pub use version::{WIRE_VERSION, common_version};

use crate::MESSAGE_BYTES_MAX;
use crate::config::{GROUPS_MAX, JOBS_MAX};
use crate::ids::{Ballot, BootId, NUMBER_MAX, NodeId, VoterSet};
use crate::peer::Message;
use crate::state::ClusterState;

/// Fields of one message that is no list of groups.
const FIELDS_MAX: usize = 64;
/// Fields of one list of groups: those of the configuration, those still to be stopped that left it, and the rest.
const LIST_FIELDS_MAX: usize = 2 * (GROUPS_MAX + JOBS_MAX) + FIELDS_MAX;

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Beyond the limit.
    #[error("a message of {bytes} bytes is longer than the limit of {MESSAGE_BYTES_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// More entries than a cluster can have.
    #[error("{what} has more than {max} fields")]
    TooMany {
        /// What was being decoded.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// Not protobuf, or not of this type.
    #[error("{what} does not decode: {source}")]
    Malformed {
        /// What was being decoded.
        what: &'static str,
        /// What prost found.
        source: prost::DecodeError,
    },
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field holds a value that it cannot have.
    #[error("{field} is invalid: {value}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// The configuration inside does not parse.
    #[error("the configuration inside is refused: {0}")]
    Config(String),
}

/// `message` as bytes.
#[must_use]
pub fn encode(message: &Message) -> Vec<u8> {
    prost::Message::encode_to_vec(&schema::MessageWire::from(message))
}

/// The message in `bytes`.
///
/// # Errors
/// When the bytes are too long, do not decode, or lack or misuse a field.
pub fn decode(bytes: &[u8]) -> Result<Message, WireError> {
    bounded::<schema::MessageWire>(bytes, FIELDS_MAX, "message")?.try_into()
}

/// `state` as bytes.
#[must_use]
pub fn encode_state(state: &ClusterState) -> Vec<u8> {
    prost::Message::encode_to_vec(&schema::StateWire::from(state))
}

/// The cluster state in `bytes`. Parses the configuration that it carries.
///
/// # Errors
/// As [`decode`], and when the configuration does not parse.
pub fn decode_state(bytes: &[u8]) -> Result<ClusterState, WireError> {
    bounded::<schema::StateWire>(bytes, LIST_FIELDS_MAX, "state")?.try_into()
}

/// Decodes after counting the fields, so that a short message cannot claim memory for millions of entries.
fn bounded<M: prost::Message + Default>(
    bytes: &[u8],
    fields_max: usize,
    what: &'static str,
) -> Result<M, WireError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(WireError::TooLong { bytes: bytes.len() });
    }
    let malformed = |source| WireError::Malformed { what, source };
    let mut rest = bytes;
    let mut fields = 0;
    while !rest.is_empty() {
        fields += 1;
        if fields > fields_max {
            return Err(WireError::TooMany {
                what,
                max: fields_max,
            });
        }
        let (tag, wire_type) = decode_key(&mut rest).map_err(malformed)?;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(malformed)?;
    }
    M::decode(bytes).map_err(malformed)
}

fn invalid(field: &'static str, value: impl std::fmt::Display) -> WireError {
    WireError::Invalid {
        field,
        value: value.to_string(),
    }
}

fn required<T>(value: Option<T>, field: &'static str) -> Result<T, WireError> {
    value.ok_or(WireError::Missing(field))
}

/// A member's number. Optional on the wire, because 0 is the witness and must not stand for "absent".
fn node(number: Option<u32>, field: &'static str) -> Result<NodeId, WireError> {
    let number = required(number, field)?;
    match u8::try_from(number) {
        Ok(small) if small <= NodeId::DATA_MAX => Ok(NodeId(small)),
        _ => Err(invalid(field, number)),
    }
}

fn voters(bits: u32, field: &'static str) -> Result<VoterSet, WireError> {
    let known = (1u32 << (NodeId::DATA_MAX + 1)) - 1;
    if bits & !known != 0 {
        Err(invalid(field, format!("{bits:#x}")))
    } else {
        Ok(VoterSet(bits))
    }
}

fn ballot(wire: Option<schema::BallotWire>, field: &'static str) -> Result<Ballot, WireError> {
    let wire = required(wire, field)?;
    counted(wire.round, field)?;
    Ok(Ballot {
        round: wire.round,
        node: node(wire.node, field)?.0,
    })
}

/// A number that is counted up by one.
fn counted(number: u64, field: &'static str) -> Result<u64, WireError> {
    if number > NUMBER_MAX {
        return Err(invalid(field, number));
    }
    Ok(number)
}

fn boot(wire: Option<schema::BootWire>, field: &'static str) -> Result<BootId, WireError> {
    required(wire, field).map(boot_of)
}

fn boot_of(wire: schema::BootWire) -> BootId {
    BootId(u128::from(wire.high) << 64 | u128::from(wire.low))
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

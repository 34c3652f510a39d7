//! The heartbeat frame: one datagram, fixed size, checked before it is decoded.
//!
//! Layout: version (1 byte), kind (1 byte), body, CRC-32 of all before it (4 bytes, little-endian). The body
//! is bincode's `legacy()` layout, that is little-endian integers of fixed width. bincode is unmaintained
//! (see deny.toml), so it is kept on a short chain: this module alone uses it, for structs of fixed size
//! only, below a limit, after version, length and checksum were found right. Golden bytes in the tests
//! fix the format, so that another encoder can take its place without a change on the wire.

use std::time::Duration;

use crate::ids::{Ballot, BootId, ClusterId, Incarnation, NUMBER_MAX, NodeId};
use crate::peer::{Beat, Heartbeat, HeartbeatAck, Sender, WITHHELD_MAX};
use crate::time::Time;

/// Version of the layout.
pub const FRAME_VERSION: u8 = 1;
/// Bytes of a heartbeat frame.
pub const HEARTBEAT_BYTES: usize = HEAD_BYTES + ADDRESS_BYTES + HEARTBEAT_BODY_BYTES + CRC_BYTES;
/// Bytes of an answer's frame.
pub const ACK_BYTES: usize = HEAD_BYTES + ADDRESS_BYTES + ACK_BODY_BYTES + CRC_BYTES;
/// Bytes of the longest frame: what a receive buffer must hold.
pub const FRAME_BYTES_MAX: usize = if ACK_BYTES > HEARTBEAT_BYTES {
    ACK_BYTES
} else {
    HEARTBEAT_BYTES
};

const HEAD_BYTES: usize = 2;
const ADDRESS_BYTES: usize = 8 + 1 + 1 + 16 + 8;
const HEARTBEAT_BODY_BYTES: usize = 8 + 8 + 8 + 8 + 1 + 8 + 1 + 8 + 1;
const ACK_BODY_BYTES: usize = 8 + 8 + 8 + 1 + 8 + 8 + 8 * WITHHELD_MAX + 8 + 1;
const CRC_BYTES: usize = 4;

const KIND_HEARTBEAT: u8 = 1;
const KIND_ACK: u8 = 2;

/// A heartbeat or its answer, with who it is from and for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The cluster both belong to.
    pub cluster: ClusterId,
    /// Whom it is for.
    pub to: NodeId,
    /// Who sent it.
    pub from: Sender,
    /// What it says.
    pub beat: Beat,
}

/// Why a datagram is not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// No frame has this length.
    #[error("{0} bytes is not the length of a heartbeat frame of its kind")]
    Length(usize),
    /// Written by a version that this one does not read.
    #[error("heartbeat frame version {0} is not {FRAME_VERSION}")]
    Version(u8),
    /// Neither heartbeat nor answer.
    #[error("heartbeat frame kind {0} is unknown")]
    Kind(u8),
    /// Damaged.
    #[error("heartbeat frame checksum is wrong")]
    Checksum,
    /// The checksum is right and a field is not.
    #[error("heartbeat frame field {0} is invalid")]
    Field(&'static str),
}

/// bincode, with the layout and the limit that this module allows it.
fn layout() -> impl bincode::config::Config {
    bincode::config::legacy().with_limit::<FRAME_BYTES_MAX>()
}

#[derive(bincode::Encode, bincode::Decode)]
struct AddressRaw {
    cluster: u64,
    to: u8,
    from: u8,
    boot: u128,
    incarnation: u64,
}

#[derive(bincode::Encode, bincode::Decode)]
struct HeartbeatRaw {
    seq: u64,
    sent_at_us: u64,
    lateness_us: u64,
    ballot_round: u64,
    ballot_node: u8,
    committed: u64,
    survivor: u8,
    watchdog_us: u64,
    flags: u8,
}

/// Bits of [`HeartbeatRaw::flags`].
mod heartbeat_flag {
    pub const LEADING: u8 = 1;
    pub const SYNCED: u8 = 2;
    pub const BLANK: u8 = 4;
    pub const WATCHDOG: u8 = 8;
    pub const AGENT_READY: u8 = 16;
    pub const ALL: u8 = 31;
}

#[derive(bincode::Encode, bincode::Decode)]
struct AckRaw {
    seq: u64,
    sent_at_us: u64,
    ballot_round: u64,
    ballot_node: u8,
    lease_left_us: u64,
    granted: u64,
    withheld: [u64; WITHHELD_MAX],
    committed: u64,
    flags: u8,
}

/// Bits of [`AckRaw::flags`].
mod ack_flag {
    pub const BACKS: u8 = 1;
    pub const WITHHOLD_ALL: u8 = 2;
    pub const BLANK: u8 = 4;
    pub const ALL: u8 = 7;
}

/// `frame` as one datagram.
#[must_use]
pub fn encode(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FRAME_BYTES_MAX);
    let kind = match frame.beat {
        Beat::Heartbeat(_) => KIND_HEARTBEAT,
        Beat::Ack(_) => KIND_ACK,
    };
    bytes.extend([FRAME_VERSION, kind]);
    append(&mut bytes, &AddressRaw::from(frame));
    match &frame.beat {
        Beat::Heartbeat(heartbeat) => append(&mut bytes, &HeartbeatRaw::from(heartbeat)),
        Beat::Ack(ack) => append(&mut bytes, &AckRaw::from(ack)),
    }
    let crc = crc32fast::hash(&bytes);
    bytes.extend(crc.to_le_bytes());
    bytes
}

/// Appends a struct of fixed size.
fn append(bytes: &mut Vec<u8>, raw: &impl bincode::Encode) {
    let mut space = [0u8; FRAME_BYTES_MAX];
    let written = bincode::encode_into_slice(raw, &mut space, layout())
        .expect("integers of fixed width always fit the longest frame");
    bytes.extend_from_slice(&space[..written]);
}

/// The frame in one datagram.
///
/// # Errors
/// When the datagram is of another version, length or kind, is damaged, or holds an impossible value.
pub fn decode(bytes: &[u8]) -> Result<Frame, FrameError> {
    let &[version, kind, ..] = bytes else {
        return Err(FrameError::Length(bytes.len()));
    };
    if version != FRAME_VERSION {
        return Err(FrameError::Version(version));
    }
    let expected_bytes = match kind {
        KIND_HEARTBEAT => HEARTBEAT_BYTES,
        KIND_ACK => ACK_BYTES,
        _ => return Err(FrameError::Kind(kind)),
    };
    if bytes.len() != expected_bytes {
        return Err(FrameError::Length(bytes.len()));
    }
    let (covered, crc) = bytes.split_at(expected_bytes - CRC_BYTES);
    if crc32fast::hash(covered).to_le_bytes() != crc {
        return Err(FrameError::Checksum);
    }
    let (address, body) = covered[HEAD_BYTES..].split_at(ADDRESS_BYTES);
    let address: AddressRaw = exactly(address)?;
    let beat = if kind == KIND_HEARTBEAT {
        Beat::Heartbeat(exactly::<HeartbeatRaw>(body)?.try_into()?)
    } else {
        Beat::Ack(exactly::<AckRaw>(body)?.try_into()?)
    };
    Ok(Frame {
        cluster: ClusterId(address.cluster),
        to: member(address.to, "to")?,
        from: Sender {
            node: member(address.from, "from")?,
            boot: BootId(address.boot),
            incarnation: Incarnation(address.incarnation),
        },
        beat,
    })
}

/// Decodes a struct that must use up all of `bytes`.
fn exactly<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<T, FrameError> {
    match bincode::decode_from_slice(bytes, layout()) {
        Ok((raw, used)) if used == bytes.len() => Ok(raw),
        _ => Err(FrameError::Length(bytes.len())),
    }
}

fn member(number: u8, field: &'static str) -> Result<NodeId, FrameError> {
    if number > NodeId::DATA_MAX {
        Err(FrameError::Field(field))
    } else {
        Ok(NodeId(number))
    }
}

fn ballot(round: u64, node: u8) -> Result<Ballot, FrameError> {
    if round > NUMBER_MAX {
        return Err(FrameError::Field("ballot"));
    }
    Ok(Ballot {
        round,
        node: member(node, "ballot")?.0,
    })
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

impl From<&Frame> for AddressRaw {
    fn from(frame: &Frame) -> Self {
        AddressRaw {
            cluster: frame.cluster.0,
            to: frame.to.0,
            from: frame.from.node.0,
            boot: frame.from.boot.0,
            incarnation: frame.from.incarnation.0,
        }
    }
}

impl From<&Heartbeat> for HeartbeatRaw {
    fn from(beat: &Heartbeat) -> Self {
        HeartbeatRaw {
            seq: beat.seq,
            sent_at_us: beat.sent_at.0,
            lateness_us: micros(beat.lateness),
            ballot_round: beat.ballot.round,
            ballot_node: beat.ballot.node,
            committed: beat.committed,
            survivor: beat.survivor.0,
            watchdog_us: beat.watchdog.map_or(0, micros),
            flags: flag(beat.leading, heartbeat_flag::LEADING)
                | flag(beat.synced, heartbeat_flag::SYNCED)
                | flag(beat.blank, heartbeat_flag::BLANK)
                | flag(beat.watchdog.is_some(), heartbeat_flag::WATCHDOG)
                | flag(beat.agent_ready, heartbeat_flag::AGENT_READY),
        }
    }
}

impl TryFrom<HeartbeatRaw> for Heartbeat {
    type Error = FrameError;
    fn try_from(raw: HeartbeatRaw) -> Result<Self, FrameError> {
        let armed = raw.flags & heartbeat_flag::WATCHDOG != 0;
        if raw.flags & !heartbeat_flag::ALL != 0 {
            return Err(FrameError::Field("flags"));
        }
        if !armed && raw.watchdog_us != 0 {
            return Err(FrameError::Field("watchdog"));
        }
        Ok(Heartbeat {
            seq: raw.seq,
            sent_at: Time(raw.sent_at_us),
            lateness: Duration::from_micros(raw.lateness_us),
            ballot: ballot(raw.ballot_round, raw.ballot_node)?,
            leading: raw.flags & heartbeat_flag::LEADING != 0,
            committed: raw.committed,
            synced: raw.flags & heartbeat_flag::SYNCED != 0,
            blank: raw.flags & heartbeat_flag::BLANK != 0,
            survivor: member(raw.survivor, "survivor")?,
            watchdog: armed.then(|| Duration::from_micros(raw.watchdog_us)),
            agent_ready: raw.flags & heartbeat_flag::AGENT_READY != 0,
        })
    }
}

impl From<&HeartbeatAck> for AckRaw {
    fn from(ack: &HeartbeatAck) -> Self {
        AckRaw {
            seq: ack.seq,
            sent_at_us: ack.sent_at.0,
            ballot_round: ack.ballot.round,
            ballot_node: ack.ballot.node,
            lease_left_us: micros(ack.lease_left),
            granted: ack.granted,
            withheld: ack.withheld,
            committed: ack.committed,
            flags: flag(ack.backs, ack_flag::BACKS)
                | flag(ack.withhold_all, ack_flag::WITHHOLD_ALL)
                | flag(ack.blank, ack_flag::BLANK),
        }
    }
}

impl TryFrom<AckRaw> for HeartbeatAck {
    type Error = FrameError;
    fn try_from(raw: AckRaw) -> Result<Self, FrameError> {
        if raw.flags & !ack_flag::ALL != 0 {
            return Err(FrameError::Field("flags"));
        }
        Ok(HeartbeatAck {
            seq: raw.seq,
            sent_at: Time(raw.sent_at_us),
            ballot: ballot(raw.ballot_round, raw.ballot_node)?,
            backs: raw.flags & ack_flag::BACKS != 0,
            lease_left: Duration::from_micros(raw.lease_left_us),
            granted: raw.granted,
            withheld: raw.withheld,
            withhold_all: raw.flags & ack_flag::WITHHOLD_ALL != 0,
            committed: raw.committed,
            blank: raw.flags & ack_flag::BLANK != 0,
        })
    }
}

#[cfg(test)]
mod tests;

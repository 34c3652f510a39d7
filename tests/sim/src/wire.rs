//! What travels, as bytes: the real codec, in the version that both sides speak.
//!
//! There is one version yet, so the next ones are made up here, and each uses what a next version may: another layout of
//! the heartbeat frame, which an older reader refuses, and fields that an older reader does not know and has to skip.

use holdfast_proto::frame::{self, Frame};
use holdfast_proto::ids::{ClusterId, NodeId};
use holdfast_proto::peer::{Beat, Message, Sender};
use holdfast_proto::wire;

/// Field numbers that version 1 does not know: a number, and bytes.
const LATER_NUMBER: u32 = 500;
const LATER_BYTES: u32 = 501;
/// Bytes that the frame of a later version holds beyond those of version 1.
const LATER_FRAME_BYTES: usize = 8;
const CRC_BYTES: usize = 4;

/// A heartbeat as it arrives: written in version `spoken`, read again.
///
/// # Errors
/// What the reader says of the bytes.
pub fn carry_beat(
    spoken: u32,
    cluster: ClusterId,
    from: Sender,
    to: NodeId,
    beat: Beat,
) -> Result<Beat, String> {
    let frame = Frame {
        cluster,
        to,
        from,
        beat,
    };
    let bytes = frame::encode(&frame);
    let read = if spoken == wire::WIRE_VERSION {
        frame::decode(&bytes).map_err(|error| error.to_string())?
    } else {
        read_later(spoken, &later_frame(spoken, &bytes))?
    };
    if read == frame {
        Ok(read.beat)
    } else {
        Err(format!("{frame:?} arrived as {read:?}"))
    }
}

/// A message as it arrives: a writer of a later version leaves in it what older readers skip.
///
/// # Errors
/// What the reader says of the bytes.
pub fn carry_message(writer: u32, message: &Message) -> Result<Message, String> {
    let mut bytes = wire::encode(message);
    if writer > wire::WIRE_VERSION {
        append_later_fields(writer, &mut bytes);
    }
    wire::decode(&bytes).map_err(|error| error.to_string())
}

fn append_later_fields(version: u32, bytes: &mut Vec<u8>) {
    let key = |number: u32, wire_type: u32| number << 3 | wire_type;
    varint(key(LATER_NUMBER, 0), bytes);
    varint(version, bytes);
    varint(key(LATER_BYTES, 2), bytes);
    let text = b"what later versions say";
    varint(text.len() as u32, bytes);
    bytes.extend_from_slice(text);
}

fn varint(mut value: u32, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// The frame of a later version: its number, more bytes at the end, and a checksum of all.
fn later_frame(version: u32, bytes: &[u8]) -> Vec<u8> {
    let mut later = bytes[..bytes.len() - CRC_BYTES].to_vec();
    later[0] = version as u8;
    later.extend([version as u8; LATER_FRAME_BYTES]);
    let crc = crc32fast::hash(&later);
    later.extend(crc.to_le_bytes());
    later
}

fn read_later(version: u32, bytes: &[u8]) -> Result<Frame, String> {
    let Some((covered, crc)) = bytes.split_last_chunk::<CRC_BYTES>() else {
        return Err("it is too short".into());
    };
    let known = covered.len().checked_sub(LATER_FRAME_BYTES);
    let known = known.ok_or("it is too short")?;
    if covered[0] != version as u8 || crc32fast::hash(covered).to_le_bytes() != *crc {
        return Err("it is of another version, or damaged".into());
    }
    let mut first = covered[..known].to_vec();
    first[0] = frame::FRAME_VERSION;
    let crc = crc32fast::hash(&first);
    first.extend(crc.to_le_bytes());
    frame::decode(&first).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::frame::FrameError;
    use holdfast_proto::ids::{Ballot, BootId, Incarnation};
    use holdfast_proto::peer::{HeartbeatAck, WITHHELD_MAX};

    fn ack() -> Frame {
        Frame {
            cluster: ClusterId(7),
            to: NodeId(1),
            from: Sender {
                node: NodeId(2),
                boot: BootId(5),
                incarnation: Incarnation(9),
            },
            beat: Beat::Ack(HeartbeatAck {
                seq: 3,
                sent_at: holdfast_proto::time::Time(4),
                ballot: Ballot { round: 2, node: 1 },
                backs: true,
                lease_left: std::time::Duration::from_millis(20),
                granted: 6,
                withheld: [0; WITHHELD_MAX],
                withhold_all: false,
                committed: 6,
                blank: false,
            }),
        }
    }

    #[test]
    fn a_later_frame_is_refused_by_its_version_and_read_by_those_who_speak_it() {
        let later = later_frame(2, &frame::encode(&ack()));
        assert_eq!(frame::decode(&later), Err(FrameError::Version(2)));
        assert_eq!(read_later(2, &later), Ok(ack()));
        assert!(read_later(3, &later).is_err());
    }

    #[test]
    fn fields_of_a_later_version_are_skipped() {
        let ballot = Ballot { round: 8, node: 2 };
        let message = Message::Transfer { ballot };
        assert_eq!(carry_message(2, &message), Ok(message.clone()));
        assert_eq!(carry_message(1, &message), Ok(message));
    }
}

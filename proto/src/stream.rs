//! Length-delimited messages on a byte stream: a u32 in network order, then the body.
//!
//! Pure: the caller reads and writes. Used on the control socket, the agent socket and QUIC streams.

use bytes::{Buf, BytesMut};

use crate::MESSAGE_BYTES_MAX;

/// Bytes of the length in front of each message.
const LENGTH_BYTES: usize = 4;

/// Why a stream cannot be read on. The only thing left to do is to close it.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The length in front of a message is beyond the limit.
    #[error("a message of {bytes} bytes was announced, the limit is {MESSAGE_BYTES_MAX}")]
    TooLong {
        /// The length announced.
        bytes: usize,
    },
    /// The body is not the message that was expected.
    #[error("a message of {bytes} bytes does not decode: {source}")]
    Malformed {
        /// Length of the body.
        bytes: usize,
        /// What prost found.
        source: prost::DecodeError,
    },
}

/// `message` as it goes out: length and body.
#[must_use]
pub fn frame_message<M: prost::Message>(message: &M) -> Vec<u8> {
    let body_bytes = message.encoded_len();
    let mut framed = Vec::with_capacity(LENGTH_BYTES + body_bytes);
    framed.extend_from_slice(&length_prefix(body_bytes));
    message.encode_raw(&mut framed);
    framed
}

/// An already encoded body as it goes out: length and body.
#[must_use]
pub fn frame_bytes(body: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(LENGTH_BYTES + body.len());
    framed.extend_from_slice(&length_prefix(body.len()));
    framed.extend_from_slice(body);
    framed
}

/// The length of a body that cannot be expressed is sent as one that every reader refuses.
fn length_prefix(body_bytes: usize) -> [u8; LENGTH_BYTES] {
    u32::try_from(body_bytes).unwrap_or(u32::MAX).to_be_bytes()
}

/// Cuts a byte stream into messages.
///
/// Push what was read, then take messages until there is none. Reading in pieces and emptying the deframer
/// after each keeps its buffer at one message and one piece at most.
#[derive(Debug, Default)]
pub struct Deframer {
    buffer: BytesMut,
}

impl Deframer {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes that were read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// True when the stream may end here: no message is half read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next message, if all of it was pushed.
    ///
    /// # Errors
    /// When the length is beyond the limit or the body does not decode.
    #[allow(
        clippy::should_implement_trait,
        reason = "the type of each message is the caller's to choose"
    )]
    pub fn next<M: prost::Message + Default>(&mut self) -> Result<Option<M>, StreamError> {
        let Some(body) = self.next_bytes()? else {
            return Ok(None);
        };
        let bytes = body.len();
        M::decode(body.freeze())
            .map(Some)
            .map_err(|source| StreamError::Malformed { bytes, source })
    }

    /// The next body, if all of it was pushed.
    ///
    /// # Errors
    /// When the length is beyond the limit.
    pub fn next_bytes(&mut self) -> Result<Option<BytesMut>, StreamError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let bytes = u32::from_be_bytes(*prefix) as usize;
        if bytes > MESSAGE_BYTES_MAX {
            return Err(StreamError::TooLong { bytes });
        }
        if self.buffer.len() < LENGTH_BYTES + bytes {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{ErrorView, GroupRequest};

    fn message(text: &str) -> GroupRequest {
        GroupRequest { group: text.into() }
    }

    #[test]
    fn messages_survive_any_cut_of_the_stream() {
        let mut stream = frame_message(&message("mysql"));
        stream.extend(frame_message(&message("")));
        stream.extend(frame_message(&message(&"x".repeat(70_000))));
        for piece_bytes in [1, 3, 4, 5, 4096, stream.len()] {
            let mut deframer = Deframer::new();
            let mut lengths = Vec::new();
            for piece in stream.chunks(piece_bytes) {
                deframer.push(piece);
                while let Some(next) = deframer.next::<GroupRequest>().unwrap() {
                    lengths.push(next.group.len());
                }
            }
            assert_eq!(lengths, [5, 0, 70_000]);
            assert!(deframer.is_empty());
        }
    }

    #[test]
    fn a_huge_length_is_refused_before_its_body_arrives() {
        let mut deframer = Deframer::new();
        deframer.push(&u32::MAX.to_be_bytes());
        let error = deframer.next::<GroupRequest>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a message of 4294967295 bytes was announced, the limit is 4194304"
        );
    }

    #[test]
    fn a_body_of_another_type_is_an_error() {
        let mut deframer = Deframer::new();
        deframer.push(&frame_bytes(&[0x0a, 0x7f, 0x00]));
        assert!(matches!(
            deframer.next::<ErrorView>(),
            Err(StreamError::Malformed { bytes: 3, .. })
        ));
    }
}

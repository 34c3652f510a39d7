//! Cutting a byte stream into messages, however it arrives.

use holdfast_proto::MESSAGE_BYTES_MAX;
use holdfast_proto::stream::{Deframer, StreamError, frame_bytes};

use crate::memory::bounded;
use crate::text::head;

/// The first byte says in which pieces the rest arrives.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let ([piece], stream) = head(data);
    let whole = cut(stream, stream.len().max(1));
    let pieces = cut(stream, usize::from(piece).max(1));
    assert_eq!(whole, pieces, "the cut of the stream changes its messages");
    // A length that promises megabytes costs nothing until they arrive.
    let (messages, rest, failed) = whole;
    if !failed {
        let mut joined: Vec<u8> = messages.iter().flat_map(|message| frame_bytes(message)).collect();
        joined.extend(&stream[stream.len() - rest..]);
        assert_eq!(joined, stream, "bytes were lost or made up");
    }
}

/// Messages, bytes left over, and whether the stream cannot be read on.
fn cut(stream: &[u8], piece_bytes: usize) -> (Vec<Vec<u8>>, usize, bool) {
    bounded(stream.len(), 8, || {
        let mut deframer = Deframer::new();
        let mut messages = Vec::new();
        let mut taken = 0;
        for piece in stream.chunks(piece_bytes) {
            deframer.push(piece);
            loop {
                match deframer.next_bytes() {
                    Ok(Some(message)) => {
                        taken += 4 + message.len();
                        messages.push(message.to_vec());
                    }
                    Ok(None) => break,
                    Err(StreamError::TooLong { bytes }) => {
                        assert!(bytes > MESSAGE_BYTES_MAX);
                        return (messages, 0, true);
                    }
                    Err(error) => panic!("cutting does not decode: {error}"),
                }
            }
        }
        assert_eq!(deframer.is_empty(), taken == stream.len());
        (messages, stream.len() - taken, false)
    })
}

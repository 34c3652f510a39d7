//! Heartbeat frames: the datagrams that any member may send, and anybody may forge before QUIC drops them.

use holdfast_proto::frame::{self, FRAME_BYTES_MAX};

use crate::memory::bounded;

/// Decodes the bytes as they are, and again with the checksum put right, which chance would never find.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    once(data);
    if let Some(body) = data.len().checked_sub(4).map(|end| &data[..end]) {
        let mut mended = body.to_vec();
        mended.extend(crc32fast::hash(body).to_le_bytes());
        once(&mended);
    }
}

fn once(bytes: &[u8]) {
    let Ok(decoded) = bounded(bytes.len(), 16, || frame::decode(bytes)) else {
        return;
    };
    assert!(bytes.len() <= FRAME_BYTES_MAX);
    // The layout leaves no freedom: what decodes is what would have been written.
    assert_eq!(frame::encode(&decoded), bytes, "two encodings of one frame");
}

//! Messages between members and the cluster state in them.

use holdfast_proto::wire;

use crate::memory::bounded;
use crate::sameness::settled;
use crate::text::one_line;

/// Memory for each byte of a message. A configuration is the dearest part: each of its keys is kept with its place.
const FACTOR: usize = 256;

/// Decodes the bytes as a message and as a state.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    if let Err(error) = bounded(data.len(), FACTOR, || wire::decode(data)) {
        one_line(&error.to_string());
    }
    settled(data, wire::decode, wire::encode);
    if let Err(error) = bounded(data.len(), FACTOR, || wire::decode_state(data)) {
        one_line(&error.to_string());
    }
    settled(data, wire::decode_state, wire::encode_state);
}

//! What decodes must encode to bytes that decode to the same, and encode the same again.

use std::fmt::Debug;

/// Decodes `bytes`; if they are anything, checks that going round changes nothing. Returns what they are.
///
/// # Panics
/// When the second value or the second encoding differs from the first.
pub fn settled<T: PartialEq + Debug, E: Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) -> Option<T> {
    let value = decode(bytes).ok()?;
    let encoded = encode(&value);
    let again = decode(&encoded).expect("what was encoded decodes");
    assert_eq!(value, again, "another value after encoding and decoding");
    assert_eq!(encoded, encode(&again), "another encoding of the same value");
    Some(value)
}

/// [`settled`] for a prost message.
pub fn settled_prost<M: prost::Message + Default + PartialEq>(bytes: &[u8]) -> Option<M> {
    let value = M::decode(bytes).ok()?;
    let encoded = value.encode_to_vec();
    let again = M::decode(encoded.as_slice()).expect("what was encoded decodes");
    // NaN is not itself: bytes are compared, not values.
    assert_eq!(
        encoded,
        again.encode_to_vec(),
        "another encoding of the same value"
    );
    Some(value)
}

//! What the fuzz targets reach.

use super::amqp;

/// Reads what a broker sends.
pub fn frame(bytes: &[u8]) {
    if let Ok(Some((_, length))) = amqp::decode(bytes) {
        assert!(length <= bytes.len());
    }
    let said = amqp::closing(bytes);
    assert!(!said.contains(char::is_control) && said.chars().count() <= 200);
}

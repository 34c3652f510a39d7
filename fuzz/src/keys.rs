//! Key files, and the keys that strangers show.

use holdfast_daemon::fuzzing::spki_of;
use holdfast_daemon::keys::pin_of;
use holdfast_proto::config::KeyPin;

use crate::memory::bounded;
use crate::text::one_line;

/// Reads the bytes as a private key file, and pins them as a public key.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    match bounded(data.len(), 16, || spki_of(data)) {
        Ok(spki) => {
            assert_eq!(spki.len(), 44, "a public key of Ed25519 has 44 bytes");
            assert_eq!(spki_of(data), Ok(spki));
        }
        Err(why) => {
            one_line(&why);
            assert!(why.len() < 100, "a sentence, not the key: {why}");
        }
    }
    let pin = pin_of(data);
    assert_eq!(pin.to_string().parse::<KeyPin>(), Ok(pin));
}

//! Joining: the token that an operator carries, and the two messages that strangers with any key may send.

use holdfast_daemon::fuzzing::{JoinAnswer, JoinCall};
use holdfast_daemon::join::Token;
use holdfast_daemon::tokens::ForceTokens;
use holdfast_proto::time::Time;

use crate::memory::bounded;
use crate::sameness::settled_prost;
use crate::text::one_line;

/// Reads the bytes as the text of a token, as the content of one, and as messages.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        token(text);
        let mut force = ForceTokens::default();
        force.give("abcd-efgh-2345".into(), "s".into(), Time::ZERO);
        let redeemed = force.redeem(text, "s", Time::ZERO).is_ok();
        assert_eq!(redeemed, text.trim() == "abcd-efgh-2345");
        assert!(
            force.redeem("abcd-efgh-2345", "s", Time::ZERO).is_err(),
            "a token was used twice"
        );
    }
    let mut content = data.to_vec();
    content.extend(crc32fast::hash(data).to_be_bytes());
    token(&format!("holdfast1-{}", base32(&content)));
    let _ = bounded(data.len(), 64, || settled_prost::<JoinCall>(data));
    let _ = bounded(data.len(), 64, || settled_prost::<JoinAnswer>(data));
}

fn token(text: &str) {
    match bounded(text.len(), 64, || Token::parse(text)) {
        Ok(token) => {
            let written = token.text();
            assert_eq!(Token::parse(&written).as_ref(), Ok(&token), "another token");
            let secret = &written["holdfast1-".len()..];
            assert!(!format!("{token:?}").contains(secret), "the secret is shown");
        }
        Err(error) => one_line(&error.to_string()),
    }
}

/// The alphabet of tokens, so that the fuzzer reaches what lies behind the checksum.
#[must_use]
pub fn base32(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    bits.chunks(5)
        .map(|chunk| {
            let digit = (0..5).fold(0, |sum, at| sum << 1 | chunk.get(at).copied().unwrap_or(0));
            char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(digit)])
        })
        .collect()
}
